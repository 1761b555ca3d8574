//! Viewers over in-memory connections with a real WebSocket client at the other end. Time is the
//! test's own, so nothing here depends on how busy the machine is.

// Clippy takes only the test functions themselves for tests, not their helpers.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use std::{future::pending, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, interval, sleep},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, protocol::Role},
};
use viewer_socket::{
    AudioChoice, AudioChunk, AudioFormat, CloseReason, EndReason, Hub, HubOptions, Protocol, State,
    VideoFrame, ViewerCounters, ViewerEnd, ViewerOptions, close_with, serve_counted_viewer,
    serve_viewer,
};

const FRAME: Duration = Duration::from_millis(33);

fn hub() -> Hub {
    Hub::new(HubOptions {
        name: Some("demo".into()),
        ..HubOptions::default()
    })
}

/// A picture whose bytes tell its number.
fn frame(seq: u64, size: usize) -> VideoFrame {
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

fn chunk(number: u32) -> AudioChunk {
    AudioChunk {
        pcm: Bytes::from(number.to_be_bytes().repeat(441)),
        sample_rate: 44_100,
        channels: 1,
        pts: Duration::from_millis(20) * number,
        ..AudioChunk::default()
    }
}

fn number(jpeg: &[u8]) -> u64 {
    u64::from_be_bytes(jpeg[..8].try_into().unwrap())
}

type Client = WebSocketStream<DuplexStream>;

/// A viewer that is being served, over a connection that holds `capacity` bytes.
fn view(
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

async fn client(io: DuplexStream) -> Client {
    WebSocketStream::from_raw_socket(io, Role::Client, None).await
}

async fn binary(client: &mut Client) -> Bytes {
    loop {
        match client.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => return bytes,
            Message::Ping(_) | Message::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn text(client: &mut Client) -> String {
    match client.next().await.unwrap().unwrap() {
        Message::Text(text) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The close code, once everything before it was read.
async fn close_code(client: &mut Client) -> u16 {
    loop {
        if let Message::Close(close) = client.next().await.unwrap().unwrap() {
            return close.unwrap().code.into();
        }
    }
}

async fn viewers(hub: &Hub, count: usize) {
    let mut viewers = hub.viewers();
    viewers.wait_for(|viewers| *viewers == count).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_late_joiner_gets_the_status_and_the_last_picture_at_once() {
    let hub = hub();
    hub.set_status(State::Live.into());
    for seq in 0..10 {
        hub.publish_video(frame(seq, 1_000));
    }
    let begin = Instant::now();
    let (io, _task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1 << 20);
    let mut client = client(io).await;
    let status: serde_json::Value = serde_json::from_str(&text(&mut client).await).unwrap();
    assert_eq!(status["state"], "live");
    let picture: serde_json::Value = serde_json::from_str(&text(&mut client).await).unwrap();
    assert_eq!(picture["seq"], 9);
    assert_eq!(picture["mint_id"], "demo");
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_keeps_up_gets_every_picture_and_all_sound_in_order() {
    let hub = hub();
    let (io, task) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1 << 20);
    let mut client = client(io).await;
    viewers(&hub, 1).await;
    for seq in 0..100 {
        hub.publish_video(frame(seq, 50_000));
        hub.publish_audio(chunk(seq as u32));
        let (mut picture, mut sound) = (None, None);
        while picture.is_none() || sound.is_none() {
            match client.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => picture = Some(number(&bytes)),
                Message::Text(text) => sound = Some(text),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(picture, Some(seq));
        assert!(sound.unwrap().starts_with("audio:"));
    }
    client.close(None).await.unwrap();
    let end = task.await.unwrap();
    assert_eq!(end.reason, EndReason::Left(None));
    assert_eq!((end.frames_sent, end.frames_skipped), (100, 0));
    assert!(end.bytes > 5_000_000);
    assert_eq!(hub.stats().frames_sent, 100);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_woke_late_still_gets_the_last_few_pictures() {
    let hub = hub();
    let (io, _task) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1 << 20);
    let mut client = client(io).await;
    viewers(&hub, 1).await;
    hub.publish_video(frame(0, 100));
    assert_eq!(number(&binary(&mut client).await), 0);
    for seq in 1..=6 {
        hub.publish_video(frame(seq, 100));
    }
    for seq in 1..=6 {
        assert_eq!(number(&binary(&mut client).await), seq);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_viewer_skips_to_newest_frame() {
    let hub = hub();
    let (io, task) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1_000);
    viewers(&hub, 1).await;
    hub.publish_video(frame(0, 10_000));
    sleep(FRAME).await;
    for seq in 1..=100 {
        hub.publish_video(frame(seq, 10_000));
        sleep(FRAME).await;
    }
    let mut client = client(io).await;
    assert_eq!(number(&binary(&mut client).await), 0);
    assert_eq!(number(&binary(&mut client).await), 100);
    client.close(None).await.unwrap();
    let end = task.await.unwrap();
    assert_eq!((end.frames_sent, end.frames_skipped), (2, 99));
    assert_eq!(hub.stats().frames_skipped, 99);
}

/// A picture every [`FRAME`], and a viewer whose connection has room for half a picture: how many of
/// `pictures` it got when it read `share` of a picture's bytes in a picture's time, and by how many
/// pictures the one that it had read was behind at most.
async fn read_at(share: f64, pictures: u64) -> (u64, u64) {
    const SIZE: usize = 10_000;
    let hub = hub();
    let options = ViewerOptions::from_query(Some("audio=off")).unwrap();
    let (mut io, task) = view(&hub, Protocol::Binary, options, SIZE / 2);
    viewers(&hub, 1).await;
    let publisher = hub.clone();
    let publishing = tokio::spawn(async move {
        for seq in 0..pictures {
            publisher.publish_video(frame(seq, SIZE));
            sleep(FRAME).await;
        }
    });
    let (mut got, mut most_behind) = (0, 0);
    let (mut message, mut space) = (Vec::new(), vec![0; SIZE / 10]);
    let mut turns = interval(FRAME.div_f64(10.0 * share));
    while !publishing.is_finished() {
        turns.tick().await;
        let Ok(read) = io.read(&mut space).await else {
            break;
        };
        message.extend_from_slice(&space[..read]);
        // A header of four bytes, and the picture.
        while message.len() >= SIZE + 4 {
            let shown = number(&message[4..]);
            message.drain(..SIZE + 4);
            got += 1;
            let behind = (hub.stats().frames_published - 1).saturating_sub(shown);
            most_behind = most_behind.max(behind);
        }
    }
    drop(io);
    task.await.unwrap();
    (got, most_behind)
}

#[tokio::test(start_paused = true)]
async fn who_takes_half_of_the_pictures_is_never_shown_old_ones() {
    let (got, most_behind) = read_at(0.5, 300).await;
    assert!((135..=160).contains(&got), "{got} of 300");
    // What is on its way, and what led to the judgement.
    assert!(most_behind <= 8, "{most_behind} pictures behind");
}

#[tokio::test(start_paused = true)]
async fn who_takes_nearly_all_pictures_is_never_shown_old_ones() {
    let (got, most_behind) = read_at(0.95, 300).await;
    assert!((270..=299).contains(&got), "{got} of 300");
    assert!(most_behind <= 8, "{most_behind} pictures behind");
}

#[tokio::test(start_paused = true)]
async fn the_relay_gets_no_picture_of_an_earlier_time() {
    let hub = hub();
    hub.publish_video(frame(0, 100));
    sleep(Duration::from_secs(3600)).await;
    let (io, _task) = view(&hub, Protocol::Relay, ViewerOptions::default(), 1 << 20);
    let (shown, _other) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1 << 20);
    assert_eq!(number(&binary(&mut client(shown).await).await), 0);
    viewers(&hub, 2).await;
    hub.publish_video(frame(1, 100));
    let message = binary(&mut client(io).await).await;
    let Ok(viewer_socket::RelayMessage::Video(picture)) = viewer_socket::decode_relay(&message)
    else {
        panic!("no picture");
    };
    assert_eq!(picture.seq, 1);
}

#[tokio::test(start_paused = true)]
async fn pictures_that_are_forgotten_are_shown_to_nobody() {
    let hub = hub();
    hub.publish_video(frame(0, 100));
    hub.forget_pictures();
    let (io, task) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1 << 20);
    let mut client = client(io).await;
    viewers(&hub, 1).await;
    hub.publish_video(frame(1, 100));
    assert_eq!(number(&binary(&mut client).await), 1);
    client.close(None).await.unwrap();
    assert_eq!(task.await.unwrap().frames_skipped, 0);
}

#[tokio::test(start_paused = true)]
async fn sound_that_lags_skips_to_the_newest() {
    let hub = hub();
    let (io, _task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1_000);
    viewers(&hub, 1).await;
    for number in 0..200 {
        hub.publish_audio(chunk(number));
        sleep(Duration::from_millis(20)).await;
    }
    let mut client = client(io).await;
    let mut pts = Vec::new();
    for _ in 0..2 {
        let sound: serde_json::Value = serde_json::from_str(&text(&mut client).await).unwrap();
        pts.push(sound["pts_ms"].as_u64().unwrap());
    }
    assert_eq!(pts, [0, 3_980]);
    assert_eq!(hub.stats().audio_lagged, 198);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_never_reads_is_dropped_and_hurts_nobody() {
    let hub = hub();
    let begin = Instant::now();
    let (_stuck, stuck) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1_000);
    let (io, _task) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1 << 20);
    let mut other = client(io).await;
    viewers(&hub, 2).await;
    let mut seq = 0;
    while !stuck.is_finished() {
        hub.publish_video(frame(seq, 10_000));
        assert_eq!(number(&binary(&mut other).await), seq);
        seq += 1;
        sleep(FRAME).await;
    }
    let end = stuck.await.unwrap();
    assert_eq!(end.reason, EndReason::Stalled);
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_secs(10) && took < Duration::from_secs(12),
        "{took:?}"
    );
    viewers(&hub, 1).await;
}

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
async fn the_end_of_a_session_is_a_status_and_a_close() {
    let hub = hub();
    let (io, task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1 << 16);
    viewers(&hub, 1).await;
    hub.set_status(State::Ended.into());
    hub.close(CloseReason::session_ended());
    let mut client = client(io).await;
    assert!(text(&mut client).await.contains(r#""state":"ended""#));
    let Some(Ok(Message::Close(Some(close)))) = client.next().await else {
        panic!("no close");
    };
    assert_eq!(u16::from(close.code), 1000);
    assert_eq!(close.reason.as_str(), "session ended");
    assert!(matches!(
        client.next().await,
        None | Some(Err(Error::ConnectionClosed))
    ));
    let closed = EndReason::Closed(CloseReason::session_ended());
    assert_eq!(task.await.unwrap().reason, closed);

    let (io, _task) = view(&hub, Protocol::Binary, ViewerOptions::default(), 1 << 16);
    let mut late = self::client(io).await;
    assert!(text(&mut late).await.starts_with("status:"));
    assert_eq!(close_code(&mut late).await, 1000);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_1001_and_waits_for_no_viewer() {
    let hub = hub();
    let (stop, stopped) = oneshot::channel::<()>();
    let (near, mut far) = duplex(1 << 16);
    let served = hub.clone();
    let task = tokio::spawn(async move {
        let stopped = async { _ = stopped.await };
        let options = ViewerOptions::default();
        serve_viewer(near, &served, Protocol::Json, &options, stopped).await
    });
    viewers(&hub, 1).await;
    let begin = Instant::now();
    stop.send(()).unwrap();
    assert_eq!(task.await.unwrap().reason, EndReason::ShuttingDown);
    assert!(begin.elapsed() <= Duration::from_secs(2));
    let mut all = Vec::new();
    far.read_to_end(&mut all).await.unwrap();
    assert_eq!(all[0], 0x88);
    assert_eq!(all[2..4], 1001u16.to_be_bytes());
}

#[tokio::test(start_paused = true)]
async fn what_a_viewer_gets_is_counted_for_it_and_for_all() {
    let hub = hub();
    let counters = Arc::new(ViewerCounters::default());
    let (dismiss, dismissed) = oneshot::channel();
    let (near, far) = duplex(1 << 16);
    let (served, counted) = (hub.clone(), Arc::clone(&counters));
    let task = tokio::spawn(async move {
        let dismissal = async { dismissed.await.unwrap() };
        let options = ViewerOptions::default();
        serve_counted_viewer(
            near,
            &served,
            Protocol::Binary,
            &options,
            &counted,
            dismissal,
        )
        .await
    });
    viewers(&hub, 1).await;
    let mut client = client(far).await;
    let mut bytes = 0;
    for seq in 0..10 {
        hub.publish_video(frame(seq, 300_000));
        hub.publish_audio(chunk(seq as u32));
        for _ in 0..2 {
            bytes += match client.next().await.unwrap().unwrap() {
                Message::Binary(jpeg) => 10 + jpeg.len(),
                Message::Text(sound) => 4 + sound.len(),
                other => panic!("{other:?}"),
            };
        }
    }
    // A picture that is stuck counts its bytes, but is not sent.
    hub.publish_video(frame(10, 300_000));
    sleep(Duration::from_secs(2)).await;
    let stats = counters.stats();
    assert_eq!((stats.frames_sent, stats.audio_sent), (10, 10));
    assert!(stats.bytes_sent > bytes as u64 + 60_000, "{stats:?}");
    let all = hub.stats();
    assert_eq!((all.frames_sent, all.audio_sent), (10, 10));
    assert_eq!(all.bytes_sent, stats.bytes_sent);
    assert_eq!(all.messages_built, 11);

    dismiss.send(CloseReason::dismissed()).unwrap();
    assert_eq!(close_code(&mut client).await, 1008);
    let end = task.await.unwrap();
    assert_eq!(end.reason, EndReason::Dismissed(CloseReason::dismissed()));
}

#[tokio::test(start_paused = true)]
async fn a_picture_is_prepared_once_for_each_protocol_however_many_watch() {
    let hub = hub();
    let mut clients = Vec::new();
    let mut tasks = Vec::new();
    for (number, protocol) in [Protocol::Json, Protocol::Binary]
        .repeat(10)
        .into_iter()
        .enumerate()
    {
        let (io, task) = view(&hub, protocol, ViewerOptions::default(), 1 << 16);
        clients.push(client(io).await);
        tasks.push(task);
        viewers(&hub, number + 1).await;
    }
    for seq in 0..30 {
        hub.publish_video(frame(seq, 1_000));
        for client in &mut clients {
            client.next().await.unwrap().unwrap();
        }
    }
    assert_eq!(hub.stats().messages_built, 60);
    assert_eq!(hub.stats().frames_sent, 600);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_without_pongs_is_dropped_after_two() {
    let hub = hub();
    let (mut io, task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1 << 16);
    let begin = Instant::now();
    let mut all = Vec::new();
    io.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, [0x89, 0, 0x89, 0]);
    assert_eq!(task.await.unwrap().reason, EndReason::NoPong);
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_secs(60) && took < Duration::from_secs(64),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_answers_pings_stays() {
    let hub = hub();
    let (io, task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1 << 16);
    let mut client = client(io).await;
    for _ in 0..30 {
        assert!(matches!(client.next().await, Some(Ok(Message::Ping(_)))));
    }
    assert!(!task.is_finished());
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

#[tokio::test(start_paused = true)]
async fn when_all_places_are_taken_the_next_is_closed_with_1013() {
    let hub = Hub::new(HubOptions {
        max_viewers: 1,
        ..HubOptions::default()
    });
    let (_io, _task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1 << 16);
    viewers(&hub, 1).await;
    let (io, task) = view(&hub, Protocol::Json, ViewerOptions::default(), 1 << 16);
    assert_eq!(close_code(&mut client(io).await).await, 1013);
    assert_eq!(task.await.unwrap().reason, EndReason::Full);
}

#[tokio::test(start_paused = true)]
async fn no_such_session_is_4404_after_the_upgrade() {
    let (near, far) = duplex(1 << 16);
    let task = tokio::spawn(async move { close_with(near, 4404, "no session of that name").await });
    assert_eq!(close_code(&mut client(far).await).await, 4404);
    task.await.unwrap();
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

#[test]
fn a_viewer_costs_a_few_kilobytes() {
    let hub = hub();
    let options = ViewerOptions::default();
    let (near, _far) = duplex(1);
    let viewer = serve_viewer(near, &hub, Protocol::Json, &options, pending());
    let bytes = std::mem::size_of_val(&viewer);
    assert!(bytes < 8 << 10, "{bytes} bytes");
}
