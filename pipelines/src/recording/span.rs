use crate::timebase::Timebase;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A file's end that isn't known.
const OPEN: u64 = u64::MAX;

/// A file's place in time, which its streams share: all of them begin and end at the same instant.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    origin: gst::ClockTime,
    timebase: Timebase,
    end: Arc<AtomicU64>,
}

impl Span {
    /// A file that begins at the running time `origin`.
    pub(crate) fn new(origin: gst::ClockTime, timebase: Timebase) -> Self {
        Self {
            origin,
            timebase,
            end: Arc::new(AtomicU64::new(OPEN)),
        }
    }

    /// Running time of the file's begin.
    pub(crate) fn origin(&self) -> gst::ClockTime {
        self.origin
    }

    /// This instant, in the file's time.
    pub(crate) fn now(&self) -> gst::ClockTime {
        self.timebase.now().saturating_sub(self.origin)
    }

    /// Where the file ends, in its own time, once that is known.
    pub(crate) fn end(&self) -> Option<gst::ClockTime> {
        let end = self.end.load(Ordering::Relaxed);
        (end != OPEN).then(|| gst::ClockTime::from_nseconds(end))
    }

    /// Nothing from `end` on, in the file's time, belongs into it. Of several ends the first holds.
    pub(crate) fn end_at(&self, end: gst::ClockTime) {
        self.end.fetch_min(end.nseconds(), Ordering::Relaxed);
    }
}
