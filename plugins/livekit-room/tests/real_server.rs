//! What only a real livekit-server can confirm: that it means what we think it means.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use haven_rig::{Clip, ClipParticipant, ClipSpec, Codec, LiveKitServer, Publisher, Role};
use livekit_room::{ConnectionState, EndReason, FixedToken, RoomEvent};
use std::time::{Duration, Instant};
use support::Client;

fn viewer(server: &LiveKitServer, identity: &str) -> Client {
    let token = server.token("room", identity, Role::Viewer).unwrap();
    Client::start(FixedToken::new(server.url(), token))
}

async fn live(client: &mut Client) {
    client
        .event(|event| matches!(event, RoomEvent::State(ConnectionState::Live)).then_some(()))
        .await;
}

#[tokio::test]
async fn data_messages_and_people_are_told_and_a_deleted_room_is_the_end() {
    let server = LiveKitServer::start().await.unwrap();
    let mut client = viewer(&server, "viewer-1");
    client.joined().await;
    let _other = viewer(&server, "viewer-2");
    let came = client.event(|event| match event {
        RoomEvent::ParticipantJoined(one) => Some(one.identity.clone()),
        _ => None,
    });
    assert_eq!(came.await, "viewer-2");
    // The data channel opens some time after the join, and says nothing of it: what is sent
    // before is lost. So it is sent until it comes.
    let service = server.room_service();
    let message = loop {
        service.send_data("room", "news", b"hello").await.unwrap();
        let told = client.event(|event| match event {
            RoomEvent::Data(message) => Some(message.clone()),
            _ => None,
        });
        if let Ok(message) = tokio::time::timeout(Duration::from_millis(500), told).await {
            break message;
        }
    };
    assert_eq!(
        (&*message.topic, &*message.payload),
        ("news", &b"hello"[..])
    );
    assert!(message.reliable);
    service.delete_room("room").await.unwrap();
    assert_eq!(client.end().await, EndReason::RoomDeleted);
}

#[tokio::test]
async fn who_is_replaced_or_removed_stays_away() {
    let server = LiveKitServer::start().await.unwrap();
    let mut first = viewer(&server, "viewer-1");
    first.joined().await;
    let mut second = viewer(&server, "viewer-1");
    second.joined().await;
    assert_eq!(first.end().await, EndReason::DuplicateIdentity);
    let service = server.room_service();
    service
        .remove_participant("room", "viewer-1")
        .await
        .unwrap();
    assert_eq!(second.end().await, EndReason::Removed);
}

#[tokio::test]
async fn a_server_that_was_killed_is_joined_again_soon_after_it_is_back() {
    let mut server = LiveKitServer::start().await.unwrap();
    let clip = Clip::get(ClipSpec::small(Codec::H264, 12)).await.unwrap();
    let token = server.token("room", "creator", Role::Publisher).unwrap();
    let participants = [ClipParticipant::new("creator", token)];
    let publish = async |server: &LiveKitServer| {
        Publisher::clip(&server.url(), &clip, &participants, true)
            .await
            .unwrap()
    };
    let publisher = publish(&server).await;
    let start = Instant::now();
    let mut client = viewer(&server, "viewer-1");
    live(&mut client).await;
    println!("first frame after {:?}", start.elapsed());
    server.kill().await.unwrap();
    publisher.kill().await.unwrap();
    client.reconnecting().await;
    server.restart().await.unwrap();
    let back = Instant::now();
    client.joined().await;
    let rejoined = back.elapsed();
    println!("joined again {rejoined:?} after the server was back");
    // At most a second between attempts, 0.9 s for each; the rest is for a busy machine.
    assert!(rejoined < Duration::from_secs(5), "{rejoined:?}");
    let _publisher = publish(&server).await;
    live(&mut client).await;
    assert!(client.stop().await < Duration::from_secs(1));
}
