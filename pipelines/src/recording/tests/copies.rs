//! Recordings that keep what is published, of a room that the test publishes into.

use super::*;
use crate::tap::{Unit, tap_sink};
use gst::prelude::*;
use std::{
    fs,
    path::Path,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    time::Instant,
};

/// How long what must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often something is published.
const PACE: Duration = Duration::from_millis(20);

/// One stream of the room.
struct Stream {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    tap: Arc<Tap>,
    /// A key frame was asked for.
    asked: Arc<AtomicBool>,
}

impl Stream {
    fn new(memory: Memory, caps: &gst::Caps) -> Self {
        let source = gst_app::AppSrc::builder()
            .format(gst::Format::Time)
            .caps(caps)
            .build();
        let sink = tap_sink("sink", caps);
        sink.set_max_buffers(0);
        let tap = Tap::new("test", memory, || ());
        tap.feed_from(&sink);
        let pipeline = gst::Pipeline::new();
        pipeline
            .add_many([source.upcast_ref::<gst::Element>(), sink.upcast_ref()])
            .unwrap();
        source.link(&sink).unwrap();
        let asked = Arc::new(AtomicBool::new(false));
        let noticed = asked.clone();
        let pad = source.static_pad("src").unwrap();
        pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, probe| {
            if probe
                .event()
                .is_some_and(|event| gst_video::ForceKeyUnitEvent::is(event))
            {
                noticed.store(true, Ordering::Relaxed);
            }
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        Self {
            pipeline,
            source,
            tap,
            asked,
        }
    }

    fn publish(&self, pts: gst::ClockTime, bytes: &[u8], key: bool) {
        let mut buffer = gst::Buffer::from_slice(bytes.to_vec());
        let inner = buffer.get_mut().unwrap();
        inner.set_pts(pts);
        if !key {
            inner.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        self.source.push_buffer(buffer).unwrap();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

/// What the test publishes each time.
#[derive(Clone, Copy, Default)]
struct Show {
    sound: bool,
    video: bool,
    /// Key frames come by themselves; else on request alone.
    keys: bool,
    /// Side of the pictures.
    side: u8,
}

const ALL: Show = Show {
    sound: true,
    video: true,
    keys: true,
    side: 64,
};

struct Room {
    folder: tempfile::TempDir,
    timebase: Timebase,
    video: Stream,
    audio: Stream,
    inbox: Inbox,
    _events: Receiver<Event>,
    outbox: Outbox,
    messages: Receiver<WorkerMessage>,
}

impl Room {
    fn new() -> Self {
        gst::init().unwrap();
        let (inbox, events) = Inbox::new();
        let (outbox, messages) = Outbox::new();
        let vp8 = gst::Caps::builder("video/x-vp8")
            .field("width", 64)
            .field("height", 64)
            .field("framerate", gst::Fraction::new(0, 1));
        Self {
            folder: tempfile::tempdir().unwrap(),
            timebase: Timebase::start(),
            video: Stream::new(Memory::Gop, &vp8.build()),
            audio: Stream::new(Memory::Recent, &graph::opus_caps()),
            inbox,
            _events: events,
            outbox,
            messages,
        }
    }

    /// A room in which both streams flow already.
    fn live() -> Self {
        let room = Self::new();
        let begun = Instant::now();
        let flow = |stream: &Stream| stream.tap.flows(room.timebase.now());
        while !flow(&room.video) || !flow(&room.audio) {
            room.during(ALL, PACE);
            assert!(begun.elapsed() < PATIENCE, "nothing flows");
        }
        room
    }

    /// Publishes a picture and a packet of sound, of which none can be decoded.
    fn publish(&self, show: Show) {
        let now = self.timebase.now();
        if show.sound {
            self.audio.publish(now, &[0xf8, 0xff, 0xfe], true);
        }
        if show.video {
            let wanted = self.video.asked.swap(false, Ordering::Relaxed);
            let key = show.keys || wanted;
            let tag = if key { 0x10 } else { 0x11 };
            let mut frame = vec![tag, 0, 0, 0x9d, 1, 0x2a, show.side, 0, show.side, 0];
            frame.resize(2000, 7);
            self.video.publish(now, &frame, key);
        }
    }

    fn record(&self, after_ms: u64) -> Recording {
        let config = RecordingConfig {
            recording_id: 1,
            format: "source".into(),
            quality: "low".into(),
            encoders: ChosenEncoders::default(),
            path: self.folder.path().join("in/recording.any"),
            audio: AudioChoice::Streamer,
            split: Split {
                after_ms,
                after_bytes: 0,
            },
        };
        fs::create_dir_all(self.folder.path().join("in")).unwrap();
        let inputs = Inputs {
            video: self.video.tap.clone(),
            audio: self.audio.tap.clone(),
            mixes: false,
            _leases: Vec::new(),
            asked: self.timebase.now(),
            timebase: self.timebase.clone(),
        };
        let (inbox, outbox) = (self.inbox.clone(), self.outbox.clone());
        Recording::start(config, Plan::Copy, inputs, inbox, outbox).unwrap()
    }

    /// Publishes until the recording says what is looked for.
    fn until<T>(&self, show: Show, find: impl Fn(WorkerMessage) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            self.publish(show);
            let message = self.messages.recv_timeout(PACE).ok();
            if let Some(found) = message.and_then(&find) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "the recording does not say it");
        }
    }

    /// Publishes for so long; what the recording says meanwhile.
    fn during(&self, show: Show, time: Duration) -> Vec<WorkerMessage> {
        let begun = Instant::now();
        let mut all = Vec::new();
        while begun.elapsed() < time {
            self.publish(show);
            all.extend(self.messages.recv_timeout(PACE).ok());
        }
        all
    }

    fn started(&self, show: Show) -> String {
        self.until(show, |message| match message {
            WorkerMessage::RecordingStarted { path, .. } => Some(name(&path)),
            _ => None,
        })
    }

    fn part_started(&self, show: Show) -> String {
        self.until(show, |message| match message {
            WorkerMessage::RecordingPartStarted { path, .. } => Some(name(&path)),
            _ => None,
        })
    }

    fn finished(&self, show: Show) -> (RecordingProgress, Option<String>) {
        self.until(show, |message| match message {
            WorkerMessage::RecordingFinished {
                progress, error, ..
            } => Some((progress, error)),
            _ => None,
        })
    }

    fn stop(&self, recording: Recording, show: Show) -> RecordingProgress {
        recording.stop();
        let (progress, error) = self.finished(show);
        recording.join();
        assert_eq!(error, None);
        progress
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Whether a WebM file has its index, which is written at its end.
fn is_finalised(path: &Path) -> bool {
    const CUES: [u8; 4] = [0x1c, 0x53, 0xbb, 0x6b];
    fs::read(path).unwrap().windows(4).any(|id| id == CUES)
}

#[test]
fn a_microphone_that_was_muted_a_moment_ago_holds_up_no_picture() {
    let room = Room::live();
    let recording = room.record(0);
    let muted = Show {
        sound: false,
        ..ALL
    };
    assert_eq!(room.started(muted), "recording.webm");
    // It grows: what waits in memory is lost when the worker dies.
    let grown = |message| match message {
        WorkerMessage::RecordingProgress(progress) => (progress.bytes > 100_000).then_some(()),
        _ => None,
    };
    room.until(muted, grown);
    let progress = room.stop(recording, muted);
    assert!(progress.duration_ms > 900, "{progress:?}");
    assert!(is_finalised(&progress.path));
}

#[test]
fn a_file_is_split_though_the_publisher_makes_key_frames_on_demand_alone() {
    let room = Room::live();
    let recording = room.record(500);
    let endless = Show { keys: false, ..ALL };
    room.started(endless);
    assert_eq!(room.part_started(endless), "recording_part2.webm");
    room.stop(recording, endless);
}

#[test]
fn a_recording_that_cannot_be_split_goes_on_in_its_file() {
    let room = Room::live();
    let recording = room.record(600);
    room.started(ALL);
    // No further file can be made while the folder is another.
    let (folder, away) = (
        room.folder.path().join("in"),
        room.folder.path().join("away"),
    );
    fs::rename(&folder, &away).unwrap();
    let messages = room.during(ALL, Duration::from_millis(1500));
    let is_progress = |message| matches!(message, &WorkerMessage::RecordingProgress(_));
    assert!(messages.iter().all(is_progress), "{messages:?}");
    fs::rename(&away, &folder).unwrap();
    let progress = room.stop(recording, ALL);
    assert_eq!(name(&progress.path), "recording.webm");
    assert!(progress.duration_ms > 1400, "{progress:?}");
}

#[test]
fn a_file_is_finalised_though_the_next_one_cannot_be_made() {
    let room = Room::live();
    let recording = room.record(0);
    room.started(ALL);
    room.during(ALL, Duration::from_millis(300));
    let (folder, away) = (
        room.folder.path().join("in"),
        room.folder.path().join("away"),
    );
    fs::rename(&folder, &away).unwrap();
    let (progress, error) = room.finished(Show { side: 80, ..ALL });
    recording.join();
    let error = error.unwrap();
    assert!(error.contains("recording_part2.webm"), "{error}");
    assert!(is_finalised(&away.join(progress.path.file_name().unwrap())));
}

#[test]
fn what_was_published_after_a_change_is_in_a_further_file_though_the_recording_is_stopped_at_once()
{
    let room = Room::live();
    let recording = room.record(0);
    room.started(ALL);
    let other = Show { side: 80, ..ALL };
    let is_other = |unit: Unit| {
        let frame = unit.buffer.map_readable().unwrap();
        frame[6] == other.side
    };
    room.publish(other);
    while !room
        .video
        .tap
        .key_frame(room.timebase.now())
        .is_some_and(is_other)
    {
        thread::yield_now();
    }
    recording.stop();
    let (progress, error) = room.finished(Show::default());
    recording.join();
    assert_eq!(error, None);
    assert_eq!(name(&progress.path), "recording_part2.webm");
    assert!(progress.bytes > 2000, "{progress:?}");
}

#[test]
fn where_nothing_is_published_there_is_no_file_until_something_is() {
    let room = Room::new();
    let recording = room.record(0);
    let nothing = Show::default();
    let messages = room.during(nothing, Duration::from_millis(3500));
    assert!(messages.is_empty(), "{messages:?}");
    let files = || fs::read_dir(room.folder.path().join("in")).unwrap().count();
    assert_eq!(files(), 0);
    assert_eq!(room.started(ALL), "recording.webm");
    let progress = room.stop(recording, ALL);
    assert!(progress.duration_ms < 3000, "{progress:?}");
}

#[test]
fn a_recording_of_nothing_ends_without_a_file() {
    let room = Room::new();
    let recording = room.record(0);
    let progress = room.stop(recording, Show::default());
    assert_eq!((progress.bytes, progress.duration_ms), (0, 0));
    let files = fs::read_dir(room.folder.path().join("in")).unwrap();
    assert_eq!(files.count(), 0);
}

#[test]
fn what_has_the_name_already_stays_and_the_recording_takes_the_next_one() {
    let room = Room::live();
    let folder = room.folder.path().join("in");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("recording.webm"), "precious").unwrap();
    let recording = room.record(500);
    assert_eq!(room.started(ALL), "recording_part2.webm");
    assert_eq!(room.part_started(ALL), "recording_part3.webm");
    room.stop(recording, ALL);
    let kept = fs::read_to_string(folder.join("recording.webm")).unwrap();
    assert_eq!(kept, "precious");
}
