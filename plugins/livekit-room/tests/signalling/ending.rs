//! How it stops, and when it gives up.

use crate::support::{Client, FakeServer, Tokens};
use livekit_protocol as proto;
use livekit_room::{EndReason, RoomConfig};
use proto::leave_request::Action;
use proto::signal_request::Message as Request;
use std::time::{Duration, Instant};

#[tokio::test]
async fn it_stops_within_a_second_at_any_moment() {
    let limit = Duration::from_secs(1);
    let server = FakeServer::start().await;
    // While a token is asked for.
    let stuck = Client::start(Tokens {
        stuck: true,
        ..Tokens::of(&server)
    });
    tokio::task::yield_now().await;
    assert!(stuck.stop().await < limit);
    // While the first join gets no answer, before and after the upgrade.
    let client = Client::start(Tokens::of(&server));
    let silent = server.connection().await;
    assert!(client.stop().await < limit);
    let client = Client::start(Tokens::of(&server));
    let upgraded = server.accept().await;
    assert!(client.stop().await < limit);
    drop((silent, upgraded));
    // In the room, where it says goodbye.
    let mut client = Client::start(Tokens::of(&server));
    let mut connection = server.join(&[]).await;
    client.joined().await;
    assert!(client.stop().await < limit);
    assert!(matches!(
        connection.request().await,
        Some(Request::Leave(_))
    ));
    // While a resume gets no answer.
    let mut client = Client::start(Tokens::of(&server));
    drop(server.join(&[]).await);
    client.reconnecting().await;
    let silent = server.connection().await;
    assert!(client.stop().await < limit);
    drop(silent);
    // While it waits for the next join.
    let mut client = Client::start(Tokens::of(&server));
    let mut connection = server.join(&[]).await;
    connection.leave(Action::Reconnect, 0).await;
    for _ in 0..3 {
        server.answer(503, "").await;
        client.reconnecting().await;
    }
    assert!(client.stop().await < limit);
}

#[tokio::test]
async fn a_server_that_stays_away_ends_it_after_the_reconnect_timeout() {
    let server = FakeServer::start().await;
    let config = RoomConfig {
        reconnect_timeout: Some(Duration::from_secs(2)),
        ..RoomConfig::default()
    };
    let mut client = Client::start_with(config, Tokens::of(&server));
    drop(server.join(&[]).await);
    client.joined().await;
    drop(server);
    let start = Instant::now();
    assert!(matches!(client.end().await, EndReason::Connection(_)));
    assert!(start.elapsed() > Duration::from_secs(1));
}
