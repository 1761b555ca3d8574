use super::*;
use crate::{config::Layers, error::Kind, pumpfun::upstream::Platform};
use futures_util::{FutureExt, future::BoxFuture};
use pumpfun_api::{Coin, Error as Refusal, Join, LivePage, NotAsked};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

const MINT: &str = "5PJRpFL7ZH7HEnHPJiAymwuzGRLLPTDkfNTKFG1wpump";

/// A platform that counts, and fails when told to.
#[derive(Default)]
struct Fake {
    coins: AtomicU32,
    pages: AtomicU32,
    down: AtomicBool,
    limited: AtomicBool,
    live: AtomicU32,
    /// It doesn't say whether a stream is live.
    silent: AtomicBool,
    /// It describes another stream than was asked for.
    confused: AtomicBool,
}

impl Fake {
    fn answer<T>(&self, value: T) -> Result<T, Refusal> {
        if self.limited.load(Ordering::Relaxed) {
            return Err(Refusal::RateLimited { retry_after: None });
        }
        match self.down.load(Ordering::Relaxed) {
            true => Err(NotAsked::Status(500).into()),
            false => Ok(value),
        }
    }
}

fn coin(mint: &str, participants: u64) -> Coin {
    let text = json!({"mint": mint, "name": "Kind", "usd_market_cap": 5, "market_cap": 1,
        "num_participants": participants});
    serde_json::from_value(text).unwrap()
}

/// The `number`th of many mints.
fn mint(number: u32) -> String {
    const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let digit = |number: u32| char::from(DIGITS[number as usize % 58]);
    format!("{}{}{}", &MINT[..42], digit(number / 58), digit(number))
}

impl Platform for Arc<Fake> {
    fn join<'a>(&'a self, _: &'a Mint) -> BoxFuture<'a, Result<Join, Refusal>> {
        async { Err(Refusal::NotLive) }.boxed()
    }

    fn coin<'a>(&'a self, mint: &'a Mint) -> BoxFuture<'a, Result<Coin, Refusal>> {
        async {
            self.coins.fetch_add(1, Ordering::Relaxed);
            self.answer(coin(mint.as_str(), 3))
        }
        .boxed()
    }

    fn livestream<'a>(&'a self, _: &'a Mint) -> BoxFuture<'a, Result<Livestream, Refusal>> {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let stream = json!({
            "isLive": (!is(&self.silent)).then_some(!is(&self.confused)),
            "mintId": is(&self.confused).then(|| mint(0)),
            "numParticipants": 231,
            "streamStartTimestamp": 7,
        });
        async { self.answer(serde_json::from_value(stream).unwrap()) }.boxed()
    }

    fn live_page(&self, offset: u32, limit: u32) -> BoxFuture<'_, Result<LivePage, Refusal>> {
        let live = self.live.load(Ordering::Relaxed);
        let numbers = offset.min(live)..(offset + limit).min(live);
        let page = LivePage {
            entries: numbers.len(),
            coins: numbers
                .map(|number| coin(&mint(number), number.into()))
                .collect(),
        };
        async {
            self.pages.fetch_add(1, Ordering::Relaxed);
            self.answer(page)
        }
        .boxed()
    }
}

static NOW_MS: AtomicI64 = AtomicI64::new(0);

fn catalogue(fake: &Arc<Fake>, db: &Db, now_ms: fn() -> i64) -> Catalogue {
    let settings = Layers::default().settings(crate::config::Layer::default());
    let shared = Shared {
        upstream: Upstream::new(Arc::clone(fake)),
        db: db.clone(),
        shutdown: Shutdown::default(),
        settings: watch::channel(Arc::new(settings.unwrap())).1,
        now_ms,
        list: Mutex::new(None),
        looked_up: LookedUp::new(COIN_FRESH_MS),
        pruned_at_ms: Mutex::new(0),
    };
    Catalogue {
        shared: Arc::new(shared),
        coins: Lookups::default(),
        streams: Lookups::default(),
        lists: Lookups::default(),
        watched_lists: Lookups::default(),
    }
}

