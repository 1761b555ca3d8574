//! The API's description, against what the server really answers.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use haven_rig::{
    Keys,
    pumpfun::{Coin, FakePumpFun, random_mint},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use support::{Options, PATIENCE, Server, schema::faults};

/// One request: method, path as the document has it, what stands for its parameters, query, body.
struct Case(Method, &'static str, String, &'static str, Value, u16);

fn get(path: &'static str, key: &str, query: &'static str, status: u16) -> Case {
    Case(
        Method::GET,
        path,
        key.to_owned(),
        query,
        Value::Null,
        status,
    )
}

fn send(method: Method, path: &'static str, body: Value, status: u16) -> Case {
    Case(method, path, String::new(), "", body, status)
}

/// Sends the request; the answer must be described, and as it is described.
async fn check(server: &Server, document: &Value, case: &Case) {
    let Case(method, template, key, query, body, status) = case;
    let path = template.replace("{mint_id}", key).replace("{id}", key) + query;
    let mut request = server
        .http
        .request(method.clone(), server.url(&path))
        .timeout(PATIENCE);
    if !body.is_null() {
        request = request.body(body.to_string());
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status().as_u16(), *status, "{method} {path}");
    let content_type = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    let content_type = content_type.split(';').next().unwrap();
    let text = response.text().await.unwrap();
    let operation = &document["paths"][template][method.as_str().to_lowercase()];
    assert!(operation.is_object(), "{method} {template} isn't described");
    let described = &operation["responses"][status.to_string()]["content"][content_type]["schema"];
    assert!(
        described.is_object(),
        "{method} {template}: {status} {content_type} isn't described"
    );
    let value = match content_type {
        "application/json" => serde_json::from_str(&text).unwrap(),
        _ => Value::String(text),
    };
    let faults = faults(document, described, &value);
    assert!(faults.is_empty(), "{method} {path}: {faults:#?}");
}

/// A life of two sessions and a recording, in turn, and what is refused.
fn life(mint: &str) -> Vec<Case> {
    let post = |path, body, status| send(Method::POST, path, body, status);
    let start = "/api/live-sessions/start";
    let stop = "/api/live-sessions/stop";
    let (record, end) = ("/api/recording/start", "/api/recording/stop");
    let recorded_as = |key: &str, format: &str| json!({"mint_id": key, "output_format": format});
    vec![
        get("/api/live-sessions/active", "", "", 200),
        post(start, json!({"mint_id": random_mint()}), 404),
        post(start, json!({"room_name": "r"}), 200),
        post(start, json!({"mint_id": mint}), 200),
        post(start, json!({"mint_id": mint}), 200),
        post(start, json!({}), 422),
        post(start, json!({"room_name": "no-server"}), 502),
        get("/api/recording/formats", "", "", 200),
        get("/api/recording/status/{mint_id}", "r", "", 200),
        post(record, recorded_as("r", "h264"), 200),
        post(record, recorded_as("r", "h264"), 409),
        post(record, recorded_as("r", "av1"), 503),
        post(record, recorded_as("nobody", "h264"), 404),
        post(record, recorded_as("r", "gif"), 422),
        get("/api/recording/status/{mint_id}", "r", "", 200),
        get("/api/recording/active", "", "", 200),
        get("/api/live-sessions/active", "", "", 200),
        get("/metrics", "", "", 200),
        post(end, json!({"mint_id": "r"}), 200),
        post(end, json!({"mint_id": "r"}), 200),
        post(end, json!({"mint_id": "nobody"}), 404),
        post(stop, json!({"mint_id": "r"}), 200),
        post(stop, json!({"mint_id": "r"}), 200),
        post(stop, json!({}), 422),
    ]
}

/// Settings, operations and sockets.
fn others() -> Vec<Case> {
    let text = "/api/live-sessions/stream/{mint_id}";
    let binary = "/api/live-sessions/ws/live/{mint_id}";
    let put = |body, status| send(Method::PUT, "/api/config", body, status);
    vec![
        get("/api/config", "", "", 200),
        put(json!({"split_minutes": 5}), 200),
        put(json!({"split_minutes": "x"}), 422),
        send(Method::POST, "/api/ui-session", Value::Null, 200),
        send(Method::DELETE, "/api/ui-session", Value::Null, 200),
        get("/healthz", "", "", 200),
        get("/health", "", "", 200),
        get("/readyz", "", "", 200),
        get("/api/openapi.json", "", "", 200),
        get(text, "r", "", 426),
        get(binary, "r", "", 426),
        get(binary, "r", "?max_fps=x", 422),
    ]
}

/// The library of recordings; the first recording is one of `life`.
fn library() -> Vec<Case> {
    let of =
        |method, path, id: &str, status| Case(method, path, id.to_owned(), "", Value::Null, status);
    let one = "/api/recordings/{id}";
    vec![
        get("/api/recordings", "", "", 200),
        get("/api/recordings", "", "?limit=x", 422),
        get(one, "1", "", 200),
        get(one, "99", "", 404),
        get("/api/recordings/{id}/file", "99", "", 404),
        get("/api/recordings/{id}/thumbnail", "99", "", 404),
        of(Method::POST, "/api/recordings/{id}/join", "99", 404),
        of(Method::POST, "/api/recordings/{id}/keep", "1", 200),
        of(Method::POST, "/api/recordings/{id}/keep", "99", 404),
        of(Method::DELETE, one, "99", 404),
        of(Method::DELETE, one, "1", 200),
    ]
}

