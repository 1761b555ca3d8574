//! Recordings of several files.

use crate::{recorded, server, split, support::Options};
use reqwest::StatusCode;
use serde_json::json;
use std::path::Path;

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
