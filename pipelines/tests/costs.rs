//! What a session's parts cost, as the worker measures it. In these tests it does so with a few
//! pictures each: enough to see that all is measured, too few for figures.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use haven_wire::{Cost, Costs, Probe};
use std::{
    fs,
    process::{Command, Output},
    sync::LazyLock,
};

const WORKER: &str = env!("CARGO_BIN_EXE_haven-worker");

/// A format that works as long as an encoder is tried, and fails when it is measured.
const SHORT_LIVED: &str = r#"
[formats.shortlived]
description = "Fails after a while"
codec = "vp8"
audio_codec = "opus"
container = "webm"
muxer = "webmmux"
video = ["shortlived"]
audio = ["opusenc"]

[encoders.shortlived]
element = "vp8enc"
options = "deadline=1 cpu-used=16 target-bitrate={video_bps}"
parser = "identity error-after=11"
"#;

/// One run of it all.
static RUN: LazyLock<Output> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("more.toml"), SHORT_LIVED).unwrap();
    Command::new(WORKER)
        .args(["--costs", "--pictures", "8", "--formats-dir"])
        .arg(folder.path())
        .output()
        .unwrap()
});

fn costs() -> Costs {
    let said = String::from_utf8_lossy(&RUN.stdout);
    assert!(RUN.status.success(), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    serde_json::from_str(&said).unwrap()
}

fn is_measured(cost: &Cost) -> bool {
    cost.cpu.is_finite() && cost.cpu > 0.0
}

#[test]
fn every_usable_format_is_measured_in_every_quality() {
    let output = Command::new(WORKER).arg("--probe").output().unwrap();
    let probe: Probe = serde_json::from_slice(&output.stdout).unwrap();
    let usable = probe.formats.iter().filter(|(_, one)| one.available());
    let costs = costs();
    for (name, _) in usable {
        let measured = costs.recordings.get(name);
        let measured = measured.unwrap_or_else(|| panic!("{name} isn't measured"));
        let qualities: Vec<_> = measured.keys().collect();
        assert_eq!(qualities, ["high", "low", "medium"], "{name}");
        assert!(measured.values().all(is_measured), "{name}: {measured:?}");
    }
}

#[test]
fn what_every_session_does_is_measured() {
    let costs = costs();
    for cost in [costs.session, costs.decoding, costs.preview] {
        assert!(is_measured(&cost), "{costs:?}");
    }
    // A process with GStreamer in it.
    assert!(costs.session.memory_bytes > 8 << 20, "{costs:?}");
}

#[test]
fn what_encodes_pictures_costs_more_than_what_copies_or_leaves_them_out() {
    let costs = costs();
    let cpu = |format: &str, quality: &str| costs.recordings[format][quality].cpu;
    for quality in ["low", "medium", "high"] {
        for encoding in ["h264", "vp9", "av1"] {
            for other in ["source", "wav"] {
                let (more, less) = (cpu(encoding, quality), cpu(other, quality));
                assert!(less < more, "{other} {less}, {encoding} {quality} {more}");
            }
        }
        assert!(cpu("wav", quality) < costs.decoding.cpu, "{costs:?}");
    }
}

#[test]
fn a_format_that_fails_is_left_out_and_said() {
    assert!(!costs().recordings.contains_key("shortlived"));
    let log = String::from_utf8_lossy(&RUN.stderr);
    let said = log
        .lines()
        .find(|line| line.contains("recording as shortlived (low)"));
    // At once: it isn't waited for until the time is up.
    assert!(said.is_some_and(|line| !line.contains("within")), "{log}");
}

#[test]
fn formats_that_are_malformed_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("wrong.toml"),
        "[formats.x]\nmuxxer = 1\n",
    )
    .unwrap();
    let output = Command::new(WORKER)
        .args(["--costs", "--formats-dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains("wrong.toml:2"), "{error}");
}

#[test]
fn a_number_of_pictures_that_is_none_is_refused() {
    for arguments in [["--pictures", "0"], ["--pictures", "x"], ["--frames", "9"]] {
        let output = Command::new(WORKER)
            .arg("--costs")
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
