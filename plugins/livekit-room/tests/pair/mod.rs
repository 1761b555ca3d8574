//! A room and a server's media engine in one process, on simulated time.

use livekit_protocol as proto;
use livekit_room::{ConnectionState, DataMessage, Input, Output, Room, RoomConfig, RoomEvent};
use prost::Message as _;
use proto::data_packet::Value;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use str0m::change::SdpAnswer;
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Rtc, RtcConfig};

/// A VP8 key frame of 16×16 pixels as far as its header goes.
const KEY_FRAME: [u8; 16] = [0x10, 0x02, 0, 0x9d, 1, 0x2a, 16, 0, 16, 0, 7, 7, 7, 7, 7, 7];

/// An Opus packet of 20 ms.
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

pub(crate) const FRAME_TIME: Duration = Duration::from_millis(40);

/// The room, the server's side of its media connection, and what both wanted.
pub(crate) struct Pair {
    pub(crate) room: Room,
    server: Rtc,
    server_address: SocketAddr,
    room_address: SocketAddr,
    pub(crate) video: Mid,
    audio: Mid,
    pub(crate) reliable: ChannelId,
    pub(crate) lossy: ChannelId,
    start: Instant,
    pub(crate) now: Instant,
    /// When to send the next picture; none: nothing is sent.
    pub(crate) next_frame: Option<Instant>,
    /// Sound goes on, whatever pictures do.
    pub(crate) sounds: bool,
    next_sound: Instant,
    /// Packets are lost in both directions.
    pub(crate) blackout: bool,
    pub(crate) wants: Vec<Output>,
}

