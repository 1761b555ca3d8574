//! `/api/live-sessions` over HTTP, and what every path has in common.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{FAILING, LIVE, OFFLINE, Options, PATIENCE, Server, Upstream, Viewer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

const START: &str = "/api/live-sessions/start";
const STOP: &str = "/api/live-sessions/stop";

async fn message(viewer: &mut Viewer) -> Message {
    let next = timeout(PATIENCE, viewer.next()).await.expect("no message");
    next.expect("the connection ended").unwrap()
}

/// The next message that `wanted` makes something of.
async fn find<T>(viewer: &mut Viewer, wanted: impl Fn(&Message) -> Option<T>) -> T {
    loop {
        if let Some(found) = wanted(&message(viewer).await) {
            return found;
        }
    }
}

async fn close_code(viewer: &mut Viewer) -> (u16, String) {
    find(viewer, |message| match message {
        Message::Close(Some(close)) => Some((close.code.into(), close.reason.to_string())),
        Message::Close(None) => panic!("closed without a code"),
        _ => None,
    })
    .await
}

fn text(message: &Message) -> Option<&str> {
    match message {
        Message::Text(text) => Some(text.as_str()),
        _ => None,
    }
}

#[tokio::test]
async fn a_mint_is_started_once_shown_and_stopped_twice() {
    let upstream = Upstream::start().await;
    let server = upstream.options().start().await;
    let start = json!({"mint_id": LIVE, "record_session": false, "unknown": [1]});
    let (first, second) = tokio::join!(server.ok(START, start.clone()), server.ok(START, start));
    let (first, second) = match first.get("already_active") {
        None => (first, second),
        Some(_) => (second, first),
    };
    assert_eq!(first.get("already_active"), None);
    assert_eq!(second["already_active"], true);
    for answer in [&first, &second] {
        assert_eq!(answer["mint_id"], LIVE);
        assert_eq!(answer["room_name"], format!("room of {LIVE}"));
        assert!(
            answer["participant_sid"]
                .as_str()
                .unwrap()
                .starts_with("PA_")
        );
        assert_eq!(answer["session_id"], 1);
        assert_eq!(answer["record_session"], false);
        assert_eq!(
            answer["stream_info"],
            json!({"mint_id": LIVE, "name": "KindnessCoin", "symbol": "KIND",
                   "num_participants": 231, "market_cap": 101_778.36,
                   "coin_name": "KindnessCoin", "telegram": "@k"})
        );
    }
    assert_eq!(*upstream.joins.lock().unwrap(), [LIVE]);

    let session = server.session(LIVE).await;
    assert_eq!(session["state"], "live");
    assert_eq!(session["stream_data"], first["stream_info"]);
    assert_eq!(
        (&session["viewers"], &session["recording"]),
        (&json!(0), &json!(false))
    );
    assert!(session["started_at"].as_str().unwrap().ends_with('Z'));

    let stop = json!({"mint_id": LIVE});
    let stopped = server.ok(STOP, stop.clone()).await;
    assert_eq!(stopped, json!({"success": true, "mint_id": LIVE}));
    assert_eq!(server.ok(STOP, stop).await["already_stopped"], true);
    let active = server.get("/api/live-sessions/active").await;
    assert_eq!(active, json!({"success": true, "sessions": {}}));
    server.stop().await;
}

