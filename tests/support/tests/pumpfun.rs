//! The stand-in of pump.fun's API answers as the platform does, and fails as told.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on shall fail there"
)]

use haven_rig::{
    Keys,
    pumpfun::{Coin, Endpoint, FakePumpFun, Fault, random_mint},
};
use serde_json::{Value, json};
use std::time::Duration;

async fn stand_in() -> FakePumpFun {
    FakePumpFun::start_for("ws://127.0.0.1:9".into(), Keys::random())
        .await
        .unwrap()
}

fn join(http: &reqwest::Client, fake: &FakePumpFun, mint: &str) -> reqwest::RequestBuilder {
    http.post(format!("{}/livestream/join", fake.url()))
        .header("Origin", "https://pump.fun")
        .header("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)")
        .json(&json!({ "mintId": mint, "role": "viewer" }))
}

/// The claims of a token, its signature unchecked.
fn claims(token: &str) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn joining_a_live_coin_gives_a_viewers_token_for_its_room() {
    let fake = stand_in().await;
    let http = reqwest::Client::new();
    let coin = Coin::new(random_mint());
    let room = coin.room.clone();
    let mint = coin.mint.clone();
    fake.add_coin(coin);
    let answer = join(&http, &fake, &mint).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let answer: Value = answer.json().await.unwrap();
    let claims = claims(answer["token"].as_str().unwrap());
    assert_eq!(claims["video"]["room"], room);
    assert_eq!(claims["video"]["canPublish"], false);
    assert_eq!(claims["video"]["canPublishData"], false);
    assert_eq!(claims["video"]["canSubscribe"], true);
    assert!(claims["sub"].as_str().unwrap().starts_with("viewer-"));
    assert!(room.starts_with(&format!("{mint}:")));
    fake.stop().await;
}

#[tokio::test]
async fn an_offline_or_unknown_stream_is_an_empty_success() {
    let fake = stand_in().await;
    let http = reqwest::Client::new();
    let coin = Coin::new(random_mint());
    let mint = coin.mint.clone();
    fake.add_coin(coin);
    assert!(fake.set_live(&mint, false));
    for mint in [&mint, &random_mint()] {
        let stream = http.get(format!("{}/livestream?mintId={mint}", fake.url()));
        for request in [join(&http, &fake, mint), stream] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.text().await.unwrap(), "");
        }
    }
    assert_eq!(fake.count(Endpoint::Join), 2);
    assert!(!fake.set_live("unknown", true));
}

#[tokio::test]
async fn a_join_that_is_no_browsers_is_refused() {
    let fake = stand_in().await;
    let answer = reqwest::Client::new()
        .post(format!("{}/livestream/join", fake.url()))
        .json(&json!({ "mintId": random_mint(), "role": "viewer" }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 403);
    assert!(answer.text().await.unwrap().starts_with("<!DOCTYPE html>"));
}

#[tokio::test]
async fn coins_are_listed_by_their_viewers_page_by_page() {
    let fake = stand_in().await;
    for viewers in [5, 50, 500] {
        let mut coin = Coin::new(random_mint());
        coin.num_participants = viewers;
        coin.nsfw = viewers == 50;
        coin.overrides.insert("description".into(), Value::Null);
        fake.add_coin(coin);
    }
    let ask = async |query: &str| -> Vec<u64> {
        let url = format!("{}/coins/currently-live?{query}", fake.url());
        let coins: Vec<Value> = reqwest::get(url).await.unwrap().json().await.unwrap();
        assert!(
            coins
                .iter()
                .all(|coin| coin["description"].is_null() && coin["mint"].is_string())
        );
        coins
            .iter()
            .map(|coin| coin["num_participants"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(
        ask("offset=0&limit=60&includeNsfw=true").await,
        [500, 50, 5]
    );
    assert_eq!(ask("offset=1&limit=1&includeNsfw=true").await, [50]);
    assert_eq!(ask("offset=0&limit=60&includeNsfw=false").await, [500, 5]);
}

#[tokio::test]
async fn one_coin_is_found_and_an_unknown_one_is_not() {
    let fake = stand_in().await;
    let coin = Coin::new(random_mint());
    let url = format!("{}/coins/{}", fake.url(), coin.mint);
    fake.add_coin(coin.clone());
    let answer: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(answer["mint"], coin.mint);
    assert_eq!(answer["symbol"], "KIND");
    let unknown = reqwest::get(format!("{}/coins/{}", fake.url(), random_mint()))
        .await
        .unwrap();
    assert_eq!(unknown.status(), 404);
}

#[tokio::test]
async fn every_fault_is_seen_as_often_as_asked() {
    let fake = stand_in().await;
    let coin = Coin::new(random_mint());
    let url = format!("{}/coins/{}", fake.url(), coin.mint);
    fake.add_coin(coin);
    let limited = Fault::RateLimited {
        retry_after_s: Some(7),
    };
    for (fault, status, body) in [
        (limited, 429, "Too Many"),
        (Fault::ServerError, 500, "Internal"),
        (Fault::Unavailable, 503, "<!DOCTYPE"),
        (Fault::Forbidden, 403, "<!DOCTYPE"),
        (Fault::Html, 200, "<!DOCTYPE"),
        (Fault::Empty, 200, ""),
        (Fault::WrongShape, 200, "unrelated"),
        (Fault::Truncated, 200, "eyJ"),
        (Fault::Huge, 200, "xxxxxxxx"),
    ] {
        fake.fail(Endpoint::Coin, fault, Some(1));
        let answer = reqwest::get(&url).await.unwrap();
        assert_eq!(answer.status(), status, "{fault:?}");
        if fault == limited {
            assert_eq!(answer.headers()["retry-after"], "7");
        }
        let text = answer.text().await.unwrap();
        assert!(text.contains(body), "{fault:?}");
        assert_eq!(text.len() > 9_000_000, fault == Fault::Huge, "{fault:?}");
        let next: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
        assert_eq!(next["symbol"], "KIND");
    }
}

#[tokio::test]
async fn a_request_that_hangs_does_not_hold_up_the_end() {
    let fake = stand_in().await;
    fake.fail(Endpoint::CurrentlyLive, Fault::Hang, None);
    let request = reqwest::Client::new().get(format!("{}/coins/currently-live", fake.url()));
    let error = request
        .try_clone()
        .unwrap()
        .timeout(Duration::from_millis(200))
        .send()
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let hanging = tokio::spawn(request.send());
    haven_rig::within("the stand-in's end", Duration::from_secs(30), fake.stop())
        .await
        .unwrap();
    hanging.abort();
}
