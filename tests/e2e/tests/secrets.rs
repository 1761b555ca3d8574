//! What the real worker is trusted with is seen nowhere.

use haven_e2e::{Publishing, Result, Stage};
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
/// How every JSON Web Token begins: `{"` in base64url (RFC 7515, 3.3).
const JWT: &str = "eyJ";

/// Fails where the server's secret or a token for a room is in it.
fn is_clean(what: &str, bytes: &[u8], secret: &str) {
    let text = String::from_utf8_lossy(bytes);
    for planted in [secret, JWT] {
        let found = text.find(planted).map(|at| {
            let mut around = text.char_indices().map(|(index, _)| index);
            let from = around.rfind(|index| *index + 120 < at);
            text[from.unwrap_or(0)..at].to_owned()
        });
        assert_eq!(found, None, "{what} has a secret, behind this");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_keys_are_in_no_log_argument_or_environment_of_a_worker() -> Result {
    let everything = vec![("RUST_LOG".to_owned(), "trace".to_owned())];
    let stage = Stage::set_with(Publishing::small(), everything).await?;
    let environment = stage.livekit.environment();
    let secret = environment
        .iter()
        .find(|(name, _)| name == "LIVEKIT_API_SECRET");
    let (_, secret) = secret.ok_or("no secret to look for")?;
    stage.haven.start_session(&stage.mint).await?;
    let is_live = |session: &Value| session["state"] == "live";
    stage
        .haven
        .wait_for_session(&stage.mint, LIMIT, is_live)
        .await?;
    let request = json!({"mint_id": stage.mint, "output_format": "source"});
    stage
        .haven
        .post("/api/recording/start", &request)
        .await?
        .expect_ok()?;

    let workers = stage.haven.workers()?;
    assert_eq!(workers.len(), 1);
    for file in ["cmdline", "environ"] {
        let path = format!("/proc/{}/{file}", workers[0].pid);
        is_clean(&path, &std::fs::read(&path)?, secret);
    }
    stage
        .haven
        .post("/api/recording/stop", &request)
        .await?
        .expect_ok()?;
    let log = stage.haven.log()?;
    assert!(log.contains("TRACE"), "not everything was logged");
    is_clean("the log", log.as_bytes(), secret);
    Ok(())
}
