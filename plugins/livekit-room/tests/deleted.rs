//! Rooms that are deleted while the word of it is lost, against a server that loses it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use livekit_protocol as proto;
use livekit_room::EndReason;
use proto::DisconnectReason as Reason;
use proto::leave_request::Action;
use proto::participant_info::State;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use support::{Client, Connection, FakeServer, Tokens, join_response, person};

/// Lets the next client join this room of this server.
async fn join(
    server: &FakeServer,
    node: &str,
    room: &str,
    others: &[proto::ParticipantInfo],
) -> Connection {
    let mut response = join_response(others);
    response.room.as_mut().unwrap().sid = room.into();
    response.server_info = Some(proto::ServerInfo {
        node_id: node.into(),
        ..Default::default()
    });
    let mut connection = server.accept().await;
    assert!(!connection.is_resume(), "a join, not a resume");
    connection.send(Response::Join(response)).await;
    connection
}

/// Says to the next client, which wants to resume, that there is no such session.
async fn no_such_session(server: &FakeServer) {
    let mut resumed = server.accept().await;
    assert!(resumed.is_resume(), "a resume, not a join");
    let reason = Reason::StateMismatch as i32;
    resumed.leave(Action::Reconnect, reason).await;
}

#[tokio::test]
async fn who_is_sent_away_because_the_room_is_deleted_tells_all_that_it_is() {
    for reason in [Reason::RoomDeleted, Reason::RoomClosed] {
        let server = FakeServer::start().await;
        let client = Client::start(Tokens::of(&server));
        let mut streamer = person("PA_1", "creator", &["TR_v"]);
        let mut connection = server.join(std::slice::from_ref(&streamer)).await;
        streamer.state = State::Disconnected as i32;
        streamer.disconnect_reason = reason as i32;
        let update = proto::ParticipantUpdate {
            participants: vec![streamer],
        };
        connection.send(Response::Update(update)).await;
        assert_eq!(client.end().await, EndReason::RoomDeleted);
    }
}

#[tokio::test]
async fn another_empty_room_of_the_same_server_means_that_the_one_before_was_deleted() {
    let server = FakeServer::start().await;
    let client = Client::start(Tokens::of(&server));
    let streamer = [person("PA_1", "creator", &["TR_v"])];
    drop(join(&server, "ND_1", "RM_1", &streamer).await);
    no_such_session(&server).await;
    let mut connection = join(&server, "ND_1", "RM_2", &[]).await;
    let said = connection.request().await;
    assert!(matches!(said, Some(Request::Leave(_))), "{said:?}");
    assert_eq!(client.end().await, EndReason::RoomDeleted);
}

#[tokio::test]
async fn a_room_that_may_go_on_is_joined() {
    let streamer = [person("PA_1", "creator", &["TR_v"])];
    let nobody = &[][..];
    for (what, before, node, room, others) in [
        ("the same room", &streamer[..], "ND_1", "RM_1", nobody),
        (
            "another run of the server",
            &streamer,
            "ND_2",
            "RM_2",
            nobody,
        ),
        ("a server that says nothing", &streamer, "", "RM_2", nobody),
        (
            "a streamer who went on",
            &streamer,
            "ND_1",
            "RM_2",
            &streamer,
        ),
        ("a room we were alone in", nobody, "ND_1", "RM_2", nobody),
    ] {
        let server = FakeServer::start().await;
        let mut client = Client::start(Tokens::of(&server));
        drop(join(&server, "ND_1", "RM_1", before).await);
        no_such_session(&server).await;
        let _connection = join(&server, node, room, others).await;
        client.joined().await;
        println!("{what}");
        client.joined().await;
        client.stop().await;
    }
}
