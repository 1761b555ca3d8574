use std::time::Duration;

/// Longest pause before the first repeat; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause before any repeat.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// The pause before repeat `attempt` (0 is the first): full jitter, so that many clients that
/// failed together don't come back together. `unit` is a random number from 0 to 1.
pub(crate) fn backoff(attempt: u32, unit: f64) -> Duration {
    let longest = FIRST_PAUSE
        .saturating_mul(1u32.checked_shl(attempt).unwrap_or(u32::MAX))
        .min(LONGEST_PAUSE);
    longest.mul_f64(unit.clamp(0.0, 1.0))
}

/// What a `Retry-After` header asks for (RFC 9110, 10.2.3: seconds, or a date).
pub(crate) fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
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
    fn retry_after_is_seconds_or_a_date() {
        let now: jiff::Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let ask = |value| retry_after(value, now);
        assert_eq!(ask("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            ask("Sat, 21 Nov 2026 12:00:30 GMT"),
            Some(Duration::from_secs(30))
        );
        assert_eq!(ask("Sat, 21 Nov 2026 11:00:00 GMT"), Some(Duration::ZERO));
        for odd in ["", "-1", "soon", "1.5", "99999999999999999999999"] {
            assert_eq!(ask(odd), None, "{odd}");
        }
    }
}