/// Watch rules.
fn watching(mint: &str) -> Vec<Case> {
    let rule = json!({"mint_id": mint, "output_format": "h264", "split_minutes": 5});
    let other = json!({"mint_id": mint, "output_format": "vp9"});
    let av1 = json!({"creator": mint, "output_format": "av1"});
    let add = |body, status| send(Method::POST, "/api/watch", body, status);
    let one = "/api/watch/{id}";
    let delete =
        |id: &str, status| Case(Method::DELETE, one, id.to_owned(), "", Value::Null, status);
    vec![
        add(rule.clone(), 200),
        add(rule, 200),
        add(other, 409),
        add(json!({}), 422),
        add(av1, 503),
        get("/api/watch", "", "", 200),
        delete("1", 200),
        delete("1", 404),
        get("/api/watch", "", "", 200),
    ]
}

/// Webhooks; the address takes nothing.
fn webhooks() -> Vec<Case> {
    let hook = json!({"url": "https://1.1.1.1:9/", "events": ["watch.failed"]});
    let other = json!({"url": "https://1.1.1.1:9/"});
    let add = |body, status| send(Method::POST, "/api/webhooks", body, status);
    let one = "/api/webhooks/{id}";
    let delete =
        |id: &str, status| Case(Method::DELETE, one, id.to_owned(), "", Value::Null, status);
    vec![
        add(hook.clone(), 200),
        add(hook, 200),
        add(other, 409),
        add(json!({"url": "http://127.0.0.1/"}), 422),
        get("/api/webhooks", "", "", 200),
        delete("1", 200),
        delete("1", 404),
    ]
}

/// Discovery, below both its prefixes.
fn discovery(mint: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for (path, key, query, status) in [
        ("live", "", "", 200),
        ("live", "", "?limit=0", 422),
        ("popular", "", "", 200),
        ("popular", "", "?limit=x", 422),
        ("stats", "", "", 200),
        ("stream/{mint_id}", mint, "", 200),
        ("stream/{mint_id}", &random_mint(), "", 404),
        ("stream/{mint_id}", "x", "", 422),
        ("validate/{mint_id}", mint, "", 200),
        ("validate/{mint_id}", "x", "", 200),
        ("history/{mint_id}", mint, "", 200),
        ("history/{mint_id}", "x", "", 422),
    ] {
        for prefix in ["/api/pumpfun/", "/api/live/"] {
            let path: &'static str = format!("{prefix}{path}").leak();
            cases.push(get(path, key, query, status));
        }
    }
    cases
}

#[tokio::test]
async fn every_answer_is_as_it_is_described_and_every_path_is_asked() {
    let fake = FakePumpFun::start_for("ws://127.0.0.1:1".into(), Keys::random())
        .await
        .unwrap();
    let mint = random_mint();
    fake.add_coin(Coin::new(mint.clone()));
    let mut options = Options::default().livekit();
    options.env.extend(fake.environment());
    let server = options.start().await;
    let document = server.get("/api/openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut cases = life(&mint);
    cases.extend(others());
    cases.extend(library());
    cases.extend(discovery(&mint));
    cases.extend(watching(&mint));
    cases.extend(webhooks());
    for case in &cases {
        check(&server, &document, case).await;
    }
    let asked: BTreeSet<_> = cases
        .iter()
        .map(|case| (case.1.to_owned(), case.0.as_str().to_lowercase()))
        .collect();
    for (path, item) in document["paths"].as_object().unwrap() {
        // Its answer never ends; its own test reads it.
        if path == "/api/events" {
            continue;
        }
        for method in item.as_object().unwrap().keys() {
            assert!(
                asked.contains(&(path.clone(), method.clone())),
                "{method} {path} is not asked"
            );
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn the_document_and_its_page_are_whole() {
    let server = Options::default()
        .env("HAVEN_API_TOKEN", "t0ken")
        .start()
        .await;
    let ask = |path: &str| server.http.get(server.url(path)).timeout(PATIENCE);
    for (path, kind) in [
        ("/api/docs", "text/html"),
        ("/api/docs.js", "text/javascript"),
    ] {
        let response = ask(path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path} is a page without secrets");
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with(kind));
        assert!(header("content-security-policy").contains("default-src 'self'"));
        assert!(!response.text().await.unwrap().contains("//cdn"));
    }
    for path in [
        "/api/openapi.json",
        "/metrics",
        "/api/config",
        "/api/pumpfun/live",
    ] {
        assert_eq!(ask(path).send().await.unwrap().status(), 401, "{path}");
    }
    let document: Value = ask("/api/openapi.json")
        .bearer_auth("t0ken")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    // Every reference leads somewhere.
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            assert!(
                document
                    .pointer(reference.trim_start_matches('#'))
                    .is_some(),
                "{reference}"
            );
        }
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(members) => open.extend(members.values()),
            _ => {}
        }
    }
    server.stop().await;
}

#[test]
fn the_check_finds_what_is_wrong() {
    let document = json!({"a": {"type": "object", "required": ["x"], "properties":
        {"x": {"type": ["integer", "null"]}, "y": {"type": "array", "items": {"enum": [1, 2]}}}}});
    let schema = json!({"$ref": "#/a"});
    for (value, count) in [
        (json!({"x": 1, "y": [1, 2]}), 0),
        (json!({"x": null}), 0),
        (json!({"x": "1"}), 1),
        (json!({"y": [3]}), 2),
        (json!({"x": 1, "z": 1}), 1),
        (json!([]), 2),
    ] {
        assert_eq!(faults(&document, &schema, &value).len(), count, "{value}");
    }
}