#[tokio::test]
async fn a_coin_is_asked_for_once_a_minute_however_many_want_it() {
    let (fake, db, mint) = (
        Arc::new(Fake::default()),
        Db::in_memory(),
        MINT.parse().unwrap(),
    );
    let catalogue = catalogue(&fake, &db, || NOW_MS.load(Ordering::Relaxed));
    let crowd = futures_util::future::join_all((0..20).map(|_| catalogue.coin(&mint)));
    for found in crowd.await {
        let found = found.unwrap();
        assert_eq!(found.value.coin.num_participants, Some(231));
        assert_eq!(found.value.started_at_ms, Some(7));
        assert!(!found.stale);
    }
    assert_eq!(fake.coins.load(Ordering::Relaxed), 1);
    NOW_MS.fetch_add(59_999, Ordering::Relaxed);
    catalogue.coin(&mint).await.unwrap();
    assert_eq!(fake.coins.load(Ordering::Relaxed), 1);
    NOW_MS.fetch_add(1, Ordering::Relaxed);
    catalogue.coin(&mint).await.unwrap();
    assert_eq!(fake.coins.load(Ordering::Relaxed), 2);

    fake.down.store(true, Ordering::Relaxed);
    NOW_MS.fetch_add(3_600_000, Ordering::Relaxed);
    for _ in 0..5 {
        let found = catalogue.coin(&mint).await.unwrap();
        assert!(found.stale);
        assert_eq!(found.value.coin.name.as_deref(), Some("Kind"));
    }
    assert_eq!(
        fake.coins.load(Ordering::Relaxed),
        2 + 2,
        "a failure is met twice and remembered"
    );
}

#[tokio::test]
async fn what_was_never_known_is_an_error_while_the_platform_is_down() {
    let (fake, db, mint) = (
        Arc::new(Fake::default()),
        Db::in_memory(),
        MINT.parse().unwrap(),
    );
    fake.down.store(true, Ordering::Relaxed);
    let catalogue = catalogue(&fake, &db, || 0);
    assert_eq!(
        catalogue.coin(&mint).await.unwrap_err().kind(),
        Kind::BadGateway
    );
    assert_eq!(catalogue.live().await.unwrap_err().kind(), Kind::BadGateway);
    assert_eq!(
        catalogue.is_live(&mint).await.unwrap_err().kind(),
        Kind::BadGateway
    );
    assert!(
        catalogue
            .coin_within(&mint, Duration::from_secs(9))
            .await
            .is_none()
    );
}

#[tokio::test]
async fn the_list_is_read_to_its_end_and_kept_over_a_restart() {
    let (fake, db) = (Arc::new(Fake::default()), Db::in_memory());
    fake.live.store(130, Ordering::Relaxed);
    let live = catalogue(&fake, &db, || 1_000).live().await.unwrap();
    assert_eq!(live.value.coins.len(), 130);
    assert_eq!(live.value.coins[129].mint, mint(129));
    assert_eq!(fake.pages.load(Ordering::Relaxed), 3);
    fake.down.store(true, Ordering::Relaxed);
    let again = catalogue(&fake, &db, || 2_000).live().await.unwrap();
    assert_eq!((again.value.coins.len(), again.stale), (130, false));
    let later = catalogue(&fake, &db, || 60_000);
    let found = later.live().await.unwrap();
    assert_eq!((found.value.coins.len(), found.stale), (130, true));
    assert_eq!(fake.pages.load(Ordering::Relaxed), 3 + 2);
}

