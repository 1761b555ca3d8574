//! `/healthz`, `/readyz` and `/metrics`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use futures_util::StreamExt;
use reqwest::StatusCode;
use serde_json::json;
use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, time::Duration};
use support::{Options, PATIENCE, Server, worker_pid};
use tokio::time::timeout;

/// Samples by name and labels. Whatever Prometheus could not read is a failure.
async fn metrics(server: &Server) -> BTreeMap<String, f64> {
    let response = server
        .http
        .get(server.url("/metrics"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let text = response.text().await.unwrap();
    let mut types = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(
                types.insert(name.to_owned(), kind.to_owned()).is_none(),
                "{line}"
            );
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = name.split('{').next().unwrap();
            let counter = types[family] == "counter";
            assert_eq!(counter, family.ends_with("_total"), "{line}");
            assert!(
                samples
                    .insert(name.to_owned(), value.parse().unwrap())
                    .is_none(),
                "{line}"
            );
        }
    }
    samples
}

#[tokio::test]
async fn a_sound_server_is_alive_and_ready() {
    let server = Server::start(Options::default()).await;
    for path in ["/healthz", "/health"] {
        assert_eq!(
            server.get(path).await,
            json!({"success": true, "status": "ok"})
        );
    }
    let ready = server.get("/readyz").await;
    assert_eq!(
        (&ready["success"], &ready["status"]),
        (&json!(true), &json!("ready"))
    );
    assert_eq!(ready["worker_version"], "fake");
    assert!(!server.recordings_dir().exists(), "looking changes nothing");
    server.stop().await;
}

#[tokio::test]
async fn what_keeps_a_server_from_working_is_said() {
    let mut options = Options::default();
    let missing = options.data.path().join("no-worker");
    options.worker = missing;
    std::fs::write(options.data.path().join("file"), "").unwrap();
    let recordings = options.data.path().join("file");
    let server = options
        .env("HAVEN_RECORDING_DIR", recordings.to_str().unwrap())
        .start()
        .await;
    let (status, answer) = server.send(reqwest::Method::GET, "/readyz", "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (&answer["success"], &answer["code"]),
        (&json!(false), &json!("not_ready"))
    );
    let error = answer["error"].as_str().unwrap();
    assert!(
        error.contains("haven-worker") && error.contains("recording directory"),
        "{error}"
    );
    assert!(!error.contains("database"), "{error}");
    assert!(
        !error.contains(server.data.path().to_str().unwrap()),
        "anybody may ask: {error}"
    );
    assert_eq!(server.get("/healthz").await["status"], "ok");
    server.stop().await;
}

#[tokio::test]
async fn a_worker_that_vanishes_later_is_noticed() {
    let mut options = Options::default();
    let worker = options.data.path().join("worker");
    std::fs::copy(&options.worker, &worker).unwrap();
    std::fs::set_permissions(&worker, std::fs::Permissions::from_mode(0o755)).unwrap();
    options.worker = worker.clone();
    let server = options.start().await;
    assert_eq!(server.get("/readyz").await["status"], "ready");
    std::fs::remove_file(worker).unwrap();
    let (status, answer) = server.send(reqwest::Method::GET, "/readyz", "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn viewers_count_among_the_connections() {
    // 64 of them are kept for other files.
    let mut options = Options::default().livekit();
    options.open_files = Some(64 + 24);
    let mut server = options.start().await;
    let http = reqwest::Client::builder().no_proxy();
    server.http = http.pool_max_idle_per_host(0).build().unwrap();
    server.start_room("room").await;
    let path = "/api/live-sessions/ws/live/room";
    let mut viewers = Vec::new();
    for _ in 0..24 {
        viewers.push(timeout(PATIENCE, server.watch(path)).await.unwrap());
    }
    let asked = server.http.get(server.url("/healthz")).send();
    let mut asked = std::pin::pin!(asked);
    let early = timeout(Duration::from_millis(300), &mut asked).await;
    assert!(early.is_err(), "no place is left");
    drop(viewers.pop());
    let answer = timeout(PATIENCE, asked).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn figures_follow_what_happens() {
    let server = Options::default().livekit().start().await;
    let before = metrics(&server).await;
    assert_eq!(before["haven_sessions{state=\"live\"}"], 0.0);
    assert_eq!(
        before["haven_upstream_requests_total{endpoint=\"coin\",outcome=\"ok\"}"],
        0.0
    );
    server.start_room("room").await;
    let mut viewer = server.watch("/api/live-sessions/ws/live/room").await;
    let seen = timeout(PATIENCE, async {
        while !viewer.next().await.unwrap().unwrap().is_binary() {}
    });
    seen.await.unwrap();
    let body = json!({"mint_id": "room", "output_format": "h264"});
    server.ok("/api/recording/start", body).await;
    let during = metrics(&server).await;
    assert_eq!(during["haven_sessions{state=\"live\"}"], 1.0);
    assert_eq!(during["haven_sessions_started_total"], 1.0);
    assert_eq!(during["haven_viewers"], 1.0);
    assert_eq!(during["haven_recordings{format=\"h264\"}"], 1.0);
    assert!(during["haven_frames_sent_total"] >= 1.0);

    let pid = worker_pid(&server.session("room").await);
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    server
        .until("room", |session| {
            session["state"] == "live" && worker_pid(session) != pid
        })
        .await;
    server
        .ok("/api/live-sessions/stop", json!({"mint_id": "room"}))
        .await;
    let after = metrics(&server).await;
    assert_eq!(after["haven_worker_restarts_total"], 1.0);
    assert_eq!(after["haven_sessions_ended_total"], 1.0);
    assert_eq!(after["haven_viewers"], 0.0);
    assert!(after["haven_stored_files"] >= 1.0);
    for counter in [
        "haven_frames_sent_total",
        "haven_viewer_bytes_total",
        "haven_frames_published_total",
    ] {
        assert!(after[counter] >= during[counter], "{counter} went back");
    }
    server.stop().await;
}
