//! Which bytes of a file a request asks for: RFC 9110, 13.1.5 and 14.

use http::{HeaderMap, HeaderValue, header};
use jiff::{Timestamp, fmt::rfc2822, tz::TimeZone};
use std::time::SystemTime;

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// From the first byte to the last one, both counted from 0.
    Bytes(u64, u64),
    /// The client has it already.
    NotModified,
    /// No such bytes, or several ranges at once, which we don't do.
    Nothing,
}

/// What identifies a file's present content.
#[derive(Clone, Debug)]
pub(super) struct Version {
    /// A strong validator, with its quotes.
    pub(super) etag: HeaderValue,
    pub(super) modified: HeaderValue,
}

impl Version {
    /// The version of a file of this size that was last written then. `name` tells files of the
    /// same size and time apart.
    pub(super) fn new(name: &str, bytes: u64, modified: SystemTime) -> Self {
        let time = Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH);
        let etag = format!("\"{name}-{bytes:x}-{:x}\"", time.as_microsecond());
        let modified = rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&time)
            .unwrap_or_default();
        let value = |text: &str| {
            HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
        };
        Self {
            etag: value(&etag),
            modified: value(&modified),
        }
    }
}

/// What a request's headers ask for of a file with `bytes` bytes.
pub(super) fn wanted(headers: &HeaderMap, bytes: u64, version: &Version) -> Wanted {
    if has_it(headers, version) {
        return Wanted::NotModified;
    }
    let Some(range) = headers.get(header::RANGE) else {
        return Wanted::Whole;
    };
    // A range of another version's bytes is of no use: the whole is sent.
    let same = headers
        .get(header::IF_RANGE)
        .is_none_or(|seen| seen == version.etag || seen == version.modified);
    match range.to_str().ok().filter(|_| same) {
        Some(range) => parse(range, bytes),
        None => Wanted::Whole,
    }
}

fn has_it(headers: &HeaderMap, version: &Version) -> bool {
    if let Some(known) = headers.get(header::IF_NONE_MATCH) {
        let known = known.to_str().unwrap_or_default();
        let ours = version.etag.to_str().unwrap_or_default();
        let mut tags = known.split(',').map(|tag| tag.trim());
        return tags.any(|tag| tag == "*" || tag.trim_start_matches("W/") == ours);
    }
    let time = |value: &HeaderValue| {
        let text = value.to_str().ok()?;
        let zoned = rfc2822::DateTimeParser::new().parse_zoned(text).ok()?;
        Some(zoned.with_time_zone(TimeZone::UTC).timestamp())
    };
    headers
        .get(header::IF_MODIFIED_SINCE)
        .and_then(time)
        .zip(time(&version.modified))
        .is_some_and(|(since, modified)| modified <= since)
}

/// A unit other than bytes, or nonsense, is as if nothing had been asked for.
fn parse(range: &str, bytes: u64) -> Wanted {
    let Some((unit, ranges)) = range.split_once('=') else {
        return Wanted::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    if ranges.contains(',') {
        return Wanted::Nothing;
    }
    let Some((first, last)) = ranges.trim().split_once('-') else {
        return Wanted::Whole;
    };
    let number = |text: &str| match text {
        "" => Some(None),
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            // Larger than any file.
            Some(Some(text.parse().unwrap_or(u64::MAX)))
        }
        _ => None,
    };
    let (Some(first), Some(last)) = (number(first.trim()), number(last.trim())) else {
        return Wanted::Whole;
    };
    match (first, last) {
        (None, None) => Wanted::Whole,
        (Some(first), Some(last)) if last < first => Wanted::Whole,
        (Some(first), _) if first >= bytes => Wanted::Nothing,
        (Some(first), last) => Wanted::Bytes(first, last.unwrap_or(u64::MAX).min(bytes - 1)),
        (None, Some(0)) => Wanted::Nothing,
        (None, Some(_)) if bytes == 0 => Wanted::Nothing,
        (None, Some(suffix)) => Wanted::Bytes(bytes.saturating_sub(suffix), bytes - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn version() -> Version {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(1_762_948_800_123);
        Version::new("3-1", 100, modified)
    }

    fn asked(headers: &[(header::HeaderName, &str)]) -> Wanted {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect();
        wanted(&headers, 100, &version())
    }

    #[test]
    fn ranges_are_those_of_the_rfc() {
        for (range, expected) in [
            ("bytes=0-0", Wanted::Bytes(0, 0)),
            ("bytes=10-19", Wanted::Bytes(10, 19)),
            ("Bytes= 10 - 19 ", Wanted::Bytes(10, 19)),
            ("bytes=10-", Wanted::Bytes(10, 99)),
            ("bytes=99-99999999999999999999999", Wanted::Bytes(99, 99)),
            ("bytes=-1", Wanted::Bytes(99, 99)),
            ("bytes=-1000", Wanted::Bytes(0, 99)),
            ("bytes=100-", Wanted::Nothing),
            ("bytes=99999999999999999999999-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=0-1,5-6", Wanted::Nothing),
            ("bytes=9-8", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=--1", Wanted::Whole),
            ("bytes", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            assert_eq!(asked(&[(header::RANGE, range)]), expected, "{range}");
        }
        assert_eq!(parse("bytes=0-", 0), Wanted::Nothing);
        assert_eq!(parse("bytes=-5", 0), Wanted::Nothing);
    }

    #[test]
    fn a_range_of_another_version_is_the_whole() {
        let version = version();
        let range = (header::RANGE, "bytes=1-2");
        let (etag, modified) = (&version.etag, &version.modified);
        for (seen, expected) in [
            (etag.to_str().unwrap(), Wanted::Bytes(1, 2)),
            (modified.to_str().unwrap(), Wanted::Bytes(1, 2)),
            ("\"other\"", Wanted::Whole),
            ("Wed, 12 Nov 2025 12:00:01 GMT", Wanted::Whole),
        ] {
            let asked = asked(&[range.clone(), (header::IF_RANGE, seen)]);
            assert_eq!(asked, expected, "{seen}");
        }
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let etag = version().etag;
        let etag = etag.to_str().unwrap();
        for (name, value, has) in [
            (header::IF_NONE_MATCH, etag.to_owned(), true),
            (header::IF_NONE_MATCH, format!("\"x\", W/{etag}"), true),
            (header::IF_NONE_MATCH, "*".to_owned(), true),
            (header::IF_NONE_MATCH, "\"x\"".to_owned(), false),
            (
                header::IF_MODIFIED_SINCE,
                "Wed, 12 Nov 2025 12:00:00 GMT".to_owned(),
                true,
            ),
            (
                header::IF_MODIFIED_SINCE,
                "Wed, 12 Nov 2025 11:59:59 GMT".to_owned(),
                false,
            ),
            (header::IF_MODIFIED_SINCE, "yesterday".to_owned(), false),
        ] {
            let expected = if has {
                Wanted::NotModified
            } else {
                Wanted::Whole
            };
            assert_eq!(asked(&[(name, &value)]), expected, "{value}");
        }
    }
}
