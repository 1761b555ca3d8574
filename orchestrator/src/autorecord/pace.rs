//! When the platform's list is looked at next.

use crate::backoff::Backoff;
use std::time::Duration;

/// Longest pause while the platform can't be asked, unless it asks for more or the interval is
/// longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Part of the interval that is added at most, so that many servers don't keep step.
const JITTER: f64 = 0.1;
/// Shortest pause: clocks are coarse.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// How long until a list is too old that was fetched `age` ago. `unit` is a random number from 0
/// to 1.
pub(super) fn after_success(interval: Duration, age: Duration, unit: f64) -> Duration {
    let full = interval.mul_f64(1.0 + unit.clamp(0.0, 1.0) * JITTER);
    full.saturating_sub(age).max(SHORTEST_PAUSE)
}

/// How long to wait after `failures` in a row: growing, no shorter than the interval, nor than what
/// the platform `asked` for.
pub(super) fn after_failure(
    interval: Duration,
    failures: u32,
    asked: Duration,
    unit: f64,
) -> Duration {
    let mut backoff = Backoff::new(interval, LONGEST_PAUSE.max(interval));
    let mut pause = interval;
    for _ in 0..failures.min(16) {
        pause = backoff.next(unit);
    }
    let regular = after_success(interval, Duration::ZERO, unit);
    pause.max(regular).max(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_list_is_looked_at_again_when_it_is_too_old() {
        assert_eq!(after_success(10 * SECOND, 4 * SECOND, 0.0), 6 * SECOND);
        assert_eq!(after_success(10 * SECOND, Duration::ZERO, 1.0), 11 * SECOND);
        let late = after_success(10 * SECOND, 20 * SECOND, 1.0);
        assert_eq!(late, SHORTEST_PAUSE);
    }

    #[test]
    fn a_platform_that_fails_is_asked_less_often_and_not_before_it_wants_to_be() {
        let pause = |failures| after_failure(10 * SECOND, failures, Duration::ZERO, 1.0);
        assert_eq!(pause(1), 11 * SECOND);
        assert_eq!(pause(2), 20 * SECOND);
        assert_eq!(pause(3), 40 * SECOND);
        for failures in [4, 17, u32::MAX] {
            assert_eq!(pause(failures), LONGEST_PAUSE);
        }
        let asked = after_failure(10 * SECOND, 1, 300 * SECOND, 0.5);
        assert_eq!(asked, 300 * SECOND);
        let rare = after_failure(3600 * SECOND, 9, Duration::ZERO, 0.0);
        assert_eq!(rare, 3600 * SECOND);
    }
}
