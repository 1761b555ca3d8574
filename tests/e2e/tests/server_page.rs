//! The server's own page as people see it, in Chromium.

use haven_e2e::{Publishing, Result, Stage};
use haven_rig::Browser;
use serde_json::json;
use std::time::Duration;

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_page_shows_a_room_with_sound_until_its_end() -> Result {
    let stage = Stage::set(Publishing::Nobody).await?;
    let browser = Browser::start().await?;
    let page = browser.open(&format!("{}/", stage.haven.url)).await?;
    // The form names the demo room.
    page.click("#watch").await?;
    page.wait_for("framesDrawn > 10", LIMIT).await?;
    page.click("#sound").await?;
    page.wait_for("sound.stats().playing", LIMIT).await?;
    // Its button follows what others do.
    page.click("#record").await?;
    page.wait_for("recording", LIMIT).await?;
    let request = json!({"mint_id": "demo"});
    let answer = stage.haven.post("/api/recording/stop", &request).await?;
    answer.expect_ok()?;
    page.wait_for("!recording", LIMIT).await?;
    page.click("#stop").await?;
    let status = "document.getElementById('status').textContent";
    page.wait_for(&format!("{status}.includes('demo: ended')"), LIMIT)
        .await?;
    // It doesn't come back by itself.
    page.wait_for(
        "current === null && document.getElementById('stop').disabled",
        LIMIT,
    )
    .await?;
    assert_eq!(page.complaints(), [""; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_page_says_why_it_is_not_let_in_and_gets_in_with_the_token() -> Result {
    let variables = vec![("HAVEN_API_TOKEN".to_owned(), "right".to_owned())];
    let stage = Stage::set_with(Publishing::Nobody, variables).await?;
    let browser = Browser::start().await?;
    let page = browser.open(&format!("{}/", stage.haven.url)).await?;
    // As after a start, where the token was changed since.
    page.evaluate("key = 'demo'; watch()").await?;
    page.wait_for(
        "current === null && !document.getElementById('token-label').hidden",
        LIMIT,
    )
    .await?;
    let status = "document.getElementById('status').textContent";
    page.wait_for(&format!("{status}.includes('token')"), LIMIT)
        .await?;
    // With the token it gets in: its WebSocket by a cookie that no script sees.
    page.evaluate("document.getElementById('token').value = 'right'")
        .await?;
    page.click("#watch").await?;
    page.wait_for("framesDrawn > 10 && document.cookie === ''", LIMIT)
        .await?;
    Ok(())
}
