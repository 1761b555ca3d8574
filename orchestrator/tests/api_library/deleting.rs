//! Recordings that go, since somebody says so or by themselves.

use crate::{RECORD, recorded, server, split, support::Options};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

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
