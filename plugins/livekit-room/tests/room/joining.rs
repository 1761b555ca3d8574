//! Joining, and what is subscribed to.

use crate::script::{Script, is_state, person, streamer};
use livekit_protocol as proto;
use livekit_room::{ConnectionState, EndReason, Input, JoinError, Output, RoomConfig, RoomEvent};
use proto::leave_request::Action;
use std::time::Duration;

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
