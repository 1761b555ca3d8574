//! `haven record`, with a fake worker.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::Value;
use std::path::PathBuf;
use support::{
    OFFLINE, Options, Upstream,
    commands::{Recorder, run},
};

/// A folder, and the file that is recorded there.
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().canonicalize().unwrap().join("x.mp4");
    (dir, file)
}

fn livekit() -> Vec<(String, String)> {
    Options::default().livekit().env
}

#[tokio::test]
async fn ctrl_c_finishes_the_file_after_progress_was_shown() {
    let (dir, file) = place();
    let mut recorder = Recorder::start("demo", &file, &[], &[]);
    let started = recorder.event("started").await;
    assert_eq!(started["path"], file.to_str().unwrap());
    assert_eq!(started["format"], "h264");
    let progress = recorder
        .until(|event| event["event"] == "progress" && event["bytes"].as_u64() > Some(50))
        .await
        .unwrap();
    assert!(progress["duration_s"].as_f64().unwrap() > 0.5, "{progress}");
    recorder.interrupt();
    let finished = recorder.event("finished").await;
    assert_eq!(finished["reason"], "stopped");
    let bytes = std::fs::metadata(&file).unwrap().len();
    assert_eq!(finished["bytes"], bytes);
    assert_eq!(recorder.end().await, Some(0));
    // The file alone, without a description that nobody asked for.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn the_duration_ends_it_and_people_read_sentences() {
    let (dir, file) = place();
    let path = file.to_str().unwrap();
    let args = [
        "record",
        "demo",
        "-o",
        path,
        "--duration",
        "1.5",
        "--describe",
    ];
    let said = run(&args, &[]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    for part in [
        "recording as h264 into",
        "recording 0:0",
        "dropped",
        "finishing the file",
        path,
    ] {
        assert!(said.err.contains(part), "{part}: {said:?}");
    }
    assert_eq!(said.out, "");
    assert!(std::fs::metadata(&file).unwrap().len() >= 100);
    assert!(dir.path().join("x.mp4.json").is_file());
}

#[tokio::test]
async fn quiet_says_nothing_but_warnings() {
    let (_dir, file) = place();
    let path = file.to_str().unwrap();
    let said = run(
        &["record", "demo", "-q", "-o", path, "--duration", "1"],
        &[],
    )
    .await;
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""));
    // The worker of these tests warns that it is at work.
    let is_warning = |line: &str| line.contains(" WARN ") && line.contains("at work");
    assert!(said.err.lines().all(is_warning), "{said:?}");
}

#[tokio::test]
async fn a_second_ctrl_c_does_not_wait_for_the_file() {
    let (_dir, file) = place();
    let mut recorder = Recorder::start("stubborn-file", &file, &[], &livekit());
    recorder.event("started").await;
    recorder.interrupt();
    recorder.event("finishing").await;
    recorder.interrupt();
    let given_up = recorder.event("given_up").await;
    assert_eq!(given_up["path"], file.to_str().unwrap());
    assert_eq!(recorder.end().await, Some(130));
}

#[tokio::test]
async fn what_is_there_is_replaced_only_where_that_is_said() {
    let (_dir, file) = place();
    std::fs::write(&file, "mine").unwrap();
    let path = file.to_str().unwrap();
    let said = run(&["record", "demo", "-o", path, "--duration", "1"], &[]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("--force"), "{said:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    let said = run(
        &["record", "demo", "-o", path, "--duration", "1", "--force"],
        &[],
    )
    .await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_ne!(std::fs::read(&file).unwrap(), b"mine");
}