#[tokio::test]
async fn every_fault_has_its_status_and_words() {
    let upstream = Upstream::start().await;
    let server = upstream.options().livekit().start().await;
    let cases: [(&str, Value, u16, &str); 18] = [
        (
            START,
            json!({"mint_id": OFFLINE}),
            404,
            "Stream not found or not live for mint_id: So1",
        ),
        (
            START,
            json!({"mint_id": FAILING}),
            502,
            "Failed to get livestream token for mint_id: 1",
        ),
        (START, json!({"room_name": "refused"}), 502, "connection"),
        (START, json!({"room_name": "no-server"}), 502, "connection"),
        (START, json!({"room_name": "broken"}), 500, "invented"),
        (START, json!({"room_name": "crash-at-start"}), 500, "worker"),
        (START, json!({"mint_id": "not a mint"}), 422, "mint_id"),
        (START, json!({"mint_id": "demo"}), 422, "--demo"),
        (START, json!({"mint_id": 7}), 422, "mint_id"),
        (START, json!({"room_name": ""}), 422, "room_name"),
        (START, json!({"room_name": LIVE}), 422, "room_name"),
        (
            START,
            json!({"mint_id": LIVE, "record_session": "yes"}),
            422,
            "record_session",
        ),
        (START, json!({}), 422, "mint_id"),
        (START, json!([1]), 422, "object"),
        (STOP, json!({}), 422, "mint_id"),
        (STOP, json!({"mint_id": ["x"]}), 422, "mint_id"),
        (STOP, json!({"mint_id": ""}), 422, "mint_id"),
        ("/api/nothing", json!({}), 404, "path"),
    ];
    for (path, body, status, words) in cases {
        let (got, answer) = server.post(path, body.clone()).await;
        assert_eq!(got.as_u16(), status, "{body}: {answer}");
        assert_eq!(answer["success"], false, "{body}");
        assert!(
            answer["code"].as_str().is_some_and(|code| !code.is_empty()),
            "{answer}"
        );
        assert!(
            answer["error"].as_str().unwrap().contains(words),
            "{body}: {answer}"
        );
    }
    let active = server.get("/api/live-sessions/active").await;
    assert_eq!(active["sessions"], json!({}), "something is left");
    server.stop().await;
}

