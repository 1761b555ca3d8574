//! The state machine on simulated time, against a server that says what each test needs.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use livekit_protocol as proto;
use livekit_room::{
    ConnectionState, EndReason, Input, JoinError, Output, ResumeError, Room, RoomConfig, RoomEvent,
};
use proto::leave_request::Action;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::time::{Duration, Instant};

/// A room, the time, and what the room wanted until now.
struct Script {
    room: Room,
    now: Instant,
    wants: Vec<Output>,
}

impl Script {
    fn new(config: RoomConfig) -> Self {
        let now = Instant::now();
        let mut script = Self {
            room: Room::new(config, now),
            now,
            wants: Vec::new(),
        };
        script.collect();
        script
    }

    fn joined(config: RoomConfig, others: &[proto::ParticipantInfo]) -> Self {
        let mut script = Self::new(config);
        script.join(others);
        script
    }

    fn join(&mut self, others: &[proto::ParticipantInfo]) {
        let response = proto::JoinResponse {
            room: Some(proto::Room {
                name: "room".into(),
                sid: "RM_1".into(),
                ..Default::default()
            }),
            participant: Some(person("PA_me", "me", &[])),
            other_participants: others.to_vec(),
            ..Default::default()
        };
        self.input(Input::Joined {
            response: Box::new(response),
            locals: vec!["127.0.0.1:40000".parse().unwrap()],
        });
    }

    fn input(&mut self, input: Input<'_>) {
        self.room.handle(self.now, input);
        self.collect();
    }

    fn signal(&mut self, message: Response) {
        self.input(Input::Signal(Box::new(message)));
    }

    fn update(&mut self, participants: &[proto::ParticipantInfo]) {
        self.signal(Response::Update(proto::ParticipantUpdate {
            participants: participants.to_vec(),
        }));
    }

    fn leave(&mut self, action: Action, reason: proto::DisconnectReason) {
        self.signal(Response::Leave(proto::LeaveRequest {
            action: action as i32,
            reason: reason as i32,
            ..Default::default()
        }));
    }

    /// Lets time pass, waking the room whenever it asked for it.
    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let Output::Wait(at) = self.room.poll(self.now) else {
                panic!("outputs are collected after every input");
            };
            if at > end || self.now >= end {
                break;
            }
            self.now = at.max(self.now + Duration::from_millis(1));
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    fn collect(&mut self) {
        loop {
            match self.room.poll(self.now) {
                Output::Wait(_) => return,
                output => self.wants.push(output),
            }
        }
    }

    /// Whether this was wanted since the last look.
    fn wanted(&mut self, matches: impl Fn(&Output) -> bool) -> bool {
        let found = self.wants.iter().any(matches);
        self.wants.clear();
        found
    }

    fn ended(&mut self) -> Option<EndReason> {
        let ended = self.wants.iter().find_map(|output| match output {
            Output::Ended(reason) => Some(reason.clone()),
            _ => None,
        });
        self.wants.clear();
        ended
    }

    /// Track SIDs that were subscribed to since the last look.
    fn subscribed(&mut self) -> Vec<String> {
        let mut sids = Vec::new();
        for output in self.wants.drain(..) {
            if let Output::Signal(request) = output
                && let Request::Subscription(subscription) = *request
                && subscription.subscribe
            {
                sids.extend(subscription.track_sids);
            }
        }
        sids
    }
}

