//! What the `stats` property counts.

use livekit_room::{Frame, Kind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Totals since the element started.
#[derive(Default)]
pub(crate) struct Counters {
    video_frames: AtomicU64,
    video_bytes: AtomicU64,
    audio_frames: AtomicU64,
    audio_bytes: AtomicU64,
    dropped_frames: AtomicU64,
    reconnects: AtomicU64,
}

impl Counters {
    pub(crate) fn received(&self, frame: &Frame) {
        let (frames, bytes) = match frame.codec.kind() {
            Kind::Video => (&self.video_frames, &self.video_bytes),
            Kind::Audio => (&self.audio_frames, &self.audio_bytes),
        };
        frames.fetch_add(1, Relaxed);
        bytes.fetch_add(frame.data.len() as u64, Relaxed);
    }

    pub(crate) fn dropped(&self) {
        self.dropped_frames.fetch_add(1, Relaxed);
    }

    pub(crate) fn reconnected(&self) {
        self.reconnects.fetch_add(1, Relaxed);
    }

    fn all(&self) -> [(&'static str, &AtomicU64); 6] {
        [
            ("video-frames", &self.video_frames),
            ("video-bytes", &self.video_bytes),
            ("audio-frames", &self.audio_frames),
            ("audio-bytes", &self.audio_bytes),
            ("dropped-frames", &self.dropped_frames),
            ("reconnects", &self.reconnects),
        ]
    }

    pub(crate) fn reset(&self) {
        for (_, counter) in self.all() {
            counter.store(0, Relaxed);
        }
    }

    /// As the `stats` property has them.
    pub(crate) fn structure(&self) -> gst::Structure {
        let mut structure = gst::Structure::builder("livekitsrc-stats");
        for (name, counter) in self.all() {
            structure = structure.field(name, counter.load(Relaxed));
        }
        structure.build()
    }
}
