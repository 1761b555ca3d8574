mod copies;

use super::*;
use crate::{
    decode::Decoder,
    formats::Formats,
    inbox::Decoded,
    source::Guests,
    tap::{Memory, Tap},
};
use haven_wire::{AudioChoice, ChosenEncoders, Split};
use std::{sync::mpsc::channel, time::Duration};

/// Decoders of a room in which nobody publishes anything.
fn silent_room(inbox: &Inbox, timebase: &Timebase) -> [Decoder; 2] {
    [Decoded::Pictures, Decoded::Voices].map(|what| {
        let encoded = Tap::new("test", Memory::Nothing, || ());
        let guests = Guests::default();
        Decoder::new(what, encoded, guests, timebase.clone(), inbox.clone())
    })
}

#[test]
fn a_room_without_picture_and_sound_is_recorded_black_and_silent() {
    gst::init().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (inbox, _events) = Inbox::new();
    let (outbox, messages) = Outbox::new();
    let timebase = Timebase::start();
    let [mut video, mut audio] = silent_room(&inbox, &timebase);
    let recipe = Formats::load(None)
        .unwrap()
        .recipe("h264", "low", &ChosenEncoders::default())
        .unwrap();
    let config = RecordingConfig {
        recording_id: 7,
        format: "h264".into(),
        quality: "low".into(),
        encoders: ChosenEncoders::default(),
        path: folder.path().join("recording.mp4"),
        audio: AudioChoice::default(),
        split: Split::default(),
    };
    let inputs = Inputs {
        video: video.decoded().clone(),
        audio: audio.decoded().clone(),
        mixes: true,
        _leases: vec![video.lease(), audio.lease()],
        asked: timebase.now(),
        timebase: timebase.clone(),
    };
    let recording = Recording::start(
        config,
        Plan::Encode(Box::new(recipe)),
        inputs,
        inbox,
        outbox,
    )
    .unwrap();
    let finished = loop {
        match messages.recv_timeout(Duration::from_secs(60)).unwrap() {
            WorkerMessage::RecordingProgress(progress) if progress.duration_ms > 3000 => {
                recording.stop();
            }
            WorkerMessage::RecordingFinished {
                progress, error, ..
            } => break (progress, error),
            _ => {}
        }
    };
    recording.join();
    assert_eq!(finished.1, None);
    assert!(finished.0.duration_ms > 3000, "{finished:?}");
    assert_eq!(finished.0.dropped_frames, 0);
    let a_second_ago = timebase.now().saturating_sub(gst::ClockTime::SECOND);
    assert!(
        audio.decoded().key_frame(a_second_ago).is_some(),
        "a file that begins at a key frame has no sound for its first moment"
    );
}

#[test]
fn a_used_up_quota_ends_a_recording_as_a_full_disk_does() {
    gst::init().unwrap();
    let of = |kind: gst::ResourceError, said: &str| {
        let message = gst::message::Error::builder(kind, "Error while writing to file")
            .debug(said)
            .build();
        match message.view() {
            gst::MessageView::Error(error) => RecordingError::of(error).is_disk_full(),
            _ => unreachable!(),
        }
    };
    use gst::ResourceError::{NoSpaceLeft, Read, Write};
    assert!(of(NoSpaceLeft, "system error"));
    let quota = "gstfilesink.c(1): render (): /x\nsystem error: Disk quota exceeded";
    assert!(of(Write, quota));
    assert!(!of(Write, "system error: Input/output error"));
    assert!(!of(Read, quota));
}

#[test]
fn a_fault_of_the_worker_ends_a_recording_with_a_word_to_the_server() {
    let (outbox, messages) = Outbox::new();
    reporting(7, &outbox, |finishers| {
        let outbox = outbox.clone();
        let (nobody, never) = channel::<()>();
        finishers.run(thread::Builder::new(), move || {
            // Time for the panic to be reported, were this not waited for.
            let _ = never.recv_timeout(Duration::from_millis(100));
            drop(nobody);
            outbox.send(WorkerMessage::RecordingPartStarted {
                recording_id: 7,
                path: "before.mp4".into(),
            });
        });
        panic!("for the test")
    });
    // What other threads still finalise comes first.
    let before = messages.try_recv().unwrap();
    assert!(matches!(before, WorkerMessage::RecordingPartStarted { .. }));
    match messages.try_recv().unwrap() {
        WorkerMessage::RecordingFinished {
            progress, error, ..
        } => {
            assert_eq!(progress.recording_id, 7);
            assert!(error.unwrap().contains("fault"));
        }
        other => panic!("{other:?}"),
    }
    assert!(messages.try_recv().is_err());
}
