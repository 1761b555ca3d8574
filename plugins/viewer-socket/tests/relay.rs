//! The relay protocol between two hubs, over real Unix sockets.

// Clippy takes only the test functions themselves for tests, not their helpers.
#![allow(clippy::unwrap_used)]

use futures_util::{SinkExt, StreamExt};
use std::{future::pending, time::Duration};
use tokio::{net::UnixStream, task::JoinHandle};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};
use viewer_socket::{
    AudioChunk, CloseReason, Hub, HubOptions, Protocol, State, VideoFrame, ViewerOptions,
    relay::{ConnectError, Relay, RelayEnd, StatusFrom},
    serve_viewer,
};

fn hub(name: &str) -> Hub {
    Hub::new(HubOptions {
        name: Some(name.into()),
        ..HubOptions::default()
    })
}

/// A worker's end that serves `hub` after a handshake, and the relay's end.
async fn worker(hub: &Hub) -> (Relay, JoinHandle<()>) {
    let (near, far) = UnixStream::pair().unwrap();
    let hub = hub.clone();
    let task = tokio::spawn(async move {
        let handshaken: WebSocketStream<_> = accept_async(near).await.unwrap();
        let options = ViewerOptions::default();
        let io = handshaken.into_inner();
        serve_viewer(io, &hub, Protocol::Relay, &options, pending()).await;
    });
    (Relay::over(far).await.unwrap(), task)
}

/// Reads the status, the picture and the sound that were sent, in whatever order they come.
async fn kinds_of_three(client: &mut WebSocketStream<tokio::io::DuplexStream>) -> Vec<String> {
    let mut kinds = Vec::new();
    while kinds.len() < 3 {
        let Message::Text(text) = client.next().await.unwrap().unwrap() else {
            continue;
        };
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        match object["type"].as_str().unwrap() {
            "video_frame" => {
                assert_eq!(object["mint_id"], "server");
                assert_eq!(object["seq"], 7);
                assert_eq!(object["pts_ms"], 1_500);
                assert_eq!(object["width"], 1280);
                assert_eq!(object["timestamp"], "2026-11-21T12:00:00.250Z");
            }
            "audio_frame" => assert_eq!(object["pts_ms"], 1_520),
            _ => assert_eq!(object["state"], "live"),
        }
        kinds.push(object["type"].as_str().unwrap().to_owned());
    }
    kinds
}

#[tokio::test]
async fn frames_sound_and_status_cross_the_relay_unchanged() {
    let (source, copy) = (hub("worker"), hub("server"));
    let (relay, task) = worker(&source).await;
    let run = {
        let copy = copy.clone();
        tokio::spawn(async move { relay.run(&copy, StatusFrom::Worker).await })
    };
    let mut viewers = source.viewers();
    viewers.wait_for(|viewers| *viewers == 1).await.unwrap();

    let (near, far) = tokio::io::duplex(1 << 20);
    let shown = copy.clone();
    let viewer = tokio::spawn(async move {
        let options = ViewerOptions::default();
        serve_viewer(near, &shown, Protocol::Json, &options, pending()).await
    });
    let role = tokio_tungstenite::tungstenite::protocol::Role::Client;
    let mut client = WebSocketStream::from_raw_socket(far, role, None).await;
    let mut viewers = copy.viewers();
    viewers.wait_for(|viewers| *viewers == 1).await.unwrap();

    source.set_status(State::Live.into());
    source.publish_video(VideoFrame {
        jpeg: vec![0xFF; 30_000].into(),
        width: 1280,
        height: 720,
        pts: Duration::from_millis(1_500),
        timestamp: "2026-11-21T12:00:00.25Z".parse().unwrap(),
        seq: 7,
    });
    source.publish_audio(AudioChunk {
        pcm: vec![1; 1764].into(),
        sample_rate: 44_100,
        channels: 1,
        pts: Duration::from_millis(1_520),
        ..AudioChunk::default()
    });
    let mut kinds = kinds_of_three(&mut client).await;
    kinds.sort();
    assert_eq!(kinds, ["audio_frame", "status", "video_frame"]);

    source.close(CloseReason::session_ended());
    assert!(matches!(run.await.unwrap(), RelayEnd::Closed(Some(1000))));
    task.await.unwrap();
    copy.close(CloseReason::session_ended());
    while client.next().await.is_some_and(|message| message.is_ok()) {}
    viewer.await.unwrap();
}

#[tokio::test]
async fn what_is_no_relay_message_is_passed_over() {
    let (near, far) = UnixStream::pair().unwrap();
    let task = tokio::spawn(async move {
        let mut socket = accept_async(near).await.unwrap();
        for length in 0..80 {
            socket
                .send(Message::binary(vec![length; length.into()]))
                .await
                .unwrap();
        }
        socket.send(Message::text("{")).await.unwrap();
        socket.close(None).await.unwrap();
    });
    let copy = hub("server");
    let end = Relay::over(far)
        .await
        .unwrap()
        .run(&copy, StatusFrom::Worker)
        .await;
    assert!(matches!(end, RelayEnd::Closed(None)), "{end:?}");
    assert_eq!(copy.stats().frames_published, 0);
    task.await.unwrap();
}

#[tokio::test]
async fn a_worker_that_dies_ends_the_relay() {
    let source = hub("worker");
    let (relay, task) = worker(&source).await;
    let copy = hub("server");
    let run = tokio::spawn(async move { relay.run(&copy, StatusFrom::Caller).await });
    task.abort();
    assert!(matches!(
        run.await.unwrap(),
        RelayEnd::Lost(_) | RelayEnd::Closed(None)
    ));
}

#[tokio::test]
async fn nobody_on_the_socket_is_an_error_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Relay::connect(&folder.path().join("media")).await;
    assert!(matches!(missing, Err(ConnectError::Io(_))));
}
