//! `/api/pumpfun` while pump.fun fails.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use futures_util::future::join_all;
use haven_rig::pumpfun::{Endpoint, Fault};
use serde_json::{Value, json};
use support::discovery::{ENDPOINTS, add_coins, age, ask, options, stand_in};

const START: &str = "/api/live-sessions/start";
/// Every way to fail, with what is answered of a coin where nothing is cached.
const FAULTS: [(Fault, u16); 10] = [
    (
        Fault::RateLimited {
            retry_after_s: Some(600),
        },
        502,
    ),
    (
        Fault::RateLimited {
            retry_after_s: None,
        },
        502,
    ),
    (Fault::ServerError, 502),
    (Fault::Unavailable, 502),
    (Fault::Forbidden, 502),
    (Fault::Html, 502),
    (Fault::Hang, 502),
    (Fault::WrongShape, 502),
    (Fault::Truncated, 502),
    (Fault::Huge, 502),
];

#[tokio::test]
async fn a_platform_that_fails_is_a_bad_gateway_while_nothing_is_cached() {
    join_all(FAULTS.map(async |(fault, expected)| {
        let fake = stand_in().await;
        let [live, ..] = add_coins(&fake);
        let server = options(&fake).start().await;
        for endpoint in ENDPOINTS {
            fake.fail(endpoint, fault, None);
        }
        let paths = ["live", "popular", "stats"].map(str::to_owned);
        let of_coin = ["stream", "validate"].map(|name| format!("{name}/{live}"));
        let paths = paths.into_iter().chain(of_coin);
        let asked =
            paths.map(async |path| (ask(&server, &format!("/api/pumpfun/{path}")).await, path));
        for ((status, _, answer), path) in join_all(asked).await {
            assert_eq!(status, expected, "{fault:?} {path}: {answer}");
            assert_eq!(answer["code"], "pumpfun_unavailable");
            assert!(answer["error"].as_str().unwrap().contains("pump.fun"));
        }
        // What was observed is ours: nobody is asked for it.
        let history = ask(&server, &format!("/api/live/history/{live}")).await;
        let none = json!({"mint_id": live, "observations": []});
        assert_eq!(history, (200, None, none), "{fault:?}");
        server.stop().await;
    }))
    .await;
}

#[tokio::test]
async fn no_session_is_started_while_no_token_is_given() {
    let faults = FAULTS.into_iter().chain([(Fault::Empty, 404)]);
    join_all(faults.map(async |(fault, expected)| {
        let fake = stand_in().await;
        let [live, ..] = add_coins(&fake);
        let server = options(&fake).start().await;
        fake.fail(Endpoint::Join, fault, None);
        let start = json!({ "mint_id": live });
        let (status, answer) = server.post(START, start.clone()).await;
        let said = (status.as_u16(), answer["error"].as_str().unwrap());
        let (token, offline, late) = (
            format!("Failed to get livestream token for mint_id: {live}"),
            format!("Stream not found or not live for mint_id: {live}"),
            "Timed out: no connection to the LiveKit room in time",
        );
        match expected {
            404 => assert_eq!(said, (404, offline.as_str()), "{fault:?}"),
            // Two tries that hang take nearly as long as a start may.
            _ if fault == Fault::Hang && status == 504 => assert_eq!(said.1, late),
            _ => assert_eq!(said, (expected, token.as_str()), "{fault:?}"),
        }
        assert_eq!(server.session(&live).await, Value::Null, "{fault:?}");
        // Who asks to be left alone isn't asked again.
        let asked = fake.count(Endpoint::Join);
        if matches!(fault, Fault::RateLimited { .. }) {
            let (status, _) = server.post(START, start).await;
            assert_eq!(status, 502);
            assert_eq!((asked, fake.count(Endpoint::Join)), (1, 1));
        } else {
            assert!(asked <= 2, "{fault:?}: {asked}");
            fake.recover();
            server.ok(START, start).await;
        }
        server.stop().await;
    }))
    .await;
}

