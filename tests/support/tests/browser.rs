//! The browser does what a person's does.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on shall fail there"
)]

use haven_rig::Browser;
use serde_json::json;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_page_is_shown_clicked_on_and_complains() {
    let page = "data:text/html,<button onclick='this.textContent = \"pressed\"'>press</button>";
    let browser = Browser::start().await.unwrap();
    let page = browser.open(page).await.unwrap();
    assert_eq!(page.evaluate("1 + 1").await.unwrap(), json!(2));
    let later = "new Promise((done) => setTimeout(done, 10, {ok: true}))";
    assert_eq!(page.evaluate(later).await.unwrap(), json!({"ok": true}));
    let thrown = page.evaluate("nobody.knows").await.unwrap_err().to_string();
    assert!(thrown.contains("nobody is not defined"), "{thrown}");

    page.click("button").await.unwrap();
    let pressed = "document.querySelector('button').textContent === 'pressed'";
    page.wait_for(pressed, LIMIT).await.unwrap();
    assert!(
        page.wait_for("false", Duration::from_millis(10))
            .await
            .is_err()
    );
    assert!(page.screenshot().await.unwrap().starts_with(b"\x89PNG"));

    assert_eq!(page.complaints(), [""; 0]);
    page.evaluate("setTimeout(() => { console.warn('careful'); throw new Error('broken'); })")
        .await
        .unwrap();
    let told = "new Promise((done) => setTimeout(done, 50))";
    page.evaluate(told).await.unwrap();
    let complaints = page.complaints();
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    assert!(complaints[0].contains("careful") && complaints[1].contains("broken"));
}
