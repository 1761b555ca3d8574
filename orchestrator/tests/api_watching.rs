//! The viewers' two WebSockets: what they say, what may be asked of them, how they end.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::{Options, PATIENCE, Server, Viewer, events::Events, worker_pid};
use tokio::time::timeout;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

const JSON: &str = "/api/live-sessions/stream/room";
const BINARY: &str = "/api/live-sessions/ws/live/room";

async fn message(viewer: &mut Viewer) -> Message {
    let next = timeout(PATIENCE, viewer.next()).await.expect("no message");
    next.expect("the connection ended").unwrap()
}

/// What a viewer is told, in the words of the JSON protocol.
async fn told(viewer: &mut Viewer) -> Value {
    loop {
        match message(viewer).await {
            Message::Binary(jpeg) => {
                return json!({"type": "video_frame", "data": STANDARD.encode(jpeg)});
            }
            Message::Text(text) => {
                if let Some(pcm) = text.strip_prefix("audio:") {
                    return json!({"type": "audio_frame", "data": pcm});
                }
                let status = text.strip_prefix("status:");
                let mut told: Value = serde_json::from_str(status.unwrap_or(&text)).unwrap();
                if status.is_some() {
                    told["type"] = "status".into();
                }
                return told;
            }
            Message::Close(close) => {
                return json!({"type": "close", "is": close.unwrap().to_string()});
            }
            _ => {}
        }
    }
}

/// Reads on to a message of this kind.
async fn until(viewer: &mut Viewer, kind: &str) -> Value {
    loop {
        let told = told(viewer).await;
        if told["type"] == kind {
            return told;
        }
        assert_ne!(told["type"], "close", "no {kind}");
    }
}

fn data(told: &Value) -> Vec<u8> {
    STANDARD.decode(told["data"].as_str().unwrap()).unwrap()
}

async fn room() -> Server {
    let server = Options::default().livekit().start().await;
    server.start_room("room").await;
    server
}

#[tokio::test]
async fn messages_have_the_fields_that_are_promised() {
    let server = room().await;
    let mut viewer = server.watch(JSON).await;
    assert_eq!(until(&mut viewer, "status").await["state"], "live");
    let video = until(&mut viewer, "video_frame").await;
    let audio = until(&mut viewer, "audio_frame").await;
    for (told, more) in [
        (&video, vec!["height", "pts_ms", "seq", "width"]),
        (&audio, vec!["channels", "pts_ms", "sample_rate"]),
    ] {
        let mut fields = vec!["data", "mint_id", "timestamp", "type"];
        fields.extend(more);
        fields.sort_unstable();
        let known: Vec<_> = told.as_object().unwrap().keys().collect();
        assert_eq!(known, fields);
        assert_eq!(told["mint_id"], "room");
        let time = told["timestamp"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok());
    }
    assert!(data(&video).starts_with(b"jpeg "));
    assert_eq!(
        (&audio["sample_rate"], &audio["channels"]),
        (&json!(44_100), &json!(1))
    );
    let chunk_bytes = 44_100 / 50 * 2;
    assert_eq!(data(&audio).len(), chunk_bytes);

    let mut viewer = server.watch(BINARY).await;
    assert_eq!(until(&mut viewer, "status").await["state"], "live");
    let video = until(&mut viewer, "video_frame").await;
    assert!(data(&video).starts_with(b"jpeg "));
    let audio = until(&mut viewer, "audio_frame").await;
    assert_eq!(data(&audio).len(), chunk_bytes);
    server.stop().await;
}

