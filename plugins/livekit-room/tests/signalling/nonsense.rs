//! Servers that say what none should, or read nothing.

use crate::support::{Client, FakeServer, Tokens, join_response, person};
use livekit_protocol as proto;
use livekit_room::{EndReason, RoomEvent};
use proto::leave_request::Action;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::time::{Duration, Instant};

#[tokio::test]
async fn garbage_instead_of_an_answer_ends_the_first_join_and_not_a_later_one() {
    use tokio::io::AsyncWriteExt;
    let garbage: [&[u8]; 4] = [
        b"",
        b"\r\n\r\n",
        &[0xff; 3000],
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    ];
    let server = FakeServer::start().await;
    for garbage in garbage {
        let client = Client::start(Tokens::of(&server));
        let mut stream = server.connection().await;
        stream.write_all(garbage).await.unwrap();
        drop(stream);
        assert!(matches!(client.end().await, EndReason::Connection(_)));
    }
    let mut client = Client::start(Tokens::of(&server));
    let mut connection = server.join(&[]).await;
    client.joined().await;
    connection.leave(Action::Reconnect, 0).await;
    for garbage in garbage {
        let mut stream = server.connection().await;
        stream.write_all(garbage).await.unwrap();
    }
    server.join(&[]).await;
    client.joined().await;
}

#[tokio::test]
async fn a_server_that_does_not_say_who_we_are_is_no_server() {
    let server = FakeServer::start().await;
    let client = Client::start(Tokens::of(&server));
    let mut connection = server.accept().await;
    let nobody = proto::JoinResponse {
        participant: None,
        ping_interval: 0,
        ping_timeout: i32::MIN,
        ..join_response(&[])
    };
    connection.send(Response::Join(nobody)).await;
    assert!(matches!(client.end().await, EndReason::Connection(_)));
}

#[tokio::test]
async fn absurd_ping_times_do_no_harm() {
    for (ping_interval, ping_timeout) in [(0, 0), (i32::MAX, i32::MIN), (-1, 1)] {
        let server = FakeServer::start().await;
        let mut client = Client::start(Tokens::of(&server));
        let mut connection = server.accept().await;
        let response = proto::JoinResponse {
            ping_interval,
            ping_timeout,
            ..join_response(&[])
        };
        connection.send(Response::Join(response)).await;
        client.joined().await;
        let streamer = person("PA_1", "creator", &["TR_v"]);
        connection
            .send(Response::Update(proto::ParticipantUpdate {
                participants: vec![streamer],
            }))
            .await;
        assert!(matches!(
            connection.request().await,
            Some(Request::Subscription(_))
        ));
        assert!(client.stop().await < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_message_that_can_not_be_read_or_is_too_large_ends_the_connection_and_not_the_session() {
    let server = FakeServer::start().await;
    let mut client = Client::start(Tokens::of(&server));
    let mut connection = server.join(&[]).await;
    client.joined().await;
    connection.send_text("not for us").await;
    connection.send_bytes(Vec::new()).await;
    connection.send_bytes(vec![0xff; 40]).await;
    assert!(client.reconnecting().await.contains("can't be read"));
    let mut connection = server.resume().await;
    connection.send_unwanted(vec![0; 10 << 20]).await;
    let why = client.reconnecting().await;
    assert!(why.contains("too long") || why.contains("too big"), "{why}");
    server.resume().await;
}

#[tokio::test]
async fn a_track_that_is_named_twice_is_taken_once() {
    let server = FakeServer::start().await;
    let _client = Client::start(Tokens::of(&server));
    let streamer = person("PA_1", "creator", &["TR_v", "TR_v", ""]);
    let mut connection = server.join(&[streamer.clone(), streamer]).await;
    let Some(Request::Subscription(taken)) = connection.request().await else {
        panic!("a track is taken");
    };
    assert_eq!(taken.track_sids, ["TR_v"]);
    // What is said about tracks that nobody knows is heard and forgotten.
    let unknown = proto::SubscriptionResponse {
        track_sid: "TR_unknown".into(),
        err: 4711,
    };
    connection
        .send(Response::SubscriptionResponse(unknown))
        .await;
    let gone = person("PA_1", "creator", &[]);
    connection
        .send(Response::Update(proto::ParticipantUpdate {
            participants: vec![gone],
        }))
        .await;
    let Some(Request::Subscription(left)) = connection.request().await else {
        panic!("a track is given back");
    };
    assert!(!left.subscribe && left.track_sids == ["TR_v"]);
}

#[tokio::test]
async fn absurd_offers_are_followed_by_joins_at_a_bounded_rate() {
    let server = FakeServer::start().await;
    let _client = Client::start(Tokens::of(&server));
    let offers = [
        String::new(),
        "v=0".into(),
        "\u{0}".repeat(1000),
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"
            .into(),
        "m=".repeat(100_000),
    ];
    let start = Instant::now();
    let mut joins = 0;
    while start.elapsed() < Duration::from_secs(4) {
        let mut connection = server.join(&[]).await;
        let offer = proto::SessionDescription {
            r#type: "offer".into(),
            sdp: offers[joins % offers.len()].clone(),
            ..Default::default()
        };
        connection.send(Response::Offer(offer)).await;
        joins += 1;
    }
    assert!((2..30).contains(&joins), "{joins} joins in four seconds");
}

#[tokio::test]
async fn a_server_that_reads_nothing_stands_in_nobodys_way() {
    let server = FakeServer::start().await;
    let mut client = Client::start(Tokens::of(&server));
    let mut connection = server.join(&[]).await;
    client.joined().await;
    // Long names fill the socket soon; each update asks for two requests.
    let sid = |n: usize| format!("{n:03}{}", "x".repeat(64 << 10));
    let mut updates = 0;
    let why = loop {
        let participants = vec![person("PA_1", "creator", &[&sid(updates)])];
        let update = proto::ParticipantUpdate { participants };
        connection.send(Response::Update(update)).await;
        updates += 1;
        let start = Instant::now();
        let told = client
            .event(|event| match event {
                RoomEvent::TrackStarted(_) => Some(None),
                RoomEvent::Reconnecting { reason, .. } => Some(Some(reason.clone())),
                _ => None,
            })
            .await;
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "an update waited for the socket"
        );
        if let Some(why) = told {
            break why;
        }
        assert!(updates < 2000, "the queue has no end");
    };
    assert!(why.contains("reads nothing"), "{why}");
    server.resume().await;
}
