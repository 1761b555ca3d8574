use crate::timebase::Timebase;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A file is at least this long: what is shorter, no muxer takes.
const SHORTEST: gst::ClockTime = gst::ClockTime::from_mseconds(100);
/// A file's end that isn't known.
const OPEN: u64 = u64::MAX;

/// A file's place in time, which its streams share: all of them begin and end at the same instant.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    origin: Arc<AtomicU64>,
    timebase: Timebase,
    end: Arc<AtomicU64>,
}

impl Span {
    /// A file that begins at the running time `origin`.
    pub(crate) fn new(origin: gst::ClockTime, timebase: Timebase) -> Self {
        Self {
            origin: Arc::new(AtomicU64::new(origin.nseconds())),
            timebase,
            end: Arc::new(AtomicU64::new(OPEN)),
        }
    }

    /// Running time of the file's begin.
    pub(crate) fn origin(&self) -> gst::ClockTime {
        gst::ClockTime::from_nseconds(self.origin.load(Ordering::Relaxed))
    }

    /// Has the file begin at another running time, before anything came into it.
    pub(crate) fn begin_at(&self, origin: gst::ClockTime) {
        self.origin.store(origin.nseconds(), Ordering::Relaxed);
    }

    /// This instant, in the file's time.
    pub(crate) fn now(&self) -> gst::ClockTime {
        self.timebase.now().saturating_sub(self.origin())
    }

    /// Where the file ends, in its own time, once that is known.
    pub(crate) fn end(&self) -> Option<gst::ClockTime> {
        let end = self.end.load(Ordering::Relaxed);
        (end != OPEN).then(|| gst::ClockTime::from_nseconds(end))
    }

    /// Nothing from `end` on, in the file's time, belongs into it. Of several ends the earliest holds,
    /// and none is before the shortest length of a file.
    pub(crate) fn end_at(&self, end: gst::ClockTime) {
        let end = end.max(SHORTEST);
        self.end.fetch_min(end.nseconds(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_ends_the_earliest_holds_that_is_not_too_early() {
        gst::init().unwrap();
        let ms = gst::ClockTime::from_mseconds;
        let span = Span::new(ms(1000), Timebase::start());
        assert_eq!(span.end(), None);
        for (end, held) in [(500, 500), (900, 500), (300, 300), (30, 100), (200, 100)] {
            span.end_at(ms(end));
            assert_eq!(span.end(), Some(ms(held)));
        }
    }
}