#[tokio::test]
async fn what_can_not_be_recorded_is_told_before_anything_is_written() {
    let (dir, file) = place();
    let webm = file.with_extension("webm");
    let (mp4, webm) = (file.to_str().unwrap(), webm.to_str().unwrap());
    let upstream = Upstream::start().await.options().env;
    for (args, env, code, part) in [
        (
            vec!["demo", "-o", webm, "-f", "h264"],
            &[][..],
            1,
            ".mp4 file",
        ),
        (vec!["demo", "-o", mp4, "-f", "avi"], &[], 1, "known are"),
        (
            vec!["demo", "-o", mp4, "-f", "av1"],
            &[],
            1,
            "gstreamer1.0-plugins-bad",
        ),
        (
            vec!["demo", "-o", mp4, "--quality", "best"],
            &[],
            1,
            "low, medium, high",
        ),
        (
            vec!["demo", "-o", mp4, "--worker", "/none"],
            &[],
            1,
            "haven-worker",
        ),
        (vec!["a room", "-o", mp4], &[], 1, "LIVEKIT_URL"),
        (vec!["wss://host/", "-o", mp4], &[], 2, "room"),
        (
            vec!["demo", "-o", mp4, "--duration", "soon"],
            &[],
            2,
            "1h30m",
        ),
        (vec!["demo", "-o", mp4, "--split", "soon"], &[], 2, "500MB"),
        (vec![OFFLINE, "-o", mp4], &upstream[..], 3, "not live"),
    ] {
        let args: Vec<_> = ["record"].into_iter().chain(args).collect();
        let said = run(&args, env).await;
        assert_eq!(said.code, Some(code), "{args:?}: {said:?}");
        assert!(said.err.contains(part), "{args:?}: {said:?}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn changes_of_the_connection_and_gaps_are_told() {
    let (_dir, file) = place();
    let mut recorder = Recorder::start("roaming", &file, &[], &livekit());
    for state in ["waiting", "reconnecting", "live"] {
        let wanted =
            |event: &serde_json::Value| event["event"] == "state" && event["state"] == state;
        assert!(recorder.until(wanted).await.is_some(), "{state}");
    }
    recorder.interrupt();
    assert_eq!(recorder.end().await, Some(0));

    let (_dir, file) = place();
    let mut recorder = Recorder::start("gappy", &file, &[], &livekit());
    let gap = recorder.event("gap").await;
    assert_eq!(
        (gap["at_s"].as_f64(), gap["for_s"].as_f64()),
        (Some(0.1), Some(0.05))
    );
    recorder.interrupt();
    assert_eq!(recorder.event("finished").await["dropped_frames"], 1);
}

#[tokio::test]
async fn a_split_recording_names_each_file() {
    let (dir, file) = place();
    let mut recorder = Recorder::start("demo", &file, &["--split", "1s"], &[]);
    let part = recorder.event("part").await;
    let second = dir.path().canonicalize().unwrap().join("x_part2.mp4");
    assert_eq!(part["path"], second.to_str().unwrap());
    recorder.interrupt();
    let first = recorder.event("file").await;
    assert_eq!(first["path"], file.to_str().unwrap());
    assert_eq!(
        recorder.event("file").await["path"],
        second.to_str().unwrap()
    );
    assert_eq!(recorder.end().await, Some(0));
}

#[tokio::test]
async fn a_stream_that_ends_is_a_complete_file() {
    let (_dir, file) = place();
    let mut recorder = Recorder::start("closed", &file, &[], &livekit());
    let finished = recorder.event("finished").await;
    assert_eq!(finished["reason"], "room_deleted");
    assert_eq!(recorder.end().await, Some(0));
}

#[tokio::test]
async fn a_folder_gets_a_file_named_after_the_room_and_the_time() {
    let (dir, _) = place();
    let mut recorder = Recorder::start("demo", dir.path(), &["-f", "wav"], &[]);
    let started = recorder.event("started").await;
    let path = PathBuf::from(started["path"].as_str().unwrap());
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("demo_20") && name.ends_with(".wav"),
        "{name}"
    );
    // Something is in it.
    let grows = |event: &Value| event["event"] == "progress" && event["bytes"] != 0;
    recorder.until(grows).await.unwrap();
    recorder.interrupt();
    assert_eq!(recorder.end().await, Some(0));
}
