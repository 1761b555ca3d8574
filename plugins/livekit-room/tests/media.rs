//! A room and a server's media engine in one process, on simulated time: no packet takes long, and
//! a minute passes at once.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use livekit_protocol as proto;
use livekit_room::{
    ConnectionState, DataMessage, Input, Output, ResumeError, Room, RoomConfig, RoomEvent,
};
use prost::Message as _;
use proto::data_packet::Value;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use str0m::change::SdpAnswer;
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::media::{Direction, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Rtc, RtcConfig};

/// A VP8 key frame of 16×16 pixels as far as its header goes.
const KEY_FRAME: [u8; 16] = [0x10, 0x02, 0, 0x9d, 1, 0x2a, 16, 0, 16, 0, 7, 7, 7, 7, 7, 7];

const FRAME_TIME: Duration = Duration::from_millis(40);

/// The room, the server's side of its media connection, and what both wanted.
struct Pair {
    room: Room,
    server: Rtc,
    server_address: SocketAddr,
    room_address: SocketAddr,
    video: Mid,
    reliable: ChannelId,
    lossy: ChannelId,
    start: Instant,
    now: Instant,
    /// When to send the next frame; none: nothing is sent.
    next_frame: Option<Instant>,
    /// Packets are lost in both directions.
    blackout: bool,
    wants: Vec<Output>,
}

