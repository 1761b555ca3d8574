//! What every path of the API has in common: its errors, its methods, what it does to bodies and
//! names.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use futures_util::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{FAILING, LIVE, OFFLINE, Options, PATIENCE, Server, Upstream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

const TOKEN: &str = "t0ken";

/// An error's body has these three fields and no more; those of recordings say so.
fn check_error(name: &str, path: &str, answer: &Value, code: &str) {
    let fields: Vec<_> = answer.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["code", "error", "success"], "{name}: {answer}");
    assert_eq!(answer["success"], false, "{name}: {answer}");
    assert_eq!(answer["code"], code, "{name}: {answer}");
    let error = answer["error"].as_str().unwrap();
    assert!(!error.is_empty(), "{name}");
    if path.starts_with("/api/recording") {
        let says = error.to_lowercase().contains("recording");
        assert!(says, "{name}: {error}");
    }
}

const START: &str = "/api/live-sessions/start";
const STOP: &str = "/api/live-sessions/stop";
const RECORD: &str = "/api/recording/start";
const END: &str = "/api/recording/stop";

/// Method and path, status and code of the answer, and what is sent. Of a server with a webhook in
/// its configuration, on which recording 1, of sound alone, of the room `room` runs.
const FAULTS: &str = r#"
POST /api/live-sessions/start 400 malformed_json
POST /api/live-sessions/start 422 invalid_field []
POST /api/live-sessions/start 422 invalid_field {}
POST /api/live-sessions/start 422 invalid_field {"room_name": 7}
POST /api/live-sessions/start 404 stream_not_found {"mint_id": "OFFLINE"}
POST /api/live-sessions/start 502 token_unavailable {"mint_id": "FAILING"}
POST /api/live-sessions/start 502 livekit_not_authorized {"room_name": "refused"}
POST /api/live-sessions/start 502 livekit_connection_failed {"room_name": "no-server"}
POST /api/live-sessions/start 500 worker_failed {"room_name": "broken"}
GET /api/live-sessions/start 405 method_not_allowed
POST /api/live-sessions/stop 422 invalid_field {}
POST /api/live-sessions/stop 400 malformed_json {
GET /api/live-sessions/stream/room 426 upgrade_required
GET /api/live-sessions/stream/%ff 400 malformed_path
GET /api/live-sessions/ws/live/room 426 upgrade_required
GET /api/live-sessions/ws/live/%ff 400 malformed_path
GET /api/live-sessions 404 not_found
GET /api/nothing 404 not_found
POST /api/recording/start 404 session_not_found {"mint_id": "nobody"}
POST /api/recording/start 409 already_recording {"mint_id": "room", "output_format": "wav"}
POST /api/recording/start 422 invalid_field {"mint_id": "room", "output_format": "gif"}
POST /api/recording/start 422 invalid_field {"mint_id": "room", "video_quality": 1}
POST /api/recording/start 503 format_unavailable {"mint_id": "room"}
POST /api/recording/start 400 malformed_json {
GET /api/recording/start 405 method_not_allowed
POST /api/recording/stop 404 recording_not_found {"mint_id": "nobody"}
POST /api/recording/stop 404 recording_not_found {"mint_id": "room", "recording_id": 99}
POST /api/recording/stop 422 invalid_field {"mint_id": "room", "output_format": "gif"}
POST /api/recording/stop 422 invalid_field {}
GET /api/recording/status/%ff 400 malformed_path
GET /api/recording/nothing 404 not_found
GET /api/recordings?limit=0 422 invalid_field
GET /api/recordings/99 404 recording_not_found
GET /api/recordings/1/file?part=9 404 file_not_found
GET /api/recordings/1/thumbnail 404 no_picture
DELETE /api/recordings/1 409 recording_running
POST /api/recordings/1/join 409 recording_running
POST /api/recordings/1/keep 422 invalid_field {"keep": 1}
GET /api/pumpfun/stream/x 422 invalid_field
GET /api/live/live?limit=101 422 invalid_field
GET /api/live/validate/%ff 400 malformed_path
PUT /api/config 422 invalid_field {"split_minutes": "x"}
PUT /api/config 400 malformed_json {
POST /api/watch 422 invalid_field {}
POST /api/watch 400 malformed_json
DELETE /api/watch/9 404 rule_not_found
POST /api/webhooks 422 invalid_field {}
POST /api/webhooks 422 invalid_field {"url": "http://127.0.0.1/"}
POST /api/webhooks 422 invalid_field {"url": "https://1.1.1.1:9/", "events": ["watch.live", "x"]}
DELETE /api/webhooks/1 409 webhook_configured
DELETE /api/webhooks/9 404 webhook_not_found
DELETE /api/webhooks/x 404 webhook_not_found
"#;

#[tokio::test]
async fn every_error_has_its_status_its_code_and_three_fields() {
    let upstream = Upstream::start().await;
    let server = upstream
        .options()
        .livekit()
        .env("HAVEN_WEBHOOK_URLS", "http://127.0.0.1:9/hook")
        .start()
        .await;
    server.start_room("room").await;
    let sound = json!({"mint_id": "room", "output_format": "wav"});
    server.ok(RECORD, sound).await;
    for line in FAULTS.trim().lines() {
        let line = line.replace("OFFLINE", OFFLINE).replace("FAILING", FAILING);
        let mut words = line.splitn(5, ' ');
        let [method, path, status, code] = std::array::from_fn(|_| words.next().unwrap());
        let body = words.next().unwrap_or_default();
        let (got, answer) = server.send(method.parse().unwrap(), path, body).await;
        assert_eq!(got.as_str(), status, "{line}: {answer}");
        check_error(&line, path, &answer, code);
    }
    // Word by word, as frontends show them.
    for (mint, words) in [
        (OFFLINE, "Stream not found or not live"),
        (FAILING, "Failed to get livestream token"),
    ] {
        let (_, answer) = server.post(START, json!({ "mint_id": mint })).await;
        assert_eq!(answer["error"], format!("{words} for mint_id: {mint}"));
    }
    server.stop().await;
}

#[tokio::test]
async fn who_is_not_let_in_is_told_so_in_the_words_of_the_path() {
    let options = Options::default().env("HAVEN_API_TOKEN", TOKEN);
    let server = options.start().await;
    let large = "x".repeat(70_000);
    let right = format!("Bearer {TOKEN}");
    for path in [STOP, END, RECORD, "/api/recordings/1/keep", "/api/watch"] {
        for (name, value, body, status, code) in [
            ("authorization", "Bearer x", "{}", 401, "unauthorized"),
            (
                "origin",
                "https://evil.example",
                "{}",
                403,
                "origin_not_allowed",
            ),
            ("host", "evil.example", "{}", 421, "unknown_host"),
            (
                "authorization",
                right.as_str(),
                large.as_str(),
                413,
                "body_too_large",
            ),
        ] {
            let request = server.http.post(server.url(path)).header(name, value);
            let request = request.body(body.to_owned()).timeout(PATIENCE);
            let response = request.send().await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{path} {name}");
            let asks = response.headers().get("www-authenticate").cloned();
            assert_eq!(asks.is_some_and(|how| how == "Bearer"), status == 401);
            check_error(code, path, &response.json().await.unwrap(), code);
        }
    }
    server.stop().await;
}

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// Paths, with something for their parameters, and the methods that they take.
async fn paths(server: &Server) -> Vec<(String, Vec<String>)> {
    let document = server.get("/api/openapi.json").await;
    let described = document["paths"].as_object().unwrap();
    let mut paths: Vec<_> = described
        .iter()
        .map(|(path, operations)| {
            let methods = operations.as_object().unwrap().keys();
            let path = path.replace("{mint_id}", LIVE).replace("{id}", "1");
            (path, methods.map(|method| method.to_uppercase()).collect())
        })
        .collect();
    for page in ["/", "/app.js", "/app.css", "/api/docs", "/api/docs.js"] {
        paths.push((page.to_owned(), vec!["GET".to_owned()]));
    }
    assert!(paths.len() > 35, "{paths:?}");
    paths
}

#[tokio::test]
async fn every_path_takes_its_own_methods_and_has_nothing_below_it() {
    let server = Server::start(Options::default()).await;
    for (path, methods) in paths(&server).await {
        let others = METHODS.into_iter();
        for method in others.filter(|method| !methods.iter().any(|own| own == method)) {
            let name = format!("{method} {path}");
            let request = server
                .http
                .request(method.parse().unwrap(), server.url(&path));
            let response = request.timeout(PATIENCE).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{name}");
            let headers = response.headers();
            assert_eq!(headers["content-type"], "application/json", "{name}");
            let allowed = headers["allow"].to_str().unwrap().to_owned();
            let allowed: Vec<_> = allowed.split(", ").filter(|one| *one != "HEAD").collect();
            assert_eq!(allowed.len(), methods.len(), "{name}: {allowed:?}");
            assert!(methods.iter().all(|own| allowed.contains(&own.as_str())));
            let answer = response.json().await.unwrap();
            check_error(&name, &path, &answer, "method_not_allowed");
        }
        let below = format!("{}/a/b/c", path.trim_end_matches('/'));
        let (status, answer) = server.send(Method::GET, &below, "").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{below}");
        check_error(&below, &below, &answer, "not_found");
    }
    server.stop().await;
}

/// What takes a body.
const WITH_BODY: [(&str, &str); 8] = [
    ("POST", START),
    ("POST", STOP),
    ("POST", RECORD),
    ("POST", END),
    ("POST", "/api/recordings/1/keep"),
    ("PUT", "/api/config"),
    ("POST", "/api/watch"),
    ("POST", "/api/webhooks"),
];

#[tokio::test]
async fn a_body_of_64_kib_is_read_and_a_larger_one_is_not() {
    let server = Server::start(Options::default()).await;
    for (method, path) in WITH_BODY {
        for (bytes, too_large) in [(64 << 10, false), ((64 << 10) + 1, true)] {
            let body = format!("{{}}{}", " ".repeat(bytes - 2));
            assert_eq!(body.len(), bytes);
            let (status, answer) = server.send(method.parse().unwrap(), path, &body).await;
            assert_eq!(status == 413, too_large, "{path}: {status}");
            if too_large {
                check_error(path, path, &answer, "body_too_large");
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn what_a_request_says_beside_is_ignored() {
    let upstream = Upstream::start().await;
    let server = upstream.options().livekit().start().await;
    let beside = |mut body: Value| {
        let fields = body.as_object_mut().unwrap();
        fields.insert("beside".into(), json!({"output_format": [1]}));
        fields.insert("success".into(), json!("maybe"));
        body
    };
    let room = json!({"room_name": "room", "mint_id": null});
    for (path, body) in [
        (START, room.clone()),
        (
            RECORD,
            json!({"room_name": "room", "output_format": "h264"}),
        ),
        (END, room.clone()),
        ("/api/recordings/1/keep", json!({"keep": false})),
        (STOP, room),
        (
            "/api/watch",
            json!({"mint_id": LIVE, "creator": null, "output_format": "h264"}),
        ),
        (
            "/api/webhooks",
            json!({"url": "https://1.1.1.1:9/", "events": ["watch.failed"]}),
        ),
    ] {
        server.ok(path, beside(body)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_name_in_a_path_is_decoded_once() {
    let server = Options::default().livekit().start().await;
    let room = "a%2Fb+c d";
    server.start_room(room).await;
    let body = json!({"mint_id": room, "output_format": "h264"});
    server.ok(RECORD, body).await;
    for (segment, name, is_recording) in [
        ("a%252Fb+c%20d", room, true),
        ("a%2Fb+c%20d", "a/b+c d", false),
        ("a%252Fb%2Bc%20d", room, true),
        ("a%25252Fb+c%20d", "a%252Fb+c d", false),
    ] {
        let path = format!("/api/recording/status/{segment}");
        let status = server.get(&path).await;
        assert_eq!(
            (&status["mint_id"], &status["is_recording"]),
            (&json!(name), &json!(is_recording))
        );
        let path = format!("/api/pumpfun/validate/{segment}");
        assert_eq!(server.get(&path).await["mint_id"], name);
        for socket in ["stream", "ws/live"] {
            let path = format!("/api/live-sessions/{socket}/{segment}");
            let mut viewer = server.watch(&path).await;
            let first = timeout(PATIENCE, viewer.next()).await.unwrap();
            let is_closed = matches!(first.unwrap().unwrap(), Message::Close(_));
            assert_eq!(is_closed, !is_recording, "{path}");
        }
    }
    server.stop().await;
}
