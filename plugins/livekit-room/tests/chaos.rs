//! Everything that can happen, in any order, on simulated time: with what is valid, what is not,
//! and what makes no sense at that moment. The seeds are fixed, so a failure can be repeated.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use livekit_protocol as proto;
use livekit_room::{Choice, Choices, Input, JoinError, Output, ResumeError, Room, RoomConfig};
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use str0m::media::{Direction, MediaKind};
use str0m::{Candidate, RtcConfig};

const SEEDS: u64 = 24;
const STEPS: usize = 500;

/// Outputs that one input may cause: a participant's tracks and who comes and goes are told one by
/// one, and no input here has more than a few dozen.
const MOST_OUTPUTS: usize = 500;

/// What a server's media engine offers, with one to three tracks; made once, since each has a
/// certificate of its own.
fn offers() -> &'static [String] {
    static OFFERS: OnceLock<Vec<String>> = OnceLock::new();
    let offer = |tracks: &[MediaKind]| {
        let mut server = RtcConfig::new().set_ice_lite(true).build(Instant::now());
        let address = "127.0.0.1:50000".parse().unwrap();
        server.add_local_candidate(Candidate::host(address, "udp").unwrap());
        let mut changes = server.sdp_api();
        for kind in tracks {
            changes.add_media(*kind, Direction::SendOnly, None, None, None);
        }
        changes.add_channel("_reliable".into());
        changes.apply().unwrap().0.to_sdp_string()
    };
    use MediaKind::{Audio, Video};
    OFFERS.get_or_init(|| {
        let all: [&[MediaKind]; 4] = [&[Video], &[Audio], &[Video, Audio], &[Audio, Video, Video]];
        all.map(offer).to_vec()
    })
}

