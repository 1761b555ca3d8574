//! What the worker says of recording formats: tried on this machine, in processes of their own.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use haven_wire::Probe;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const WORKER: &str = env!("CARGO_BIN_EXE_haven-worker");

/// A format whose first encoder is the one to be tried, its second one sound.
const MINE: &str = r#"
[formats.mine]
description = "Mine"
codec = "mine"
audio_codec = "opus"
container = "webm"
muxer = "webmmux"
video = ["doubtful", "vp9enc"]
audio = ["opusenc"]

[encoders.doubtful]
"#;

fn worker(task: &str, folder: &Path) -> Output {
    Command::new(WORKER)
        .args([task, "--formats-dir"])
        .arg(folder)
        .output()
        .unwrap()
}

fn folder(doubtful: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.toml"), format!("{MINE}{doubtful}")).unwrap();
    folder
}

/// What a probe says of a format whose first encoder is the doubtful one.
fn note_about(doubtful: &str) -> String {
    let output = worker("--probe", folder(doubtful).path());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let probe: Probe = serde_json::from_str(&text).unwrap();
    let mine = &probe.formats["mine"];
    assert_eq!(mine.encoder.as_deref(), Some("vp9enc"));
    assert_eq!(mine.chosen.video.as_deref(), Some("vp9enc"));
    assert_eq!(mine.chosen.audio.as_deref(), Some("opusenc"));
    assert!(mine.available());
    assert_eq!(mine.notes.len(), 1, "{mine:?}");
    mine.notes[0].clone()
}

#[test]
fn the_built_in_formats_work_here() {
    let output = Command::new(WORKER).arg("--probe").output().unwrap();
    let probe: Probe = serde_json::from_slice(&output.stdout).unwrap();
    for name in ["h264", "av1", "vp9"] {
        let format = &probe.formats[name];
        assert!(format.available(), "{format:?}");
        assert!(format.chosen.video.is_some() && format.chosen.audio.is_some());
    }
}

#[test]
fn an_encoder_that_aborts_its_process_is_passed_over() {
    // libaom 3.6 aborts: see the built-in description of av1enc.
    let note = note_about(
        "element = \"av1enc\"\noptions = \"end-usage=cbr target-bitrate={video_kbps}\"\n",
    );
    assert!(
        note.contains("mine.toml:13: doubtful is passed over"),
        "{note}"
    );
}

#[test]
fn an_encoder_that_fails_when_it_is_tried_is_passed_over() {
    let note = note_about(
        "element = \"vp8enc\"\noptions = \"target-bitrate={video_bps}\"\nparser = \"identity error-after=1\"\n",
    );
    assert!(
        note.contains("mine.toml:13: doubtful is passed over"),
        "{note}"
    );
}

#[test]
fn an_encoder_that_hangs_is_given_up_after_ten_seconds() {
    let note = note_about(
        "element = \"vp8enc\"\noptions = \"target-bitrate={video_bps}\"\nparser = \"identity sleep-time=60000000\"\n",
    );
    assert!(note.contains("within 10 s"), "{note}");
}

#[test]
fn the_check_tells_of_every_encoder() {
    let folder = folder("element = \"nosuchenc\"\noptions = \"x={video_kbps}\"\n");
    let output = worker("--check-formats", folder.path());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let line = |words: &[&str]| {
        let mut lines = text.lines();
        assert!(
            lines.any(|line| words.iter().all(|word| line.contains(word))),
            "{words:?}: {text}"
        );
    };
    line(&["mine.toml:13: mine video doubtful: nosuchenc not installed"]);
    line(&["mine video vp9enc: works"]);
    line(&["formats.toml:", "h264 video x264enc: works"]);
    line(&["formats.toml:", "vp9 audio opusenc: works"]);
}

#[test]
fn the_check_tells_everything_that_is_wrong_line_by_line() {
    let folder = folder("options = \"bitrate={video_mbps}\"\nparser = \"a ! ! b\"\n");
    fs::write(
        folder.path().join("more.toml"),
        "[formats.mine]\nmuxxer = \"x\"\n",
    )
    .unwrap();
    let output = worker("--check-formats", folder.path());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success());
    for (place, word) in [
        ("mine.toml:12: ", "video_mbps"),
        ("mine.toml:13: ", "element is missing"),
        ("more.toml:2: ", "muxxer"),
    ] {
        let found = text
            .lines()
            .any(|line| line.contains(place) && line.contains(word));
        assert!(found, "{place}: {text}");
    }
    let output = worker("--probe", folder.path());
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("mine.toml:12: "), "{text}");
}
