//! Every answer about a real room that is watched and recorded, against the server's own description
//! of itself.

#[path = "../../../orchestrator/tests/support/schema.rs"]
#[allow(clippy::unwrap_used, reason = "helpers of tests")]
mod schema;

use haven_e2e::{Publishing, Result, Stage};
use haven_rig::pumpfun::random_mint;
use reqwest::Method;
use schema::faults;
use serde_json::{Value, json};
use std::time::Duration;

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A method, a path as it is described, what stands in its place, a body, and the status of the answer.
type Case<'a> = (Method, &'a str, &'a str, Value, u16);

/// The server and its description.
struct Described<'a> {
    stage: &'a Stage,
    http: reqwest::Client,
    document: Value,
}

impl Described<'_> {
    async fn check(&self, (method, template, key, body, status): Case<'_>) -> Result<Value> {
        let path = template.replace("{mint_id}", key).replace("{id}", key);
        let url = format!("{}{path}", self.stage.haven.url);
        let mut request = self.http.request(method.clone(), url);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let answered = response.status().as_u16();
        let content = response.headers()["content-type"].to_str()?.to_owned();
        let content = content.split(';').next().unwrap_or_default();
        let value = match content {
            "application/json" => response.json().await?,
            // Of films and pictures it is enough that they come.
            _ => Value::String(format!("{} bytes", response.bytes().await?.len())),
        };
        assert_eq!(answered, status, "{method} {path}: {value}");
        let operation = &self.document["paths"][template][method.as_str().to_lowercase()];
        let described = &operation["responses"][status.to_string()]["content"][content];
        assert!(
            described.is_object(),
            "{method} {template}: {status} {content}"
        );
        if content == "application/json" {
            let faults = faults(&self.document, &described["schema"], &value);
            assert!(faults.is_empty(), "{method} {path}: {faults:#?}");
        }
        Ok(value)
    }
}

/// While the room is watched and recorded.
fn during(mint: &str) -> Vec<Case<'_>> {
    let post = |path, body, status| (Method::POST, path, "", body, status);
    let get = |path, key| (Method::GET, path, key, Value::Null, 200);
    let (start, stop) = ("/api/live-sessions/start", "/api/live-sessions/stop");
    let record = "/api/recording/start";
    let of = |format: &str| json!({"mint_id": mint, "output_format": format});
    vec![
        post(start, json!({"mint_id": mint}), 200),
        post(start, json!({"mint_id": random_mint()}), 404),
        post(start, json!({}), 422),
        get("/api/live-sessions/active", ""),
        get("/api/recording/status/{mint_id}", mint),
        get("/api/recording/formats", ""),
        post(record, of("source"), 200),
        post(record, of("source"), 409),
        post(record, of("h264"), 200),
        post(record, of("gif"), 422),
        post(record, json!({"mint_id": random_mint()}), 404),
        get("/api/recording/status/{mint_id}", mint),
        get("/api/recording/active", ""),
        get("/api/live-sessions/active", ""),
        get("/api/recordings", ""),
        get("/api/pumpfun/live", ""),
        get("/api/pumpfun/stream/{mint_id}", mint),
        get("/api/pumpfun/validate/{mint_id}", mint),
        get("/metrics", ""),
        get("/readyz", ""),
        post("/api/recording/stop", of("h264"), 200),
        post("/api/recording/stop", of("h264"), 200),
        post(stop, json!({"mint_id": mint}), 200),
        post(stop, json!({"mint_id": mint}), 200),
    ]
}

/// Of a recording that is over.
fn after(id: &str) -> Vec<Case<'_>> {
    let get = |path| (Method::GET, path, id, Value::Null, 200);
    let post = |path| (Method::POST, path, id, Value::Null, 200);
    vec![
        get("/api/recordings/{id}"),
        get("/api/recordings/{id}/file"),
        get("/api/recordings/{id}/thumbnail"),
        post("/api/recordings/{id}/keep"),
        post("/api/recordings/{id}/join"),
        get("/api/recordings/{id}"),
        (Method::DELETE, "/api/recordings/{id}", id, Value::Null, 200),
        (Method::GET, "/api/recordings/{id}", id, Value::Null, 404),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_about_a_real_room_is_as_it_is_described() -> Result {
    let stage = Stage::set(Publishing::small()).await?;
    let described = Described {
        stage: &stage,
        http: reqwest::Client::builder().timeout(LIMIT).build()?,
        document: stage.haven.get("/api/openapi.json").await?.expect_ok()?,
    };
    stage.haven.start_session(&stage.mint).await?;
    let is_live = |session: &Value| session["state"] == "live" && !session["video"].is_null();
    stage
        .haven
        .wait_for_session(&stage.mint, LIMIT, is_live)
        .await?;
    for case in during(&stage.mint) {
        described.check(case).await?;
    }
    let listed = stage.haven.get("/api/recordings").await?.expect_ok()?;
    let all = listed["recordings"].as_array().ok_or("no recordings")?;
    assert_eq!(all.len(), 2, "{listed}");
    for recording in all {
        let id = recording["recording_id"].to_string();
        for case in after(&id) {
            described.check(case).await?;
        }
    }
    Ok(())
}
