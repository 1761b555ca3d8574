//! The files of recordings, and pictures of them.

use crate::{recorded, server, support::Server};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::PathBuf;

const FILE: &str = "/api/recordings/1/file";

/// A server whose recording 1 has ten bytes.
async fn ten_bytes() -> (Server, PathBuf) {
    let server = server().await;
    let stopped = recorded(&server, "a room", json!({})).await;
    let path = PathBuf::from(stopped["output_path"].as_str().unwrap());
    std::fs::write(&path, "0123456789").unwrap();
    (server, path)
}

#[tokio::test]
async fn a_file_says_what_it_is() {
    let (server, path) = ten_bytes().await;
    let whole = server.fetch(FILE, &[]).await;
    assert_eq!(whole.status(), StatusCode::OK);
    let headers = whole.headers().clone();
    assert_eq!(headers["content-type"], "video/mp4");
    assert_eq!(headers["content-length"], "10");
    assert_eq!(headers["accept-ranges"], "bytes");
    let name = path.file_name().unwrap().to_str().unwrap();
    let disposition = headers["content-disposition"].to_str().unwrap();
    assert!(
        disposition.starts_with(&format!("inline; filename=\"{name}\"")),
        "{disposition}"
    );
    assert_eq!(whole.text().await.unwrap(), "0123456789");
    let head = server.http.head(server.url(FILE)).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], "10");
    assert_eq!(head.headers()["etag"], headers["etag"]);
    assert_eq!(head.text().await.unwrap(), "");
    let saved = server.fetch(&format!("{FILE}?download=1"), &[]).await;
    let disposition = saved.headers()["content-disposition"].to_str().unwrap();
    assert!(disposition.starts_with("attachment"), "{disposition}");
    server.stop().await;
}

#[tokio::test]
async fn files_are_served_in_ranges() {
    let (server, _) = ten_bytes().await;
    let headers = server.fetch(FILE, &[]).await.headers().clone();
    let etag = headers["etag"].to_str().unwrap();
    let modified = headers["last-modified"].to_str().unwrap();
    let all = "0123456789";
    let two_to_four = ("range", "bytes=2-4");
    for (asked, status, range, body) in [
        (vec![two_to_four], 206, "bytes 2-4/10", "234"),
        (vec![("range", "bytes=7-")], 206, "bytes 7-9/10", "789"),
        (vec![("range", "bytes=-2")], 206, "bytes 8-9/10", "89"),
        (vec![("range", "bytes=-99")], 206, "bytes 0-9/10", all),
        (vec![("range", "bytes=0-99")], 206, "bytes 0-9/10", all),
        (vec![("range", "bytes=2-1")], 200, "", all),
        (vec![("range", "lines=2-4")], 200, "", all),
        (
            vec![two_to_four, ("if-range", etag)],
            206,
            "bytes 2-4/10",
            "234",
        ),
        (
            vec![two_to_four, ("if-range", modified)],
            206,
            "bytes 2-4/10",
            "234",
        ),
        (vec![two_to_four, ("if-range", "\"x\"")], 200, "", all),
        (vec![("if-none-match", etag)], 304, "", ""),
        (vec![("if-modified-since", modified)], 304, "", ""),
        (vec![("range", "bytes=10-")], 416, "bytes */10", ""),
        (vec![("range", "bytes=-0")], 416, "bytes */10", ""),
        (vec![("range", "bytes=0-1,4-5")], 416, "bytes */10", ""),
    ] {
        let response = server.fetch(FILE, &asked).await;
        assert_eq!(response.status().as_u16(), status, "{asked:?}");
        let told = response.headers().get("content-range");
        let told = told.map_or("", |value| value.to_str().unwrap());
        assert_eq!(told, range, "{asked:?}");
        let text = response.text().await.unwrap();
        match status {
            416 => assert!(text.contains("range_not_satisfiable"), "{text}"),
            _ => assert_eq!(text, body, "{asked:?}"),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_large_file_comes_whole_and_a_reader_may_leave() {
    let server = server().await;
    let stopped = recorded(&server, "room", json!({})).await;
    let bytes: Vec<u8> = (0..3_000_000u32).map(|byte| (byte % 251) as u8).collect();
    std::fs::write(stopped["output_path"].as_str().unwrap(), &bytes).unwrap();
    let mut leaver = server.fetch("/api/recordings/1/file", &[]).await;
    leaver.chunk().await.unwrap();
    drop(leaver);
    let whole = server.fetch("/api/recordings/1/file", &[]).await;
    assert_eq!(whole.bytes().await.unwrap(), bytes);
    server.stop().await;
}

#[tokio::test]
async fn nothing_outside_of_the_recordings_is_served_or_deleted() {
    let server = server().await;
    let secret = server.data.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let stopped = recorded(&server, "room", json!({})).await;
    let path = PathBuf::from(stopped["output_path"].as_str().unwrap());
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&secret, &path).unwrap();
    let response = server.fetch("/api/recordings/1/file", &[]).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["code"], "file_missing");
    // The link goes, what it leads to stays.
    let (status, _) = server.send(Method::DELETE, "/api/recordings/1", "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(secret.exists() && path.symlink_metadata().is_err());
    // A worker that names a file elsewhere isn't believed.
    let stopped = recorded(&server, "astray", json!({})).await;
    let path = PathBuf::from(stopped["output_path"].as_str().unwrap());
    assert_eq!(path.parent().unwrap(), server.recordings_dir());
    assert!(!stopped.to_string().contains("/etc/passwd"));
    server.stop().await;
}

#[tokio::test]
async fn a_picture_is_made_once() {
    let server = server().await;
    let stopped = recorded(&server, "room", json!({})).await;
    let first = server.fetch("/api/recordings/1/thumbnail", &[]).await;
    assert_eq!(first.headers()["content-type"], "image/jpeg");
    let first = first.text().await.unwrap();
    assert_eq!(first, format!("jpeg of {} bytes", stopped["bytes"]));
    std::fs::write(stopped["output_path"].as_str().unwrap(), "another film").unwrap();
    let again = server.fetch("/api/recordings/1/thumbnail", &[]).await;
    assert_eq!(again.text().await.unwrap(), first);
    server.stop().await;
}

#[tokio::test]
async fn the_publishers_own_encoding_decides_the_container() {
    let server = server().await;
    let stopped = recorded(&server, "room", json!({"output_format": "source"})).await;
    let config = &stopped["config"];
    assert_eq!(config["format"], "webm");
    assert_eq!(
        (&config["video_codec"], &config["encoder"]),
        (&json!("copy"), &Value::Null)
    );
    assert_eq!(config["video_bitrate"], Value::Null);
    assert!(stopped["output_path"].as_str().unwrap().ends_with(".webm"));
    let file = server.fetch("/api/recordings/1/file", &[]).await;
    assert_eq!(file.headers()["content-type"], "video/webm");

    let stopped = recorded(&server, "sound", json!({"output_format": "wav"})).await;
    assert_eq!(stopped["config"]["video_codec"], Value::Null);
    assert_eq!(stopped["config"]["audio_codec"], "pcm_s16le");
    let file = server.fetch("/api/recordings/2/file", &[]).await;
    assert_eq!(file.headers()["content-type"], "audio/wav");
    server.stop().await;
}