#[tokio::test]
async fn smaller_pictures_come_to_those_who_ask_for_them_also_from_the_next_worker() {
    let server = room().await;
    let mut viewers = vec![server.watch(JSON).await];
    for width in [320, 640, 640] {
        let path = format!("{JSON}?max_width={width}");
        viewers.push(server.watch(&path).await);
    }
    for (viewer, width) in viewers.iter_mut().zip([2, 320, 640, 640]) {
        let video = until(viewer, "video_frame").await;
        assert_eq!(video["width"], width);
        assert_eq!(until(viewer, "audio_frame").await["channels"], 1);
    }
    let active = server.session("room").await;
    assert_eq!(active["viewers"], 4, "{active}");
    let before = worker_pid(&active);
    rustix::process::kill_process(before, rustix::process::Signal::KILL).unwrap();
    let dead = format!(" of {}", before.as_raw_nonzero());
    loop {
        let video = until(&mut viewers[3], "video_frame").await;
        assert_eq!(video["width"], 640);
        if !String::from_utf8(data(&video)).unwrap().ends_with(&dead) {
            break;
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn sound_comes_as_it_is_asked_for_or_not_at_all() {
    let server = room().await;
    let query = "?audio=48000&channels=2&max_width=320&unknown=x";
    let mut viewer = server.watch(&format!("{JSON}{query}")).await;
    let audio = until(&mut viewer, "audio_frame").await;
    assert_eq!(
        (&audio["sample_rate"], &audio["channels"]),
        (&json!(48_000), &json!(2))
    );
    for path in [JSON, BINARY] {
        let mut viewer = server.watch(&format!("{path}?audio=off")).await;
        for _ in 0..10 {
            assert_ne!(told(&mut viewer).await["type"], "audio_frame", "{path}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn what_can_not_be_asked_for_is_named() {
    let server = room().await;
    for path in [JSON, BINARY] {
        for (query, name) in [
            ("max_fps=0", "max_fps"),
            ("max_fps=x", "max_fps"),
            ("max_width=100", "max_width"),
            ("audio=22050", "audio"),
            ("channels=3", "channels"),
        ] {
            let path = format!("{path}?{query}");
            let (status, answer) = server.send(Method::GET, &path, "").await;
            assert_eq!(status.as_u16(), 422, "{path}: {answer}");
            assert_eq!(answer["code"], "invalid_field");
            assert!(answer["error"].as_str().unwrap().contains(name), "{answer}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn an_upgrade_is_made_as_it_should_be_and_without_compression() {
    let server = room().await;
    for path in [JSON, BINARY] {
        let url = format!("ws://{}{path}", server.address);
        let mut request = url.into_client_request().unwrap();
        let deflate = "permessage-deflate; client_max_window_bits"
            .parse()
            .unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-extensions", deflate);
        let (_, answer) = connect_async(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), 101);
        assert!(!answer.headers().contains_key("sec-websocket-extensions"));

        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        for (version, key, status, code) in [
            ("12", key, 426, "websocket_version"),
            ("13", "short", 400, "websocket_key"),
        ] {
            let headers = [
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", version),
                ("sec-websocket-key", key),
            ];
            let answer = server.fetch(path, &headers).await;
            assert_eq!(answer.status().as_u16(), status, "{path} {code}");
            if status == 426 {
                assert_eq!(answer.headers()["sec-websocket-version"], "13");
            }
            assert_eq!(answer.json::<Value>().await.unwrap()["code"], code);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn of_what_viewers_say_a_ping_alone_is_answered_and_too_much_ends_it() {
    let server = room().await;
    for path in [JSON, BINARY] {
        let mut viewer = server.watch(path).await;
        for said in [
            Message::text("nonsense"),
            Message::binary(vec![0; 4096]),
            Message::text("x".repeat(4096)),
            Message::Ping("still there".into()),
            Message::text("ping"),
        ] {
            viewer.send(said).await.unwrap();
        }
        let mut answers = Vec::new();
        while answers.len() < 2 {
            match message(&mut viewer).await {
                Message::Pong(echo) => answers.push(String::from_utf8(echo.to_vec()).unwrap()),
                Message::Text(text) if text.as_str() == "pong" => answers.push("pong".to_owned()),
                Message::Close(close) => panic!("{path}: {close:?}"),
                _ => {}
            }
        }
        answers.sort_unstable();
        assert_eq!(answers, ["pong", "still there"], "{path}");
        viewer.send(Message::text("x".repeat(4097))).await.unwrap();
        let code = loop {
            if let Message::Close(close) = message(&mut viewer).await {
                break u16::from(close.unwrap().code);
            }
        };
        assert_eq!(code, 1009, "{path}");
    }
    server.stop().await;
}

/// Rooms by how they end once something of them is recorded, and why: the contract's words.
const ENDS: [(&str, &str); 4] = [
    ("closed", "room_deleted"),
    ("deserted", "no_publisher"),
    ("banned", "error: not authorized: invented"),
    ("stopped", "stopped"),
];

#[tokio::test]
async fn why_a_session_ends_is_told_to_all_and_stored() {
    let server = Options::default().livekit().start().await;
    let mut events = Events::open(&server, None).await;
    let mut viewers = Vec::new();
    for (room, reason) in ENDS {
        server.start_room(room).await;
        for socket in ["stream", "ws/live"] {
            let path = format!("/api/live-sessions/{socket}/{room}?audio=off&max_fps=1");
            viewers.push((server.watch(&path).await, reason));
        }
        let record = json!({"mint_id": room, "output_format": "h264"});
        server.ok("/api/recording/start", record).await;
    }
    let stop = json!({"mint_id": "stopped"});
    server.ok("/api/live-sessions/stop", stop).await;
    for (mut viewer, reason) in viewers {
        let status = loop {
            let status = until(&mut viewer, "status").await;
            if status["state"] == "ended" {
                break status;
            }
        };
        assert_eq!(status["reason"], reason);
        let close = told(&mut viewer).await;
        assert_eq!(close["type"], "close", "{close}");
        assert!(close["is"].as_str().unwrap().contains("session ended"));
    }
    // The streams of events end with the server, and may before its sessions do.
    let mut told = BTreeMap::new();
    while told.len() < ENDS.len() {
        let (_, event) = events.next().await.unwrap();
        if event["type"] == "session.ended" {
            let [room, reason] = ["mint_id", "reason"].map(|name| event[name].as_str().unwrap());
            assert_eq!(told.insert(room.to_owned(), reason.to_owned()), None);
        }
    }
    server.start_room("lasting").await;
    let data = server.data.clone();
    server.stop().await;
    let db = rusqlite::Connection::open(data.path().join("haven.db")).unwrap();
    let mut rows = db
        .prepare("SELECT key, end_reason FROM live_sessions")
        .unwrap();
    let rows = rows
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let stored: BTreeMap<String, String> = rows.map(Result::unwrap).collect();
    assert_eq!(stored["lasting"], "shutdown");
    for (room, reason) in ENDS {
        assert_eq!(stored[room], reason, "{room}");
        assert_eq!(told[room], reason, "{room}");
    }
}
