//! The viewers take both protocols apart as the contract writes them.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on shall fail there"
)]

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{SinkExt, StreamExt};
use haven_rig::{
    Clip, ClipSpec, Codec, sound,
    viewer::{Protocol, Viewer},
};
use serde_json::json;
use std::{process::Command, time::Duration};
use tokio::net::TcpListener;
use tokio_tungstenite::{
    accept_async,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

const LIMIT: Duration = Duration::from_secs(30);

/// The first frame of the clip as a JPEG.
async fn jpeg() -> Vec<u8> {
    let clip = Clip::get(ClipSpec::small(Codec::H264, 2)).await.unwrap();
    Command::new(haven_rig::tool("ffmpeg").unwrap())
        .args(["-loglevel", "error", "-i"])
        .arg(clip.video)
        .args(["-frames:v", "1", "-f", "mjpeg", "-"])
        .output()
        .unwrap()
        .stdout
}

/// A server that sends `messages` to whoever connects, answers a text, and closes with 4404.
async fn serve(messages: Vec<Message>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        for message in messages {
            socket.send(message).await.unwrap();
        }
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                socket.send(Message::text("pong")).await.unwrap();
                let code = CloseCode::from(4404);
                let reason = "no such session".into();
                let _ = socket.close(Some(CloseFrame { code, reason })).await;
            }
        }
    });
    url
}

async fn viewed_through(protocol: Protocol, messages: Vec<Message>) -> haven_rig::viewer::Viewed {
    let url = serve(messages).await;
    let mut viewer = Viewer::connect(&url, protocol, "demo").await.unwrap();
    viewer
        .wait_until(LIMIT, |viewed| {
            viewed.frames.len() == 2 && viewed.sound.len() == 1 && viewed.statuses.len() == 1
        })
        .await
        .unwrap();
    viewer.send_text("ping").await.unwrap();
    viewer
        .wait_until(LIMIT, |viewed| viewed.close.is_some())
        .await
        .unwrap();
    viewer.close().await
}

fn check(viewed: &haven_rig::viewer::Viewed, pcm: &[u8]) {
    assert_eq!(viewed.counters(), [0]);
    let frame = &viewed.frames[0];
    assert_eq!((frame.width, frame.height), (640, 360));
    assert!(frame.reading.unwrap().flash);
    assert_eq!(
        viewed.frames[1].reading, None,
        "what is no JPEG is kept as unreadable"
    );
    assert_eq!(viewed.pcm(), pcm);
    assert_eq!(viewed.statuses[0]["state"], "live");
    assert_eq!(viewed.texts, ["pong"]);
    assert_eq!(viewed.close, Some((4404, "no such session".into())));
    assert!(
        viewed.ended && viewed.failure.is_none(),
        "{:?}",
        viewed.failure
    );
}

#[tokio::test]
async fn the_json_protocol_is_read() {
    let (jpeg, pcm) = (jpeg().await, sound::pcm(44_100, 1, 0.02));
    let video = |bytes: &[u8]| {
        let data = STANDARD.encode(bytes);
        let fields = json!({ "type": "video_frame", "mint_id": "demo", "seq": 7, "data": data });
        Message::text(fields.to_string())
    };
    let audio =
        json!({ "type": "audio_frame", "data": STANDARD.encode(&pcm), "sample_rate": 44_100 });
    let status = json!({ "type": "status", "state": "live" });
    let messages = vec![
        Message::text(status.to_string()),
        video(&jpeg),
        Message::text(audio.to_string()),
        video(b"no picture"),
    ];
    let viewed = viewed_through(Protocol::Json, messages).await;
    check(&viewed, &pcm);
    assert_eq!(viewed.frames[0].fields["seq"], 7);
    assert_eq!(viewed.sound[0].fields["sample_rate"], 44_100);
}

#[tokio::test]
async fn the_binary_protocol_is_read() {
    let (jpeg, pcm) = (jpeg().await, sound::pcm(44_100, 1, 0.02));
    let messages = vec![
        Message::text("status:{\"state\":\"live\"}"),
        Message::binary(jpeg),
        Message::text(format!("audio:{}", STANDARD.encode(&pcm))),
        Message::binary(b"no picture".to_vec()),
    ];
    check(&viewed_through(Protocol::Binary, messages).await, &pcm);
}

#[tokio::test]
async fn a_server_that_vanishes_is_told_from_one_that_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(accept_async(stream).await.unwrap());
    });
    let mut viewer = Viewer::connect(&url, Protocol::Json, "demo").await.unwrap();
    server.await.unwrap();
    viewer
        .wait_until(LIMIT, |viewed| viewed.ended)
        .await
        .unwrap();
    let viewed = viewer.close().await;
    assert!(
        viewed.close.is_none() && viewed.failure.is_some(),
        "{viewed:?}"
    );
}
