//! The client against a server that answers as the platform does, and as it shouldn't.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use pumpfun_api::{Client, Endpoints, Error, MAX_BODY_BYTES, Mint, NotAsked, Options};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use warp::{Filter, http::Response, hyper::body::Bytes};

const MINT: &str = "5PJRpFL7ZH7HEnHPJiAymwuzGRLLPTDkfNTKFG1wpump";
const COIN: &str = include_str!("fixtures/frontend_coin.json");

#[derive(Clone)]
struct Answer {
    status: u16,
    body: String,
    retry_after: Option<&'static str>,
}

fn answer(status: u16, body: impl Into<String>) -> Answer {
    Answer {
        status,
        body: body.into(),
        retry_after: None,
    }
}

#[derive(Clone, Debug)]
struct Asked {
    path: String,
    query: String,
    origin: Option<String>,
    agent: Option<String>,
    body: String,
}

/// Gives the answers in turn; the last one for ever.
struct Upstream {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Upstream {
    async fn start(answers: Vec<Answer>) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let route = warp::path::full()
            .and(warp::query::raw().or(warp::any().map(String::new)).unify())
            .and(warp::header::optional("origin"))
            .and(warp::header::optional("user-agent"))
            .and(warp::body::bytes())
            .map(
                move |path: warp::path::FullPath, query, origin, agent, body: Bytes| {
                    let mut log = log.lock().unwrap();
                    let answer = answers[log.len().min(answers.len() - 1)].clone();
                    log.push(Asked {
                        path: path.as_str().to_owned(),
                        query,
                        origin,
                        agent,
                        body: String::from_utf8_lossy(&body).into_owned(),
                    });
                    let mut response = Response::builder().status(answer.status);
                    if let Some(value) = answer.retry_after {
                        response = response.header("retry-after", value);
                    }
                    response.body(answer.body).unwrap()
                },
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(warp::serve(route).incoming(listener).run());
        Self { address, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn client(&self, options: Options) -> Client {
        client(self.address, options)
    }
}

fn client(address: SocketAddr, options: Options) -> Client {
    let endpoints = Endpoints::from_lookup(|name| {
        Some(match name {
            "HAVEN_PUMPFUN_LIVEKIT_URL" => "ws://127.0.0.1:7880".to_owned(),
            _ => format!("http://{address}"),
        })
    });
    Client::with_options(endpoints.unwrap(), options).unwrap()
}

fn patient() -> Options {
    let mut options = Options::default();
    options.attempt_timeout = Duration::from_secs(30);
    options.deadline = Duration::from_secs(60);
    options
}

fn hasty() -> Options {
    let mut options = Options::default();
    options.attempt_timeout = Duration::from_millis(200);
    options.deadline = Duration::from_millis(200);
    options
}

fn mint() -> Mint {
    MINT.parse().unwrap()
}

#[tokio::test]
async fn join_asks_as_a_viewer_and_gives_the_token() {
    let upstream = Upstream::start(vec![answer(201, r#"{"token":"ey.J.x","other":[1]}"#)]).await;
    let join = upstream.client(patient()).join(&mint()).await.unwrap();
    assert_eq!(join.token, "ey.J.x");
    assert_eq!(join.livekit_url, "ws://127.0.0.1:7880/");
    assert!(!format!("{join:?}").contains("ey.J.x"));

    let asked = &upstream.asked()[0];
    assert_eq!(asked.path, "/livestream/join");
    let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(body, serde_json::json!({"mintId": MINT, "role": "viewer"}));
    assert_eq!(asked.origin.as_deref(), Some("https://pump.fun"));
    assert!(asked.agent.as_deref().unwrap().starts_with("Mozilla/5.0"));
}

#[tokio::test]
async fn an_empty_answer_and_404_mean_not_live() {
    for (status, body) in [(200, ""), (201, " \n"), (200, "null"), (404, "{\"a\":1}")] {
        let upstream = Upstream::start(vec![answer(status, body)]).await;
        let client = upstream.client(patient());
        assert!(matches!(client.join(&mint()).await, Err(Error::NotLive)));
        assert!(matches!(client.coin(&mint()).await, Err(Error::NotLive)));
        assert!(matches!(
            client.livestream(&mint()).await,
            Err(Error::NotLive)
        ));
        assert_eq!(upstream.asked().len(), 3, "asked again in vain");
    }
}

#[tokio::test]
async fn what_says_nothing_about_the_stream_is_could_not_ask() {
    let cases = [
        answer(401, ""),
        answer(403, "<html>blocked</html>"),
        answer(400, "{}"),
        answer(200, "<!doctype html><title>hello</title>"),
        answer(200, r#"{"token":"#),
        answer(200, r#"{"token":null}"#),
        answer(200, r#"{"token":""}"#),
        answer(200, r#"{"token":7}"#),
        answer(200, "[]"),
        answer(200, "{}"),
        answer(200, " ".repeat(MAX_BODY_BYTES + 1)),
    ];
    for case in cases {
        let text: String = case.body.chars().take(40).collect();
        let upstream = Upstream::start(vec![case]).await;
        let error = upstream.client(patient()).join(&mint()).await.unwrap_err();
        assert!(matches!(error, Error::NotAsked(_)), "{text}: {error}");
        assert!(error.is_transient());
        assert_eq!(upstream.asked().len(), 1, "{text}: asked again in vain");
    }
}

#[tokio::test]
async fn an_outage_is_passed_over() {
    let upstream = Upstream::start(vec![
        answer(500, "oops"),
        answer(429, ""),
        answer(503, ""),
        answer(200, r#"{"token":"t"}"#),
    ])
    .await;
    let join = upstream.client(patient()).join(&mint()).await.unwrap();
    assert_eq!(join.token, "t");
    assert_eq!(upstream.asked().len(), 4);
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_told_at_once() {
    let mut limited = answer(429, "");
    limited.retry_after = Some("3600");
    let upstream = Upstream::start(vec![limited]).await;
    let error = upstream.client(patient()).join(&mint()).await.unwrap_err();
    let Error::RateLimited { retry_after } = error else {
        panic!("{error}");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(3600)));
    assert_eq!(upstream.asked().len(), 1);
}

#[tokio::test]
async fn a_server_error_that_says_when_to_come_back_is_a_request_to_wait() {
    let mut unavailable = answer(503, "<html>");
    unavailable.retry_after = Some("120");
    let upstream = Upstream::start(vec![unavailable]).await;
    let error = upstream.client(patient()).join(&mint()).await.unwrap_err();
    let Error::RateLimited { retry_after } = error else {
        panic!("{error}");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(120)));
}

#[tokio::test]
async fn attempts_are_counted_where_there_is_a_most() {
    let mut options = patient();
    for (most, made) in [(0, 1), (1, 1), (3, 3)] {
        options.max_attempts = most;
        let upstream = Upstream::start(vec![answer(500, "")]).await;
        let error = upstream.client(options).join(&mint()).await.unwrap_err();
        assert!(matches!(error, Error::NotAsked(NotAsked::Status(500))));
        assert_eq!(upstream.asked().len(), made);
    }
}

#[tokio::test]
async fn an_answer_about_another_coin_is_none() {
    for body in [
        r#"{"name": "no mint"}"#,
        r#"{"mint": null}"#,
        r#"{"mint": "other"}"#,
    ] {
        let upstream = Upstream::start(vec![answer(200, body)]).await;
        let error = upstream.client(patient()).coin(&mint()).await.unwrap_err();
        assert!(
            matches!(error, Error::NotAsked(NotAsked::Lacks(_))),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_short_retry_after_is_kept() {
    let mut limited = answer(429, "");
    limited.retry_after = Some("1");
    let upstream = Upstream::start(vec![limited, answer(200, r#"{"token":"t"}"#)]).await;
    let began = std::time::Instant::now();
    upstream.client(patient()).join(&mint()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let error = client(address, hasty()).join(&mint()).await.unwrap_err();
    assert!(
        matches!(error, Error::NotAsked(NotAsked::TimedOut)),
        "{error}"
    );
    drop(listener);

    let error = client(address, hasty()).join(&mint()).await.unwrap_err();
    assert!(matches!(error, Error::NotAsked(_)), "{error}");
}

#[tokio::test]
async fn a_coin_and_its_livestream_are_fetched() {
    let upstream = Upstream::start(vec![
        answer(200, COIN),
        answer(200, include_str!("fixtures/livestream_live.json")),
    ])
    .await;
    let client = upstream.client(patient());
    assert_eq!(
        client.coin(&mint()).await.unwrap().symbol.as_deref(),
        Some("KIND")
    );
    let live = client.livestream(&mint()).await.unwrap();
    assert_eq!(live.title.as_deref(), Some("kindness, live"));
    let asked = upstream.asked();
    assert_eq!(asked[0].path, format!("/coins/{MINT}"));
    assert_eq!(asked[1].query, format!("mintId={MINT}"));
}

#[tokio::test]
async fn the_list_skips_entries_that_are_no_coins() {
    let list = format!(r#"[{COIN}, null, 7, {{"name": "no mint"}}, {{"mint": "m"}}]"#);
    let upstream =
        Upstream::start(vec![answer(200, list), answer(200, ""), answer(200, "{}")]).await;
    let client = upstream.client(patient());
    let coins = client.live_page(60, 30, false).await.unwrap().coins;
    assert_eq!(coins.len(), 2);
    assert_eq!(
        upstream.asked()[0].query,
        "offset=60&limit=30&sort=currently_live&order=DESC&includeNsfw=false"
    );
    for _ in 0..2 {
        let error = client.live_page(0, 60, true).await.unwrap_err();
        assert!(matches!(error, Error::NotAsked(NotAsked::Lacks(_))));
    }
}
