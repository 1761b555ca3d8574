//! A room and a server's media engine in one process, on simulated time: no packet takes long, and
//! a minute passes at once.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod pair;

use livekit_protocol::signal_request::Message as Request;
use livekit_room::{ConnectionState, Input, Output, ResumeError, RoomEvent};
use pair::{FRAME_TIME, Pair};
use std::time::Duration;

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
fn a_picture_that_stops_while_the_sound_goes_on_is_subscribed_to_anew_and_the_sound_goes_on() {
    let mut pair = Pair::live();
    pair.sounds = true;
    pair.mute(false);
    pair.until(SECOND, |_| false);
    pair.wants.clear();
    pair.next_frame = None;
    let asks = |subscribe: bool| {
        move |output: &Output| {
            let Output::Signal(request) = output else {
                return false;
            };
            matches!(&**request, Request::Subscription(asked)
                if asked.subscribe == subscribe && asked.track_sids == ["TR_v"])
        }
    };
    let took = pair.until(20 * SECOND, asks(false)).unwrap();
    assert!(took <= 11 * SECOND, "{took:?}");
    assert!(pair.until(2 * SECOND, asks(true)).is_some());
    let mended = |output: &Output| matches!(output, Output::Resume | Output::Join);
    assert_eq!(pair.until(120 * SECOND, mended), None, "the sound is whole");
    assert!(pair.until(SECOND, is_frame).is_some());
    pair.next_frame = Some(pair.now);
    pair.until(SECOND, |_| false);
    pair.wants.clear();
    assert_eq!(pair.until(30 * SECOND, asks(false)), None);
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
fn the_blank_picture_with_which_the_server_ends_a_track_is_no_frame() {
    let mut pair = Pair::live();
    pair.next_frame = None;
    pair.until(SECOND, |_| false);
    pair.wants.clear();
    let blank = [
        0x10, 0x02, 0, 0x9d, 1, 0x2a, 8, 0, 8, 0, 0, 0x47, 8, 0x85, 0x85, 0x88,
    ];
    let real = [
        0x10, 0x02, 0, 0x9d, 1, 0x2a, 9, 0, 8, 0, 0, 0x47, 8, 0x85, 0x85, 0x88,
    ];
    pair.send(pair.video, &blank);
    assert_eq!(pair.until(SECOND, is_frame), None);
    pair.send(pair.video, &real);
    assert!(pair.until(SECOND, is_frame).is_some());
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
