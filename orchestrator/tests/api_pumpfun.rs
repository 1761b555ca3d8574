//! `/api/pumpfun` and `/api/live`, against the stand-in of pump.fun.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use futures_util::future::join_all;
use haven_rig::pumpfun::{Coin, Endpoint, random_mint};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::discovery::{add_coins, age, ask, options, stand_in};

const PREFIXES: [&str; 2] = ["/api/pumpfun", "/api/live"];
/// Shown of every stream; more would be a new promise.
const SHAPE: [&str; 16] = [
    "creator",
    "description",
    "image_uri",
    "is_currently_live",
    "market_cap",
    "mint_id",
    "name",
    "nsfw",
    "num_participants",
    "stream_started_at",
    "symbol",
    "telegram",
    "thumbnail",
    "twitter",
    "usd_market_cap",
    "website",
];

fn mints(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap();
    list.iter()
        .map(|coin| coin["mint_id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn live_streams_are_listed_sliced_and_filtered() {
    let fake = stand_in().await;
    let [many, nsfw, few, _] = add_coins(&fake);
    let server = options(&fake).start().await;
    for prefix in PREFIXES {
        for (query, expected) in [
            ("live", vec![&many, &nsfw, &few]),
            ("live?include_nsfw=true", vec![&many, &nsfw, &few]),
            ("live?include_nsfw=false", vec![&many, &few]),
            ("live?offset=1&limit=1", vec![&nsfw]),
            ("live?offset=1&limit=100&include_nsfw=0", vec![&few]),
            ("live?offset=3", vec![]),
            ("popular", vec![&many, &nsfw, &few]),
            ("popular?limit=2", vec![&many, &nsfw]),
        ] {
            let (status, warning, list) = ask(&server, &format!("{prefix}/{query}")).await;
            assert_eq!((status, warning), (200, None), "{query}: {list}");
            assert_eq!(mints(&list), expected, "{query}");
            for stream in list.as_array().unwrap() {
                let fields: Vec<_> = stream.as_object().unwrap().keys().collect();
                assert_eq!(fields, SHAPE, "{query}");
                assert_eq!(stream["is_currently_live"], true);
            }
        }
    }
    assert_eq!(
        fake.count(Endpoint::CurrentlyLive),
        1,
        "all of them share one list"
    );
    let stats = server.get("/api/live/stats").await;
    let expected = json!({"total_live_streams": 3, "total_participants": 555, "nsfw_streams": 1,
        "sfw_streams": 2,
        "top_stream": {"mint_id": many, "name": "Coin of 500", "num_participants": 500}});
    assert_eq!(stats, expected);
    server.stop().await;
}

#[tokio::test]
async fn a_platform_without_streams_is_no_failure() {
    let fake = stand_in().await;
    let server = options(&fake).start().await;
    assert_eq!(server.get("/api/pumpfun/live").await, json!([]));
    assert_eq!(server.get("/api/pumpfun/popular").await, json!([]));
    let none = json!({"total_live_streams": 0, "total_participants": 0, "nsfw_streams": 0,
        "sfw_streams": 0, "top_stream": null});
    assert_eq!(server.get("/api/pumpfun/stats").await, none);
    server.stop().await;
}

#[tokio::test]
async fn more_streams_than_a_page_are_all_found() {
    let fake = stand_in().await;
    for participants in 0..130 {
        let mut coin = Coin::new(random_mint());
        coin.num_participants = participants;
        fake.add_coin(coin);
    }
    let server = options(&fake).start().await;
    let first = server.get("/api/pumpfun/live").await;
    assert_eq!(first.as_array().unwrap().len(), 60);
    let last = server.get("/api/pumpfun/live?offset=60&limit=100").await;
    assert_eq!(last.as_array().unwrap().len(), 70);
    assert_eq!(last[69]["num_participants"], 0);
    server.stop().await;
}

#[tokio::test]
async fn one_stream_is_shown_validated_and_remembered() {
    let fake = stand_in().await;
    let [live, _, _, offline] = add_coins(&fake);
    fake.change_coin(&live, |coin| {
        coin.stream_started_ms = 1_762_948_800_123;
        coin.overrides.insert("description".into(), Value::Null);
    });
    let server = options(&fake).start().await;
    for prefix in PREFIXES {
        let stream = server.get(&format!("{prefix}/stream/{live}")).await;
        let fields: Vec<_> = stream.as_object().unwrap().keys().collect();
        assert_eq!(fields, SHAPE);
        assert_eq!(stream["num_participants"], 500);
        assert_eq!(stream["usd_market_cap"], 101_778.36);
        assert_eq!(stream["description"], Value::Null);
        assert_eq!(stream["stream_started_at"], "2025-11-12T12:00:00.123Z");
        let stream = server.get(&format!("{prefix}/stream/{offline}")).await;
        assert_eq!(stream["is_currently_live"], false);
        let unknown = random_mint();
        let path = format!("{prefix}/stream/{unknown}");
        let (status, _, answer) = ask(&server, &path).await;
        assert_eq!((status, &answer["success"]), (404, &json!(false)));
        for (text, valid, is_live) in [
            (live.as_str(), true, true),
            (&offline, true, false),
            (&unknown, true, false),
            ("no%20mint", false, false),
            ("demo", false, false),
            (&live[..31], false, false),
        ] {
            let answer = server.get(&format!("{prefix}/validate/{text}")).await;
            let text = text.replace("%20", " ");
            let expected = json!({"mint_id": text, "is_valid": valid, "is_live": is_live});
            assert_eq!(answer, expected);
        }
        let history = server.get(&format!("{prefix}/history/{live}")).await;
        assert_eq!(history["mint_id"], live);
        let observations = history["observations"].as_array().unwrap();
        assert_eq!(observations.len(), 1, "nothing has changed: {history}");
        assert_eq!(observations[0]["num_participants"], 500);
        assert_eq!(observations[0]["is_currently_live"], true);
        assert!(
            observations[0]["observed_at"]
                .as_str()
                .unwrap()
                .ends_with('Z')
        );
        let history = server
            .get(&format!("{prefix}/history/{unknown}?limit=1"))
            .await;
        assert_eq!(history, json!({"mint_id": unknown, "observations": []}));
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_out_of_range_or_of_another_method_is_told() {
    let fake = stand_in().await;
    let server = options(&fake).start().await;
    let mint = random_mint();
    for prefix in PREFIXES {
        for (path, field) in [
            ("live?limit=0", "limit"),
            ("live?limit=101", "limit"),
            ("live?limit=ten", "limit"),
            ("live?limit=", "limit"),
            ("live?offset=-1", "offset"),
            ("live?offset=1.5", "offset"),
            ("live?include_nsfw=maybe", "include_nsfw"),
            ("popular?limit=0", "limit"),
            ("popular?limit=51", "limit"),
            ("stream/no-mint", "mint_id"),
            ("stream/demo", "mint_id"),
            ("history/no-mint", "mint_id"),
        ] {
            let (status, _, answer) = ask(&server, &format!("{prefix}/{path}")).await;
            assert_eq!(status, 422, "{path}: {answer}");
            assert!(
                answer["error"].as_str().unwrap().contains(field),
                "{answer}"
            );
            assert_eq!(
                (&answer["success"], &answer["code"]),
                (&json!(false), &json!("invalid_field"))
            );
        }
        for query in ["limit=0", "limit=1001", "offset=x"] {
            let (status, _, answer) =
                ask(&server, &format!("{prefix}/history/{mint}?{query}")).await;
            assert_eq!(status, 422, "{query}: {answer}");
        }
        for path in [
            "live",
            "popular",
            "stats",
            "stream/x",
            "validate/x",
            "history/x",
        ] {
            for method in [Method::POST, Method::PUT, Method::DELETE] {
                let request = server
                    .http
                    .request(method, server.url(&format!("{prefix}/{path}")));
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
                assert_eq!(response.headers()["allow"], "GET, HEAD", "{path}");
            }
        }
        for path in ["", "/nothing", "/stream", "/stream/a/b", "/validate/"] {
            let (status, _, answer) = ask(&server, &format!("{prefix}{path}")).await;
            assert_eq!(status, 404, "{path}: {answer}");
        }
        let (status, _, _) = ask(&server, &format!("{prefix}/validate/%ff")).await;
        assert_eq!(status, 400, "no UTF-8");
    }
    assert!(fake.requests().is_empty(), "nobody was asked");
    server.stop().await;
}

#[tokio::test]
async fn a_crowd_asks_upstream_once() {
    let fake = stand_in().await;
    let [live, ..] = add_coins(&fake);
    let server = options(&fake).start().await;
    let paths = (0..40).map(|number| match number % 4 {
        0 => format!("/api/pumpfun/stream/{live}"),
        1 => "/api/pumpfun/live".to_owned(),
        2 => "/api/live/popular".to_owned(),
        _ => "/api/live/stats".to_owned(),
    });
    let paths: Vec<_> = paths.collect();
    for (status, warning, answer) in join_all(paths.iter().map(|path| ask(&server, path))).await {
        assert_eq!((status, warning), (200, None), "{answer}");
    }
    assert_eq!(fake.count(Endpoint::CurrentlyLive), 1);
    assert!(fake.count(Endpoint::Coin) <= 1);
    assert!(fake.count(Endpoint::Livestream) <= 1);
    server.stop().await;
}

#[tokio::test]
async fn changes_of_a_coin_become_history() {
    let fake = stand_in().await;
    let [live, ..] = add_coins(&fake);
    let path = format!("/api/pumpfun/stream/{live}");
    let mut data = None;
    for (usd, live_now) in [(1.5, true), (2.5, true), (2.5, true), (2.5, false)] {
        fake.change_coin(&live, |coin| {
            coin.usd_market_cap = usd;
            coin.live = live_now;
        });
        let mut options = options(&fake);
        if let Some(data) = data.take() {
            options.data = data;
        }
        let server = options.start().await;
        assert_eq!(server.get(&path).await["usd_market_cap"], usd);
        let folder = std::sync::Arc::clone(&server.data);
        server.get("/api/pumpfun/live").await;
        server.stop().await;
        age(&folder);
        data = Some(folder);
    }
    let mut options = options(&fake);
    options.data = data.unwrap();
    let server = options.start().await;
    let history = server.get(&format!("/api/pumpfun/history/{live}")).await;
    let observations = history["observations"].as_array().unwrap();
    let told: Vec<_> = observations
        .iter()
        .map(|one| {
            (
                one["usd_market_cap"].as_f64().unwrap(),
                one["is_currently_live"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [(1.5, true), (2.5, true), (2.5, false)]);
    let page = server
        .get(&format!("/api/pumpfun/history/{live}?limit=1&offset=1"))
        .await;
    assert_eq!(page["observations"], json!([observations[1]]));
    server.stop().await;
}
