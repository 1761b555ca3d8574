//! What viewers are shown.

use bytes::Bytes;
use haven_wire::{SessionConfig, rendition_socket};
use std::{path::Path, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    time::interval,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use viewer_socket::{
    AudioChunk, Hub, HubOptions, Protocol, VideoFrame, ViewerOptions, serve_viewer,
};

pub(crate) fn publish(hub: &Hub, frame: u64, width: u32) {
    hub.publish_video(VideoFrame {
        jpeg: Bytes::from(format!("jpeg {frame} of {}", std::process::id())),
        width,
        height: 2,
        seq: frame,
        ..VideoFrame::default()
    });
    hub.publish_audio(AudioChunk {
        pcm: Bytes::from(vec![0; 1764]),
        sample_rate: 44_100,
        channels: 1,
        ..AudioChunk::default()
    });
}

/// Pictures that are as wide as they may be.
pub(crate) fn show_smaller(config: &SessionConfig, width: u32) {
    let path = rendition_socket(&config.media_socket, width);
    if path.exists() {
        return;
    }
    let hub = Hub::new(HubOptions::default());
    serve_media(&path, hub.clone());
    tokio::spawn(async move {
        let mut tick = interval(Duration::from_millis(10));
        for frame in 1.. {
            tick.tick().await;
            publish(&hub, frame, width);
        }
    });
}

pub(crate) fn serve_media(path: &Path, hub: Hub) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let hub = hub.clone();
            tokio::spawn(async move { relay(stream, &hub).await });
        }
    });
}

async fn relay(mut stream: UnixStream, hub: &Hub) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let key = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .map(|(_, key)| derive_accept_key(key.trim().as_bytes()))
        .unwrap();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {key}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    let options = ViewerOptions::default();
    serve_viewer(
        stream,
        hub,
        Protocol::Relay,
        &options,
        std::future::pending(),
    )
    .await;
}