#[tokio::test]
async fn a_platform_that_asks_to_wait_is_left_alone() {
    let (fake, db) = (Arc::new(Fake::default()), Db::in_memory());
    fake.limited.store(true, Ordering::Relaxed);
    let catalogue = catalogue(&fake, &db, || 0);
    assert!(catalogue.live().await.is_err());
    for number in 0..30 {
        assert!(
            catalogue
                .coin(&mint(number).parse().unwrap())
                .await
                .is_err()
        );
    }
    assert_eq!(fake.coins.load(Ordering::Relaxed), 0);
    assert_eq!(fake.pages.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn when_a_live_coins_stream_began_is_looked_up_though_the_list_is_fresh() {
    let (fake, db) = (Arc::new(Fake::default()), Db::in_memory());
    fake.live.store(1, Ordering::Relaxed);
    let catalogue = catalogue(&fake, &db, || 1_000);
    let listed = catalogue.live().await.unwrap();
    assert_eq!(listed.value.coins[0].started_at_ms, None);
    for _ in 0..3 {
        let found = catalogue.coin(&mint(0).parse().unwrap()).await.unwrap();
        assert_eq!((found.value.started_at_ms, found.stale), (Some(7), false));
    }
    assert_eq!(fake.coins.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_listed_coin_is_no_old_news_while_the_platform_is_down() {
    let (fake, db) = (Arc::new(Fake::default()), Db::in_memory());
    fake.live.store(1, Ordering::Relaxed);
    let catalogue = catalogue(&fake, &db, || 1_000);
    catalogue.live().await.unwrap();
    fake.down.store(true, Ordering::Relaxed);
    let found = catalogue.coin(&mint(0).parse().unwrap()).await.unwrap();
    assert!(!found.stale);
}

#[tokio::test]
async fn what_was_fetched_is_shown_also_where_it_can_not_be_stored() {
    let (fake, db) = (Arc::new(Fake::default()), Db::in_memory());
    fake.live.store(70, Ordering::Relaxed);
    db.make_read_only().await;
    let catalogue = catalogue(&fake, &db, || 1_000);
    for _ in 0..2 {
        let live = catalogue.live().await.unwrap();
        assert_eq!((live.value.coins.len(), live.stale), (70, false));
    }
    assert_eq!(
        fake.pages.load(Ordering::Relaxed),
        2,
        "it is kept in memory"
    );
    let found = catalogue.coin(&mint(0).parse().unwrap()).await.unwrap();
    assert_eq!(found.value.coin.num_participants, Some(231));
}

#[tokio::test]
async fn whether_a_stream_is_live_is_not_known_where_the_platform_does_not_say() {
    let fake = Arc::new(Fake::default());
    let mint: Mint = MINT.parse().unwrap();
    let ask = async || {
        let catalogue = catalogue(&fake, &Db::in_memory(), || 0);
        let found = catalogue.is_live(&mint).await.unwrap();
        ((found.value, found.stale), catalogue.says_live(&mint).await)
    };
    assert_eq!(ask().await, ((true, false), Some(true)));
    fake.silent.store(true, Ordering::Relaxed);
    assert_eq!(ask().await, ((false, true), None));
    fake.silent.store(false, Ordering::Relaxed);
    fake.confused.store(true, Ordering::Relaxed);
    assert_eq!(ask().await, ((false, true), None));
}

#[tokio::test]
async fn clients_that_look_much_up_keep_no_watch_rule_waiting() {
    let (fake, db) = (Arc::new(Fake::default()), Db::in_memory());
    fake.live.store(1, Ordering::Relaxed);
    let catalogue = catalogue(&fake, &db, || 1_000);
    let upstream = catalogue.upstream();
    let mint: Mint = MINT.parse().unwrap();
    let crowd = futures_util::future::join_all((0..60).map(|_| upstream.livestream(&mint)));
    let watch = async {
        // Once the crowd has come, which the order of polling makes sure.
        tokio::task::yield_now().await;
        // A client's failure is remembered, and is no answer to the rules.
        assert!(catalogue.live().await.is_err());
        let looked = catalogue.look().await.map(|list| list.coins.len());
        (looked.unwrap(), catalogue.says_live(&mint).await)
    };
    let at_once = timeout(Duration::from_secs(4), async {
        tokio::select! {
            biased;
            _ = crowd => unreachable!("the last of them wait for 5 s"),
            watched = watch => watched,
        }
    });
    assert_eq!(at_once.await.unwrap(), (1, Some(true)));
}
