//! A session's life, as the server and viewers see it.

mod support;

use haven_wire::{
    EndReason, Probe, RoomAccess, ServerMessage, SessionState, Source, WorkerMessage,
};
use std::{net::TcpListener, process::Command, time::Duration};
use support::{Viewer, WORKER, Worker, decode, eventually};
use viewer_socket::RelayMessage;

fn ended(message: &WorkerMessage) -> Option<EndReason> {
    match message {
        WorkerMessage::Ended { reason } => Some(reason.clone()),
        _ => None,
    }
}

/// Cycles a second of a tone, by its crossings of zero from below.
fn frequency(samples: &[i16], rate: f64) -> f64 {
    let rises: Vec<_> = (1..samples.len())
        .filter(|i| samples[i - 1] < 0 && samples[*i] >= 0)
        .collect();
    let (first, last) = (rises[0], rises[rises.len() - 1]);
    (rises.len() - 1) as f64 * rate / (last - first) as f64
}

#[test]
fn the_demo_tells_what_it_shows() {
    let mut worker = Worker::spawn();
    worker.start(Source::Demo);
    let status = worker.wait(|message| match message {
        WorkerMessage::Status(status) => {
            let known = |bitrate: Option<u64>| bitrate.is_some_and(|bitrate| bitrate > 0);
            let all = known(status.video.as_ref().map(|video| video.bitrate))
                && known(status.audio.as_ref().map(|audio| audio.bitrate));
            all.then(|| status.clone())
        }
        _ => None,
    });
    assert_eq!(status.state, SessionState::Live);
    assert_eq!(status.room_name, "demo");
    assert_eq!(status.participant_sid.as_deref(), Some("PA_demo"));
    let video = status.video.unwrap();
    assert_eq!(
        (video.codec.as_str(), video.width, video.height),
        ("h264", 1280, 720)
    );
    assert!(video.fps > 1.0, "{video:?}");
    assert_eq!(status.audio.unwrap().codec, "opus");
}

#[tokio::test]
async fn a_viewer_gets_pictures_and_a_tone() {
    let worker = Worker::demo();
    let mut viewer = Viewer::connect(&worker.socket()).await;
    let (mut pictures, mut samples) = (Vec::new(), Vec::new());
    let mut chunk_pts = Vec::new();
    while pictures.len() < 20 || chunk_pts.len() < 100 {
        match viewer.next().await {
            RelayMessage::Video(frame) => {
                assert_eq!((frame.width, frame.height), (1280, 720));
                assert!(frame.jpeg.starts_with(&[0xff, 0xd8]));
                assert!(frame.jpeg.ends_with(&[0xff, 0xd9]));
                pictures.push((frame.pts, frame.jpeg));
            }
            RelayMessage::Audio(chunk) => {
                assert_eq!((chunk.sample_rate, chunk.channels), (44_100, 1));
                assert_eq!(chunk.pcm.len(), 44_100 / 50 * 2);
                chunk_pts.push(chunk.pts);
                let values = chunk.pcm.chunks_exact(2);
                samples.extend(values.map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
            }
            RelayMessage::Unknown => {}
        }
    }
    assert!(pictures.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!(
        pictures.windows(2).any(|pair| pair[0].1 != pair[1].1),
        "a still clock"
    );
    let gap = |pair: &[Duration]| {
        pair[1]
            .abs_diff(pair[0])
            .abs_diff(Duration::from_millis(20))
    };
    let gaps = chunk_pts
        .windows(2)
        .filter(|pair| gap(pair) > Duration::from_millis(1));
    // A machine that stops for a moment may cost a chunk; more isn't a stream.
    assert!(gaps.count() <= 2, "{chunk_pts:?}");
    let heard = frequency(&samples[samples.len() / 2..], 44_100.0);
    assert!((heard - 440.0).abs() < 5.0, "{heard} Hz");
}

#[tokio::test]
async fn nothing_is_decoded_while_nobody_watches() {
    let worker = Worker::demo();
    let decodes = || worker.threads().iter().any(|name| name == "encoded:src");
    assert!(!decodes());
    let mut viewer = Viewer::connect(&worker.socket()).await;
    viewer.next().await;
    assert!(decodes());
    drop(viewer);
    // GLib keeps a thread, and its name, for 15 s after its last task.
    eventually("decoding stops", || !decodes());
    let mut viewer = Viewer::connect(&worker.socket()).await;
    // The first may be the last one of before.
    for _ in 0..3 {
        while !matches!(viewer.next().await, RelayMessage::Video(_)) {}
    }
    assert!(decodes());
}

#[test]
fn the_server_s_death_finalises_the_files() {
    let mut worker = Worker::demo();
    let path = worker.path("recording.mp4");
    worker.record(1, "h264", &path);
    worker.wait_for_length(1, Duration::from_secs(1));
    worker.close_input();
    let (progress, error) = worker.finished(1);
    assert_eq!(error, None);
    assert_eq!(worker.wait(ended), EndReason::Stopped);
    assert!(worker.exit_status().success());
    assert!(progress.duration_ms >= 1000);
    decode(&path);
    assert!(!worker.socket().exists());
}

#[test]
fn a_signal_finalises_the_files() {
    for signal in ["-TERM", "-INT"] {
        let mut worker = Worker::demo();
        let path = worker.path("recording.mp4");
        worker.record(1, "h264", &path);
        worker.signal(signal);
        assert_eq!(worker.finished(1).1, None);
        assert!(worker.exit_status().success());
        decode(&path);
        assert!(!worker.socket().exists());
    }
}

#[test]
fn shutdown_ends_the_worker() {
    let mut worker = Worker::demo();
    worker.send(&ServerMessage::Shutdown);
    assert_eq!(worker.wait(ended), EndReason::Stopped);
    assert!(worker.exit_status().success());
    assert!(!worker.socket().exists());
}

#[test]
fn a_message_that_is_not_known_is_passed_over() {
    let mut worker = Worker::demo();
    worker.write(b"{\"type\":\"sing\"}\nnonsense\n");
    worker.send(&ServerMessage::Shutdown);
    assert_eq!(worker.wait(ended), EndReason::Stopped);
}

#[test]
fn a_session_must_be_started_first() {
    let mut worker = Worker::spawn();
    worker.send(&ServerMessage::Shutdown);
    assert!(!worker.exit_status().success());
}

#[test]
fn a_room_that_cannot_be_reached_ends_the_session() {
    // A port that was free a moment ago, and where nobody listens.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut worker = Worker::spawn();
    worker.start(Source::Room {
        access: RoomAccess {
            url: format!("ws://127.0.0.1:{port}"),
            token: "none".into(),
        },
        ice_addresses: vec![[127, 0, 0, 1].into()],
    });
    let reason = worker.wait(ended);
    assert!(matches!(reason, EndReason::Connection { .. }), "{reason:?}");
    assert!(worker.exit_status().success());
}

#[test]
fn the_probe_tells_what_can_be_recorded() {
    let output = Command::new(WORKER).arg("--probe").output().unwrap();
    assert!(output.status.success());
    let probe: Probe = serde_json::from_slice(&output.stdout).unwrap();
    assert!(probe.gstreamer_version.contains("GStreamer"));
    assert_eq!(probe.missing.len(), 0, "{:?}", probe.missing);
    let h264 = &probe.formats["h264"];
    assert!(h264.available());
    assert_eq!(h264.encoder.as_deref(), Some("x264enc"));
}
