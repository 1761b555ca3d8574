//! Recordings of the demo room, as a player sees them.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    process::Command,
    time::{Duration, Instant},
};
use support::{WORKER, Worker, decode, stream_entry};

/// Records for some seconds, and checks the file from beginning to end.
fn record_and_check(format: &str, extension: &str, codecs: [&str; 2]) {
    let mut worker = Worker::demo();
    let path = worker.path(&format!("recording.{extension}"));
    let asked = Instant::now();
    worker.record(1, format, &path);
    worker.wait_for_length(1, Duration::from_secs(3));
    let wall = asked.elapsed();
    let progress = worker.stop_recording(1);

    let length = progress.duration_ms as f64 / 1000.0;
    assert!(length > 3.0, "{length} s");
    assert!(
        (length - wall.as_secs_f64()).abs() < 1.0,
        "{length} s in {wall:?}"
    );
    assert_eq!(progress.bytes, fs::metadata(&path).unwrap().len());
    assert_eq!(
        stream_entry(&path, "v:0", "codec_name,width,height"),
        format!("{},1280,720", codecs[0])
    );
    assert_eq!(stream_entry(&path, "a:0", "codec_name"), codecs[1]);
    let (pictures, sound) = decode(&path);
    assert!(
        pictures as f64 > length * 3.0,
        "{pictures} pictures in {length} s"
    );
    assert!(
        (sound - length).abs() < 0.3,
        "{sound} s of sound in {length} s"
    );
}

#[test]
fn an_h264_recording_plays_from_beginning_to_end() {
    record_and_check("h264", "mp4", ["h264", "aac"]);
}

#[test]
fn a_vp9_recording_plays_from_beginning_to_end() {
    record_and_check("vp9", "webm", ["vp9", "opus"]);
}

#[test]
fn an_av1_recording_plays_from_beginning_to_end() {
    record_and_check("av1", "mp4", ["av1", "aac"]);
}

#[test]
fn a_recording_goes_on_while_another_ends() {
    let mut worker = Worker::demo();
    let (first, second) = (worker.path("first.mp4"), worker.path("second.mp4"));
    worker.ask_to_record(1, "h264", "low", &first);
    worker.record(2, "h264", &second);
    worker.wait_for_length(2, Duration::from_secs(2));
    let short = worker.stop_recording(2);
    worker.wait_for_length(1, Duration::from_millis(short.duration_ms + 2000));
    let long = worker.stop_recording(1);
    assert!(
        long.duration_ms > short.duration_ms + 1000,
        "{long:?} {short:?}"
    );
    for path in [first, second] {
        decode(&path);
    }
}

#[test]
fn what_was_recorded_before_kill_9_plays() {
    let mut worker = Worker::demo();
    let path = worker.path("recording.mp4");
    worker.record(1, "h264", &path);
    worker.wait_for_length(1, Duration::from_secs(5));
    worker.kill();
    let (_, sound) = decode(&path);
    assert!(sound >= 3.0, "{sound} s of 5 s are left");

    let output = Command::new(WORKER)
        .arg("--measure")
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let measured: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let measured_s = measured["duration_ms"].as_u64().unwrap() as f64 / 1000.0;
    assert!(
        (measured_s - sound).abs() < 0.2,
        "{measured_s} s measured, {sound} s decoded"
    );
    assert_eq!(measured["bytes"], fs::metadata(&path).unwrap().len());
}

#[test]
fn a_file_is_locked_for_as_long_as_it_is_written() {
    let mut worker = Worker::demo();
    let path = worker.path("recording.mp4");
    worker.record(1, "h264", &path);
    let file = File::open(&path).unwrap();
    let lock = || flock(&file, FlockOperation::NonBlockingLockExclusive);
    assert!(lock().is_err());
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    worker.stop_recording(1);
    lock().unwrap();
}

#[test]
fn a_recording_that_cannot_be_leaves_the_session_alive() {
    let mut worker = Worker::demo();
    let folder = worker.path("no/such/folder/recording.mp4");
    for (id, format, quality, path, word) in [
        (1, "betamax", "medium", worker.path("1.mp4"), "betamax"),
        (2, "h264", "best", worker.path("2.mp4"), "best"),
        (3, "h264", "medium", folder, "no/such/folder"),
    ] {
        worker.ask_to_record(id, format, quality, &path);
        let (progress, error) = worker.finished(id);
        let error = error.unwrap();
        assert!(error.contains(word), "{error}");
        assert_eq!(progress.bytes, 0);
    }
    let path = worker.path("good.mp4");
    worker.record(5, "h264", &path);
    worker.stop_recording(5);
    decode(&path);
}

#[test]
fn measuring_what_is_no_recording_fails_with_a_reason() {
    for path in ["/nonexistent/recording.mp4", "/etc/passwd"] {
        let output = Command::new(WORKER)
            .args(["--measure", path])
            .output()
            .unwrap();
        assert!(!output.status.success());
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(answer["error"].as_str().unwrap().contains(path), "{answer}");
    }
}
