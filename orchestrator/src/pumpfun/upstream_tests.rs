use super::*;
use futures_util::{FutureExt, future::join_all};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const MINT: &str = "5PJRpFL7ZH7HEnHPJiAymwuzGRLLPTDkfNTKFG1wpump";
/// How long the fake platform takes for a token.
const JOINING: Duration = Duration::from_secs(1);

/// A platform that counts who joins.
#[derive(Default)]
struct Fake {
    joins: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    limited: AtomicBool,
}

impl Platform for Arc<Fake> {
    fn join<'a>(&'a self, _: &'a Mint) -> BoxFuture<'a, Result<Join, Error>> {
        async {
            self.joins.fetch_add(1, Ordering::Relaxed);
            let now = self.at_once.fetch_add(1, Ordering::Relaxed) + 1;
            self.most_at_once.fetch_max(now, Ordering::Relaxed);
            sleep(JOINING).await;
            self.at_once.fetch_sub(1, Ordering::Relaxed);
            match self.limited.load(Ordering::Relaxed) {
                true => Err(Error::RateLimited { retry_after: None }),
                false => Ok(Join {
                    token: "token".into(),
                    livekit_url: "ws://localhost".into(),
                }),
            }
        }
        .boxed()
    }

    fn coin<'a>(&'a self, _: &'a Mint) -> BoxFuture<'a, Result<Coin, Error>> {
        async { Err(Error::RateLimited { retry_after: None }) }.boxed()
    }

    fn livestream<'a>(&'a self, _: &'a Mint) -> BoxFuture<'a, Result<Livestream, Error>> {
        async { Err(Error::NotLive) }.boxed()
    }

    fn live_page(&self, _: u32, _: u32) -> BoxFuture<'_, Result<LivePage, Error>> {
        async { Ok(LivePage::default()) }.boxed()
    }
}

fn is_held_back<T>(result: &Result<T, Error>) -> bool {
    matches!(
        result,
        Err(Error::RateLimited {
            retry_after: Some(_)
        })
    )
}

#[tokio::test(start_paused = true)]
async fn an_outage_with_a_hundred_sessions_is_no_crowd_at_the_platforms_door() {
    let fake = Arc::new(Fake::default());
    let upstream = Upstream::new(Arc::clone(&fake));
    let mint: Mint = MINT.parse().unwrap();
    let rejoins = join_all((0..100).map(|_| upstream.join(&mint, Joining::Rejoin)));
    // Somebody starts a session in the midst of it.
    let start = async {
        sleep(Duration::from_millis(500)).await;
        let asked = Instant::now();
        upstream.join(&mint, Joining::Start).await.unwrap();
        asked.elapsed()
    };
    let (rejoined, started_after) = tokio::join!(rejoins, start);
    assert!(
        started_after < JOINING + Duration::from_millis(50),
        "{started_after:?}"
    );
    let through = rejoined.iter().filter(|result| result.is_ok()).count();
    assert!((10..=25).contains(&through), "{through}");
    let held_back = rejoined.iter().filter(|result| is_held_back(result));
    assert_eq!(held_back.count(), 100 - through);
    assert_eq!(fake.joins.load(Ordering::Relaxed), through + 1);
    let most = fake.most_at_once.load(Ordering::Relaxed);
    assert_eq!(most, REJOINS_AT_ONCE + 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_pauses_all_tokens_for_a_while() {
    let fake = Arc::new(Fake::default());
    fake.limited.store(true, Ordering::Relaxed);
    let upstream = Upstream::new(Arc::clone(&fake));
    let mint: Mint = MINT.parse().unwrap();
    // Those that waited for their turn while the first was refused aren't sent either.
    let results = join_all((0..20).map(|_| upstream.join(&mint, Joining::Rejoin))).await;
    assert!(results.iter().all(Result::is_err));
    assert_eq!(fake.joins.load(Ordering::Relaxed), REJOINS_AT_ONCE);
    fake.limited.store(false, Ordering::Relaxed);
    assert!(is_held_back(&upstream.join(&mint, Joining::Start).await));
    sleep(DEFAULT_PAUSE).await;
    assert!(upstream.join(&mint, Joining::Start).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_is_not_sent_once_the_platform_asks_to_wait() {
    let upstream = Upstream::new(Arc::new(Fake::default()));
    let mint: Mint = MINT.parse().unwrap();
    let looks = join_all((0..25).map(|_| upstream.coin(&mint))).await;
    assert!(
        looks
            .iter()
            .all(|look| matches!(look, Err(Failure::Down(_))))
    );
    let counts = upstream.counts();
    assert_eq!(counts.get(Endpoint::Coin, Outcome::RateLimited), 1);
    assert_eq!(counts.get(Endpoint::Coin, Outcome::HeldBack), 24);
    // Tokens are another host's.
    assert!(upstream.join(&mint, Joining::Start).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn too_many_look_ups_at_once_are_our_own_limit() {
    let upstream = Upstream::new(Arc::new(Fake::default()));
    let mint: Mint = MINT.parse().unwrap();
    let looks = join_all((0..40).map(|_| upstream.livestream(&mint))).await;
    let held_back = looks.iter().filter(|look| **look == Err(Failure::HeldBack));
    assert_eq!(held_back.count(), 10);
    let error = crate::Error::from(Failure::HeldBack);
    assert_eq!(error.kind(), Kind::Unavailable);
}
