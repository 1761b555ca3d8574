//! What ends it.

use crate::script::{Script, person, streamer};
use livekit_protocol as proto;
use livekit_room::{EndReason, Input, JoinError, Output, RoomConfig};
use proto::leave_request::Action;
use proto::signal_request::Message as Request;
use std::time::Duration;

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
