//! Webhooks, to a receiver that verifies them with LiveKit's own library.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use haven_rig::{Answer, Keys, Received, WebhookReceiver};
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use support::{Options, PATIENCE, Server};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use warp::Filter;

fn keys() -> Keys {
    Keys {
        key: "hooks".into(),
        secret: "the hooks' secret, of 32 characters".into(),
    }
}

/// Options of a server that signs with a key for webhooks.
fn signing() -> Options {
    let keys = keys();
    Options::default()
        .livekit()
        .env("HAVEN_WEBHOOK_API_KEY", &keys.key)
        .env("HAVEN_WEBHOOK_API_SECRET", &keys.secret)
}

/// A session with a recording, from its begin to its end.
async fn one_session(server: &Server, room: &str) {
    server.start_room(room).await;
    let record = json!({"mint_id": room, "output_format": "h264"});
    server.ok("/api/recording/start", record).await;
    let stop = json!({ "mint_id": room });
    server.ok("/api/live-sessions/stop", stop).await;
}

/// What is told of such a session, states left out.
const LIFE: [&str; 4] = [
    "session.started",
    "recording.started",
    "recording.finished",
    "session.ended",
];

/// Reads on until each of `rooms` has ended; every request that was taken.
async fn until_ended(receiver: &mut WebhookReceiver, rooms: &[&str]) -> Vec<Received> {
    let mut all = Vec::new();
    let mut open: BTreeSet<_> = rooms.iter().copied().collect();
    while !open.is_empty() {
        let next = receiver.next(PATIENCE).await.unwrap();
        assert_eq!(next.error, "", "{next:?}");
        if next.event == "session.ended" {
            open.remove(next.body["mint_id"].as_str().unwrap());
        }
        all.push(next);
    }
    all
}

/// That nothing was told twice, and each room's life in order.
fn check_lives(all: &[Received], rooms: &[&str]) {
    let ids: BTreeSet<_> = all.iter().map(|one| &one.id).collect();
    assert_eq!(ids.len(), all.len(), "each once");
    for room in rooms {
        let of_it = all.iter().filter(|one| one.body["mint_id"] == *room);
        let kinds: Vec<_> = of_it.map(|one| one.event.as_str()).collect();
        let known: Vec<_> = kinds
            .into_iter()
            .filter(|kind| LIFE.contains(kind))
            .collect();
        assert_eq!(known, LIFE, "{room}");
    }
}

