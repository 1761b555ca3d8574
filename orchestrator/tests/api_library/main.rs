//! `/api/recordings` over HTTP: the library.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod deleting;
mod files;
mod listing;
mod parts;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::{Options, Server};

pub(crate) const RECORD: &str = "/api/recording/start";

const STOP: &str = "/api/recording/stop";

/// Records a room for a moment; the answer to the stop.
pub(crate) async fn recorded(server: &Server, room: &str, more: Value) -> Value {
    server.start_room(room).await;
    let mut body = json!({"mint_id": room, "output_format": "h264"});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    server.ok(RECORD, body).await;
    let path = format!("/api/recording/status/{room}");
    let grown = |status: &Value| status["bytes"].as_u64() > Some(30);
    server.until_get(&path, grown).await;
    server.ok(STOP, json!({"mint_id": room})).await
}

/// As many parts as asked for, at least.
pub(crate) async fn split(server: &Server, room: &str, more: Value, parts: usize) -> Value {
    server.start_room(room).await;
    let mut body = json!({"mint_id": room, "output_format": "h264"});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    server.ok(RECORD, body).await;
    let path = format!("/api/recording/status/{room}");
    let enough = |status: &Value| {
        let known = status["parts"].as_array();
        known.is_some_and(|known| known.len() >= parts)
    };
    server.until_get(&path, enough).await;
    server.ok(STOP, json!({"mint_id": room})).await
}

pub(crate) async fn server() -> Server {
    Options::default().livekit().start().await
}
