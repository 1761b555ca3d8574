//! What was sent to whom, counted while it is sent.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a [`Hub`](crate::Hub) since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Viewers now.
    pub viewers: usize,
    /// Pictures that came in.
    pub frames_published: u64,
    /// Messages that were made of pictures: one of each for every protocol that somebody speaks,
    /// however many viewers there are.
    pub messages_built: u64,
    /// Pictures that went out, over all viewers.
    pub frames_sent: u64,
    /// Pictures that viewers did not get because they were slow or asked for fewer.
    pub frames_skipped: u64,
    /// Chunks of sound that came in.
    pub audio_published: u64,
    /// Chunks of sound that went out, over all viewers.
    pub audio_sent: u64,
    /// Chunks of sound that slow viewers lost.
    pub audio_lagged: u64,
    /// Bytes written to viewers.
    pub bytes_sent: u64,
}

/// What one viewer had so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewerStats {
    /// Pictures sent.
    pub frames_sent: u64,
    /// Pictures passed over after the first one: it was slow, or asked for fewer.
    pub frames_skipped: u64,
    /// Chunks of sound sent.
    pub audio_sent: u64,
    /// Chunks of sound lost because it was slow.
    pub audio_lagged: u64,
    /// Bytes written.
    pub bytes_sent: u64,
}

/// Counters of one viewer, to be read while it is served.
#[derive(Debug, Default)]
pub struct ViewerCounters {
    frames_sent: AtomicU64,
    frames_skipped: AtomicU64,
    audio_sent: AtomicU64,
    audio_lagged: AtomicU64,
    bytes_sent: AtomicU64,
}

impl ViewerCounters {
    /// What they say now.
    pub fn stats(&self) -> ViewerStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ViewerStats {
            frames_sent: load(&self.frames_sent),
            frames_skipped: load(&self.frames_skipped),
            audio_sent: load(&self.audio_sent),
            audio_lagged: load(&self.audio_lagged),
            bytes_sent: load(&self.bytes_sent),
        }
    }

    pub(crate) fn add(&self, more: ViewerStats) {
        for (counter, more) in [
            (&self.frames_sent, more.frames_sent),
            (&self.frames_skipped, more.frames_skipped),
            (&self.audio_sent, more.audio_sent),
            (&self.audio_lagged, more.audio_lagged),
            (&self.bytes_sent, more.bytes_sent),
        ] {
            if more > 0 {
                counter.fetch_add(more, Ordering::Relaxed);
            }
        }
    }
}

/// Counters of a hub.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) frames_published: AtomicU64,
    pub(crate) audio_published: AtomicU64,
    pub(crate) messages_built: AtomicU64,
    /// Over all viewers.
    pub(crate) sent: ViewerCounters,
}

impl Counters {
    pub(crate) fn stats(&self, viewers: usize) -> HubStats {
        let sent = self.sent.stats();
        HubStats {
            viewers,
            frames_published: self.frames_published.load(Ordering::Relaxed),
            messages_built: self.messages_built.load(Ordering::Relaxed),
            frames_sent: sent.frames_sent,
            frames_skipped: sent.frames_skipped,
            audio_published: self.audio_published.load(Ordering::Relaxed),
            audio_sent: sent.audio_sent,
            audio_lagged: sent.audio_lagged,
            bytes_sent: sent.bytes_sent,
        }
    }
}
