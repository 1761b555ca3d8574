//! One poll for many, against a server that counts.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use pumpfun_api::{Client, Endpoints, Error, Mint, NotAsked, Observation, Options, Poller, Watch};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{runtime::Handle, time::timeout};
use warp::{Filter, http::Response};

const MINT: &str = "5PJRpFL7ZH7HEnHPJiAymwuzGRLLPTDkfNTKFG1wpump";
const DEADLINE: Duration = Duration::from_secs(30);

/// A coin named by the number of the request that asked for it.
struct Upstream {
    poller: Poller,
    asked: Arc<AtomicU64>,
    fails: Arc<AtomicBool>,
}

impl Upstream {
    async fn start() -> Self {
        let asked = Arc::new(AtomicU64::new(0));
        let fails = Arc::new(AtomicBool::new(false));
        let (counter, failing) = (Arc::clone(&asked), Arc::clone(&fails));
        let route = warp::any().map(move || {
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            let status = if failing.load(Ordering::SeqCst) {
                500
            } else {
                200
            };
            let body = format!(r#"{{"mint": "{MINT}", "name": "{number}"}}"#);
            Response::builder().status(status).body(body).unwrap()
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(warp::serve(route).incoming(listener).run());
        let endpoints = Endpoints::from_lookup(|name| {
            (name != "HAVEN_PUMPFUN_LIVEKIT_URL").then(|| url.clone())
        });
        let mut options = Options::default();
        options.max_attempts = 1;
        let client = Client::with_options(endpoints.unwrap(), options).unwrap();
        Self {
            poller: Poller::new(client, Handle::current()),
            asked,
            fails,
        }
    }

    fn watch(&self, interval: Option<Duration>) -> Watch {
        let mint: Mint = MINT.parse().unwrap();
        self.poller.watch(&mint, interval)
    }
}

async fn next(watch: &mut Watch) -> Observation {
    let changed = timeout(DEADLINE, watch.changed()).await;
    changed.expect("news in time").expect("the poll runs")
}

async fn next_like(watch: &mut Watch, like: impl Fn(&Observation) -> bool) -> Observation {
    loop {
        let seen = next(watch).await;
        if like(&seen) {
            return seen;
        }
    }
}

fn name(seen: &Observation) -> String {
    seen.coin.as_ref().unwrap().name.clone().unwrap()
}

const SHORT: Option<Duration> = Some(Duration::from_millis(1));
const LONG: Option<Duration> = Some(Duration::from_secs(3600));

#[tokio::test]
async fn watchers_of_a_coin_share_its_requests() {
    let upstream = Upstream::start().await;
    let mut watches: Vec<_> = (0..20).map(|_| upstream.watch(LONG)).collect();
    for watch in &mut watches {
        assert_eq!(name(&next(watch).await), "1");
    }
    let mut late = upstream.watch(LONG);
    assert_eq!(name(&next(&mut late).await), "1");
    assert_eq!(name(&late.latest()), "1");
    assert_eq!(upstream.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_shortest_interval_counts_and_none_is_shorter_than_a_second() {
    let upstream = Upstream::start().await;
    let began = std::time::Instant::now();
    let mut patient = upstream.watch(LONG);
    assert_eq!(next(&mut patient).await.requests, 1);
    let hasty = upstream.watch(SHORT);
    next_like(&mut patient, |seen| seen.requests >= 3).await;
    assert!(began.elapsed() >= Duration::from_secs(2));
    drop(hasty);
    // One may have been under way.
    let before = patient.latest().requests;
    let more = timeout(Duration::from_millis(2_500), async {
        loop {
            next(&mut patient).await;
        }
    });
    assert!(more.await.is_err());
    assert!(patient.latest().requests <= before + 1);
}

#[tokio::test]
async fn what_is_known_stays_while_requests_fail() {
    let upstream = Upstream::start().await;
    let mut watch = upstream.watch(SHORT);
    next(&mut watch).await;
    upstream.fails.store(true, Ordering::SeqCst);
    let seen = next_like(&mut watch, |seen| seen.failures == 1).await;
    let (known, fetched) = (name(&seen), seen.fetched);
    let seen = next_like(&mut watch, |seen| seen.failures >= 2).await;
    assert_eq!((name(&seen), seen.fetched), (known, fetched));
    let error = seen.error.unwrap();
    assert!(
        matches!(&*error, Error::NotAsked(NotAsked::Status(500))),
        "{error}"
    );
    upstream.fails.store(false, Ordering::SeqCst);
    let seen = next_like(&mut watch, |seen| seen.failures == 0).await;
    assert!(seen.error.is_none() && seen.fetched > fetched);
    assert_eq!(name(&seen), seen.requests.to_string());
}

#[tokio::test]
async fn without_an_interval_it_is_asked_until_it_answers() {
    let upstream = Upstream::start().await;
    upstream.fails.store(true, Ordering::SeqCst);
    let mut watch = upstream.watch(None);
    assert!(next(&mut watch).await.coin.is_none());
    upstream.fails.store(false, Ordering::SeqCst);
    assert_eq!(name(&next(&mut watch).await), "2");
    let more = timeout(Duration::from_millis(1_500), watch.changed());
    assert!(more.await.is_err());
    assert_eq!(upstream.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn requests_end_with_the_last_watcher_and_begin_anew_with_the_next() {
    let upstream = Upstream::start().await;
    let (mut one, other) = (upstream.watch(SHORT), upstream.watch(SHORT));
    next(&mut one).await;
    drop(other);
    next(&mut one).await;
    drop(one);
    // Whatever was under way has come by then; a poll that goes on asks once more at least.
    let before = upstream.asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(upstream.asked.load(Ordering::SeqCst) <= before + 1);
    let mut anew = upstream.watch(LONG);
    let seen = next(&mut anew).await;
    assert_eq!(seen.requests, 1);
}

#[tokio::test]
async fn watchers_hear_when_the_runtime_ends() {
    let url = "http://127.0.0.1:1".to_owned();
    let endpoints =
        Endpoints::from_lookup(|name| (name != "HAVEN_PUMPFUN_LIVEKIT_URL").then(|| url.clone()));
    let other = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let client = Client::new(endpoints.unwrap()).unwrap();
    let poller = Poller::new(client, other.handle().clone());
    let mint: Mint = MINT.parse().unwrap();
    let mut watch = poller.watch(&mint, LONG);
    other.shutdown_background();
    let ended = async { while watch.changed().await.is_some() {} };
    timeout(DEADLINE, ended).await.unwrap();
}
