//! A file as an answer: ranges, validators, a name to save it under, and no more of it in memory
//! than is on its way.

use super::{
    range::{Version, Wanted, wanted},
    reply,
};
use crate::{Error, error::Kind, recordings::Served};
use futures_util::Stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};
use warp::{Reply, reply::Response};

/// Bytes of a file in memory at a time, per download.
const CHUNK_BYTES: usize = 64 << 10;

/// Answers a request for a file. `tag` tells it apart from all other files; `save` has a browser
/// save it instead of showing it.
pub(super) fn answer(served: Served, headers: &HeaderMap, tag: &str, save: bool) -> Response {
    let version = Version::new(tag, served.bytes, served.modified);
    let Served {
        file, bytes, name, ..
    } = served;
    let mut response = match wanted(headers, bytes, &version) {
        Wanted::NotModified => StatusCode::NOT_MODIFIED.into_response(),
        Wanted::Nothing => return not_satisfiable(bytes),
        Wanted::Whole => body(file, 0, bytes),
        Wanted::Bytes(first, last) => {
            let mut response = body(file, first, last - first + 1);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {first}-{last}/{bytes}");
            insert(response.headers_mut(), header::CONTENT_RANGE, &range);
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, version.etag);
    headers.insert(header::LAST_MODIFIED, version.modified);
    insert(headers, header::ACCEPT_RANGES, "bytes");
    insert(headers, header::CACHE_CONTROL, "private, no-cache");
    insert(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if response.status() != StatusCode::NOT_MODIFIED {
        let headers = response.headers_mut();
        insert(headers, header::CONTENT_TYPE, content_type(&name));
        let name = disposition(&name, save);
        insert(headers, header::CONTENT_DISPOSITION, &name);
    }
    response
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn not_satisfiable(bytes: u64) -> Response {
    let mut response = reply::problem(Error::new(
        Kind::RangeNotSatisfiable,
        "range_not_satisfiable",
        "The recording's file has no such bytes: ask for one range within it",
    ));
    let range = format!("bytes */{bytes}");
    insert(response.headers_mut(), header::CONTENT_RANGE, &range);
    response
}

/// The file's name, as RFC 6266 has it: plain for old clients, and in UTF-8.
fn disposition(name: &str, save: bool) -> String {
    let kind = if save { "attachment" } else { "inline" };
    let plain = |c: char| match c {
        'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-' => c,
        _ => '_',
    };
    let plain: String = name.chars().map(plain).collect();
    let exact = utf8_percent_encode(name, NON_ALPHANUMERIC);
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{exact}")
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("mp4") => "video/mp4",
        Some("webm") => "video/webm",
        Some("mkv") => "video/x-matroska",
        Some("wav") => "audio/wav",
        Some("ogg" | "opus") => "audio/ogg",
        _ => "application/octet-stream",
    }
}

fn body(file: File, first: u64, bytes: u64) -> Response {
    let mut response = warp::reply::stream(chunks(file, first, bytes)).into_response();
    let headers = response.headers_mut();
    insert(headers, header::CONTENT_LENGTH, &bytes.to_string());
    response
}

/// A part of a file in chunks, each read once the one before it is on its way. A file that turns out
/// shorter ends the answer with an error, so that nobody takes it for the whole.
fn chunks(
    file: File,
    first: u64,
    bytes: u64,
) -> impl Stream<Item = io::Result<Vec<u8>>> + Send + Sync + 'static {
    let start = (Some(file), first, bytes);
    futures_util::stream::try_unfold(start, async |(file, at, left)| {
        let Some(mut file) = file.filter(|_| left > 0) else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || {
            let most = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
            let mut chunk = vec![0; most];
            file.seek(SeekFrom::Start(at))?;
            let read = file.read(&mut chunk)?;
            chunk.truncate(read);
            Ok::<_, io::Error>((file, chunk))
        });
        let (file, chunk) = read.await.map_err(io::Error::other)??;
        if chunk.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = chunk.len() as u64;
        Ok(Some((chunk, (Some(file), at + length, left - length))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;

    #[tokio::test]
    async fn a_file_comes_in_small_chunks_and_not_short() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let bytes: Vec<u8> = (0..200_000u32).map(|byte| byte as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let open = || File::open(&path).unwrap();
        let all: Vec<_> = chunks(open(), 1, 199_998).try_collect().await.unwrap();
        assert!(all.iter().all(|chunk| chunk.len() <= CHUNK_BYTES));
        assert_eq!(all.concat(), bytes[1..199_999]);
        let short: Result<Vec<_>, _> = chunks(open(), 199_999, 2).try_collect().await;
        assert_eq!(short.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn names_are_safe_in_a_header() {
        assert_eq!(
            disposition("a\"\r\nü.mp4", true),
            "attachment; filename=\"a____.mp4\"; filename*=UTF-8''a%22%0D%0A%C3%BC%2Emp4"
        );
        assert!(disposition("a.mp4", false).starts_with("inline; filename=\"a.mp4\""));
    }
}
