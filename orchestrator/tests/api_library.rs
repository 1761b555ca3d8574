//! `/api/recordings` over HTTP: the library.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use support::{Options, Server};

const RECORD: &str = "/api/recording/start";
const STOP: &str = "/api/recording/stop";

/// Records a room for a moment; the answer to the stop.
async fn recorded(server: &Server, room: &str, more: Value) -> Value {
    server.start_room(room).await;
    let mut body = json!({"mint_id": room, "output_format": "h264"});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    server.ok(RECORD, body).await;
    let path = format!("/api/recording/status/{room}");
    let grown = |status: &Value| status["bytes"].as_u64() > Some(30);
    server.until_get(&path, grown).await;
    server.ok(STOP, json!({"mint_id": room})).await
}

/// As many parts as asked for, at least.
async fn split(server: &Server, room: &str, more: Value, parts: usize) -> Value {
    server.start_room(room).await;
    let mut body = json!({"mint_id": room, "output_format": "h264"});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    server.ok(RECORD, body).await;
    let path = format!("/api/recording/status/{room}");
    let enough = |status: &Value| {
        let known = status["parts"].as_array();
        known.is_some_and(|known| known.len() >= parts)
    };
    server.until_get(&path, enough).await;
    server.ok(STOP, json!({"mint_id": room})).await
}

async fn server() -> Server {
    Options::default().livekit().start().await
}

#[tokio::test]
async fn recordings_are_listed_newest_first_and_filtered() {
    let server = server().await;
    let empty = server.get("/api/recordings").await;
    assert_eq!(
        (&empty["total"], &empty["recordings"]),
        (&json!(0), &json!([]))
    );
    for room in ["a b", "c", "a b"] {
        recorded(&server, room, json!({})).await;
    }
    server
        .ok(RECORD, json!({"mint_id": "c", "output_format": "wav"}))
        .await;
    let ids = async |query: &str| {
        let answer = server.get(&format!("/api/recordings{query}")).await;
        let recordings = answer["recordings"].as_array().unwrap();
        let ids: Vec<_> = recordings
            .iter()
            .map(|one| one["recording_id"].as_i64().unwrap())
            .collect();
        (ids, answer["total"].as_i64().unwrap())
    };
    assert_eq!(ids("").await, (vec![4, 3, 2, 1], 4));
    assert_eq!(ids("?mint_id=a%20b").await, (vec![3, 1], 2));
    assert_eq!(ids("?mint_id=a+b&limit=1").await, (vec![3], 2));
    assert_eq!(ids("?limit=2&offset=1").await, (vec![3, 2], 4));
    assert_eq!(ids("?offset=9").await, (vec![], 4));
    assert_eq!(ids("?state=recording").await, (vec![4], 1));
    assert_eq!(ids("?state=finished&mint_id=c").await, (vec![2], 1));
    assert_eq!(ids("?state=failed").await, (vec![], 0));
    assert_eq!(ids("?unknown=x&state=").await, (vec![4, 3, 2, 1], 4));
    server.stop().await;
}

#[tokio::test]
async fn a_recording_shows_all_that_is_known_of_it() {
    let server = server().await;
    let stopped = recorded(&server, "gappy", json!({"audio": "streamer"})).await;
    let answer = server.get("/api/recordings/1").await;
    let one = &answer["recording"];
    for (field, value) in stopped.as_object().unwrap() {
        if field != "success" {
            assert_eq!(&one[field], value, "{field}");
        }
    }
    assert_eq!(one["gaps"], json!([{"at_s": 0.1, "for_s": 0.05}]));
    assert_eq!(one["dropped_frames"], 1);
    assert_eq!(one["audio"], "streamer");
    assert_eq!(
        (&one["state"], &one["kept"]),
        (&json!("finished"), &json!(false))
    );
    assert_eq!(
        (&one["joined"], &one["session_id"]),
        (&Value::Null, &json!(1))
    );
    assert_eq!(one["room_name"], "room of gappy");
    assert_eq!(one["stream_data"]["name"], "gappy");
    server.stop().await;
}