fn person(
    sid: &str,
    identity: &str,
    tracks: &[(&str, proto::TrackSource)],
) -> proto::ParticipantInfo {
    proto::ParticipantInfo {
        sid: sid.into(),
        identity: identity.into(),
        state: proto::participant_info::State::Active as i32,
        tracks: tracks
            .iter()
            .map(|(sid, source)| proto::TrackInfo {
                sid: (*sid).into(),
                r#type: match source {
                    proto::TrackSource::Microphone => proto::TrackType::Audio as i32,
                    _ => proto::TrackType::Video as i32,
                },
                source: *source as i32,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn streamer() -> proto::ParticipantInfo {
    person(
        "PA_1",
        "creator",
        &[
            ("TR_v", proto::TrackSource::Camera),
            ("TR_a", proto::TrackSource::Microphone),
        ],
    )
}

fn is_state(output: &Output, wanted: ConnectionState) -> bool {
    matches!(output, Output::Event(RoomEvent::State(state)) if *state == wanted)
}

#[test]
fn it_joins_first_and_subscribes_to_the_streamer_only() {
    let mut script = Script::new(RoomConfig::default());
    assert!(script.wanted(|output| matches!(output, Output::Join)));
    let guest = person("PA_2", "viewer-7", &[("TR_g", proto::TrackSource::Camera)]);
    script.join(&[guest, streamer()]);
    assert_eq!(script.subscribed(), ["TR_v", "TR_a"]);
}

#[test]
fn a_publisher_that_comes_later_is_subscribed_to() {
    let mut script = Script::joined(RoomConfig::default(), &[]);
    assert!(script.wanted(|output| is_state(output, ConnectionState::Waiting)));
    script.wait(Duration::from_secs(60));
    script.update(&[streamer()]);
    assert_eq!(script.subscribed(), ["TR_v", "TR_a"]);
}

#[test]
fn a_refused_token_ends_it_at_once() {
    let mut script = Script::new(RoomConfig::default());
    script.input(Input::JoinFailed(JoinError::NotAuthorized("no".into())));
    assert_eq!(script.ended(), Some(EndReason::NotAuthorized("no".into())));
}

#[test]
fn a_first_join_that_fails_ends_it_and_a_later_one_is_tried_again() {
    let mut script = Script::new(RoomConfig::default());
    script.input(Input::JoinFailed(JoinError::Unavailable("down".into())));
    assert_eq!(script.ended(), Some(EndReason::Connection("down".into())));

    let mut script = Script::joined(RoomConfig::default(), &[]);
    script.leave(Action::Reconnect, proto::DisconnectReason::UnknownReason);
    script.wait(Duration::from_millis(1));
    assert!(script.wanted(|output| matches!(output, Output::Join)));
    for _ in 0..20 {
        script.input(Input::JoinFailed(JoinError::Unavailable("down".into())));
        assert!(script.wanted(|output| matches!(
            output,
            Output::Event(RoomEvent::Reconnecting { reason, .. }) if reason == "down"
        )));
        // A room that is waited for is asked at least every two seconds.
        script.wait(Duration::from_millis(2010));
        assert!(script.wanted(|output| matches!(output, Output::Join)));
    }
    script.join(&[streamer()]);
    assert_eq!(script.subscribed(), ["TR_v", "TR_a"]);
}

#[test]
fn what_was_taken_before_a_rejoin_is_subscribed_to_again() {
    let mut script = Script::joined(RoomConfig::default(), &[streamer()]);
    script.leave(Action::Reconnect, proto::DisconnectReason::UnknownReason);
    script.wait(Duration::from_millis(1));
    script.wants.clear();
    script.join(&[streamer()]);
    assert_eq!(script.subscribed(), ["TR_v", "TR_a"]);
}

#[test]
fn nobody_publishing_ends_it_after_the_waiting_timeout() {
    let config = RoomConfig {
        waiting_timeout: Some(Duration::from_secs(30)),
        ..RoomConfig::default()
    };
    let mut script = Script::joined(config.clone(), &[]);
    script.wait(Duration::from_secs(29));
    assert_eq!(script.ended(), None);
    script.wait(Duration::from_secs(1));
    assert_eq!(script.ended(), Some(EndReason::NoPublisher));

    let forever = RoomConfig {
        waiting_timeout: None,
        ..config
    };
    let mut script = Script::joined(forever, &[]);
    script.wait(Duration::from_secs(700));
    assert_eq!(script.ended(), None);
}

#[test]
fn a_closed_signalling_connection_is_resumed_with_the_subscriptions() {
    let mut script = Script::joined(RoomConfig::default(), &[streamer()]);
    script.input(Input::SignalClosed("reset".into()));
    assert!(script.wanted(|output| matches!(output, Output::Resume)));
    script.input(Input::Resumed);
    let sync = script.wants.iter().find_map(|output| match output {
        Output::Signal(request) => match &**request {
            Request::SyncState(sync) => sync.subscription.clone(),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(sync.unwrap().track_sids, ["TR_v", "TR_a"]);
}

#[test]
fn a_resume_that_keeps_failing_becomes_a_join() {
    let mut script = Script::joined(RoomConfig::default(), &[streamer()]);
    script.input(Input::SignalClosed("reset".into()));
    let start = script.now;
    while !script.wanted(|output| matches!(output, Output::Join)) {
        script.input(Input::ResumeFailed(ResumeError::Unavailable(
            "refused".into(),
        )));
        script.wait(Duration::from_millis(500));
        assert!(script.now - start < Duration::from_secs(10));
    }
}

#[test]
fn a_session_the_server_forgot_is_joined_anew_at_once() {
    let mut script = Script::joined(RoomConfig::default(), &[streamer()]);
    script.input(Input::SignalClosed("reset".into()));
    script.input(Input::ResumeFailed(ResumeError::SessionLost("gone".into())));
    script.wait(Duration::from_millis(1));
    assert!(script.wanted(|output| matches!(output, Output::Join)));
}

#[test]
fn a_server_that_ends_every_session_at_once_is_not_asked_as_fast_as_it_answers() {
    type Lose = fn(&mut Script);
    type Asks = fn(&Output) -> bool;
    let lose: [(Lose, Asks); 2] = [
        (
            |script| script.leave(Action::Reconnect, proto::DisconnectReason::UnknownReason),
            |output| matches!(output, Output::Join),
        ),
        (
            |script| script.input(Input::SignalClosed("reset".into())),
            |output| matches!(output, Output::Resume),
        ),
    ];
    for (lose, asks) in lose {
        let mut script = Script::joined(RoomConfig::default(), &[streamer()]);
        let start = script.now;
        let mut attempts = 0;
        while script.now - start < Duration::from_secs(60) {
            lose(&mut script);
            while !script.wanted(asks) {
                script.wait(Duration::from_millis(1));
            }
            attempts += 1;
            match asks(&Output::Join) {
                true => script.join(&[streamer()]),
                false => script.input(Input::Resumed),
            }
        }
        // Waits of a second on average, once they have grown.
        assert!(attempts < 200, "{attempts} attempts in a minute");
        script.update(&[person("PA_1", "creator", &[])]);
        script.wait(Duration::from_secs(11));
        script.wants.clear();
        lose(&mut script);
        script.wait(Duration::from_millis(1));
        assert!(
            script.wanted(asks),
            "a connection that held is made again at once"
        );
    }
}

#[test]
fn waiting_begins_when_the_last_track_ends_though_none_ever_gave_a_frame() {
    let config = RoomConfig {
        waiting_timeout: Some(Duration::from_secs(30)),
        ..RoomConfig::default()
    };
    let mut muted = streamer();
    for track in &mut muted.tracks {
        track.muted = true;
    }
    let mut script = Script::joined(config, &[muted]);
    script.wait(Duration::from_secs(60));
    script.update(&[person("PA_1", "creator", &[])]);
    script.wait(Duration::from_secs(29));
    assert_eq!(script.ended(), None);
    script.wait(Duration::from_secs(1));
    assert_eq!(script.ended(), Some(EndReason::NoPublisher));
}

#[test]
fn each_leave_does_what_it_says() {
    use proto::DisconnectReason as Reason;
    let ends = [
        (Reason::DuplicateIdentity, EndReason::DuplicateIdentity),
        (Reason::RoomDeleted, EndReason::RoomDeleted),
        (Reason::RoomClosed, EndReason::RoomDeleted),
        (Reason::ParticipantRemoved, EndReason::Removed),
    ];
    for (reason, end) in ends {
        let mut script = Script::joined(RoomConfig::default(), &[streamer()]);
        script.leave(Action::Disconnect, reason);
        assert_eq!(script.ended(), Some(end));
    }
    for reason in [
        Reason::ServerShutdown,
        Reason::StateMismatch,
        Reason::Migration,
    ] {
        let mut script = Script::joined(RoomConfig::default(), &[streamer()]);
        script.leave(Action::Disconnect, reason);
        script.wait(Duration::from_millis(1));
        assert!(
            script.wanted(|output| matches!(output, Output::Join)),
            "{reason:?}"
        );
    }
    let mut script = Script::joined(RoomConfig::default(), &[streamer()]);
    script.leave(Action::Resume, Reason::UnknownReason);
    assert!(script.wanted(|output| matches!(output, Output::Resume)));
}

#[test]
fn no_media_for_five_seconds_is_acted_on_first_gently_then_firmly() {
    let mut script = Script::joined(RoomConfig::default(), &[streamer()]);
    script.wait(Duration::from_millis(4900));
    assert!(!script.wanted(|output| matches!(output, Output::Resume)));
    script.wait(Duration::from_millis(200));
    assert!(script.wanted(|output| matches!(output, Output::Resume)));
    script.input(Input::Resumed);
    script.wait(Duration::from_secs(11));
    assert!(script.wanted(|output| matches!(output, Output::Join)));
}

#[test]
fn a_muted_streamer_is_no_stall() {
    let mut muted = streamer();
    for track in &mut muted.tracks {
        track.muted = true;
    }
    let mut script = Script::joined(RoomConfig::default(), &[muted]);
    script.wants.clear();
    script.wait(Duration::from_secs(120));
    assert!(!script.wanted(|output| matches!(output, Output::Resume | Output::Join)));
}

#[test]
fn a_connection_that_stays_lost_ends_it_after_the_reconnect_timeout() {
    let config = RoomConfig {
        reconnect_timeout: Some(Duration::from_secs(20)),
        ..RoomConfig::default()
    };
    let mut script = Script::joined(config, &[streamer()]);
    script.leave(Action::Reconnect, proto::DisconnectReason::UnknownReason);
    let start = script.now;
    loop {
        script.wait(Duration::from_millis(100));
        if let Some(reason) = script.ended() {
            assert!(matches!(reason, EndReason::Connection(_)));
            break;
        }
        script.input(Input::JoinFailed(JoinError::Unavailable("down".into())));
    }
    let took = script.now - start;
    assert!(
        (Duration::from_secs(19)..Duration::from_secs(21)).contains(&took),
        "{took:?}"
    );
}

#[test]
fn a_stop_says_goodbye() {
    let mut script = Script::joined(RoomConfig::default(), &[streamer()]);
    script.wants.clear();
    script.input(Input::Stop);
    assert!(script.wants.iter().any(|output| matches!(
        output,
        Output::Signal(request) if matches!(**request, Request::Leave(_))
    )));
    assert_eq!(script.ended(), Some(EndReason::Stopped));
    script.update(&[streamer()]);
    assert!(script.wants.is_empty(), "nothing follows the end");
}

#[test]
fn malformed_signalling_and_packets_do_no_harm() {
    let mut script = Script::joined(RoomConfig::default(), &[streamer()]);
    for candidate in [
        "",
        "{",
        "{}",
        "{\"candidate\":7}",
        "{\"candidate\":\"candidate:nonsense\"}",
    ] {
        script.signal(Response::Trickle(proto::TrickleRequest {
            candidate_init: candidate.into(),
            target: proto::SignalTarget::Subscriber as i32,
            r#final: false,
        }));
    }
    for length in 0..200 {
        let data: Vec<u8> = (0..length).map(|n| (n * 37 + length) as u8).collect();
        script.input(Input::Packet {
            transport: livekit_room::Transport::Udp,
            source: "127.0.0.1:50000".parse().unwrap(),
            destination: "127.0.0.1:40000".parse().unwrap(),
            data: &data,
        });
    }
    assert_eq!(script.ended(), None);
    // An offer that can't be read leaves no session to go on with.
    for sdp in [
        "",
        "v=0",
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video",
    ] {
        let mut script = Script::joined(RoomConfig::default(), &[streamer()]);
        script.wants.clear();
        script.signal(Response::Offer(proto::SessionDescription {
            r#type: "offer".into(),
            sdp: sdp.into(),
            ..Default::default()
        }));
        script.wait(Duration::from_millis(1));
        assert!(script.wanted(|output| matches!(output, Output::Join | Output::Signal(_))));
    }
}
