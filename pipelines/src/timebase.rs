use gst::prelude::*;

/// The clock and base time that all pipelines of a session share, so that a buffer's running time
/// means the same instant in each of them.
#[derive(Clone, Debug)]
pub(crate) struct Timebase {
    clock: gst::Clock,
    base: gst::ClockTime,
}

impl Timebase {
    /// A time base whose running time is zero now.
    pub(crate) fn start() -> Self {
        let clock = gst::SystemClock::obtain();
        let base = clock.time();
        Self { clock, base }
    }

    /// A time base whose running time is that now.
    #[cfg(test)]
    pub(crate) fn started_ago(time: gst::ClockTime) -> Self {
        let begun = Self::start();
        Self {
            base: begun.base.saturating_sub(time),
            ..begun
        }
    }

    /// Running time of this instant.
    pub(crate) fn now(&self) -> gst::ClockTime {
        self.clock.time().saturating_sub(self.base)
    }

    /// Makes a pipeline tell time like the others; before it leaves the NULL state.
    pub(crate) fn adopt(&self, pipeline: &gst::Pipeline) {
        pipeline.use_clock(Some(&self.clock));
        // Without this, the pipeline would choose a base time of its own at PLAYING.
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(self.base);
    }
}
