use super::*;
use crate::{
    decode::Decoder,
    formats::Formats,
    inbox::Media,
    source::Guests,
    tap::{Memory, Tap},
};
use haven_wire::{AudioChoice, ChosenEncoders, Split};

/// Decoders of a room in which nobody publishes anything.
fn silent_room(inbox: &Inbox, timebase: &Timebase) -> [Decoder; 2] {
    [Media::Video, Media::Audio].map(|media| {
        let encoded = Tap::new("test", Memory::Nothing, || ());
        let guests = Guests::default();
        Decoder::new(media, encoded, guests, timebase.clone(), inbox.clone())
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
        timebase,
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
}
