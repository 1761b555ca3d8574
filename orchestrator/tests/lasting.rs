//! Sessions and recordings that outlive workers and servers, and what is told of them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use reqwest::{Method, StatusCode};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use support::{LIVE, OFFLINE, Options, Server, Upstream, events::Events, worker_pid};

const RECORD: &str = "/api/recording/start";
const STOP: &str = "/api/recording/stop";

async fn room(name: &str) -> Server {
    let server = Options::default().livekit().start().await;
    server.start_room(name).await;
    server
}

async fn record(server: &Server, room: &str) -> Value {
    let body = json!({"mint_id": room, "output_format": "h264"});
    server.ok(RECORD, body).await
}

async fn until_recorded(server: &Server, room: &str, part: usize) -> Value {
    let path = format!("/api/recording/status/{room}");
    let grown = |status: &Value| status["parts"][part]["bytes"].as_u64() > Some(20);
    server.until_get(&path, grown).await
}

#[tokio::test]
async fn after_a_crash_of_the_server_the_recording_goes_on_in_a_new_part() {
    let server = room("room").await;
    let started = record(&server, "room").await;
    until_recorded(&server, "room", 0).await;
    let before = server.session("room").await;
    let server = server.killed(Options::default().livekit()).await;

    let live = |session: &Value| session["state"] == "live";
    let session = server.until("room", live).await;
    assert_eq!(session["session_id"], before["session_id"]);
    assert_eq!(session["started_at"], before["started_at"]);
    let status = until_recorded(&server, "room", 1).await;
    assert_eq!(status["recording_id"], started["recording_id"]);
    assert_eq!(status["parts"][0]["reason"], "server_died");
    assert_eq!(status["output_path"], started["output_path"]);
    let stopped = server.ok(STOP, json!({"mint_id": "room"})).await;
    assert_eq!(stopped["parts"].as_array().unwrap().len(), 2);
    assert_eq!(stopped["gaps"].as_array().unwrap().len(), 1, "{stopped}");
    assert_eq!(stopped["end_reason"], "stopped");
    for part in stopped["parts"].as_array().unwrap() {
        let file = std::fs::metadata(part["path"].as_str().unwrap()).unwrap();
        assert_eq!(part["bytes"], file.len());
        assert_eq!(part["duration_s"], file.len() as f64 / 100.0);
    }
    server.stop().await;
}

