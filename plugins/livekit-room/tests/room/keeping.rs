//! Staying in the room.

use crate::script::{Script, person, streamer};
use livekit_protocol as proto;
use livekit_room::{Input, Output, ResumeError, RoomConfig};
use proto::leave_request::Action;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::time::Duration;

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