#[tokio::test]
async fn malformed_requests_are_answered_in_json() {
    let server = Server::start(Options::default()).await;
    let raw = [
        (Method::POST, START, "{\"mint_id\"", 400),
        (Method::POST, START, "", 400),
        (Method::GET, START, "", 405),
        (Method::DELETE, "/api/live-sessions/active", "", 405),
        (Method::GET, "/api/live-sessions/ws/live/demo", "", 426),
        (Method::POST, "/api/live-sessions/stream/demo", "", 405),
        (Method::GET, "/nothing", "", 404),
    ];
    for (method, path, body, status) in raw {
        let (got, answer) = server.send(method, path, body).await;
        assert_eq!(got.as_u16(), status, "{path}: {answer}");
        assert_eq!(answer["success"], false);
    }
    for (method, path, allowed) in [
        (Method::GET, START, "POST"),
        (Method::HEAD, "/api/recording/stop", "POST"),
        (Method::POST, "/api/recording/status/demo", "GET, HEAD"),
        (Method::PUT, "/", "GET, HEAD"),
    ] {
        let request = server.http.request(method, server.url(path));
        let response = request.timeout(PATIENCE).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(response.headers()["allow"], allowed, "{path}");
    }
    let (status, _) = server.send(Method::POST, START, &" ".repeat(70_000)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    server.stop().await;
}

#[tokio::test]
async fn generic_rooms_need_credentials_and_the_demo_its_switch() {
    let server = Options::default().arg("--demo").start().await;
    let (status, answer) = server.post(START, json!({"room_name": "r"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    let demo = server.ok(START, json!({"mint_id": "demo"})).await;
    assert_eq!(demo["mint_id"], "demo");
    assert_eq!(demo["stream_info"]["mint_id"], "demo");
    server.stop().await;
}

#[tokio::test]
async fn a_room_is_known_by_its_encoded_name() {
    let server = Options::default().livekit().start().await;
    let room = "a room/100% ü:1";
    assert_eq!(server.start_room(room).await["mint_id"], room);
    let again = server.ok(START, json!({"mint_id": room})).await;
    assert_eq!(again["already_active"], true);
    let mut viewer = server
        .watch("/api/live-sessions/ws/live/a%20room%2F100%25%20%C3%BC%3A1")
        .await;
    find(&mut viewer, |message| message.is_binary().then_some(())).await;
    let stopped = server.ok(STOP, json!({"mint_id": room})).await;
    assert_eq!(stopped.get("already_stopped"), None);
    assert_eq!(
        close_code(&mut viewer).await,
        (1000, "session ended".into())
    );
    server.stop().await;
}

#[tokio::test]
async fn both_protocols_show_the_same_session() {
    let server = Options::default().livekit().start().await;
    server.start_room("room").await;
    let mut json = server
        .watch("/api/live-sessions/stream/room?max_fps=20")
        .await;
    let video = find(&mut json, |message| {
        let message: Value = serde_json::from_str(text(message)?).unwrap();
        (message["type"] == "video_frame").then_some(message)
    })
    .await;
    assert_eq!(video["mint_id"], "room");
    assert!(video["data"].as_str().unwrap().len() > 8);
    find(&mut json, |message| {
        let message: Value = serde_json::from_str(text(message)?).unwrap();
        (message["type"] == "audio_frame").then_some(())
    })
    .await;

    let mut binary = server.watch("/api/live-sessions/ws/live/room").await;
    find(&mut binary, |message| match message {
        Message::Binary(jpeg) if jpeg.starts_with(b"jpeg ") => Some(()),
        _ => None,
    })
    .await;
    find(&mut binary, |message| {
        text(message)?.strip_prefix("audio:").map(drop)
    })
    .await;
    binary.send(Message::text("ping")).await.unwrap();
    find(&mut binary, |message| {
        (text(message)? == "pong").then_some(())
    })
    .await;
    server
        .until("room", |session| session["viewers"] == 2)
        .await;
    drop(json);
    server
        .until("room", |session| session["viewers"] == 1)
        .await;
    server.stop().await;
    assert_eq!(close_code(&mut binary).await.0, 1001);
}

#[tokio::test]
async fn a_viewer_of_no_session_is_told_by_close_code() {
    let server = Server::start(Options::default()).await;
    for path in [
        "/api/live-sessions/stream/x",
        "/api/live-sessions/ws/live/x",
    ] {
        let (code, reason) = close_code(&mut server.watch(path).await).await;
        assert_eq!(code, 4404);
        assert!(reason.contains('x'), "{reason}");
    }
    server.stop().await;
}

#[tokio::test]
async fn only_who_may_call_is_answered() {
    let server = Options::default()
        .env("HAVEN_API_TOKEN", "t0ken")
        .start()
        .await;
    let ask = |path: &str| server.http.get(server.url(path)).timeout(PATIENCE);
    let status =
        async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    let active = "/api/live-sessions/active";
    assert_eq!(status(ask(active)).await, 401);
    assert_eq!(status(ask(active).bearer_auth("wrong")).await, 401);
    assert_eq!(status(ask(active).bearer_auth("t0ken")).await, 200);
    assert_eq!(status(ask("/healthz")).await, 200);
    assert_eq!(status(ask("/readyz")).await, 200);
    assert_eq!(
        status(ask("/healthz").header("host", "evil.example")).await,
        421
    );
    let stop = || server.http.post(server.url(STOP)).bearer_auth("t0ken");
    let stop = |origin: &str| stop().header("origin", origin).body(r#"{"mint_id":"x"}"#);
    assert_eq!(status(stop("https://evil.example")).await, 403);
    assert_eq!(status(stop("http://localhost:3000")).await, 200);

    let socket = format!("ws://{}/api/live-sessions/ws/live/x", server.address);
    assert!(tokio_tungstenite::connect_async(&socket).await.is_err());
    let mut viewer = server
        .watch("/api/live-sessions/ws/live/x?token=t0ken")
        .await;
    assert_eq!(close_code(&mut viewer).await.0, 4404);
    server.stop().await;
}

#[tokio::test]
async fn the_page_runs_own_scripts_only() {
    let server = Server::start(Options::default()).await;
    for (path, kind) in [
        ("/", "text/html"),
        ("/app.js", "text/javascript"),
        ("/player.js", "text/javascript"),
        ("/sound.js", "text/javascript"),
        ("/app.css", "text/css"),
    ] {
        let response = server.http.get(server.url(path)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with(kind));
        let policy = header("content-security-policy");
        assert!(
            policy.contains("default-src 'self'") && !policy.contains("unsafe"),
            "{policy}"
        );
    }
    let head = server.http.head(server.url("/")).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    assert!(head.bytes().await.unwrap().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let server = Server::start(Options::default()).await;
    let mut connections = Vec::new();
    for said in ["", "GET / HTTP/1.1\r\nHost: ", "PRI * HTTP"] {
        let mut connection = TcpStream::connect(server.address).await.unwrap();
        connection.write_all(said.as_bytes()).await.unwrap();
        connections.push(connection);
    }
    for mut connection in connections {
        let mut answer = Vec::new();
        let read = connection.read_to_end(&mut answer);
        timeout(PATIENCE, read).await.unwrap().unwrap();
    }
    server.stop().await;
}