#[tokio::test]
async fn after_a_restart_of_the_server_what_ran_goes_on_and_what_was_stopped_does_not() {
    let server = Options::default().livekit().start().await;
    for name in ["runs", "stopped", "half"] {
        server.start_room(name).await;
        record(&server, name).await;
    }
    server
        .ok("/api/live-sessions/stop", json!({"mint_id": "stopped"}))
        .await;
    server.ok(STOP, json!({"mint_id": "half"})).await;
    let data = server.data.clone();
    server.stop().await;
    let options = |data| Options {
        data,
        ..Options::default()
    };
    let server = options(data.clone()).livekit().start().await;
    let status = until_recorded(&server, "runs", 1).await;
    assert_eq!(status["parts"][0]["reason"], "shutdown");
    assert_eq!(server.session("stopped").await, Value::Null);
    // Its session goes on, its recording had been stopped.
    assert!(server.session("half").await["session_id"].is_number());
    assert_eq!(server.session("half").await["recording"], false);
    let library = server.get("/api/recordings?state=recording").await;
    assert_eq!(library["total"], 1);
    // A restart later it still runs; told not to, it ends.
    server.stop().await;
    let server = options(data).livekit().arg("--resume=false").start().await;
    assert_eq!(server.session("runs").await, Value::Null);
    let library = server
        .until_get("/api/recordings", |answer| {
            let recordings = answer["recordings"].as_array().unwrap();
            recordings.iter().all(|one| one["state"] == "finished")
        })
        .await;
    assert_eq!(library["total"], 3);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_over_when_the_server_comes_back_ends_its_session() {
    let upstream = Upstream::start().await;
    let server = upstream.options().start().await;
    server
        .ok("/api/live-sessions/start", json!({"mint_id": LIVE}))
        .await;
    record(&server, LIVE).await;
    until_recorded(&server, LIVE, 0).await;
    // The same coin's stream, as an upstream sees it that knows it as offline.
    let database = server.data.path().join("haven.db");
    let data = server.data.clone();
    server.stop().await;
    let connection = rusqlite::Connection::open(database).unwrap();
    connection
        .execute("UPDATE live_sessions SET key = ?1", [OFFLINE])
        .unwrap();
    connection
        .execute("UPDATE recordings SET key = ?1", [OFFLINE])
        .unwrap();
    drop(connection);
    let server = Options {
        data,
        ..upstream.options()
    }
    .start()
    .await;
    server.until(OFFLINE, Value::is_null).await;
    let over = |answer: &Value| answer["recording"]["state"] == "finished";
    let answer = server.until_get("/api/recordings/1", over).await;
    assert_eq!(answer["recording"]["end_reason"], "room_deleted");
    server.stop().await;
}

#[tokio::test]
async fn an_outage_of_the_room_is_outlived() {
    let server = room("outage").await;
    let first = server.session("outage").await;
    kill_process(worker_pid(&first), Signal::KILL).unwrap();
    let back = |session: &Value| {
        session["state"] == "live" && session["participant_sid"] != first["participant_sid"]
    };
    let session = server.until("outage", back).await;
    // The one that was killed, and two that found no room.
    assert_eq!(session["restarts"], 3);
    assert_eq!(session["session_id"], first["session_id"]);
    server.stop().await;
}

#[tokio::test]
async fn a_crash_loop_is_noticed_and_said() {
    let server = Options::default().livekit().start().await;
    let mut events = Events::open(&server, None).await;
    server.start_room("crash-loop").await;
    let loops = |session: &Value| session["problem"]["code"] == "crash_loop";
    let session = server.until("crash-loop", loops).await;
    assert!(session["restarts"].as_u64().unwrap() >= 3);
    assert!(
        session["state_reason"]
            .as_str()
            .unwrap()
            .starts_with("worker_failed")
    );
    let message = session["problem"]["message"].as_str().unwrap();
    assert!(message.contains("in a row"), "{message}");
    loop {
        let (_, event) = events.until("session.state").await;
        if event["problem"]["code"] == "crash_loop" {
            assert_eq!(event["state"], "reconnecting");
            break;
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn every_state_of_a_session_is_told_shown_and_stored() {
    let server = Options::default().livekit().start().await;
    let mut events = Events::open(&server, None).await;
    let started = server.start_room("wandering").await;
    let (_, event) = events.until("session.started").await;
    assert_eq!(event["mint_id"], "wandering");
    assert_eq!(event["session_id"], started["session_id"]);
    for (state, reason) in [
        ("waiting", json!("no_publisher")),
        ("reconnecting", json!("connection_lost")),
        ("live", Value::Null),
    ] {
        let (_, event) = events.until("session.state").await;
        assert_eq!(
            (&event["state"], &event["reason"]),
            (&json!(state), &reason)
        );
    }
    let session = server.session("wandering").await;
    assert_eq!(
        (&session["state"], &session["state_reason"]),
        (&json!("live"), &Value::Null)
    );
    server
        .ok("/api/live-sessions/stop", json!({"mint_id": "wandering"}))
        .await;
    let (_, event) = events.until("session.ended").await;
    assert_eq!(
        (&event["state"], &event["reason"]),
        (&json!("ended"), &json!("stopped"))
    );
    let data = server.data.clone();
    server.stop().await;
    // The stream ends with the server.
    while events.next().await.is_some() {}
    let connection = rusqlite::Connection::open(data.path().join("haven.db")).unwrap();
    let stored: (String, String, i64) = connection
        .query_row(
            "SELECT state, state_reason, wanted FROM live_sessions",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!(stored, ("ended".into(), "stopped".into(), 0));
}

#[tokio::test]
async fn events_can_be_asked_for_again() {
    let server = room("room").await;
    let mut live = Events::open(&server, None).await;
    record(&server, "room").await;
    let (id, event) = live.until("recording.started").await;
    assert_eq!(
        (&event["mint_id"], &event["state"]),
        (&json!("room"), &json!("recording"))
    );
    server.ok(STOP, json!({"mint_id": "room"})).await;
    let (last, _) = live.until("recording.finished").await;
    let mut again = Events::open(&server, Some(&id)).await;
    assert_eq!(again.next().await.unwrap().0, last);
    // An id of another server's life: all that is kept.
    let mut other = Events::open(&server, Some("0-99")).await;
    assert_eq!(other.next().await.unwrap().1["type"], "session.started");
    let (status, _) = server.send(Method::POST, "/api/events", "").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    server.stop().await;
}

#[tokio::test]
async fn a_page_gets_events_and_media_with_a_token_in_the_address() {
    let server = Options::default()
        .env("HAVEN_API_TOKEN", "s3cret")
        .start()
        .await;
    for (path, status) in [
        ("/api/events", 401),
        ("/api/events?token=wrong", 401),
        ("/api/events?token=s3cret", 200),
        ("/api/recordings/1/file?token=s3cret", 404),
        ("/api/recordings/1/thumbnail?token=s3cret", 404),
        ("/api/recordings/1/thumbnail", 401),
        ("/api/recordings?token=s3cret", 401),
    ] {
        assert_eq!(
            server.fetch(path, &[]).await.status().as_u16(),
            status,
            "{path}"
        );
    }
    let (status, _) = server
        .send(Method::DELETE, "/api/recordings/1?token=s3cret", "")
        .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    server.stop().await;
}

#[tokio::test]
async fn a_recording_is_described_beside_its_file() {
    let upstream = Upstream::start().await;
    let server = upstream.options().start().await;
    server
        .ok("/api/live-sessions/start", json!({"mint_id": LIVE}))
        .await;
    let started = record(&server, LIVE).await;
    let path = format!("{}.json", started["output_path"].as_str().unwrap());
    let read = || -> Value { serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap() };
    assert_eq!(read()["state"], "recording");
    until_recorded(&server, LIVE, 0).await;
    let pid = worker_pid(&server.session(LIVE).await);
    kill_process(pid, Signal::KILL).unwrap();
    until_recorded(&server, LIVE, 1).await;
    assert_eq!(read()["parts"][0]["reason"], "worker_crashed");
    let stopped = server.ok(STOP, json!({"mint_id": LIVE})).await;
    let described = read();
    for field in [
        "parts",
        "gaps",
        "start_time",
        "end_time",
        "end_reason",
        "output_format",
    ] {
        assert_eq!(described[field], stopped[field], "{field}");
    }
    assert_eq!(described["software"]["name"], "Haven");
    assert_eq!(described["stream_data"]["symbol"], "KIND");
    assert_eq!(described["room_name"], format!("room of {LIVE}"));
    assert_eq!(described["session_id"], 1);
    let folder = server.recordings_dir();
    let drafts = std::fs::read_dir(folder).unwrap().flatten();
    let drafts: Vec<_> = drafts
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".tmp"))
        .collect();
    assert!(drafts.is_empty(), "{drafts:?}");
    server.stop().await;
}

/// On a disk of its own in memory, so that nobody else fills it.
#[tokio::test]
async fn before_the_disk_is_full_recordings_are_finalised() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let space = rustix::fs::statvfs(folder.path()).unwrap();
    let free = space.f_bavail * space.f_frsize;
    let reserve = free - (free / 4).min(32 << 20);
    let server = Options::default()
        .livekit()
        .arg(&format!("--recording-dir={}", folder.path().display()))
        .arg(&format!("--disk-reserve-bytes={reserve}"))
        .start()
        .await;
    server.start_room("room").await;
    record(&server, "room").await;
    until_recorded(&server, "room", 0).await;
    let filler = std::fs::File::create(folder.path().join("filler")).unwrap();
    let flags = rustix::fs::FallocateFlags::empty();
    rustix::fs::fallocate(&filler, flags, 0, (free / 4).min(32 << 20) + (1 << 20)).unwrap();
    let over = |answer: &Value| answer["recording"]["state"] == "finished";
    let answer = server.until_get("/api/recordings/1", over).await;
    assert_eq!(answer["recording"]["end_reason"], "disk_full");
    assert_eq!(answer["recording"]["parts"][0]["reason"], "disk_full");
    // The session goes on; another recording is refused.
    assert_eq!(server.session("room").await["state"], "live");
    let body = json!({"mint_id": "room", "output_format": "h264"});
    let (status, _) = server.post(RECORD, body).await;
    assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE);
    server.stop().await;
}
