//! Workers that crash, hang, refuse; servers that die.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use futures_util::StreamExt;
use reqwest::StatusCode;
use rustix::process::{Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::{LIVE, Options, PATIENCE, Server, Upstream, Viewer, until_gone, worker_pid};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tokio_tungstenite::tungstenite::Message;

const START: &str = "/api/live-sessions/start";

async fn frame_of(viewer: &mut Viewer, process: &str) {
    loop {
        let next = timeout(PATIENCE, viewer.next()).await.expect("no frame");
        match next.expect("the connection ended").unwrap() {
            Message::Binary(jpeg) if jpeg.ends_with(process.as_bytes()) => return,
            Message::Close(close) => panic!("closed: {close:?}"),
            _ => {}
        }
    }
}

fn process(session: &Value) -> String {
    format!(" of {}", worker_pid(session).as_raw_nonzero())
}

#[tokio::test]
async fn a_killed_worker_is_replaced_and_viewers_stay() {
    let upstream = Upstream::start().await;
    let server = upstream.options().start().await;
    server.ok(START, json!({"mint_id": LIVE})).await;
    let mut viewer = server
        .watch(&format!("/api/live-sessions/ws/live/{LIVE}"))
        .await;
    let before = server.session(LIVE).await;
    frame_of(&mut viewer, &process(&before)).await;
    kill_process(worker_pid(&before), Signal::KILL).unwrap();
    let after = server
        .until(LIVE, |now| {
            now["state"] == "live" && now["participant_sid"] != before["participant_sid"]
        })
        .await;
    frame_of(&mut viewer, &process(&after)).await;
    assert_eq!(after["session_id"], before["session_id"]);
    assert_eq!(
        upstream.joins.lock().unwrap().len(),
        2,
        "a fresh token each time"
    );
    server.stop().await;
    until_gone(worker_pid(&after)).await;
}

#[tokio::test]
async fn a_worker_that_is_never_ready_is_given_up_and_leaves_nothing() {
    let server = Options::default().livekit().start().await;
    for room in ["never-ready", "no-join"] {
        let began = Instant::now();
        let (status, answer) = server.post(START, json!({"room_name": room})).await;
        assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains("connection"));
        assert_eq!(answer["code"], "livekit_connection_timeout");
        assert!(began.elapsed().as_secs() >= 9, "{room}");
        assert_eq!(server.session(room).await, Value::Null);
    }
    // `Server::stop` waits for all workers, and looks for left sockets.
    server.stop().await;
}

#[tokio::test]
async fn a_session_of_a_deleted_room_ends_by_itself() {
    let server = Options::default().livekit().start().await;
    server.start_room("deleted").await;
    let mut viewer = server.watch("/api/live-sessions/ws/live/deleted").await;
    let reason = async {
        loop {
            match viewer.next().await.unwrap().unwrap() {
                Message::Close(close) => return close.unwrap(),
                Message::Text(text) if text.starts_with("status:") => {
                    assert!(!text.contains("reconnecting"));
                }
                _ => {}
            }
        }
    };
    let close = timeout(PATIENCE, reason).await.unwrap();
    assert_eq!(
        (u16::from(close.code), close.reason.as_str()),
        (1000, "session ended")
    );
    server.until("deleted", Value::is_null).await;
    server.stop().await;
}

#[tokio::test]
async fn a_worker_that_asks_gets_a_fresh_token() {
    let server = Options::default().livekit().start().await;
    server.start_room("token").await;
    server
        .until("token", |session| session["participant_sid"] == "fresh 42")
        .await;
    server.stop().await;
}

#[tokio::test]
async fn a_worker_that_does_not_stop_is_killed() {
    let server = Options::default().livekit().start().await;
    server.start_room("stubborn").await;
    let pid = worker_pid(&server.session("stubborn").await);
    server
        .ok("/api/live-sessions/stop", json!({"mint_id": "stubborn"}))
        .await;
    assert!(test_kill_process(pid).is_err(), "it is still there");
    server.stop().await;
}

