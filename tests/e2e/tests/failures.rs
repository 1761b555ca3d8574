//! Requests that can't be served: the contract's errors, and nothing left behind.

use haven_e2e::{Answer, Haven, Publishing, Result, Stage};
use haven_rig::Keys;
use haven_rig::pumpfun::{Coin, Endpoint, FakePumpFun, Fault, random_mint};
use serde_json::json;

const START: &str = "/api/live-sessions/start";

fn is_error(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.body["success"], false, "{answer:?}");
    let text = answer.body["error"].as_str().unwrap_or_default();
    assert!(text.contains(words), "{answer:?}");
    assert!(answer.body["code"].is_string(), "{answer:?}");
}

async fn nothing_is_left(haven: &Haven) -> Result {
    let sessions = haven.get("/api/live-sessions/active").await?.expect_ok()?;
    assert_eq!(sessions["sessions"], json!({}));
    assert!(haven.workers()?.is_empty());
    assert_eq!(haven.files()?, Vec::<std::path::PathBuf>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_joined_says_so_and_leaves_nothing() -> Result {
    let mut stage = Stage::set(Publishing::Nobody).await?;
    let haven = &stage.haven;
    let mint = stage.mint.clone();

    let unknown = random_mint();
    let answer = haven.post(START, &json!({"mint_id": unknown})).await?;
    is_error(
        &answer,
        404,
        &format!("Stream not found or not live for mint_id: {unknown}"),
    );

    stage.pumpfun.set_live(&mint, false);
    let answer = haven.post(START, &json!({"mint_id": mint})).await?;
    is_error(
        &answer,
        404,
        &format!("Stream not found or not live for mint_id: {mint}"),
    );
    stage.pumpfun.set_live(&mint, true);

    stage.pumpfun.fail(Endpoint::Join, Fault::Forbidden, None);
    let answer = haven.post(START, &json!({"mint_id": mint})).await?;
    is_error(
        &answer,
        502,
        &format!("Failed to get livestream token for mint_id: {mint}"),
    );
    stage.pumpfun.recover();

    // Tokens that the LiveKit server doesn't accept.
    let foreign = FakePumpFun::start_for(stage.livekit.url(), Keys::random()).await?;
    let coin = Coin::new(random_mint());
    let foreign_mint = coin.mint.clone();
    foreign.add_coin(coin);
    let refused = Haven::start(foreign.environment()).await?;
    let answer = refused
        .post(START, &json!({"mint_id": foreign_mint}))
        .await?;
    is_error(&answer, 502, "connection");
    nothing_is_left(&refused).await?;
    nothing_is_left(haven).await?;

    stage.livekit.kill().await?;
    let answer = stage.haven.post(START, &json!({"mint_id": mint})).await?;
    is_error(&answer, 502, "connection");
    nothing_is_left(&stage.haven).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generic_room_needs_credentials_that_the_server_knows() -> Result {
    let stage = Stage::set(Publishing::Nobody).await?;
    let started = stage
        .haven
        .post(START, &json!({"room_name": "a room/with %"}))
        .await?
        .expect_ok()?;
    assert_eq!(started["room_name"], "a room/with %");
    let mut wrong = stage.pumpfun.environment();
    wrong.extend(stage.livekit.environment());
    for (name, value) in &mut wrong {
        if name == "LIVEKIT_API_SECRET" {
            *value = "another-secret-another-secret-another".into();
        }
    }
    let haven = Haven::start(wrong).await?;
    let answer = haven.post(START, &json!({"room_name": "room"})).await?;
    is_error(&answer, 502, "connection");
    nothing_is_left(&haven).await?;

    let haven = Haven::start(stage.pumpfun.environment()).await?;
    let answer = haven.post(START, &json!({"room_name": "room"})).await?;
    is_error(&answer, 400, "LiveKit");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_told_what_is_wrong() -> Result {
    let stage = Stage::set(Publishing::Nobody).await?;
    let haven = &stage.haven;
    is_error(
        &haven.post_text(START, "{\"mint_id\"".into()).await?,
        400,
        "JSON",
    );
    is_error(&haven.post(START, &json!({})).await?, 422, "mint_id");
    is_error(
        &haven.post(START, &json!({"mint_id": 7})).await?,
        422,
        "mint_id",
    );
    is_error(
        &haven.post(START, &json!({"mint_id": "no mint"})).await?,
        422,
        "mint_id",
    );
    is_error(
        &haven.post_text(START, "x".repeat(70_000)).await?,
        413,
        "64 KiB",
    );
    is_error(&haven.get("/api/nowhere").await?, 404, "");
    is_error(&haven.get(START).await?, 405, "");
    let record = "/api/recording/start";
    is_error(
        &haven.post(record, &json!({"mint_id": stage.mint})).await?,
        404,
        "recording",
    );
    is_error(
        &haven
            .post(
                record,
                &json!({"mint_id": stage.mint, "output_format": "gif"}),
            )
            .await?,
        422,
        "recording",
    );
    nothing_is_left(haven).await
}
