//! What a server's leave leads to.

use crate::support::{Client, FakeServer, Tokens, person};
use livekit_protocol as proto;
use livekit_room::EndReason;
use proto::DisconnectReason as Reason;
use proto::leave_request::Action;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;

#[tokio::test]
async fn a_leave_that_ends_it_says_how_it_ended() {
    for (action, reason, end) in [
        (
            Action::Disconnect,
            Reason::DuplicateIdentity,
            EndReason::DuplicateIdentity,
        ),
        (
            Action::Reconnect,
            Reason::DuplicateIdentity,
            EndReason::DuplicateIdentity,
        ),
        (
            Action::Disconnect,
            Reason::RoomDeleted,
            EndReason::RoomDeleted,
        ),
        (
            Action::Disconnect,
            Reason::RoomClosed,
            EndReason::RoomDeleted,
        ),
        (
            Action::Disconnect,
            Reason::ParticipantRemoved,
            EndReason::Removed,
        ),
    ] {
        let server = FakeServer::start().await;
        let client = Client::start(Tokens::of(&server));
        let mut connection = server.join(&[]).await;
        connection.leave(action, reason as i32).await;
        assert_eq!(client.end().await, end, "{action:?} {reason:?}");
    }
}

#[tokio::test]
async fn a_leave_for_the_servers_own_reasons_is_followed_by_a_join_with_a_fresh_token() {
    let reasons = [
        Reason::UnknownReason,
        Reason::ClientInitiated,
        Reason::ServerShutdown,
        Reason::StateMismatch,
        Reason::JoinFailure,
        Reason::Migration,
        Reason::SignalClose,
        Reason::ConnectionTimeout,
        Reason::MediaFailure,
    ];
    for reason in reasons
        .map(|reason| reason as i32)
        .into_iter()
        .chain([4711])
    {
        for action in [Action::Disconnect, Action::Reconnect] {
            let server = FakeServer::start().await;
            let mut client = Client::start(Tokens::of(&server));
            let mut connection = server.join(&[]).await;
            assert_eq!(connection.token, "token-1");
            connection.leave(action, reason).await;
            assert_eq!(server.join(&[]).await.token, "token-2");
            client.joined().await;
            client.joined().await;
        }
    }
}

#[tokio::test]
async fn a_leave_for_a_resume_keeps_the_session_and_its_newest_token() {
    let server = FakeServer::start().await;
    let mut client = Client::start(Tokens::of(&server));
    let streamer = person("PA_1", "creator", &["TR_v"]);
    let mut connection = server.join(&[streamer]).await;
    client.joined().await;
    connection
        .send(Response::RefreshToken("fresh".into()))
        .await;
    connection.leave(Action::Resume, 0).await;
    let mut resumed = server.resume().await;
    assert_eq!(resumed.token, "fresh");
    assert_eq!(resumed.query["sid"], "PA_me");
    let Some(Request::SyncState(sync)) = resumed.request().await else {
        panic!("a resume begins with the state");
    };
    assert_eq!(sync.subscription.unwrap().track_sids, ["TR_v"]);
    // The next resume is in the same session, too.
    drop(resumed);
    assert_eq!(server.resume().await.token, "fresh");
}

#[tokio::test]
async fn a_resume_that_is_refused_becomes_a_join_with_a_token_of_its_own() {
    for status in [401, 404] {
        let server = FakeServer::start().await;
        let mut client = Client::start(Tokens::of(&server));
        drop(server.join(&[]).await);
        server.answer(status, "session expired").await;
        assert_eq!(server.join(&[]).await.token, "token-2");
        client.joined().await;
        client.joined().await;
    }
}

#[tokio::test]
async fn a_resume_that_is_answered_with_a_leave_does_what_that_says() {
    let server = FakeServer::start().await;
    let mut client = Client::start(Tokens::of(&server));
    drop(server.join(&[]).await);
    let mut resumed = server.accept().await;
    resumed
        .leave(Action::Reconnect, Reason::StateMismatch as i32)
        .await;
    drop(server.join(&[]).await);
    client.joined().await;
    let mut resumed = server.accept().await;
    assert!(resumed.is_resume());
    resumed
        .leave(Action::Disconnect, Reason::RoomDeleted as i32)
        .await;
    assert_eq!(client.end().await, EndReason::RoomDeleted);
}

#[tokio::test]
async fn a_leave_as_the_answer_to_the_first_join_ends_it() {
    for (reason, end) in [
        (
            Reason::DuplicateIdentity,
            Some(EndReason::DuplicateIdentity),
        ),
        (Reason::RoomDeleted, Some(EndReason::RoomDeleted)),
        (Reason::JoinFailure, None),
    ] {
        let server = FakeServer::start().await;
        let client = Client::start(Tokens::of(&server));
        let mut connection = server.accept().await;
        connection.leave(Action::Disconnect, reason as i32).await;
        match (client.end().await, end) {
            (got, Some(wanted)) => assert_eq!(got, wanted),
            (EndReason::Connection(why), None) => assert!(why.contains("JOIN_FAILURE"), "{why}"),
            (got, None) => panic!("{got:?}"),
        }
    }
}

#[tokio::test]
async fn the_regions_of_a_leave_are_tried_first_and_the_old_server_after_them() {
    let (server, nearby) = (FakeServer::start().await, FakeServer::start().await);
    let mut client = Client::start(Tokens::of(&server));
    let mut connection = server.join(&[]).await;
    client.joined().await;
    let region = |url: String| proto::RegionInfo {
        url,
        ..Default::default()
    };
    let leave = |regions: Vec<proto::RegionInfo>| {
        Response::Leave(proto::LeaveRequest {
            action: Action::Reconnect as i32,
            regions: Some(proto::RegionSettings { regions }),
            ..Default::default()
        })
    };
    let nonsense = region("nonsense".into());
    connection
        .send(leave(vec![nonsense, region(nearby.url())]))
        .await;
    let mut connection = nearby.join(&[]).await;
    assert_eq!(connection.token, "token-2");
    client.joined().await;
    // A region that doesn't answer: its neighbour, with the next attempt.
    let gone = FakeServer::start().await;
    connection.send(leave(vec![region(gone.url())])).await;
    drop(gone);
    server.join(&[]).await;
    client.joined().await;
}
