//! How long to wait before trying again.

use rand::RngExt;
use std::time::Duration;

/// Exponential backoff with full jitter: the n-th wait is anywhere between nothing and
/// `first · 2ⁿ⁻¹`, at most `longest`, so that a hundred sessions that lost the same server don't
/// come back together.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            attempts: 0,
        }
    }

    /// Attempts counted since the last [`Backoff::reset`].
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Counts an attempt and says how long to wait before it. The first one waits not at all.
    pub(crate) fn next(&mut self) -> Duration {
        let attempt = self.attempts;
        self.attempts += 1;
        if attempt == 0 {
            return Duration::ZERO;
        }
        let ceiling = self
            .first
            .saturating_mul(1 << (attempt - 1).min(16))
            .min(self.longest);
        ceiling.mul_f64(rand::rng().random::<f64>())
    }

    /// Lets the waits grow to this from now on.
    pub(crate) fn set_longest(&mut self, longest: Duration) {
        self.longest = longest;
    }

    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_ceiling_and_no_further() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        assert_eq!(backoff.next(), Duration::ZERO);
        for attempt in 0..100 {
            let ceiling = Duration::from_millis(100 << attempt.min(10)).min(Duration::from_secs(1));
            assert!(backoff.next() <= ceiling);
        }
        backoff.reset();
        assert_eq!(backoff.next(), Duration::ZERO);
    }
}