impl Pair {
    /// Joined, with a video that is offered and taken.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let room_address: SocketAddr = "127.0.0.1:40000".parse().unwrap();
        let server_address: SocketAddr = "127.0.0.1:50000".parse().unwrap();
        let mut server = server(now, server_address);
        let mut changes = server.sdp_api();
        let (stream, track) = (Some("PA_1".into()), Some("TR_v".into()));
        let video = changes.add_media(MediaKind::Video, Direction::SendOnly, stream, track, None);
        let (stream, track) = (Some("PA_1".into()), Some("TR_a".into()));
        let audio = changes.add_media(MediaKind::Audio, Direction::SendOnly, stream, track, None);
        let reliable = changes.add_channel("_reliable".into());
        let lossy = changes.add_channel_with_config(ChannelConfig {
            label: "_lossy".into(),
            ordered: false,
            reliability: Reliability::MaxRetransmits { retransmits: 0 },
            ..Default::default()
        });
        let (offer, pending) = changes.apply().unwrap();
        let mut pair = Self {
            room: Room::new(RoomConfig::default(), now),
            server,
            server_address,
            room_address,
            video,
            audio,
            reliable,
            lossy,
            start: now,
            now,
            next_frame: None,
            sounds: false,
            next_sound: now,
            blackout: false,
            wants: Vec::new(),
        };
        pair.collect();
        pair.join();
        pair.signal(Response::Offer(proto::SessionDescription {
            r#type: "offer".into(),
            sdp: offer.to_sdp_string(),
            id: 1,
            mid_to_track_id: [
                (video.to_string(), "TR_v".to_owned()),
                (audio.to_string(), "TR_a".to_owned()),
            ]
            .into(),
        }));
        let answer = pair.wants.iter().find_map(|output| match output {
            Output::Signal(request) => match &**request {
                Request::Answer(answer) => Some(answer.sdp.clone()),
                _ => None,
            },
            _ => None,
        });
        let answer = SdpAnswer::from_sdp_string(&answer.unwrap()).unwrap();
        pair.server
            .sdp_api()
            .accept_answer(pending, answer)
            .unwrap();
        pair
    }

    fn join(&mut self) {
        let response = proto::JoinResponse {
            participant: Some(proto::ParticipantInfo {
                sid: "PA_me".into(),
                identity: "me".into(),
                ..Default::default()
            }),
            other_participants: vec![streamer(false, false)],
            ..Default::default()
        };
        self.input(Input::Joined {
            response: Box::new(response),
            locals: vec![self.room_address],
        });
    }

    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.room.handle(self.now, input);
        self.collect();
    }

    pub(crate) fn signal(&mut self, message: Response) {
        self.input(Input::Signal(Box::new(message)));
    }

    pub(crate) fn mute(&mut self, muted: bool) {
        self.next_frame = (!muted).then_some(self.now);
        self.signal(Response::Update(proto::ParticipantUpdate {
            participants: vec![streamer(muted, self.sounds)],
        }));
    }

    /// Takes what the room has, packets to the server included; says when it wants to be called.
    fn collect(&mut self) -> Instant {
        loop {
            match self.room.poll(self.now) {
                Output::Wait(at) => return at,
                Output::Transmit { data, .. } if self.blackout => drop(data),
                Output::Transmit { data, .. } => {
                    let receive = Receive {
                        proto: Protocol::Udp,
                        source: self.room_address,
                        destination: self.server_address,
                        contents: (&data[..]).try_into().unwrap(),
                    };
                    let input = str0m::Input::Receive(self.now, receive);
                    self.server.handle_input(input).unwrap();
                }
                output => self.wants.push(output),
            }
        }
    }

    /// The same for the server.
    fn collect_server(&mut self) -> Instant {
        loop {
            match self.server.poll_output().unwrap() {
                str0m::Output::Timeout(at) => return at,
                str0m::Output::Transmit(packet) if !self.blackout => {
                    self.input(Input::Packet {
                        transport: livekit_room::Transport::Udp,
                        source: self.server_address,
                        destination: self.room_address,
                        data: &packet.contents,
                    });
                }
                str0m::Output::Transmit(_) | str0m::Output::Event(_) => {}
            }
        }
    }

    /// Lets time pass until something is wanted; says how much passed.
    pub(crate) fn until(
        &mut self,
        limit: Duration,
        wanted: impl Fn(&Output) -> bool,
    ) -> Option<Duration> {
        let (begin, end) = (self.now, self.now + limit);
        loop {
            let server_wait = self.collect_server();
            let room_wait = self.collect();
            if let Some(found) = self.wants.iter().position(&wanted) {
                self.wants.drain(..=found);
                return Some(self.now - begin);
            }
            let sound = self.sounds.then_some(self.next_sound);
            let next = [Some(server_wait), Some(room_wait), self.next_frame, sound];
            let next = next.into_iter().flatten().min().unwrap();
            if next > end {
                self.now = end;
                return None;
            }
            self.now = next.max(self.now + Duration::from_micros(100));
            self.server
                .handle_input(str0m::Input::Timeout(self.now))
                .unwrap();
            self.input(Input::Timeout);
            if self.next_frame.is_some_and(|at| at <= self.now) {
                self.next_frame = Some(self.now + FRAME_TIME);
                self.send(self.video, &KEY_FRAME);
            }
            if self.sounds && self.next_sound <= self.now {
                self.next_sound = self.now + FRAME_TIME;
                self.send(self.audio, &SILENCE);
            }
        }
    }

    pub(crate) fn send(&mut self, mid: Mid, payload: &[u8]) {
        let Some(writer) = self.server.writer(mid) else {
            return;
        };
        let payload_type = writer.payload_params().next().unwrap().pt();
        let elapsed = (self.now - self.start).as_micros() as u64;
        let time = if mid == self.video {
            MediaTime::from_90khz(elapsed * 9 / 100)
        } else {
            MediaTime::new(elapsed * 48 / 1000, Frequency::FORTY_EIGHT_KHZ)
        };
        writer
            .write(payload_type, self.now, time, payload.to_vec())
            .unwrap();
    }

    pub(crate) fn send_data(&mut self, channel: ChannelId, text: &str, sequence: u32) {
        let packet = proto::DataPacket {
            participant_identity: "creator".into(),
            participant_sid: "PA_1".into(),
            sequence,
            value: Some(Value::User(proto::UserPacket {
                payload: text.into(),
                topic: Some("news".into()),
                ..Default::default()
            })),
            ..Default::default()
        };
        let mut channel = self.server.channel(channel).unwrap();
        assert!(channel.write(true, &packet.encode_to_vec()).unwrap());
    }

    pub(crate) fn until_state(&mut self, state: ConnectionState, limit: Duration) -> Duration {
        let is =
            |output: &Output| matches!(output, Output::Event(RoomEvent::State(is)) if *is == state);
        let Some(took) = self.until(limit, is) else {
            panic!("not {state:?} within {limit:?}");
        };
        took
    }

    pub(crate) fn until_message(&mut self) -> DataMessage {
        for _ in 0..1000 {
            for output in std::mem::take(&mut self.wants) {
                if let Output::Event(RoomEvent::Data(message)) = output {
                    return message;
                }
            }
            self.until(Duration::from_millis(10), |output| {
                matches!(output, Output::Join)
            });
        }
        panic!("no message came");
    }

    /// Live, some frames after the join.
    pub(crate) fn live() -> Self {
        let mut pair = Self::new();
        pair.next_frame = Some(pair.now);
        pair.until_state(ConnectionState::Live, Duration::from_secs(5));
        pair.until(Duration::from_millis(500), |_| false);
        pair.wants.clear();
        pair
    }
}

fn server(now: Instant, address: SocketAddr) -> Rtc {
    let mut server = RtcConfig::new()
        .clear_codecs()
        .enable_vp8(true)
        .enable_opus(true, false)
        .set_ice_lite(true)
        .build(now);
    server.add_local_candidate(Candidate::host(address, "udp").unwrap());
    server
}

/// The streamer with a video, and with sound where that is published.
fn streamer(muted: bool, sounds: bool) -> proto::ParticipantInfo {
    let mut tracks = vec![proto::TrackInfo {
        sid: "TR_v".into(),
        r#type: proto::TrackType::Video as i32,
        source: proto::TrackSource::Camera as i32,
        muted,
        ..Default::default()
    }];
    if sounds {
        tracks.push(proto::TrackInfo {
            sid: "TR_a".into(),
            r#type: proto::TrackType::Audio as i32,
            source: proto::TrackSource::Microphone as i32,
            ..Default::default()
        });
    }
    proto::ParticipantInfo {
        sid: "PA_1".into(),
        identity: "creator".into(),
        state: proto::participant_info::State::Active as i32,
        tracks,
        ..Default::default()
    }
}