/// A room, and chance.
struct Chaos {
    room: Room,
    random: StdRng,
    now: Instant,
    begun: Instant,
    joins: u32,
    answers: u32,
    ended: bool,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let config = RoomConfig {
            waiting_timeout: None,
            ..RoomConfig::default()
        };
        Self {
            room: Room::new(config, now),
            random: StdRng::seed_from_u64(seed),
            now,
            begun: now,
            joins: 0,
            answers: 0,
            ended: false,
        }
    }

    fn chance(&mut self, of: u32) -> bool {
        self.random.random_range(0..of) == 0
    }

    fn text(&mut self) -> String {
        let texts = [
            "",
            "a",
            "TR_1",
            "TR_2",
            "PA_1",
            "creator",
            "viewer-1",
            "\u{0}ö\u{ffff}",
        ];
        match self.random.random_range(0..texts.len() + 1) {
            known if known < texts.len() => texts[known].to_owned(),
            _ => "x".repeat(self.random.random_range(0..5000)),
        }
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.random.random_range(0..most)];
        self.random.fill_bytes(&mut bytes);
        bytes
    }

    fn people(&mut self) -> Vec<proto::ParticipantInfo> {
        (0..self.random.random_range(0..4))
            .map(|_| proto::ParticipantInfo {
                sid: self.text(),
                identity: self.text(),
                state: self.random.random_range(-1..6),
                version: self.random.random_range(0..5),
                joined_at_ms: self.random.random(),
                tracks: (0..self.random.random_range(0..5))
                    .map(|_| proto::TrackInfo {
                        sid: self.text(),
                        r#type: self.random.random_range(-1..4),
                        source: self.random.random_range(-1..6),
                        muted: self.chance(3),
                        width: self.random.random(),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
            .collect()
    }

    fn joined(&mut self) -> proto::JoinResponse {
        proto::JoinResponse {
            room: (!self.chance(4)).then(proto::Room::default),
            participant: (!self.chance(4)).then(proto::ParticipantInfo::default),
            other_participants: self.people(),
            ping_interval: self.random.random(),
            ping_timeout: self.random.random(),
            sif_trailer: self.bytes(4),
            ..Default::default()
        }
    }

    fn offer(&mut self) -> proto::SessionDescription {
        let offers = offers();
        let mut sdp = offers[self.random.random_range(0..offers.len())].clone();
        match self.random.random_range(0..5) {
            0 => sdp.truncate(self.random.random_range(0..sdp.len())),
            1 => sdp = sdp.replace("a=mid", "a=dim"),
            2 => {
                let mut lines: Vec<&str> = sdp.lines().collect();
                lines.remove(self.random.random_range(0..lines.len()));
                sdp = lines.join("\r\n") + "\r\n";
            }
            3 => {
                let mut bytes = sdp.into_bytes();
                let place = self.random.random_range(0..bytes.len());
                bytes[place] = self.random.random_range(1..128);
                sdp = String::from_utf8(bytes).unwrap();
            }
            _ => {}
        }
        proto::SessionDescription {
            r#type: "offer".into(),
            sdp,
            id: self.random.random(),
            mid_to_track_id: (0..3).map(|_| (self.text(), self.text())).collect(),
        }
    }

    fn leave(&mut self) -> proto::LeaveRequest {
        let regions = (0..30).map(|_| proto::RegionInfo {
            url: self.text(),
            ..Default::default()
        });
        let regions = regions.collect();
        proto::LeaveRequest {
            can_reconnect: self.chance(2),
            reason: self.random.random_range(-1..20),
            action: self.random.random_range(-1..5),
            regions: Some(proto::RegionSettings { regions }),
        }
    }

    fn signal(&mut self) -> Option<Response> {
        Some(match self.random.random_range(0..8) {
            0 | 1 => Response::Offer(self.offer()),
            2 | 3 => Response::Update(proto::ParticipantUpdate {
                participants: self.people(),
            }),
            4 => Response::Trickle(proto::TrickleRequest {
                candidate_init: match self.chance(2) {
                    true => self.text(),
                    false => {
                        r#"{"candidate":"candidate:1 1 udp 2130706431 127.0.0.1 50000 typ host"}"#
                            .into()
                    }
                },
                target: self.random.random_range(-1..3),
                r#final: false,
            }),
            5 if self.chance(4) => Response::Leave(self.leave()),
            6 => Response::SubscriptionResponse(proto::SubscriptionResponse {
                track_sid: self.text(),
                err: self.random.random_range(-1..5),
            }),
            // Whatever these bytes happen to say.
            _ => {
                proto::SignalResponse::decode(&self.bytes(60)[..])
                    .ok()?
                    .message?
            }
        })
    }

    fn packet(&mut self) -> Vec<u8> {
        let mut packet = self.bytes(1500);
        let kinds = [0x00, 0x01, 20, 22, 23, 0x80, 0x90, 0x81, 200];
        if let Some(first) = packet.first_mut() {
            *first = kinds[self.random.random_range(0..kinds.len())];
        }
        if self.chance(2) && packet.len() > 8 {
            packet[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
        }
        packet
    }

    fn join_failure(&mut self) -> JoinError {
        match self.random.random_range(0..12) {
            0 => JoinError::NotAuthorized(self.text()),
            1 => JoinError::NotFound(self.text()),
            2..5 => JoinError::Left(Box::new(self.leave())),
            _ => JoinError::Unavailable(self.text()),
        }
    }

    fn resume_failure(&mut self) -> ResumeError {
        match self.random.random_range(0..4) {
            0 => ResumeError::SessionLost(self.text()),
            1 => ResumeError::Left(Box::new(self.leave())),
            _ => ResumeError::Unavailable(self.text()),
        }
    }

    fn step(&mut self) {
        if self.chance(3) {
            let most = [10, 1000, 20_000][self.random.random_range(0..3)];
            self.now += Duration::from_millis(self.random.random_range(0..most));
        }
        match self.random.random_range(0..20) {
            0..3 => {
                let input = Input::Joined {
                    response: Box::new(self.joined()),
                    locals: match self.chance(5) {
                        true => Vec::new(),
                        false => vec!["127.0.0.1:40000".parse().unwrap()],
                    },
                };
                self.input(input);
            }
            3 => {
                let error = self.join_failure();
                self.input(Input::JoinFailed(error));
            }
            4 | 5 => self.input(Input::Resumed),
            6 => {
                let error = self.resume_failure();
                self.input(Input::ResumeFailed(error));
            }
            7..13 => {
                if let Some(message) = self.signal() {
                    self.input(Input::Signal(Box::new(message)));
                }
            }
            13 if self.chance(4) => {
                let why = self.text();
                self.input(Input::SignalClosed(why));
            }
            14..17 => {
                let data = self.packet();
                self.input(Input::Packet {
                    transport: livekit_room::Transport::Udp,
                    source: "127.0.0.1:50000".parse().unwrap(),
                    destination: "127.0.0.1:40000".parse().unwrap(),
                    data: &data,
                });
            }
            17 => {
                let choices: Choices = (0..3).map(|_| (self.text().into(), Choice::Take)).collect();
                self.input(Input::Choices(choices));
            }
            18 => self.input(Input::RequestKeyframe),
            _ => self.input(Input::Timeout),
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.room.handle(self.now, input);
        // What is due now is done with the first call or soon after; it never asks to be called
        // for ever without time passing.
        for _ in 0..5 {
            if self.collect() > self.now {
                return;
            }
            self.room.handle(self.now, Input::Timeout);
        }
        panic!("the room waits for a time that has passed");
    }

    fn collect(&mut self) -> Instant {
        for _ in 0..MOST_OUTPUTS {
            match self.room.poll(self.now) {
                Output::Wait(at) => return at,
                Output::Join => self.joins += 1,
                Output::Ended(_) => self.ended = true,
                Output::Signal(request) if matches!(*request, Request::Answer(_)) => {
                    self.answers += 1;
                }
                Output::Regions(regions) => assert!(regions.len() < 30),
                _ => assert!(!self.ended, "nothing follows the end"),
            }
        }
        panic!("an input has no end of outputs");
    }
}

#[test]
fn nothing_that_comes_in_any_order_makes_it_panic_or_spin() {
    let (mut answers, mut ends) = (0, 0);
    for seed in 0..SEEDS {
        let mut chaos = Chaos::new(seed);
        let mut rounds = 0;
        for _ in 0..STEPS {
            chaos.step();
            let seconds = (chaos.now - chaos.begun).as_secs() as u32;
            // Waits of half a second on average, after the first few of a loss.
            assert!(
                chaos.joins <= 30 + 5 * seconds,
                "seed {seed}: {} joins in {seconds} s",
                chaos.joins
            );
            if chaos.ended && rounds < 20 {
                rounds += 1;
                answers += chaos.answers;
                ends += 1;
                let next = Chaos::new(seed * 1000 + rounds);
                chaos = Chaos {
                    now: chaos.now.max(next.now),
                    begun: chaos.now.max(next.now),
                    room: Room::new(RoomConfig::default(), chaos.now.max(next.now)),
                    ..next
                };
            }
        }
        answers += chaos.answers;
    }
    // What is valid got through, too.
    assert!(answers > 40 && ends > 10, "{answers} answers, {ends} ends");
}