#[tokio::test]
async fn a_failure_that_passes_is_seen_by_nobody() {
    join_all([Fault::ServerError, Fault::Unavailable].map(async |fault| {
        let fake = stand_in().await;
        let [live, ..] = add_coins(&fake);
        let server = options(&fake).start().await;
        for endpoint in [Endpoint::Join].into_iter().chain(ENDPOINTS) {
            fake.fail(endpoint, fault, Some(1));
        }
        for path in ["live".to_owned(), format!("stream/{live}")] {
            let (status, warning, answer) = ask(&server, &format!("/api/live/{path}")).await;
            assert_eq!((status, warning), (200, None), "{fault:?} {path}: {answer}");
        }
        let started = server.ok(START, json!({ "mint_id": live })).await;
        assert_eq!(started["stream_info"]["name"], "Coin of 500");
        assert_eq!(fake.count(Endpoint::Join), 2);
        assert_eq!(fake.count(Endpoint::CurrentlyLive), 2);
        server.stop().await;
    }))
    .await;
}

#[tokio::test]
async fn an_empty_answer_means_offline_to_a_coin_and_nothing_to_a_list() {
    let fake = stand_in().await;
    let [live, second, ..] = add_coins(&fake);
    let server = options(&fake).start().await;
    for endpoint in ENDPOINTS {
        fake.fail(endpoint, Fault::Empty, None);
    }
    assert_eq!(ask(&server, "/api/pumpfun/live").await.0, 502);
    assert_eq!(
        ask(&server, &format!("/api/pumpfun/stream/{live}")).await.0,
        404
    );
    let validity = server.get(&format!("/api/pumpfun/validate/{live}")).await;
    assert_eq!(validity["is_live"], false);
    // Of a stream that can't be asked about, the coin's own description tells.
    fake.recover();
    fake.fail(Endpoint::Livestream, Fault::WrongShape, None);
    let stream = server.get(&format!("/api/pumpfun/stream/{second}")).await;
    assert_eq!(
        (&stream["is_currently_live"], &stream["num_participants"]),
        (&json!(true), &json!(50))
    );
    server.stop().await;
}

#[tokio::test]
async fn what_was_known_is_shown_with_a_warning_while_the_platform_fails() {
    join_all(FAULTS.map(async |(fault, _)| {
        let fake = stand_in().await;
        let [live, _, _, offline] = add_coins(&fake);
        let server = options(&fake).start().await;
        let paths = ["live", "popular?limit=2", "stats"].map(str::to_owned);
        let coins = [&live, &offline].map(|mint| format!("stream/{mint}"));
        // The coins first: the list knows when a stream began once it was looked up.
        let paths: Vec<_> = coins.into_iter().chain(paths).collect();
        let mut before = Vec::new();
        for path in &paths {
            before.push(server.get(&format!("/api/pumpfun/{path}")).await);
        }
        let data = std::sync::Arc::clone(&server.data);
        server.stop().await;
        age(&data);

        for endpoint in ENDPOINTS {
            fake.fail(endpoint, fault, None);
        }
        let mut options = options(&fake);
        options.data = data;
        let server = options.start().await;
        let urls: Vec<_> = paths
            .iter()
            .map(|path| format!("/api/pumpfun/{path}"))
            .collect();
        let answers = join_all(urls.iter().map(|url| ask(&server, url))).await;
        for ((path, before), (status, warning, after)) in paths.iter().zip(&before).zip(answers) {
            assert_eq!(status, 200, "{fault:?} {path}: {after}");
            assert!(warning.unwrap().starts_with("110 "), "{fault:?} {path}");
            assert_eq!(after, *before, "{fault:?} {path}");
        }
        let validity = format!("/api/pumpfun/validate/{live}");
        let (status, warning, validity) = ask(&server, &validity).await;
        assert_eq!(
            (status, &validity["is_live"]),
            (200, &json!(true)),
            "{fault:?}"
        );
        assert!(warning.unwrap().starts_with("110 "));
        server.stop().await;
    }))
    .await;
}

#[tokio::test]
async fn who_is_asked_to_wait_waits_for_all() {
    let fake = stand_in().await;
    let [live, ..] = add_coins(&fake);
    let server = options(&fake).start().await;
    let limited = Fault::RateLimited {
        retry_after_s: Some(600),
    };
    fake.fail(Endpoint::CurrentlyLive, limited, None);
    assert_eq!(ask(&server, "/api/pumpfun/live").await.0, 502);
    for _ in 0..3 {
        assert_eq!(ask(&server, "/api/pumpfun/stats").await.0, 502);
        assert_eq!(
            ask(&server, &format!("/api/pumpfun/stream/{live}")).await.0,
            502
        );
    }
    assert_eq!(fake.requests().len(), 1);
    server.stop().await;
}