impl Pair {
    /// Joined, with a video that is offered and taken.
    fn new() -> Self {
        let now = Instant::now();
        let room_address: SocketAddr = "127.0.0.1:40000".parse().unwrap();
        let server_address: SocketAddr = "127.0.0.1:50000".parse().unwrap();
        let mut server = RtcConfig::new()
            .clear_codecs()
            .enable_vp8(true)
            .set_ice_lite(true)
            .build(now);
        server.add_local_candidate(Candidate::host(server_address, "udp").unwrap());
        let mut changes = server.sdp_api();
        let (stream, track) = (Some("PA_1".into()), Some("TR_v".into()));
        let video = changes.add_media(MediaKind::Video, Direction::SendOnly, stream, track, None);
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
            reliable,
            lossy,
            start: now,
            now,
            next_frame: None,
            blackout: false,
            wants: Vec::new(),
        };
        pair.collect();
        pair.join();
        pair.signal(Response::Offer(proto::SessionDescription {
            r#type: "offer".into(),
            sdp: offer.to_sdp_string(),
            id: 1,
            mid_to_track_id: [(video.to_string(), "TR_v".to_owned())].into(),
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
            other_participants: vec![streamer(false)],
            ..Default::default()
        };
        self.input(Input::Joined {
            response: Box::new(response),
            locals: vec![self.room_address],
        });
    }

    fn input(&mut self, input: Input<'_>) {
        self.room.handle(self.now, input);
        self.collect();
    }

    fn signal(&mut self, message: Response) {
        self.input(Input::Signal(Box::new(message)));
    }

    fn mute(&mut self, muted: bool) {
        self.next_frame = (!muted).then_some(self.now);
        self.signal(Response::Update(proto::ParticipantUpdate {
            participants: vec![streamer(muted)],
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
    fn until(&mut self, limit: Duration, wanted: impl Fn(&Output) -> bool) -> Option<Duration> {
        let (begin, end) = (self.now, self.now + limit);
        loop {
            let server_wait = self.collect_server();
            let room_wait = self.collect();
            if let Some(found) = self.wants.iter().position(&wanted) {
                self.wants.drain(..=found);
                return Some(self.now - begin);
            }
            let next = [Some(server_wait), Some(room_wait), self.next_frame];
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
                self.send_frame();
            }
        }
    }

    fn send_frame(&mut self) {
        self.next_frame = Some(self.now + FRAME_TIME);
        let Some(writer) = self.server.writer(self.video) else {
            return;
        };
        let payload_type = writer.payload_params().next().unwrap().pt();
        let time = MediaTime::from_90khz((self.now - self.start).as_micros() as u64 * 9 / 100);
        writer
            .write(payload_type, self.now, time, KEY_FRAME.to_vec())
            .unwrap();
    }

    fn send_data(&mut self, channel: ChannelId, text: &str, sequence: u32) {
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

    fn until_state(&mut self, state: ConnectionState, limit: Duration) -> Duration {
        let is =
            |output: &Output| matches!(output, Output::Event(RoomEvent::State(is)) if *is == state);
        let Some(took) = self.until(limit, is) else {
            panic!("not {state:?} within {limit:?}");
        };
        took
    }

    fn until_message(&mut self) -> DataMessage {
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
    fn live() -> Self {
        let mut pair = Self::new();
        pair.next_frame = Some(pair.now);
        pair.until_state(ConnectionState::Live, Duration::from_secs(5));
        pair.until(Duration::from_millis(500), |_| false);
        pair.wants.clear();
        pair
    }
}

fn streamer(muted: bool) -> proto::ParticipantInfo {
    proto::ParticipantInfo {
        sid: "PA_1".into(),
        identity: "creator".into(),
        state: proto::participant_info::State::Active as i32,
        tracks: vec![proto::TrackInfo {
            sid: "TR_v".into(),
            r#type: proto::TrackType::Video as i32,
            source: proto::TrackSource::Camera as i32,
            muted,
            ..Default::default()
        }],
        ..Default::default()
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn is_resume(output: &Output) -> bool {
    matches!(output, Output::Resume)
}

fn is_frame(output: &Output) -> bool {
    matches!(output, Output::Event(RoomEvent::Frame(_)))
}

#[test]
fn it_is_live_with_the_first_frame_and_not_before() {
    let mut pair = Pair::new();
    let quiet = pair.until(3 * SECOND, |output| {
        matches!(
            output,
            Output::Event(RoomEvent::State(ConnectionState::Live))
        )
    });
    assert_eq!(quiet, None, "a connection without frames is not live");
    pair.next_frame = Some(pair.now);
    pair.until_state(ConnectionState::Live, SECOND);
    assert!(pair.until(SECOND, is_frame).is_some());
}

#[test]
fn frames_that_stop_are_noticed_within_five_seconds_and_a_resume_is_made() {
    // The publisher's frames alone, and everything.
    for blackout in [false, true] {
        let mut pair = Pair::live();
        pair.next_frame = None;
        pair.blackout = blackout;
        let took = pair.until(10 * SECOND, is_resume).unwrap();
        assert!(took <= 5 * SECOND + FRAME_TIME, "{took:?}");
        pair.blackout = true;
        pair.input(Input::Resumed);
        let live = |output: &Output| {
            matches!(
                output,
                Output::Event(RoomEvent::State(ConnectionState::Live))
            )
        };
        assert!(
            !pair.wants.iter().any(live),
            "a resume alone brings no frame"
        );
        let rejoins = pair.until(6 * SECOND, |output| matches!(output, Output::Join));
        assert!(
            rejoins.is_some(),
            "a resume that does not help is followed by a join"
        );
    }
}

#[test]
fn frames_that_come_again_after_a_resume_make_it_live_again() {
    let mut pair = Pair::live();
    pair.next_frame = None;
    pair.until(10 * SECOND, is_resume).unwrap();
    pair.input(Input::Resumed);
    pair.wants.clear();
    pair.until(SECOND, |_| false);
    pair.next_frame = Some(pair.now);
    assert!(pair.until_state(ConnectionState::Live, SECOND) < SECOND);
}

#[test]
fn frames_flow_on_while_the_signalling_is_resumed() {
    let mut pair = Pair::live();
    pair.input(Input::SignalClosed("reset".into()));
    pair.until_state(ConnectionState::Reconnecting, SECOND);
    assert!(pair.until(SECOND, is_frame).is_some());
    pair.input(Input::ResumeFailed(ResumeError::Unavailable("no".into())));
    assert!(pair.until(2 * SECOND, is_resume).is_some());
    assert!(pair.until(SECOND, is_frame).is_some());
    pair.input(Input::Resumed);
    assert!(pair.until_state(ConnectionState::Live, SECOND).is_zero());
}

#[test]
fn a_room_whose_tracks_are_muted_is_soon_no_longer_live_and_is_again_with_the_next_frame() {
    let mut pair = Pair::live();
    pair.mute(true);
    let took = pair.until_state(ConnectionState::Waiting, 10 * SECOND);
    assert!(took <= 5 * SECOND, "{took:?}");
    let acted = pair.until(60 * SECOND, |output| {
        matches!(output, Output::Resume | Output::Join)
    });
    assert_eq!(acted, None, "a mute is no stall");
    pair.mute(false);
    pair.until_state(ConnectionState::Live, SECOND);
}

#[test]
fn data_messages_are_told_with_their_sender_and_each_only_once() {
    let mut pair = Pair::live();
    pair.until(2 * SECOND, |_| false);
    let (reliable, lossy) = (pair.reliable, pair.lossy);
    pair.send_data(reliable, "hello", 1);
    let message = pair.until_message();
    assert_eq!((&*message.identity, &*message.topic), ("creator", "news"));
    assert_eq!((&*message.payload, message.reliable), (&b"hello"[..], true));
    pair.send_data(lossy, "now", 0);
    let message = pair.until_message();
    assert_eq!((&*message.payload, message.reliable), (&b"now"[..], false));
    pair.input(Input::SignalClosed("reset".into()));
    pair.until(SECOND, is_resume).unwrap();
    pair.input(Input::Resumed);
    let states = pair.wants.iter().find_map(|output| match output {
        Output::Signal(request) => match &**request {
            Request::SyncState(sync) => Some(sync.datachannel_receive_states.clone()),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(states.unwrap()[0].last_seq, 1);
    // The server sends again what it isn't sure about.
    pair.send_data(reliable, "hello", 1);
    pair.send_data(reliable, "more", 2);
    assert_eq!(&*pair.until_message().payload, b"more");
}