type Fault = (&'static str, &'static str, u16, &'static str);

/// Of a server on which recording 1 runs, of sound alone.
const READING: [Fault; 17] = [
    ("GET", "?limit=0", 422, "limit"),
    ("GET", "?limit=501", 422, "limit"),
    ("GET", "?limit=x", 422, "limit"),
    ("GET", "?offset=-1", 422, "offset"),
    ("GET", "?state=gone", 422, "interrupted"),
    ("POST", "", 405, "method"),
    ("GET", "/99", 404, "99"),
    ("GET", "/0", 404, "number"),
    ("GET", "/..%2f1", 404, "number"),
    ("GET", "/1/nothing", 404, "path"),
    ("GET", "/99/file", 404, "99"),
    ("GET", "/1/file?part=2", 404, "part 2"),
    ("GET", "/1/file?part=0", 422, "part"),
    ("GET", "/1/file?part=x", 422, "part"),
    ("GET", "/1/file?part=joined", 404, "joined"),
    ("GET", "/99/thumbnail", 404, "99"),
    ("GET", "/1/thumbnail", 404, "no picture"),
];
const CHANGING: [Fault; 9] = [
    ("PUT", "/1", 405, "method"),
    ("POST", "/1/file", 405, "method"),
    ("DELETE", "/99", 404, "99"),
    ("DELETE", "/1", 409, "stop it first"),
    ("POST", "/1/join", 409, "stop it first"),
    ("POST", "/99/join", 404, "99"),
    ("GET", "/1/join", 405, "method"),
    ("POST", "/99/keep", 404, "99"),
    ("GET", "/1/keep", 405, "method"),
];

#[tokio::test]
async fn every_fault_has_its_status_and_its_words() {
    let server = server().await;
    server.start_room("room").await;
    let body = json!({"mint_id": "room", "output_format": "wav"});
    server.ok(RECORD, body).await;
    for (method, path, status, words) in READING.into_iter().chain(CHANGING) {
        let name = format!("{method} {path}");
        let (method, path) = (method.parse().unwrap(), format!("/api/recordings{path}"));
        let (got, answer) = server.send(method, &path, "").await;
        assert_eq!(got.as_u16(), status, "{name}: {answer}");
        assert_eq!(answer["success"], false);
        assert!(answer["code"].is_string());
        let error = answer["error"].as_str().unwrap();
        assert!(
            error.contains(words) && error.to_lowercase().contains("recording"),
            "{name}: {error}"
        );
    }
    let body = json!({"keep": "x"});
    let (status, answer) = server.post("/api/recordings/1/keep", body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    let request = server.http.put(server.url("/api/recordings/1"));
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["allow"], "GET, HEAD, DELETE");
    server.stop().await;
}

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
async fn a_deleted_recording_leaves_nothing_but_a_note() {
    let server = server().await;
    let stopped = split(&server, "room", json!({"split_minutes": 0.1}), 3).await;
    server.ok("/api/recordings/1/join", json!({})).await;
    assert_eq!(
        server
            .fetch("/api/recordings/1/thumbnail", &[])
            .await
            .status(),
        StatusCode::OK
    );
    let files = || std::fs::read_dir(server.recordings_dir()).unwrap().count();
    let parts = stopped["parts"].as_array().unwrap().len();
    assert_eq!(
        files(),
        parts + 2,
        "the parts, the joined file, the description"
    );
    let (status, answer) = server.send(Method::DELETE, "/api/recordings/1", "").await;
    assert_eq!(
        (status, &answer["recording_id"]),
        (StatusCode::OK, &json!(1))
    );
    assert_eq!(files(), 0);
    let thumbnails = server.data.path().join("thumbnails");
    assert_eq!(std::fs::read_dir(thumbnails).unwrap().count(), 0);
    let (status, _) = server.send(Method::DELETE, "/api/recordings/1", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let data = server.data.clone();
    server.stop().await;
    let connection = rusqlite::Connection::open(data.path().join("haven.db")).unwrap();
    let note: (i64, String, i64) = connection
        .query_row(
            "SELECT recording_id, reason, bytes FROM recording_deletions",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!((note.0, note.1.as_str()), (1, "requested"));
    assert_eq!(note.2, 2 * stopped["bytes"].as_i64().unwrap());
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
async fn a_recording_is_split_by_length_and_by_size_without_a_gap() {
    let server = server().await;
    for (room, more) in [
        ("long", json!({"split_minutes": 0.1})),
        ("large", json!({"split_bytes": 65_536})),
    ] {
        let stopped = split(&server, room, more, 3).await;
        let parts = stopped["parts"].as_array().unwrap();
        for part in &parts[..parts.len() - 1] {
            assert_eq!(part["reason"], "split", "{room}");
            let path = part["path"].as_str().unwrap();
            assert_eq!(part["bytes"], std::fs::metadata(path).unwrap().len());
        }
        assert_eq!(parts.last().unwrap()["reason"], "stopped");
        assert_eq!(stopped["gaps"], json!([]), "{room}");
        let bytes: u64 = parts
            .iter()
            .map(|part| part["bytes"].as_u64().unwrap())
            .sum();
        assert_eq!(stopped["bytes"], bytes);
        let id = &stopped["recording_id"];
        let second = server
            .fetch(&format!("/api/recordings/{id}/file?part=2"), &[])
            .await;
        assert_eq!(second.content_length(), parts[1]["bytes"].as_u64());
    }
    server.stop().await;
}

#[tokio::test]
async fn the_configuration_splits_recordings_that_do_not_say() {
    let server = Options::default()
        .livekit()
        .arg("--split-bytes=65536")
        .start()
        .await;
    let stopped = split(&server, "room", json!({}), 2).await;
    assert_eq!(stopped["parts"][0]["reason"], "split");
    let stopped = recorded(&server, "other", json!({"split_bytes": 0})).await;
    assert_eq!(stopped["parts"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn parts_become_one_file_once() {
    let server = server().await;
    let stopped = split(&server, "room", json!({"split_minutes": 0.1}), 3).await;
    let answer = server.ok("/api/recordings/1/join", json!({})).await;
    let joined = &answer["recording"]["joined"];
    assert_eq!(joined["bytes"], stopped["bytes"]);
    assert_eq!(joined["duration_s"], stopped["duration_s"]);
    let path = joined["path"].as_str().unwrap().to_owned();
    assert!(path.ends_with("_joined.mp4"), "{path}");
    let file = server
        .fetch("/api/recordings/1/file?part=joined", &[])
        .await;
    assert_eq!(file.content_length(), stopped["bytes"].as_u64());
    // Again it is only told; gone, it is made anew.
    let again = server.ok("/api/recordings/1/join", json!({})).await;
    assert_eq!(again["recording"]["joined"]["path"], path);
    std::fs::remove_file(&path).unwrap();
    server.ok("/api/recordings/1/join", json!({})).await;
    assert!(Path::new(&path).exists());

    split(&server, "unfit", json!({"split_minutes": 0.1}), 2).await;
    let (status, answer) = server.post("/api/recordings/2/join", json!({})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("another size"));
    let names = std::fs::read_dir(server.recordings_dir())
        .unwrap()
        .flatten();
    let drafts = names.filter(|entry| entry.file_name().to_string_lossy().contains(".tmp"));
    assert_eq!(drafts.count(), 0);
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

/// Makes recordings look older than they are.
fn age(server_data: &Path, id: i64, days: i64) {
    let connection = rusqlite::Connection::open(server_data.join("haven.db")).unwrap();
    let changed = connection
        .execute(
            "UPDATE recordings SET ended_at_ms = ended_at_ms - ?2 WHERE id = ?1",
            [id, days * 24 * 3600 * 1000],
        )
        .unwrap();
    assert_eq!(changed, 1);
}

#[tokio::test]
async fn old_recordings_go_and_kept_and_running_ones_stay() {
    let server = server().await;
    for room in ["kept", "old", "new"] {
        recorded(&server, room, json!({})).await;
    }
    let kept = server.ok("/api/recordings/1/keep", json!({})).await;
    assert_eq!(kept["kept"], true);
    let data = server.data.clone();
    server.stop().await;
    age(data.path(), 1, 30);
    age(data.path(), 2, 30);
    let next = Options {
        data,
        ..Options::default()
    };
    let server = next.livekit().arg("--retain-days=7").start().await;
    let two = |answer: &Value| answer["total"] == 2;
    let left = server.until_get("/api/recordings", two).await;
    assert_eq!(left["recordings"][0]["recording_id"], 3);
    assert_eq!(left["recordings"][1]["recording_id"], 1);
    // Not kept any more, it goes too.
    server
        .ok("/api/recordings/1/keep", json!({"keep": false}))
        .await;
    server
        .until_get("/api/recordings", |answer| answer["total"] == 1)
        .await;
    server.stop().await;
}

#[tokio::test]
async fn the_oldest_recordings_go_when_all_take_too_much_space() {
    let server = Options::default()
        .livekit()
        .arg("--retain-bytes=1")
        .start()
        .await;
    server.start_room("running").await;
    server
        .ok(
            RECORD,
            json!({"mint_id": "running", "output_format": "h264"}),
        )
        .await;
    let stopped = recorded(&server, "over", json!({})).await;
    let path = PathBuf::from(stopped["output_path"].as_str().unwrap());
    server
        .until_get("/api/recordings", |answer| answer["total"] == 1)
        .await;
    assert!(!path.exists());
    let left = server.get("/api/recordings").await;
    assert_eq!(left["recordings"][0]["state"], "recording");
    server.stop().await;
}
