//! When a session's next worker is launched: after a pause that grows with each setback, and begins
//! anew once a worker has been in the room for a while.

use crate::{backoff::Backoff, worker::Timings};
use std::time::Duration;
use tokio::time::Instant;

/// So many workers that fail in a row are a crash loop.
const CRASH_LOOP: u32 = 3;

/// The setbacks of one session.
#[derive(Debug)]
pub(super) struct Restarts {
    backoff: Backoff,
    steady: Duration,
    /// Since when the worker that runs is in the room.
    joined_at: Option<Instant>,
    /// Setbacks of any kind since a worker was sound.
    setbacks: u32,
    /// Workers that failed among them.
    crashes: u32,
}

impl Restarts {
    pub(super) fn new(timings: &Timings) -> Self {
        Self {
            backoff: Backoff::new(timings.first_restart, timings.longest_restart),
            steady: timings.steady,
            joined_at: None,
            setbacks: 0,
            crashes: 0,
        }
    }

    /// The worker is in the room.
    pub(super) fn joined(&mut self, now: Instant) {
        self.joined_at.get_or_insert(now);
    }

    /// The worker is gone. One that was in the room for long was sound: what went wrong before it
    /// doesn't count any more. That no worker ran is no sign of soundness.
    pub(super) fn exited(&mut self, now: Instant) {
        let joined_at = self.joined_at.take();
        if joined_at.is_some_and(|since| now.duration_since(since) >= self.steady) {
            self.settle();
        }
    }

    /// The pause after a worker that failed.
    pub(super) fn after_crash(&mut self, unit: f64) -> Duration {
        self.crashes += 1;
        self.after_outage(unit)
    }

    /// The pause after the room, or its token, could not be had.
    pub(super) fn after_outage(&mut self, unit: f64) -> Duration {
        self.setbacks += 1;
        self.backoff.next(unit)
    }

    /// How many workers have failed in a row, where that is a crash loop.
    pub(super) fn crash_loop(&self) -> Option<u32> {
        (self.crashes >= CRASH_LOOP).then_some(self.crashes)
    }

    /// When the worker that runs counts as sound after a setback.
    pub(super) fn steady_deadline(&self) -> Option<Instant> {
        let since = self.joined_at.filter(|_| self.setbacks > 0)?;
        Some(since + self.steady)
    }

    /// A worker is sound: pauses begin anew.
    pub(super) fn settle(&mut self) {
        self.backoff.reset();
        self.setbacks = 0;
        self.crashes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn restarts() -> Restarts {
        Restarts::new(&Timings::default())
    }

    #[test]
    fn while_nobody_gives_a_token_the_pauses_grow_however_long_ago_the_last_launch_was() {
        let (mut restarts, start) = (restarts(), Instant::now());
        restarts.joined(start);
        let mut now = start + 10 * MINUTE;
        restarts.exited(now);
        let mut pauses = vec![restarts.after_crash(1.0)];
        for _ in 0..7 {
            now += MINUTE;
            pauses.push(restarts.after_outage(1.0));
        }
        let seconds: Vec<_> = pauses.iter().map(Duration::as_secs_f64).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        assert_eq!(restarts.crash_loop(), None, "no worker has failed again");
    }

    #[test]
    fn a_worker_that_was_in_the_room_for_long_was_sound() {
        let (mut restarts, start) = (restarts(), Instant::now());
        for _ in 0..3 {
            restarts.joined(start);
            restarts.exited(start + MINUTE / 2);
            restarts.after_crash(1.0);
        }
        assert_eq!(restarts.crash_loop(), Some(3));
        assert_eq!(restarts.steady_deadline(), None, "no worker runs");
        restarts.joined(start);
        assert_eq!(restarts.steady_deadline(), Some(start + MINUTE));
        restarts.exited(start + MINUTE);
        assert_eq!(restarts.crash_loop(), None);
        assert_eq!(restarts.after_crash(1.0), Duration::from_millis(500));
    }
}