/// How long a receiver is down: `HAVEN_E2E_SECONDS` (60 is what is promised), else a short form.
fn outage() -> Duration {
    let seconds = std::env::var("HAVEN_E2E_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

#[tokio::test]
async fn a_receiver_that_was_down_gets_every_event_once_and_in_order() {
    let mut receiver = WebhookReceiver::start(&keys()).await.unwrap();
    let server = signing()
        .env("HAVEN_WEBHOOK_URLS", &receiver.url())
        .start()
        .await;
    one_session(&server, "up").await;
    let all = until_ended(&mut receiver, &["up"]).await;
    check_lives(&all, &["up"]);
    assert_eq!(all[0].content_type, "application/webhook+json");
    assert_eq!(all[0].body["type"], all[0].event.as_str());
    assert!(all[0].body["at"].is_string());

    let mut before = receiver.answer(Answer::Down).await.unwrap();
    let rooms = ["a", "b", "c"];
    for room in rooms {
        one_session(&server, room).await;
    }
    let failing = |answer: &Value| answer["webhooks"][0]["last_error"].is_string();
    server.until_get("/api/webhooks", failing).await;
    sleep(outage() / 2).await;
    before.extend(receiver.answer(Answer::Busy).await.unwrap());
    sleep(outage() / 2).await;
    before.extend(receiver.answer(Answer::Ok).await.unwrap());
    let mut all = until_ended(&mut receiver, &rooms).await;
    all.splice(0..0, before);
    check_lives(&all, &rooms);
    let empty = |answer: &Value| answer["webhooks"][0]["waiting"] == 0;
    let shown = server.until_get("/api/webhooks", empty).await;
    assert_eq!(shown["webhooks"][0]["dropped"], 0);
    assert_eq!(shown["webhooks"][0]["configured"], true);
    assert!(!shown.to_string().contains(&keys().secret));
    let metrics = server.fetch("/metrics", &[]).await.text().await.unwrap();
    assert!(metrics.contains("haven_webhook_events_waiting 0\n"));
    server.stop().await;
}

#[tokio::test]
async fn what_was_not_told_when_the_server_ended_is_told_by_the_next() {
    let mut receiver = WebhookReceiver::start(&keys()).await.unwrap();
    receiver.answer(Answer::Down).await.unwrap();
    let url = receiver.url();
    let options = || signing().env("HAVEN_WEBHOOK_URLS", &url);
    let server = options().start().await;
    one_session(&server, "first").await;
    let stored = |answer: &Value| answer["webhooks"][0]["waiting"].as_u64() >= Some(4);
    server.until_get("/api/webhooks", stored).await;
    let server = server.killed(options()).await;
    one_session(&server, "second").await;
    let stored = |answer: &Value| answer["webhooks"][0]["waiting"].as_u64() >= Some(8);
    server.until_get("/api/webhooks", stored).await;
    receiver.answer(Answer::Ok).await.unwrap();
    let rooms = ["first", "second"];
    let all = until_ended(&mut receiver, &rooms).await;
    check_lives(&all, &rooms);

    // The end of the server itself is told before it is over.
    server.start_room("last").await;
    let mut server = server;
    server.signal(Signal::INT);
    assert!(server.wait().await.success());
    let all = until_ended(&mut receiver, &["last"]).await;
    assert_eq!(all.last().unwrap().body["reason"], "shutdown");
}

/// A receiver that takes nothing of the room `wrong`: its address, and what it has taken.
async fn picky() -> (String, mpsc::UnboundedReceiver<Value>) {
    let (taken, takes) = mpsc::unbounded_channel();
    let hook = warp::body::bytes().map(move |body: bytes::Bytes| {
        let event: Value = serde_json::from_slice(&body).unwrap();
        let status = match event["mint_id"] == "wrong" {
            true => StatusCode::BAD_REQUEST,
            false => StatusCode::OK,
        };
        if status == StatusCode::OK {
            let _ = taken.send(event);
        }
        warp::reply::with_status("", status)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(warp::serve(hook).incoming(listener).run());
    (format!("http://{address}/hook"), takes)
}

/// A count of the metrics.
async fn metric(server: &Server, name: &str) -> u64 {
    let metrics = server.fetch("/metrics", &[]).await.text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn a_receiver_that_refuses_an_event_is_told_those_of_others() {
    let (url, mut takes) = picky().await;
    let options = signing().env("HAVEN_WEBHOOK_URLS", &url);
    let server = options.start().await;
    one_session(&server, "wrong").await;
    let refused = |answer: &Value| answer["webhooks"][0]["last_error"].is_string();
    server.until_get("/api/webhooks", refused).await;
    one_session(&server, "right").await;
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|kind| kind != "session.ended") {
        let event = timeout(PATIENCE, takes.recv()).await.unwrap().unwrap();
        assert_eq!(event["mint_id"], "right");
        kinds.push(event["event"].as_str().unwrap().to_owned());
    }
    let known: Vec<_> = kinds
        .iter()
        .filter(|kind| LIFE.contains(&kind.as_str()))
        .collect();
    assert_eq!(known, LIFE);
    let shown = server.get("/api/webhooks").await;
    assert!(
        shown["webhooks"][0]["waiting"].as_u64() >= Some(4),
        "{shown}"
    );
    assert_eq!(shown["webhooks"][0]["dropped"], 0);
    server.stop().await;
}

#[tokio::test]
async fn too_many_events_for_a_receiver_drop_the_oldest() {
    let (url, mut takes) = picky().await;
    let options = signing()
        .env("HAVEN_WEBHOOK_URLS", &url)
        .env("HAVEN_WEBHOOK_QUEUE", "2");
    let server = options.start().await;
    one_session(&server, "wrong").await;
    let dropped = |answer: &Value| {
        let hook = &answer["webhooks"][0];
        hook["waiting"] == 2 && hook["dropped"].as_u64() >= Some(2)
    };
    let shown = server.until_get("/api/webhooks", dropped).await;
    let counted = metric(&server, "haven_webhook_events_total{outcome=\"dropped\"}").await;
    assert!(Some(counted) >= shown["webhooks"][0]["dropped"].as_u64());
    assert_eq!(metric(&server, "haven_webhook_events_waiting").await, 2);
    one_session(&server, "right").await;
    let event = timeout(PATIENCE, takes.recv()).await.unwrap().unwrap();
    assert_eq!(event["mint_id"], "right");
    server.stop().await;
}

#[tokio::test]
async fn what_was_told_and_can_not_be_noted_is_not_told_again() {
    let (url, mut takes) = picky().await;
    let options = signing().env("HAVEN_WEBHOOK_URLS", &url);
    let server = options.start().await;
    let database = rusqlite::Connection::open(server.data.path().join("haven.db")).unwrap();
    database.busy_timeout(PATIENCE).unwrap();
    let refuse = "CREATE TRIGGER refused BEFORE DELETE ON webhook_deliveries
                  BEGIN SELECT RAISE(ABORT, 'as the disk is full'); END";
    database.execute_batch(refuse).unwrap();
    one_session(&server, "right").await;
    let mut told = vec![timeout(PATIENCE, takes.recv()).await.unwrap().unwrap()];
    // Two seconds are more than the first pause after a failure of the database.
    let again = timeout(Duration::from_secs(2), takes.recv()).await;
    assert!(again.is_err(), "{told:?}, and then {again:?}");
    database.execute_batch("DROP TRIGGER refused").unwrap();
    while told.last().unwrap()["event"] != "session.ended" {
        told.push(timeout(PATIENCE, takes.recv()).await.unwrap().unwrap());
    }
    let ids: BTreeSet<_> = told.iter().map(|event| event["id"].as_str()).collect();
    assert_eq!(ids.len(), told.len(), "each once: {told:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_webhook_whose_client_has_gone_is_added_all_the_same() {
    let (url, mut takes) = picky().await;
    let options = signing().env("HAVEN_WEBHOOK_ALLOW_PRIVATE", "true");
    let server = options.start().await;
    let database = rusqlite::Connection::open(server.data.path().join("haven.db")).unwrap();
    database.busy_timeout(PATIENCE).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let hook = json!({ "url": &url });
    let request = server.http.post(server.url("/api/webhooks"));
    let request = request.body(hook.to_string());
    // The webhook can't be stored for so long.
    let broken = request.timeout(Duration::from_millis(500)).send().await;
    assert!(broken.is_err());
    database.execute_batch("ROLLBACK").unwrap();
    let again = server.ok("/api/webhooks", hook).await;
    assert_eq!(again["already_added"], true);
    one_session(&server, "right").await;
    let event = timeout(PATIENCE, takes.recv()).await.unwrap().unwrap();
    assert_eq!(event["event"], "session.started");
    server.stop().await;
}

#[tokio::test]
async fn clients_add_and_delete_webhooks_that_lead_outside() {
    let keys = Keys {
        key: "key".into(),
        secret: "a secret of at least 32 characters".into(),
    };
    let mut receiver = WebhookReceiver::start(&keys).await.unwrap();
    let url = receiver.url();
    let without_key = Options::default().start().await;
    let outside = json!({"url": "https://1.1.1.1/hook"});
    let (status, answer) = without_key.post("/api/webhooks", outside).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert_eq!(answer["code"], "webhooks_not_configured");
    let inside = json!({ "url": &url });
    let (status, answer) = without_key.post("/api/webhooks", inside.clone()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    without_key.stop().await;

    // Signed with LiveKit's key, where there is none for webhooks.
    let server = Options::default()
        .livekit()
        .env("HAVEN_WEBHOOK_ALLOW_PRIVATE", "true")
        .start()
        .await;
    for (wrong, field) in [
        (json!({}), "url"),
        (json!({"url": "ftp://x"}), "url"),
        (json!({"url": &url, "events": "all"}), "events"),
        (json!({"url": &url, "events": ["x"]}), "events"),
    ] {
        let (status, answer) = server.post("/api/webhooks", wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(field));
    }
    let hidden = format!("{url}?token=planted");
    let ended = json!({"url": &hidden, "events": ["session.ended"]});
    let added = server.ok("/api/webhooks", ended.clone()).await;
    let again = server.ok("/api/webhooks", ended).await;
    assert_eq!(again["already_added"], true);
    let (status, _) = server
        .post("/api/webhooks", json!({ "url": &hidden }))
        .await;
    assert_eq!(status, StatusCode::CONFLICT);
    one_session(&server, "room").await;
    let told = receiver.next(PATIENCE).await.unwrap();
    assert_eq!((told.event.as_str(), told.taken), ("session.ended", true));
    let shown = server.get("/api/webhooks").await;
    assert!(!shown.to_string().contains("planted"), "{shown}");
    let path = format!("/api/webhooks/{}", added["webhook"]["id"]);
    for expected in [StatusCode::OK, StatusCode::NOT_FOUND] {
        let (status, answer) = server.send(Method::DELETE, &path, "").await;
        assert_eq!(status, expected, "{answer}");
    }
    assert_eq!(server.get("/api/webhooks").await["webhooks"], json!([]));
    server.stop().await;
}
