//! Growing pauses between tries.

use std::time::Duration;

/// Doubling pauses with jitter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Pauses from `first` up to `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// The next pause: between half of the doubled pause and all of it, so that many that failed
    /// together don't come back together. `unit` is a random number from 0 to 1.
    pub(crate) fn next(&mut self, unit: f64) -> Duration {
        let factor = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let full = self.first.saturating_mul(factor).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(0.5 + unit.clamp(0.0, 1.0) / 2.0)
    }

    /// After a success that lasted.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_anew_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let pauses: Vec<_> = (0..8).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        for _ in 0..100 {
            backoff.next(0.3);
        }
        backoff.reset();
        assert_eq!(backoff.next(0.0), Duration::from_millis(250));
    }
}
