//! Processor time between two moments of a stream.

use super::usage;
use crate::tap::{Consumer, Taken, Unit};
use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Watches what comes out of a tap, and takes the processor time when it has counted so much.
pub(super) struct Gauge {
    /// Buffers that come before the measurement.
    before: u32,
    /// Buffers of the measurement.
    wanted: u32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    seen: u32,
    /// Processor time when the measurement began.
    begin: Option<Duration>,
    /// Processor time since, and how many buffers there were.
    passed: Option<(Duration, u32)>,
}

impl Gauge {
    pub(super) fn new(before: u32, wanted: u32) -> Self {
        Self {
            before,
            wanted,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Processor seconds that a buffer took, of those that came within `limit` where not all did.
    ///
    /// # Errors
    /// When too few came for that.
    pub(super) fn per_buffer(&self, limit: Duration) -> Result<f64, String> {
        let until = Instant::now() + limit;
        let mut state = self.state.lock();
        while state.passed.is_none_or(|(_, count)| count < self.wanted) {
            if self.changed.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        match state.passed {
            Some((cpu, count)) => Ok(cpu.as_secs_f64() / f64::from(count)),
            None => Err(format!("only {} buffers came", state.seen)),
        }
    }
}

impl Consumer for Gauge {
    fn take(&self, _: &Unit) -> Taken {
        let mut state = self.state.lock();
        state.seen += 1;
        let counted = state.seen.saturating_sub(self.before);
        if let Ok(now) = usage::process_cpu()
            && state.seen >= self.before
            && counted <= self.wanted
        {
            match state.begin {
                None => state.begin = Some(now),
                Some(begin) => state.passed = Some((now.saturating_sub(begin), counted)),
            }
            self.changed.notify_one();
        }
        Taken::Done
    }
}
