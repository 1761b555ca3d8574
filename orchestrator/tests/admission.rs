//! What is begun beside recordings, and what the machine has no room for.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{Options, PATIENCE, Server};
use tokio::time::{Duration, Instant, sleep};
use tokio_tungstenite::tungstenite::Error;

const START: &str = "/api/recording/start";

/// Options of a server that may take 15 cores, which the machine needn't have.
fn limited() -> Options {
    let cores = std::thread::available_parallelism().unwrap().get();
    let percent = (1500 / cores).to_string();
    Options::default()
        .livekit()
        .env("HAVEN_CPU_BUDGET_PERCENT", &percent)
}

/// A figure of `/metrics`.
async fn figure(server: &Server, name: &str) -> Option<f64> {
    let text = server.fetch("/metrics", &[]).await.text().await.unwrap();
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

async fn until_measured(server: &Server) {
    let until = Instant::now() + PATIENCE;
    while figure(server, "haven_cpu_budget_cores").await.is_none() {
        assert!(Instant::now() < until, "the machine is never measured");
        sleep(Duration::from_millis(20)).await;
    }
}

fn recording(room: &str, format: &str) -> Value {
    json!({"mint_id": room, "output_format": format})
}

async fn viewer_is_let_in(server: &Server, room: &str) -> bool {
    let url = server.url(&format!("/api/live-sessions/stream/{room}"));
    match tokio_tungstenite::connect_async(url.replace("http:", "ws:")).await {
        Ok(_) => true,
        Err(Error::Http(response)) => {
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(response.headers().contains_key("retry-after"));
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// Nothing comes from these rooms, so what their workers use tells nothing of what they will.
#[tokio::test]
async fn what_would_starve_a_recording_is_refused_with_what_is_used_of_what() {
    let server = limited().start().await;
    until_measured(&server).await;
    for room in ["idle-1", "idle-2"] {
        server.start_room(room).await;
    }
    server.ok(START, recording("idle-1", "h264")).await;
    let response = reqwest::Client::new()
        .post(server.url(START))
        .json(&recording("idle-2", "h264"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "10");
    let refused: Value = response.json().await.unwrap();
    assert_eq!(refused["code"], "over_budget");
    let (cpu, memory) = (&refused["cpu_cores"], &refused["memory_bytes"]);
    assert_eq!(cpu["needed"], 12.5);
    let budget = cpu["budget"].as_f64().unwrap();
    assert!(cpu["used"].as_f64().unwrap() + 12.5 > budget, "{refused}");
    // The memory isn't limited here.
    assert!(memory["budget"].is_null(), "{refused}");
    assert!(memory["used"].as_u64() > Some(0), "{refused}");
    let text = refused["error"].as_str().unwrap();
    assert!(
        text.contains("recording as h264") && text.contains("cpu_budget_percent"),
        "{text}"
    );

    // What costs little is let in, and a viewer of what is decoded already.
    server.ok(START, recording("idle-2", "source")).await;
    assert!(!viewer_is_let_in(&server, "idle-2").await);
    assert!(viewer_is_let_in(&server, "idle-1").await);
    // The recording that ran goes on; once it is over there is room for another one.
    let status = server.get("/api/recording/status/idle-1").await;
    assert_eq!(status["is_recording"], true, "{status}");
    server
        .ok("/api/live-sessions/stop", json!({"mint_id": "idle-1"}))
        .await;
    server.ok(START, recording("idle-2", "h264")).await;
    let taken = figure(&server, "haven_cpu_taken_cores").await.unwrap();
    assert!(taken >= 12.5 && taken < budget, "{taken} of {budget}");
    server.stop().await;
}

#[tokio::test]
async fn what_goes_on_after_a_restart_is_not_refused_and_nothing_is_measured_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let options = || Options {
        log: Some(log.clone()),
        ..limited()
    };
    let measured = || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.matches("measuring what recordings cost").count()
    };
    let server = options().start().await;
    until_measured(&server).await;
    assert_eq!(measured(), 1);
    server.start_room("idle-1").await;
    server.ok(START, recording("idle-1", "h264")).await;
    server.ok(START, recording("idle-1", "source")).await;
    // Less than what runs.
    let server = server
        .killed(options().env("HAVEN_CPU_BUDGET_PERCENT", "1"))
        .await;
    until_measured(&server).await;
    server
        .until_get("/api/recordings?state=recording", |library| {
            library["total"] == 2
        })
        .await;
    // Each server has a log of its own.
    assert_eq!(measured(), 0);
    let refused = server
        .post("/api/live-sessions/start", json!({"room_name": "idle-2"}))
        .await;
    assert_eq!(
        (refused.0, &refused.1["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("over_budget"))
    );
    server.stop().await;
}