#[tokio::test]
async fn without_taking_up_a_dead_servers_recording_ends_as_interrupted() {
    let mut server = Options::default().livekit().start().await;
    server.start_room("room").await;
    let record = json!({"mint_id": "room", "output_format": "h264"});
    let started = server.ok("/api/recording/start", record).await;
    let pid = worker_pid(&server.session("room").await);
    server.signal(Signal::KILL);
    server.wait().await;
    // The orphan finalises its file and exits.
    until_gone(pid).await;

    let data = server.data.clone();
    let server = Options {
        data,
        ..Options::default()
    }
    .livekit()
    .arg("--resume=false")
    .start()
    .await;
    let stop = json!({"mint_id": "room"});
    let until = Instant::now() + PATIENCE;
    let ended = loop {
        let (status, answer) = server.post("/api/recording/stop", stop.clone()).await;
        if status == StatusCode::OK {
            break answer;
        }
        assert!(Instant::now() < until, "{answer}");
    };
    assert_eq!(ended["end_reason"], "interrupted");
    assert_eq!(ended["recording_id"], started["recording_id"]);
    let bytes = std::fs::metadata(started["output_path"].as_str().unwrap())
        .unwrap()
        .len();
    assert_eq!(ended["bytes"], bytes);
    assert_eq!(ended["duration_s"], bytes as f64 / 100.0);
    // Not the dead one's number, nor its session.
    assert_eq!(server.start_room("room").await["session_id"], 2);
    server.stop().await;
}

#[tokio::test]
async fn sigterm_finishes_recordings_and_leaves_no_process() {
    let mut server = Options::default().livekit().start().await;
    server.start_room("room").await;
    let record = json!({"mint_id": "room", "output_format": "h264"});
    let started = server.ok("/api/recording/start", record).await;
    let pid = worker_pid(&server.session("room").await);
    server.signal(Signal::TERM);
    assert!(server.wait().await.success());
    assert!(test_kill_process(pid).is_err(), "the worker is still there");

    let data = server.data.clone();
    let server = Options {
        data,
        ..Options::default()
    }
    .livekit()
    .arg("--resume=false")
    .start()
    .await;
    let last = server
        .ok("/api/recording/stop", json!({"mint_id": "room"}))
        .await;
    assert_eq!(last["recording_id"], started["recording_id"]);
    assert_eq!(last["end_reason"], "shutdown");
    server.stop().await;
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused() {
    let first = Server::start(Options::default()).await;
    let data = first.data.clone();
    let second = Options {
        data,
        ..Options::default()
    };
    let output = second
        .command()
        .stderr(std::process::Stdio::piped())
        .output();
    let output = timeout(PATIENCE, output).await.unwrap().unwrap();
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("another haven serve"), "{words}");
    first.stop().await;
}

#[tokio::test]
async fn without_a_worker_it_says_what_to_install() {
    let mut options = Options::default().livekit();
    options.worker = "/nowhere/haven-worker".into();
    let server = options.start().await;
    let (status, answer) = server.post(START, json!({"room_name": "room"})).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .contains("install haven-worker"),
        "{answer}"
    );
    let (status, _) = server.send(reqwest::Method::GET, "/readyz", "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let formats = server.get("/api/recording/formats").await;
    assert_eq!(formats["formats"]["h264"]["available"], false);
    server.stop().await;
}

#[tokio::test]
async fn a_client_in_the_middle_of_a_request_does_not_hold_up_the_end() {
    let server = Server::start(Options::default()).await;
    let mut clients = Vec::new();
    for said in [
        "",
        "GET / HTTP/1.1\r\n",
        "POST /api/live-sessions/stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
    ] {
        let mut client = TcpStream::connect(server.address).await.unwrap();
        client.write_all(said.as_bytes()).await.unwrap();
        clients.push(client);
    }
    // Answered only once the connections before it are accepted.
    server.get("/healthz").await;
    let since = Instant::now();
    server.stop().await;
    // Less than what a request's head or body may take.
    assert!(
        since.elapsed() < Duration::from_secs(12),
        "{:?}",
        since.elapsed()
    );
}
