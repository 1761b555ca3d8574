//! What there is only so much of: sessions, viewers, requests, a worker's memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use support::{
    Options, PATIENCE, Server, Viewer,
    discovery::stand_in,
    events::Events,
    schema::faults,
    watching::{coins, until_rule, watch, watching},
    worker_pid,
};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, client::IntoClientRequest},
};

const START: &str = "/api/live-sessions/start";
const SOCKET: &str = "/api/live-sessions/stream/{mint_id}";

/// A server that believes a proxy on this machine, which is the test.
fn behind_proxy() -> Options {
    Options::default()
        .livekit()
        .env("HAVEN_TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8")
}

/// Whether a refusal is as the server describes it: its code, and seconds to wait.
async fn check_refusal(server: &Server, described: (&str, &str), status: u16, refusal: Refusal) {
    let document = server.get("/api/openapi.json").await;
    let (path, method) = described;
    let responses = &document["paths"][path][method]["responses"];
    let schema = &responses[status.to_string()]["content"]["application/json"]["schema"];
    assert!(
        schema.is_object(),
        "{method} {path}: {status} isn't described"
    );
    let faults = faults(&document, schema, &refusal.body);
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(refusal.status, status, "{}", refusal.body);
    assert_eq!(refusal.body["success"], false);
    assert!(refusal.retry_after >= 1);
}

struct Refusal {
    status: u16,
    retry_after: u64,
    body: Value,
}

impl Refusal {
    async fn of(response: reqwest::Response) -> Self {
        let wait = response.headers()["retry-after"].to_str().unwrap();
        Self {
            status: response.status().as_u16(),
            retry_after: wait.parse().unwrap(),
            body: response.json().await.unwrap(),
        }
    }
}

async fn post(server: &Server, path: &str, body: Value) -> reqwest::Response {
    let request = server.http.post(server.url(path)).timeout(PATIENCE);
    request.body(body.to_string()).send().await.unwrap()
}

#[tokio::test]
async fn no_more_sessions_begin_than_may_and_those_that_run_can_be_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("haven.toml");
    fs::write(&file, "max_sessions = 1\n").unwrap();
    let options = Options::default().livekit().arg("--config");
    let server = options.arg(file.to_str().unwrap()).start().await;
    server.start_room("first").await;
    let refused = Refusal::of(post(&server, START, json!({"room_name": "second"})).await).await;
    assert_eq!(refused.body["code"], "too_many_sessions");
    assert_eq!(refused.body["limit"], 1);
    check_refusal(&server, (START, "post"), 503, refused).await;
    let again = server.start_room("first").await;
    assert_eq!(
        again["session_id"],
        server.session("first").await["session_id"]
    );
    server
        .ok("/api/live-sessions/stop", json!({"mint_id": "first"}))
        .await;
    server.start_room("second").await;
    // The operator allows another one.
    fs::write(&file, "max_sessions = 2\n").unwrap();
    server.signal(Signal::HUP);
    let until = Instant::now() + PATIENCE;
    while post(&server, START, json!({"room_name": "third"}))
        .await
        .status()
        != StatusCode::OK
    {
        assert!(Instant::now() < until, "the limit stays as it was");
    }
    let metrics = server.fetch("/metrics", &[]).await.text().await.unwrap();
    let refused = metrics
        .lines()
        .find(|line| line.starts_with("haven_refused_total{code=\"too_many_s"));
    assert_ne!(refused.unwrap().rsplit(' ').next().unwrap(), "0");
    server.stop().await;
}

