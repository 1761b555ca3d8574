//! Lengths, sizes and rates, as people write and read them.

use std::time::Duration;

/// Longest length that is read: what an option's value must stay below.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads a length: `90`, `90s`, `5m`, `1h30m`.
///
/// # Errors
/// What is expected.
pub(super) fn parse_length(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a length as 90, 90s, 5m or 1h30m".to_owned();
    if let Ok(seconds) = text.parse::<f64>() {
        let length = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
        return within(length).ok_or_else(wrong);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_s = match &rest[digits..=digits] {
            "h" => 3600,
            "m" => 60,
            "s" => 1,
            _ => return Err(wrong()),
        };
        let seconds = count.checked_mul(unit_s).ok_or_else(wrong)?;
        total = total
            .checked_add(Duration::from_secs(seconds))
            .ok_or_else(wrong)?;
        rest = &rest[digits + 1..];
    }
    within(total).ok_or_else(wrong)
}

fn within(length: Duration) -> Option<Duration> {
    (Duration::ZERO < length && length < LONGEST).then_some(length)
}

/// Reads a size: `500MB`, `2GiB`, `1000000B`.
///
/// # Errors
/// What is expected.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "expected a size as 500MB or 2GiB".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let count: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = match text[digits..].to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return Err(wrong()),
    };
    count
        .checked_mul(unit)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(wrong)
}

/// `1:02:03` or `2:03`.
pub(super) fn clock(ms: u64) -> String {
    let seconds = ms / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        hours => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// `12.3 MB`.
pub(super) fn size(bytes: u64) -> String {
    scaled(bytes as f64, "B", &["kB", "MB", "GB", "TB"])
}

/// `1.9 Mbit/s`.
pub(super) fn rate(bits_per_second: f64) -> String {
    scaled(bits_per_second, "bit/s", &["kbit/s", "Mbit/s", "Gbit/s"])
}

fn scaled(value: f64, unit: &str, larger: &[&str]) -> String {
    let (mut value, mut shown) = (value, unit);
    for unit in larger {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        shown = unit;
    }
    match shown == unit {
        true => format!("{value:.0} {shown}"),
        false => format!("{value:.1} {shown}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90", 90.0),
            ("0.5", 0.5),
            ("90s", 90.0),
            ("5m", 300.0),
            ("1h30m", 5400.0),
            ("1h1s", 3601.0),
        ] {
            assert_eq!(parse_length(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for wrong in [
            "",
            "0",
            "-1",
            "x",
            "5 m",
            "5d",
            "m",
            "inf",
            "NaN",
            "99999999999999999999h",
        ] {
            assert!(parse_length(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_size("500MB"), Ok(500_000_000));
        assert_eq!(parse_size("2gib"), Ok(2 << 30));
        assert_eq!(parse_size("1B"), Ok(1));
        for wrong in [
            "",
            "5",
            "0MB",
            "MB",
            "-1MB",
            "99999999999GiB",
            "1.5MB",
            "5m",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(clock(3_723_900), "1:02:03");
        assert_eq!(clock(63_000), "1:03");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(12_345_678), "12.3 MB");
        assert_eq!(rate(1_900_000.0), "1.9 Mbit/s");
        assert_eq!(rate(0.0), "0 bit/s");
    }
}
