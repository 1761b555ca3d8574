//! What a viewer may say and ask for.

use crate::{FRAME, chunk, client, close_code, frame, hub, number, text, view, viewers};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};
use tokio_tungstenite::tungstenite::Message;
use viewer_socket::{AudioChoice, AudioFormat, CloseReason, EndReason, Protocol, ViewerOptions};

#[tokio::test(start_paused = true)]
async fn while_a_picture_is_stuck_pings_are_read() {
    let hub = hub();
    let (io, task) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1_000);
    viewers(&hub, 1).await;
    hub.publish_video(frame(0, 10_000));
    sleep(FRAME).await;
    let (mut read, mut write) = tokio::io::split(io);
    // Far more than fits into the connection unless somebody reads it: masked text `ping`s.
    for _ in 0..1_000 {
        let ping = [0x81, 0x84, 0, 0, 0, 0, b'p', b'i', b'n', b'g'];
        write.write_all(&ping).await.unwrap();
    }
    let mut all = vec![0; 10_004];
    read.read_exact(&mut all).await.unwrap();
    assert_eq!(all[0], 0x82);
    let mut answers = vec![0; 16 * 6];
    read.read_exact(&mut answers).await.unwrap();
    assert_eq!(answers, b"\x81\x04pong".repeat(16));
    drop((read, write));
    assert_eq!(task.await.unwrap().reason, EndReason::Gone);
}

#[tokio::test(start_paused = true)]
async fn text_ping_is_answered_pong_and_other_messages_are_ignored() {
    let hub = hub();
    let (io, _task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1 << 16);
    let mut client = client(io).await;
    client.send(Message::text("subscribe")).await.unwrap();
    client.send(Message::binary(vec![1; 4096])).await.unwrap();
    client.send(Message::text("ping")).await.unwrap();
    assert_eq!(text(&mut client).await, "pong");
    let payload = Bytes::from_static(b"there?");
    client.send(Message::Ping(payload.clone())).await.unwrap();
    assert_eq!(
        client.next().await.unwrap().unwrap(),
        Message::Pong(payload)
    );
}

#[tokio::test(start_paused = true)]
async fn too_long_a_message_closes_with_1009() {
    let hub = hub();
    let (io, task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1 << 16);
    let mut client = client(io).await;
    client.send(Message::binary(vec![1; 4097])).await.unwrap();
    assert_eq!(close_code(&mut client).await, 1009);
    assert_eq!(task.await.unwrap().reason, EndReason::Violation(1009));
}

#[tokio::test(start_paused = true)]
async fn garbage_closes_with_1002() {
    let hub = hub();
    let (mut io, task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1 << 16);
    io.write_all(b"\x81\x04ping").await.unwrap();
    let mut client = client(io).await;
    assert_eq!(close_code(&mut client).await, 1002);
    assert_eq!(task.await.unwrap().reason, EndReason::Violation(1002));
}

#[tokio::test(start_paused = true)]
async fn max_fps_is_kept_and_the_pictures_are_the_newest() {
    let hub = hub();
    let options = ViewerOptions::from_query(Some("max_fps=5&audio=off")).unwrap();
    let (io, _task) = view(&hub, Protocol::Binary, options, 1 << 20);
    let mut client = client(io).await;
    viewers(&hub, 1).await;
    let publisher = hub.clone();
    let publisher = tokio::spawn(async move {
        for seq in 0..100 {
            publisher.publish_video(frame(seq, 100));
            publisher.publish_audio(chunk(seq as u32));
            sleep(Duration::from_millis(40)).await;
        }
        publisher.close(CloseReason::session_ended());
    });
    let mut got = Vec::new();
    while let Some(Ok(message)) = client.next().await {
        match message {
            Message::Binary(bytes) => got.push(number(&bytes)),
            Message::Close(_) => break,
            other => panic!("no sound was asked for: {other:?}"),
        }
    }
    publisher.await.unwrap();
    assert!(
        (19..=21).contains(&got.len()),
        "{} pictures in 4 s",
        got.len()
    );
    assert!(
        got.windows(2)
            .all(|pair| (4..=6).contains(&(pair[1] - pair[0]))),
        "{got:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn sound_comes_in_the_format_that_was_asked_for() {
    let hub = hub();
    let options = |query| ViewerOptions::from_query(Some(query)).unwrap();
    let (plain, _a) = view(&hub, Protocol::Json, options(""), 1 << 20);
    let (asked, _b) = view(
        &hub,
        Protocol::Json,
        options("audio=48000&channels=2"),
        1 << 20,
    );
    viewers(&hub, 2).await;
    for number in 0..20 {
        hub.publish_audio(chunk(number));
    }
    for (io, rate, channels) in [(plain, 44_100, 1), (asked, 48_000, 2)] {
        let mut client = client(io).await;
        let sound: serde_json::Value = serde_json::from_str(&text(&mut client).await).unwrap();
        assert_eq!(
            (&sound["sample_rate"], &sound["channels"]),
            (&rate.into(), &channels.into())
        );
        let base64 = sound["data"].as_str().unwrap().len();
        assert_eq!(base64, (rate / 50 * channels * 2_usize).div_ceil(3) * 4);
    }
}

#[test]
fn a_query_is_read_whole_or_refused() {
    let options = |query| ViewerOptions::from_query(Some(query));
    let all = options("max_fps=7.5&audio=48000&channels=2&max_width=320&token=x").unwrap();
    assert_eq!(all.max_fps, Some(7.5));
    assert_eq!(all.max_width, Some(320));
    assert_eq!(all.audio, AudioChoice::On(AudioFormat::new(48_000, 2)));
    assert_eq!(options("audio=off").unwrap().audio, AudioChoice::Off);
    assert_eq!(
        ViewerOptions::from_query(None),
        Ok(ViewerOptions::default())
    );
    for (query, parameter) in [
        ("max_fps=0", "max_fps"),
        ("max_fps=1e-20", "max_fps"),
        ("max_fps=5e-324", "max_fps"),
        ("max_fps=-1", "max_fps"),
        ("max_fps=NaN", "max_fps"),
        ("max_fps=inf", "max_fps"),
        ("max_fps=1000", "max_fps"),
        ("max_fps=", "max_fps"),
        ("max_width=100", "max_width"),
        ("audio=on", "audio"),
        ("audio=22050", "audio"),
        ("channels=6", "channels"),
    ] {
        let error = options(query).unwrap_err();
        assert_eq!(error.parameter, parameter, "{query}");
        assert!(error.to_string().starts_with(parameter));
    }
}
