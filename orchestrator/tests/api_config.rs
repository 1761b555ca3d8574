//! `/api/config`, and what sessions do with it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};
use support::{Options, Server};

const CONFIG: &str = "/api/config";
const SECRET: &str = "a secret of at least 32 characters";

async fn put(server: &Server, change: Value) -> (u16, Value) {
    let (status, answer) = server.send(Method::PUT, CONFIG, &change.to_string()).await;
    (status.as_u16(), answer)
}

async fn change(server: &Server, change: Value) -> Value {
    let (status, answer) = put(server, change).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["success"], true);
    answer
}

fn with_home() -> Options {
    let options = Options::default();
    let home = options.data.path().join("home");
    std::fs::create_dir(&home).unwrap();
    options.env("HOME", home.to_str().unwrap())
}

async fn recording(server: &Server, room: &str) -> String {
    let body = json!({"mint_id": room, "output_format": "h264"});
    let answer = server.ok("/api/recording/start", body).await;
    answer["output_path"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_changes_the_other_sources_are_shown_and_no_secret() {
    let server = Options::default().livekit().start().await;
    let config = server.get(CONFIG).await;
    for (name, value) in [
        ("success", json!(true)),
        ("livekit_url", json!("ws://127.0.0.1:1")),
        ("livekit_api_key", json!("key")),
        ("livekit_api_secret", json!("set")),
        ("recording_directory", json!(server.recordings_dir())),
        ("default_output_format", json!("av1")),
        ("default_video_quality", json!("medium")),
        ("waiting_timeout", json!(600)),
        ("disk_reserve_bytes", json!(0)),
        ("split_minutes", json!(0)),
        ("retain_days", json!(0)),
        ("pumpfun_refresh", json!(15)),
        ("history_days", json!(30)),
        ("overridden", json!([])),
    ] {
        assert_eq!(config[name], value, "{name}");
    }
    assert!(!config.to_string().contains(SECRET));
    server.stop().await;
    let server = Server::start(Options::default()).await;
    let config = server.get(CONFIG).await;
    for name in ["livekit_url", "livekit_api_key", "livekit_api_secret"] {
        assert_eq!(config[name], Value::Null);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_setting_is_named_and_nothing_is_changed() {
    let server = with_home().start().await;
    let before = server.get(CONFIG).await;
    for (wrong, name) in [
        (json!({"livekit_url": "example.org"}), "livekit_url"),
        (json!({"livekit_url": "ftp://example.org"}), "livekit_url"),
        (json!({"livekit_url": 1}), "livekit_url"),
        (json!({"livekit_api_key": ""}), "livekit_api_key"),
        (
            json!({"livekit_api_secret": {"x": 1}}),
            "livekit_api_secret",
        ),
        (
            json!({"recording_directory": "relative"}),
            "recording_directory",
        ),
        (
            json!({"recording_directory": "/etc/haven"}),
            "recording_directory",
        ),
        (
            json!({"recording_directory": "~/../../x"}),
            "recording_directory",
        ),
        (json!({"recording_directory": 7}), "recording_directory"),
        (
            json!({"default_output_format": "gif"}),
            "default_output_format",
        ),
        (
            json!({"default_video_quality": "ultra"}),
            "default_video_quality",
        ),
        (json!({"waiting_timeout": -1}), "waiting_timeout"),
        (json!({"waiting_timeout": "10"}), "waiting_timeout"),
        (json!({"split_bytes": 5}), "split_bytes"),
        (json!({"retain_days": 1.5}), "retain_days"),
        (json!({"history_rows": 0}), "history_rows"),
    ] {
        let mut all = json!({"split_minutes": 5, "waiting_timeout": 7, "unknown": [1]});
        all.as_object_mut()
            .unwrap()
            .extend(wrong.as_object().unwrap().clone());
        let (status, answer) = put(&server, all).await;
        assert_eq!(status, 422, "{wrong}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(name), "{answer}");
        assert_eq!(server.get(CONFIG).await, before, "{wrong}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_change_of_settings_is_refused() {
    let server = Server::start(Options::default()).await;
    for (body, status) in [("", 400), ("{", 400), ("[]", 422), ("7", 422)] {
        let (got, answer) = server.send(Method::PUT, CONFIG, body).await;
        assert_eq!(got.as_u16(), status, "{body}: {answer}");
    }
    let (status, _) = server.send(Method::PUT, CONFIG, &" ".repeat(70_000)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    for method in [Method::POST, Method::DELETE] {
        let response = server
            .http
            .request(method, server.url(CONFIG))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()["allow"], "GET, HEAD, PUT");
    }
    let foreign = server
        .http
        .put(server.url(CONFIG))
        .header("origin", "https://evil.example");
    assert_eq!(
        foreign.body("{}").send().await.unwrap().status(),
        StatusCode::FORBIDDEN
    );
    server.stop().await;
}

#[tokio::test]
async fn changes_outlive_the_server_and_can_be_taken_back() {
    let options = with_home();
    let (data, env) = (Arc::clone(&options.data), options.env.clone());
    let again = || Options {
        data: Arc::clone(&data),
        env: env.clone(),
        ..Options::default()
    };
    let server = options.start().await;
    let wanted = json!({"waiting_timeout": 0, "default_output_format": "webm",
        "livekit_api_secret": SECRET, "recording_directory": "~/films", "split_minutes": 5});
    let changed = change(&server, wanted).await;
    let films = std::fs::canonicalize(data.path())
        .unwrap()
        .join("home/films");
    assert_eq!(changed["recording_directory"], json!(films));
    assert_eq!(changed["livekit_api_secret"], "set");
    assert_eq!(changed["overridden"], json!([]));
    assert!(!changed.to_string().contains(SECRET));
    server.stop().await;

    let server = again().start().await;
    assert_eq!(server.get(CONFIG).await, changed);
    let back = change(
        &server,
        json!({"waiting_timeout": null, "split_minutes": null}),
    )
    .await;
    assert_eq!(
        (&back["waiting_timeout"], &back["split_minutes"]),
        (&json!(600), &json!(0))
    );
    assert_eq!(back["default_output_format"], "webm");
    server.stop().await;

    let mut narrower = again();
    narrower.args = ["--recording-root", "/nowhere"].map(str::to_owned).into();
    let server = narrower.start().await;
    let config = server.get(CONFIG).await;
    assert_eq!(
        config["recording_directory"],
        json!(server.recordings_dir())
    );
    assert_eq!(config["default_output_format"], "webm");
    server.stop().await;
}

#[tokio::test]
async fn the_command_line_overrides_and_the_environment_does_not() {
    let server = Options::default()
        .arg("--waiting-timeout-s=7")
        .arg("--split-minutes=3")
        .env("HAVEN_RETAIN_DAYS", "9")
        .start()
        .await;
    let config = server.get(CONFIG).await;
    assert_eq!(
        config["overridden"],
        json!(["waiting_timeout", "split_minutes"])
    );
    assert_eq!(config["retain_days"], 9);
    let changed = change(&server, json!({"waiting_timeout": 8, "retain_days": 8})).await;
    assert_eq!(changed["overridden"], json!(["waiting_timeout"]));
    assert_eq!(
        (&changed["waiting_timeout"], &changed["retain_days"]),
        (&json!(7), &json!(8))
    );
    let data = Arc::clone(&server.data);
    server.stop().await;
    let server = Options {
        data,
        ..Options::default()
    }
    .start()
    .await;
    assert_eq!(
        server.get(CONFIG).await["waiting_timeout"],
        8,
        "it counts without the option"
    );
    server.stop().await;
}

#[tokio::test]
async fn credentials_that_are_set_open_generic_rooms() {
    let server = Server::start(Options::default()).await;
    let start = json!({"room_name": "a room"});
    let (status, answer) = server.post("/api/live-sessions/start", start.clone()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["code"], "livekit_not_configured");
    for part in [
        json!({"livekit_url": "ws://127.0.0.1:1"}),
        json!({"livekit_api_key": "key"}),
        json!({"livekit_api_secret": SECRET}),
    ] {
        let (status, _) = server.post("/api/live-sessions/start", start.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        change(&server, part).await;
    }
    server.ok("/api/live-sessions/start", start.clone()).await;
    change(&server, json!({"livekit_api_secret": null})).await;
    server.session("a room").await;
    let again = server.ok("/api/live-sessions/stop", start.clone()).await;
    assert_eq!(again.get("already_stopped"), None, "it ran on");
    let (status, _) = server.post("/api/live-sessions/start", start).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    server.stop().await;
}

#[tokio::test]
async fn sessions_started_afterwards_use_what_was_set() {
    let server = with_home().livekit().start().await;
    server.start_room("before").await;
    let change_to = json!({"recording_directory": "~/films", "default_output_format": "vp9"});
    let changed = change(&server, change_to).await;
    let films = changed["recording_directory"].as_str().unwrap();
    server.start_room("after").await;
    let (before, after) = (
        recording(&server, "before").await,
        recording(&server, "after").await,
    );
    assert!(
        Path::new(&before).starts_with(server.recordings_dir()),
        "{before}"
    );
    assert!(Path::new(&after).starts_with(films), "{after}");
    let body = json!({"mint_id": "after"});
    let default = server.ok("/api/recording/start", body).await;
    assert!(default["output_path"].as_str().unwrap().ends_with(".webm"));
    server.stop().await;
}
