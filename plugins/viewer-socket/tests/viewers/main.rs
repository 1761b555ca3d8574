//! Viewers over in-memory connections with a real WebSocket client at the other end. Time is the
//! test's own, so nothing here depends on how busy the machine is.

// Clippy takes only the test functions themselves for tests, not their helpers.
#![allow(clippy::unwrap_used)]

mod asked;
mod counting;
mod delivery;
mod ending;

use bytes::Bytes;
use futures_util::StreamExt;
use std::{future::pending, time::Duration};
use tokio::{
    io::{DuplexStream, duplex},
    task::JoinHandle,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use viewer_socket::{
    AudioChunk, Hub, HubOptions, Protocol, VideoFrame, ViewerEnd, ViewerOptions, serve_viewer,
};

pub(crate) const FRAME: Duration = Duration::from_millis(33);

pub(crate) fn hub() -> Hub {
    Hub::new(HubOptions {
        name: Some("demo".into()),
        ..HubOptions::default()
    })
}

/// A picture whose bytes tell its number.
pub(crate) fn frame(seq: u64, size: usize) -> VideoFrame {
    let mut jpeg = seq.to_be_bytes().to_vec();
    jpeg.resize(size.max(8), 0xAB);
    VideoFrame {
        jpeg: jpeg.into(),
        width: 4,
        height: 3,
        seq,
        pts: FRAME * seq as u32,
        ..VideoFrame::default()
    }
}

pub(crate) fn chunk(number: u32) -> AudioChunk {
    AudioChunk {
        pcm: Bytes::from(number.to_be_bytes().repeat(441)),
        sample_rate: 44_100,
        channels: 1,
        pts: Duration::from_millis(20) * number,
        ..AudioChunk::default()
    }
}

pub(crate) fn number(jpeg: &[u8]) -> u64 {
    u64::from_be_bytes(jpeg[..8].try_into().unwrap())
}

pub(crate) type Client = WebSocketStream<DuplexStream>;

/// A viewer that is being served, over a connection that holds `capacity` bytes.
pub(crate) fn view(
    hub: &Hub,
    protocol: Protocol,
    options: ViewerOptions,
    capacity: usize,
) -> (DuplexStream, JoinHandle<ViewerEnd>) {
    let (near, far) = duplex(capacity);
    let hub = hub.clone();
    let task =
        tokio::spawn(async move { serve_viewer(near, &hub, protocol, &options, pending()).await });
    (far, task)
}

pub(crate) async fn client(io: DuplexStream) -> Client {
    WebSocketStream::from_raw_socket(io, Role::Client, None).await
}

pub(crate) async fn binary(client: &mut Client) -> Bytes {
    loop {
        match client.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => return bytes,
            Message::Ping(_) | Message::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn text(client: &mut Client) -> String {
    match client.next().await.unwrap().unwrap() {
        Message::Text(text) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The close code, once everything before it was read.
pub(crate) async fn close_code(client: &mut Client) -> u16 {
    loop {
        if let Message::Close(close) = client.next().await.unwrap().unwrap() {
            return close.unwrap().code.into();
        }
    }
}

pub(crate) async fn viewers(hub: &Hub, count: usize) {
    let mut viewers = hub.viewers();
    viewers.wait_for(|viewers| *viewers == count).await.unwrap();
}
