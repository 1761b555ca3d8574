//! What the library tells of recordings.

use crate::{RECORD, recorded, server};
use reqwest::StatusCode;
use serde_json::{Value, json};

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
