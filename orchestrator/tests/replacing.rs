//! Workers that fail, stop or lag behind: what becomes of their sessions and recordings.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use support::{LIMITED, OVER, Options, PATIENCE, Server, Upstream, until_gone, worker_pid};

const RECORD: &str = "/api/recording/start";
const STOP: &str = "/api/recording/stop";

async fn recorded_room(name: &str) -> Server {
    let server = Options::default().livekit().start().await;
    server.start_room(name).await;
    let body = json!({"mint_id": name, "output_format": "h264"});
    server.ok(RECORD, body).await;
    server
}

async fn until_recorded(server: &Server, room: &str, part: usize) -> Value {
    let path = format!("/api/recording/status/{room}");
    let grown = |status: &Value| status["parts"][part]["bytes"].as_u64() > Some(20);
    server.until_get(&path, grown).await
}

async fn until_over(server: &Server) -> Value {
    let over = |answer: &Value| answer["recording"]["end_reason"].is_string();
    server.until_get("/api/recordings/1", over).await["recording"].clone()
}

fn bytes(part: &Value) -> u64 {
    fs::metadata(part["path"].as_str().unwrap()).unwrap().len()
}

#[tokio::test]
async fn a_worker_that_stops_unasked_is_replaced_and_its_recording_goes_on() {
    let server = recorded_room("room").await;
    until_recorded(&server, "room", 0).await;
    let pid = worker_pid(&server.session("room").await);
    kill_process(pid, Signal::TERM).unwrap();
    let status = until_recorded(&server, "room", 1).await;
    assert_eq!(status["parts"][0]["reason"], "worker_stopped");
    assert_eq!(status["parts"][0]["bytes"], bytes(&status["parts"][0]));
    let stopped = server.ok(STOP, json!({"mint_id": "room"})).await;
    assert_eq!(stopped["end_reason"], "stopped");
    assert_eq!(stopped["parts"].as_array().unwrap().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_deleted_room_is_why_its_recordings_end() {
    let server = recorded_room("closed").await;
    let recording = until_over(&server).await;
    assert_eq!(recording["end_reason"], "room_deleted");
    assert_eq!(recording["parts"][0]["reason"], "room_deleted");
    assert_eq!(recording["parts"].as_array().unwrap().len(), 1);
    server.until("closed", Value::is_null).await;
    server.stop().await;
}

#[tokio::test]
async fn a_session_outlives_what_its_worker_cannot_go_on_with() {
    let server = recorded_room("breaks").await;
    let status = until_recorded(&server, "breaks", 1).await;
    assert_eq!(status["parts"][0]["reason"], "worker_stopped");
    let session = server.session("breaks").await;
    assert_eq!(
        (&session["state"], &session["restarts"]),
        (&json!("live"), &json!(1))
    );
    server.stop().await;
}

#[tokio::test]
async fn a_recording_goes_on_while_its_cut_file_is_measured() {
    let server = recorded_room("slow").await;
    until_recorded(&server, "slow", 0).await;
    let pid = worker_pid(&server.session("slow").await);
    kill_process(pid, Signal::KILL).unwrap();
    let status = until_recorded(&server, "slow", 1).await;
    assert_eq!(status["parts"][0]["reason"], "worker_crashed");
    fs::write(server.recordings_dir().join("released"), "").unwrap();
    let stopped = server.ok(STOP, json!({"mint_id": "slow"})).await;
    for part in stopped["parts"].as_array().unwrap() {
        assert_eq!(part["bytes"], bytes(part));
        assert_eq!(part["duration_s"], bytes(part) as f64 / 100.0);
    }
    server.stop().await;
}

#[tokio::test]
async fn of_a_crash_loop_only_what_plays_is_left() {
    let server = recorded_room("hollow").await;
    until_recorded(&server, "hollow", 0).await;
    let pid = worker_pid(&server.session("hollow").await);
    kill_process(pid, Signal::KILL).unwrap();
    // Two workers begin a file and fail at once; the third one works.
    let session = server.until("hollow", |session| session["restarts"] == 3);
    session.await;
    let path = "/api/recording/status/hollow";
    let status = server.until_get(path, |status| {
        let parts = status["parts"].as_array();
        parts.is_some_and(|parts| parts.len() == 2 && parts[1]["bytes"].as_u64() > Some(20))
    });
    let status = status.await;
    assert_eq!(status["parts"][0]["part"], 1);
    let files = fs::read_dir(server.recordings_dir()).unwrap().flatten();
    let files = files.filter(|entry| entry.path().extension().is_some_and(|one| one == "mp4"));
    assert_eq!(files.count(), 2);
    let stopped = server.ok(STOP, json!({"mint_id": "hollow"})).await;
    assert_eq!(stopped["parts"].as_array().unwrap().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn an_orphaned_workers_file_is_waited_for() {
    let mut server = recorded_room("orphan").await;
    until_recorded(&server, "orphan", 0).await;
    let pid = worker_pid(&server.session("orphan").await);
    server.signal(Signal::KILL);
    server.wait().await;
    let data = server.data.clone();
    let next = Options {
        data,
        ..Options::default()
    };
    let server = next.livekit().arg("--resume=false").start().await;
    // It still holds its file.
    assert!(rustix::process::test_kill_process(pid).is_ok());
    let row = server.get("/api/recordings/1").await;
    assert_eq!(row["recording"]["state"], "recording");
    fs::write(server.recordings_dir().join("released"), "").unwrap();
    until_gone(pid).await;
    let recording = until_over(&server).await;
    assert_eq!(recording["end_reason"], "interrupted");
    let file = Path::new(recording["output_path"].as_str().unwrap());
    let bytes = fs::metadata(file).unwrap().len();
    assert!(bytes > 1000, "what it wrote last is in its file");
    assert_eq!(recording["bytes"], bytes);
    server.stop().await;
}

#[tokio::test]
async fn what_the_database_could_not_take_is_stored_later() {
    let server = recorded_room("room").await;
    until_recorded(&server, "room", 0).await;
    let database = server.data.path().join("haven.db");
    let connection = rusqlite::Connection::open(database).unwrap();
    for statement in [
        "CREATE TRIGGER full1 BEFORE UPDATE ON recording_files BEGIN SELECT RAISE(ABORT, 'full'); END",
        "CREATE TRIGGER full2 BEFORE UPDATE OF ended_at_ms ON recordings
         BEGIN SELECT RAISE(ABORT, 'full'); END",
    ] {
        connection.execute_batch(statement).unwrap();
    }
    let stopped = server.ok(STOP, json!({"mint_id": "room"})).await;
    let row = server.get("/api/recordings/1").await;
    assert_eq!(row["recording"]["state"], "recording");
    connection
        .execute_batch("DROP TRIGGER full1; DROP TRIGGER full2")
        .unwrap();
    let recording = until_over(&server).await;
    let fields = ["parts", "end_time", "end_reason", "bytes"];
    for field in fields {
        assert_eq!(recording[field], stopped[field], "{field}");
    }
    // So is what lies beside the file.
    let description = format!("{}.json", stopped["output_path"].as_str().unwrap());
    let until = Instant::now() + PATIENCE;
    loop {
        let text = fs::read(&description).unwrap();
        let described: Value = serde_json::from_slice(&text).unwrap();
        if fields
            .iter()
            .all(|field| described[field] == stopped[field])
        {
            break;
        }
        assert!(Instant::now() < until, "never as it was: {described}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_still_measured_when_the_server_ends_goes_on_under_the_next_one() {
    let mut server = recorded_room("slow").await;
    until_recorded(&server, "slow", 0).await;
    let pid = worker_pid(&server.session("slow").await);
    kill_process(pid, Signal::KILL).unwrap();
    let status = until_recorded(&server, "slow", 1).await;
    server.signal(Signal::TERM);
    // The worker has finished the second file, and the first one is still being measured.
    let database = server.data.path().join("haven.db");
    let connection = rusqlite::Connection::open(database).unwrap();
    let sql = "SELECT count(*) FROM recording_files WHERE part = 2 AND end_reason = 'shutdown'";
    let until = Instant::now() + PATIENCE;
    while connection.query_row(sql, [], |row| row.get(0)) != Ok(1) {
        assert!(Instant::now() < until, "the second file is never finished");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fs::write(server.recordings_dir().join("released"), "").unwrap();
    assert!(server.wait().await.success());
    let data = server.data.clone();
    let next = Options {
        data,
        ..Options::default()
    };
    let server = next.livekit().start().await;
    let later = until_recorded(&server, "slow", 2).await;
    assert_eq!(later["recording_id"], status["recording_id"]);
    let reasons = later["parts"].as_array().unwrap().iter();
    let reasons: Vec<_> = reasons.map(|part| part["reason"].as_str()).collect();
    assert_eq!(reasons, [Some("worker_crashed"), Some("shutdown"), None]);
    assert_eq!(later["parts"][0]["bytes"], bytes(&later["parts"][0]));
    server.stop().await;
}

#[tokio::test]
async fn a_disk_that_is_mounted_late_costs_a_recording_nothing() {
    let server = recorded_room("room").await;
    until_recorded(&server, "room", 0).await;
    let folder = server.recordings_dir();
    let elsewhere = server.data.path().join("not mounted");
    let data = server.data.clone();
    server.stop().await;
    fs::rename(&folder, &elsewhere).unwrap();
    let next = Options {
        data,
        ..Options::default()
    };
    let server = next.livekit().start().await;
    server
        .until("room", |session| session["state"] == "live")
        .await;
    let status = server.get("/api/recording/status/room").await;
    assert_eq!(status["parts"].as_array().unwrap().len(), 1, "{status}");
    assert!(!folder.exists(), "nothing is put where the disk belongs");
    fs::rename(&elsewhere, &folder).unwrap();
    let status = until_recorded(&server, "room", 1).await;
    assert_eq!(status["parts"][0]["bytes"], bytes(&status["parts"][0]));
    let stopped = server.ok(STOP, json!({"mint_id": "room"})).await;
    assert_eq!(stopped["parts"].as_array().unwrap().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_file_that_is_held_does_not_hold_up_the_recovery_of_others() {
    let mut server = recorded_room("held").await;
    server.start_room("room").await;
    let body = json!({"mint_id": "room", "output_format": "h264"});
    server.ok(RECORD, body).await;
    let held = until_recorded(&server, "held", 0).await;
    until_recorded(&server, "room", 0).await;
    let mut pids = Vec::new();
    for room in ["held", "room"] {
        pids.push(worker_pid(&server.session(room).await));
    }
    server.signal(Signal::KILL);
    server.wait().await;
    for pid in pids {
        until_gone(pid).await;
    }
    let file = fs::File::open(held["output_path"].as_str().unwrap()).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let data = server.data.clone();
    let next = Options {
        data,
        ..Options::default()
    };
    let server = next.livekit().arg("--resume=false").start().await;
    let over = |answer: &Value| answer["recording"]["state"] == "interrupted";
    server.until_get("/api/recordings/2", over).await;
    let first = server.get("/api/recordings/1").await;
    assert_eq!(first["recording"]["state"], "recording");
    drop(file);
    server.until_get("/api/recordings/1", over).await;
    server.stop().await;
}

#[tokio::test]
async fn a_recording_outlives_files_that_fail() {
    let server = recorded_room("faulty").await;
    let status = until_recorded(&server, "faulty", 2).await;
    for part in &status["parts"].as_array().unwrap()[..2] {
        assert_eq!(part["reason"], "error: a fault");
        assert_eq!(part["bytes"], bytes(part));
    }
    assert_eq!(server.session("faulty").await["restarts"], 0);
    let stopped = server.ok(STOP, json!({"mint_id": "faulty"})).await;
    assert_eq!(stopped["end_reason"], "stopped");
    assert_eq!(stopped["parts"].as_array().unwrap().len(), 3);
    server.stop().await;
}

#[tokio::test]
async fn a_recording_of_which_no_file_holds_anything_is_given_up() {
    let server = recorded_room("barren").await;
    let recording = until_over(&server).await;
    assert_eq!(recording["state"], "failed");
    assert_eq!(recording["end_reason"], "error: nothing gets out");
    // What was written before that is kept.
    let parts = recording["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 1, "{recording}");
    assert_eq!(parts[0]["bytes"], bytes(&parts[0]));
    assert_eq!(server.session("barren").await["state"], "live");
    server.stop().await;
}

#[tokio::test]
async fn a_worker_that_cannot_tell_how_long_a_file_is_does_not_make_it_empty() {
    let server = recorded_room("speechless").await;
    let status = until_recorded(&server, "speechless", 1).await;
    let part = &status["parts"][0];
    assert_eq!(part["reason"], "error: a fault");
    assert!(bytes(part) > 30);
    assert_eq!(part["bytes"], bytes(part));
    assert_eq!(part["duration_s"], bytes(part) as f64 / 100.0);
    server.stop().await;
}

#[tokio::test]
async fn a_file_for_which_nothing_came_is_not_listed() {
    let server = recorded_room("dries-up").await;
    until_recorded(&server, "dries-up", 0).await;
    let pid = worker_pid(&server.session("dries-up").await);
    kill_process(pid, Signal::KILL).unwrap();
    let two = |status: &Value| status["parts"].as_array().map(Vec::len) == Some(2);
    let path = "/api/recording/status/dries-up";
    server.until_get(path, two).await;
    let stopped = server.ok(STOP, json!({"mint_id": "dries-up"})).await;
    let parts = stopped["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 1, "{stopped}");
    assert_eq!(parts[0]["bytes"], bytes(&parts[0]));
    server.stop().await;
}

#[tokio::test]
async fn while_the_platform_wants_to_be_left_alone_no_session_asks_it() {
    let upstream = Upstream::start().await;
    let server = upstream.options().start().await;
    let start = json!({"mint_id": LIMITED});
    server.ok("/api/live-sessions/start", start).await;
    let pid = worker_pid(&server.session(LIMITED).await);
    kill_process(pid, Signal::KILL).unwrap();
    let waits = |session: &Value| {
        let reason = session["state_reason"].as_str().unwrap_or_default();
        reason.starts_with("room_unavailable: ")
    };
    let session = server.until(LIMITED, waits).await;
    assert_eq!(
        (&session["restarts"], &session["problem"]),
        (&json!(1), &Value::Null)
    );
    let joins = || upstream.joins.lock().unwrap().len();
    let before = joins();
    // Nothing may happen now: the first pauses would be half a second and a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(joins(), before);
    server.stop().await;
}

#[tokio::test]
async fn a_coin_that_is_over_when_its_worker_asks_for_a_token_ends_the_session() {
    let upstream = Upstream::start().await;
    let server = upstream.options().start().await;
    let start = json!({"mint_id": OVER});
    server.ok("/api/live-sessions/start", start).await;
    server.until(OVER, Value::is_null).await;
    server.stop().await;
}
