use std::time::Duration;

/// Longest pause before the first repeat; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause before any repeat.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Longest pause after the first request of a poll that failed; it doubles from there.
const FIRST_POLL_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause of a poll that nobody asked for.
const LONGEST_POLL_PAUSE: Duration = Duration::from_secs(60);
/// A server that wants to be left alone for longer is asked after this nevertheless.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The pause before repeat `attempt` (0 is the first): full jitter, so that many clients that
/// failed together don't come back together. `unit` is a random number from 0 to 1.
pub(crate) fn backoff(attempt: u32, unit: f64) -> Duration {
    let longest = FIRST_PAUSE
        .saturating_mul(1u32.checked_shl(attempt).unwrap_or(u32::MAX))
        .min(LONGEST_PAUSE);
    longest.mul_f64(unit.clamp(0.0, 1.0))
}

/// The pause between two requests of a poll: the interval and up to a tenth, so that many processes
/// don't keep step. After `failures` in a row it doubles from one second up to a minute, with jitter;
/// it is no shorter than what the server asks for (an hour at most), nor than the interval once
/// something is `known`. None: no request is needed any more. `unit` is a random number from 0 to 1.
pub(crate) fn poll_pause(
    known: bool,
    failures: u32,
    interval: Option<Duration>,
    retry_after: Option<Duration>,
    unit: f64,
) -> Option<Duration> {
    let unit = unit.clamp(0.0, 1.0);
    let regular = interval.map(|interval| interval.saturating_add(interval.mul_f64(unit / 10.0)));
    if failures == 0 {
        return regular;
    }
    if known && regular.is_none() {
        return None;
    }
    let doubled = FIRST_POLL_PAUSE
        .saturating_mul(1u32.checked_shl(failures - 1).unwrap_or(u32::MAX))
        .min(LONGEST_POLL_PAUSE)
        .mul_f64((1.0 + unit) / 2.0);
    let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
    let least = regular.filter(|_| known).unwrap_or_default();
    Some(doubled.max(asked).max(least))
}

/// What a `Retry-After` header asks for (RFC 9110, 10.2.3: seconds, or a date), an hour at most.
pub(crate) fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    let asked = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
            Duration::try_from(date.duration_since(now)).unwrap_or_default()
        }
    };
    Some(asked.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        assert_eq!(backoff(0, 1.0), Duration::from_millis(250));
        assert_eq!(backoff(1, 1.0), Duration::from_millis(500));
        assert_eq!(backoff(3, 0.5), Duration::from_secs(1));
        for attempt in [5, 31, 32, u32::MAX] {
            assert_eq!(backoff(attempt, 1.0), LONGEST_PAUSE);
        }
        assert_eq!(backoff(9, 0.0), Duration::ZERO);
    }

    #[test]
    fn a_poll_keeps_its_interval_and_a_little_more() {
        let interval = Some(Duration::from_secs(30));
        assert_eq!(poll_pause(true, 0, interval, None, 0.0), interval);
        assert_eq!(
            poll_pause(true, 0, interval, None, 1.0),
            Some(Duration::from_secs(33))
        );
        assert_eq!(poll_pause(true, 0, None, None, 0.5), None);
    }

    #[test]
    fn a_poll_that_fails_slows_down_and_waits_as_asked() {
        let second = Duration::from_secs(1);
        let pause = |known, failures, interval, retry_after| {
            poll_pause(known, failures, interval, retry_after, 1.0)
        };
        assert_eq!(pause(false, 1, Some(30 * second), None), Some(second));
        assert_eq!(pause(false, 3, None, None), Some(4 * second));
        for failures in [7, 40, u32::MAX] {
            assert_eq!(pause(false, failures, None, None), Some(60 * second));
        }
        assert_eq!(pause(true, 1, Some(10 * second), None), Some(11 * second));
        assert_eq!(pause(true, 1, None, None), None);
        assert_eq!(pause(false, 1, None, Some(7 * second)), Some(7 * second));
        assert_eq!(
            pause(false, 1, None, Some(Duration::MAX)),
            Some(3600 * second)
        );
        assert_eq!(
            poll_pause(false, 1, None, None, 0.0),
            Some(Duration::from_millis(500))
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: jiff::Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let ask = |value| retry_after(value, now);
        assert_eq!(ask("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            ask("Sat, 21 Nov 2026 12:00:30 GMT"),
            Some(Duration::from_secs(30))
        );
        assert_eq!(ask("Sat, 21 Nov 2026 11:00:00 GMT"), Some(Duration::ZERO));
        for long in ["18446744073709551615", "Fri, 21 Nov 2036 12:00:00 GMT"] {
            assert_eq!(ask(long), Some(LONGEST_RETRY_AFTER), "{long}");
        }
        for odd in ["", "-1", "soon", "1.5", "99999999999999999999999"] {
            assert_eq!(ask(odd), None, "{odd}");
        }
    }
}
