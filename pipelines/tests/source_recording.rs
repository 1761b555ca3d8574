//! Recordings that keep what is published, and recordings in several files, of the demo room.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use haven_wire::{AudioChoice, PartReason, RecordingConfig, Split};
use std::time::Duration;
use support::{Worker, decode, recording, stream_entry};

#[test]
fn a_recording_of_the_source_has_the_codecs_of_the_room_and_no_encoder() {
    for audio in [AudioChoice::Mix, AudioChoice::Streamer] {
        let mut worker = Worker::demo();
        let config = RecordingConfig {
            audio,
            ..recording(1, "source", &worker.path("recording.any"))
        };
        worker.ask(config);
        let path = worker.started(1);
        assert_eq!(path.extension().unwrap(), "mp4");
        worker.wait_for_length(1, Duration::from_secs(3));
        let progress = worker.stop_recording(1);
        assert_eq!(progress.path, path);
        assert_eq!((progress.dropped_frames, progress.gaps), (0, Vec::new()));
        let video = stream_entry(&path, "v:0", "codec_name,width,height");
        assert_eq!(video, "h264,1280,720");
        assert_eq!(stream_entry(&path, "a:0", "codec_name"), "opus");
        let length = progress.duration_ms as f64 / 1000.0;
        let (pictures, sound) = decode(&path);
        assert!(pictures as f64 > length * 20.0, "{pictures} in {length} s");
        assert!((sound - length).abs() < 0.3, "{sound} s in {length} s");
    }
}

#[test]
fn a_wav_recording_is_the_sound_alone() {
    let mut worker = Worker::demo();
    let path = worker.path("recording.wav");
    worker.ask(recording(1, "wav", &path));
    assert_eq!(worker.started(1), path);
    worker.wait_for_length(1, Duration::from_secs(2));
    let progress = worker.stop_recording(1);
    assert_eq!(stream_entry(&path, "a:0", "codec_name"), "pcm_s16le");
    assert_eq!(stream_entry(&path, "v:0", "codec_name"), "");
    let (_, sound) = decode(&path);
    let length = progress.duration_ms as f64 / 1000.0;
    assert!((sound - length).abs() < 0.1, "{sound} s in {length} s");
}

#[test]
fn a_recording_that_is_split_loses_nothing_between_its_files() {
    for format in ["h264", "source"] {
        let mut worker = Worker::demo();
        let config = RecordingConfig {
            split: Split {
                after_ms: 2000,
                after_bytes: 0,
            },
            ..recording(1, format, &worker.path("recording.mp4"))
        };
        worker.ask(config);
        worker.started(1);
        let parts: Vec<_> = (0..2).map(|_| worker.part_finished()).collect();
        let last = worker.stop_recording(1);
        assert!(parts.iter().all(|(_, reason)| *reason == PartReason::Split));
        let files: Vec<_> = parts
            .into_iter()
            .map(|(part, _)| part)
            .chain([last])
            .collect();
        let names: Vec<_> = files
            .iter()
            .map(|file| file.path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        let expected = [
            "recording.mp4",
            "recording_part2.mp4",
            "recording_part3.mp4",
        ];
        assert_eq!(names, expected, "{format}");
        for file in &files[..2] {
            let length = file.duration_ms as f64 / 1000.0;
            assert!((1.9..4.5).contains(&length), "{format}: {file:?}");
            let (pictures, sound) = decode(&file.path);
            assert!(
                (sound - length).abs() < 0.15,
                "{format}: {sound} s in {length} s"
            );
            // An encoder may leave pictures out on a busy machine; what is taken over is all there.
            let expected = if format == "source" {
                length * 30.0 - 3.0
            } else {
                length * 5.0
            };
            assert!(
                pictures as f64 > expected,
                "{format}: {pictures} in {length} s"
            );
        }
    }
}

#[test]
fn a_recording_is_split_by_size() {
    let mut worker = Worker::demo();
    let config = RecordingConfig {
        split: Split {
            after_ms: 0,
            after_bytes: 300_000,
        },
        ..recording(1, "wav", &worker.path("recording.wav"))
    };
    worker.ask(config);
    let (part, reason) = worker.part_finished();
    assert_eq!(reason, PartReason::Split);
    assert!((300_000..900_000).contains(&part.bytes), "{part:?}");
    worker.stop_recording(1);
}