/// Opens a viewer's WebSocket in the name of this address, as a proxy does.
async fn open(server: &Server, room: &str, address: &str) -> Result<Viewer, u16> {
    let url = format!("ws://{}/api/live-sessions/stream/{room}", server.address);
    let mut request = url.into_client_request().unwrap();
    let named = address.parse().unwrap();
    request.headers_mut().insert("x-forwarded-for", named);
    match timeout(PATIENCE, connect_async(request)).await.unwrap() {
        Ok((viewer, _)) => Ok(viewer),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn viewers_beyond_a_limit_are_refused_before_the_upgrade() {
    let options = behind_proxy()
        .env("HAVEN_MAX_VIEWERS", "3")
        .env("HAVEN_MAX_VIEWERS_PER_ADDRESS", "2");
    let server = options.start().await;
    server.start_room("r").await;
    let mut viewers = Vec::new();
    for (address, status) in [
        ("192.0.2.1", None),
        ("192.0.2.1", None),
        ("192.0.2.1", Some(503)),
        // What the client itself has written counts nothing, and a proxy in between neither.
        ("198.51.100.1, 192.0.2.1, 10.0.0.1", Some(503)),
        ("2001:db8::1", None),
        ("2001:db8::2", Some(503)),
        ("198.51.100.1", Some(503)),
    ] {
        let opened = open(&server, "r", address).await;
        assert_eq!(opened.as_ref().err().copied(), status, "{address}");
        viewers.extend(opened);
    }
    assert!(
        open(&server, "nobody", "192.0.2.1").await.is_ok(),
        "it is closed with 4404"
    );
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("x-forwarded-for", "198.51.100.1"),
    ];
    let path = SOCKET.replace("{mint_id}", "r");
    let refused = Refusal::of(server.fetch(&path, &upgrade).await).await;
    assert_eq!(refused.body["code"], "too_many_viewers");
    check_refusal(&server, (SOCKET, "get"), 503, refused).await;
    viewers.pop();
    let until = Instant::now() + PATIENCE;
    while open(&server, "r", "198.51.100.1").await.is_err() {
        assert!(Instant::now() < until, "its place is never free");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_address_that_sends_too_many_requests_is_told_when_to_come_again() {
    let server = behind_proxy()
        .env("HAVEN_REQUESTS_PER_MINUTE", "20")
        .start()
        .await;
    let ask =
        async |address: &str, path: &str| server.fetch(path, &[("x-forwarded-for", address)]).await;
    for _ in 0..10 {
        let status = ask("2001:db8::1", "/").await.status();
        assert_eq!(status, StatusCode::OK, "a page and its parts come at once");
    }
    let refused = async |address: &str, path: &str| ask(address, path).await.status() == 429;
    // Seconds of a busy machine give some of it back.
    let until = Instant::now() + PATIENCE;
    while !refused("2001:db8::2", "/api/config").await {
        assert!(Instant::now() < until, "a subscriber's addresses are one");
    }
    let refusal = Refusal::of(ask("2001:db8::3", "/api/config").await).await;
    assert_eq!(refusal.body["code"], "rate_limited");
    assert!(refusal.retry_after <= 3, "{}", refusal.retry_after);
    check_refusal(&server, ("/api/config", "get"), 429, refusal).await;
    assert!(!refused("2001:db8:0:1::1", "/api/config").await);
    // The machine's own programs, as the command line, are never kept waiting.
    for _ in 0..50 {
        server.get("/api/config").await;
    }
    server.stop().await;
}

#[tokio::test]
async fn nobody_but_a_trusted_proxy_says_whose_request_it_is() {
    let options = Options::default()
        .livekit()
        .env("HAVEN_REQUESTS_PER_MINUTE", "1");
    let server = options.start().await;
    for _ in 0..5 {
        let answer = server
            .fetch("/healthz", &[("x-forwarded-for", "192.0.2.1")])
            .await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_watch_rule_waits_without_noise_while_as_many_sessions_run_as_may() {
    let fake = stand_in().await;
    let [mint] = coins(&fake);
    let server = watching(&fake).env("HAVEN_MAX_SESSIONS", "1").start().await;
    let mut events = Events::open(&server, None).await;
    server.start_room("r").await;
    watch(&server, &mint).await;
    fake.set_live(&mint, true);
    let refused = |rule: &Value| {
        let error = rule["last_error"].as_str().unwrap_or_default();
        rule["state"] == "starting" && error.contains("max_sessions")
    };
    let list = server
        .until_get("/api/watch", |list| refused(&list["rules"][0]))
        .await;
    assert_eq!(list["rules"][0]["recording_id"], Value::Null);
    server
        .ok("/api/live-sessions/stop", json!({"mint_id": "r"}))
        .await;
    until_rule(&server, &mint, "recording").await;
    loop {
        let (_, event) = events.next().await.unwrap();
        assert_ne!(event["type"], "watch.failed", "{event}");
        if event["type"] == "watch.recording" {
            break;
        }
    }
    server.stop().await;
}

/// A line of `/proc/PID/limits`, soft and hard.
fn limit_of(pid: i32, name: &str) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    let mut words = line.unwrap().split_whitespace().map(ToOwned::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

fn oom_score(pid: i32) -> i32 {
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    score.trim().parse().unwrap()
}

#[tokio::test]
async fn a_worker_may_take_so_much_of_the_machine_and_no_more() {
    let options = Options::default()
        .livekit()
        .env("HAVEN_WORKER_MEMORY_BYTES", "536870912");
    let server = options.start().await;
    server.start_room("r").await;
    let pid = worker_pid(&server.session("r").await)
        .as_raw_nonzero()
        .get();
    for (name, most) in [
        ("Max core file size", 1),
        ("Max open files", 4096),
        ("Max data size", 536_870_912),
    ] {
        let (soft, hard) = limit_of(pid, name);
        assert_eq!(soft, hard, "{name}");
        assert!(soft.parse::<u64>().unwrap() <= most, "{name}: {soft}");
    }
    let own = oom_score(i32::try_from(server.pid()).unwrap());
    assert_eq!(oom_score(pid), (own + 300).min(1000));
    server.stop().await;
}

#[tokio::test]
async fn a_worker_that_wants_more_memory_than_it_may_have_is_replaced_and_the_log_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default()
        .livekit()
        .env("HAVEN_WORKER_MEMORY_BYTES", "536870912");
    options.log = Some(dir.path().join("log"));
    let server = options.start().await;
    server.start_room("hungry").await;
    server
        .until("hungry", |session| {
            session["state"] == "live" && session["restarts"] == 1
        })
        .await;
    server.stop().await;
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    let said = log
        .lines()
        .find(|line| line.contains("worker exited"))
        .unwrap();
    for word in [
        "SIGABRT",
        "out of memory",
        "536870912",
        "worker_memory_bytes",
    ] {
        assert!(said.contains(word), "{said}");
    }
}

#[tokio::test]
async fn limits_that_cannot_be_are_told_at_the_start() {
    for (name, value, word) in [
        ("HAVEN_WORKER_MEMORY_BYTES", "1000", "worker_memory_bytes"),
        (
            "HAVEN_REQUESTS_PER_MINUTE",
            "99999999999",
            "requests_per_minute",
        ),
        ("HAVEN_TRUSTED_PROXIES", "proxy.example", "10.0.0.0/8"),
        ("HAVEN_MAX_VIEWERS", "many", "max-viewers"),
    ] {
        let mut command = Options::default().env(name, value).command();
        let output = command.stderr(std::process::Stdio::piped()).output();
        let output = timeout(PATIENCE, output).await.unwrap().unwrap();
        assert!(!output.status.success(), "{name}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(word), "{name}: {said}");
    }
}
