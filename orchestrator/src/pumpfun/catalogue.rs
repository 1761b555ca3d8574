//! The coins as this server knows them: from the database while that is fresh, else from the
//! platform; from the database again while the platform can't be asked.

use super::{
    Failure, Repeats, Upstream,
    looked_up::LookedUp,
    rows::{described, listed},
};
use crate::{
    Error, clock,
    config::Settings,
    db::{CoinRow, Db, LiveList},
    lookups::{Lookups, Pending, result},
    shutdown::Shutdown,
};
use parking_lot::Mutex;
use pumpfun_api::{Livestream, Mint};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{sync::watch, time::timeout};

/// How long a coin counts as fresh.
const COIN_FRESH_MS: i64 = 60_000;
/// How long an answer about a stream's being live is given to others too.
const LIVE_FRESH: Duration = Duration::from_secs(5);
/// How long an unknown coin stays unknown.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);
/// How long the same isn't asked again after a failure.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);
/// Who could be given what is cached waits so long for what is fresh.
const PATIENCE: Duration = Duration::from_secs(3);
/// Coins on a page of the platform's list.
const PAGE: u32 = 60;
/// The list is read so far; about one page is live at a time.
const MOST_PAGES: u32 = 10;
/// Old observations are looked for so often.
const PRUNE_INTERVAL_MS: i64 = 10 * 60_000;

/// What was found, and whether it is older than it should be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found<T> {
    pub(crate) value: T,
    /// The platform couldn't be asked: this is what it said before.
    pub(crate) stale: bool,
}

impl<T> Found<T> {
    fn fresh(value: T) -> Self {
        Self {
            value,
            stale: false,
        }
    }
}

/// Coins and streams.
pub(crate) struct Catalogue {
    shared: Arc<Shared>,
    coins: Lookups<Mint, Result<CoinRow, Failure>>,
    streams: Lookups<Mint, Result<Livestream, Failure>>,
    lists: Lookups<(), Result<Arc<LiveList>, Failure>>,
    /// The same for the watch rules, where clients have used up their pace.
    watched_lists: Lookups<(), Result<Arc<LiveList>, Failure>>,
}

/// What look-ups need.
struct Shared {
    upstream: Upstream,
    db: Db,
    shutdown: Shutdown,
    settings: watch::Receiver<Arc<Settings>>,
    now_ms: fn() -> i64,
    /// The list as it was fetched last, also before the server's start.
    list: Mutex<Option<Arc<LiveList>>>,
    looked_up: LookedUp,
    pruned_at_ms: Mutex<i64>,
}

impl Catalogue {
    pub(crate) fn new(
        upstream: Upstream,
        db: Db,
        settings: watch::Receiver<Arc<Settings>>,
        shutdown: Shutdown,
    ) -> Self {
        let shared = Shared {
            upstream,
            db,
            shutdown,
            settings,
            now_ms: clock::now_ms,
            list: Mutex::new(None),
            looked_up: LookedUp::new(COIN_FRESH_MS),
            pruned_at_ms: Mutex::new(0),
        };
        Self {
            shared: Arc::new(shared),
            coins: Lookups::default(),
            streams: Lookups::default(),
            lists: Lookups::default(),
            watched_lists: Lookups::default(),
        }
    }

    /// The platform itself.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.shared.upstream
    }

    /// A coin, at most a minute old while the platform answers.
    ///
    /// # Errors
    /// Not found when there is no such coin; bad gateway when the platform can't be asked and
    /// nothing is cached.
    pub(crate) async fn coin(&self, mint: &Mint) -> Result<Found<CoinRow>, Error> {
        let cached = self.shared.db.coin(mint.to_string()).await?;
        let now_ms = (self.shared.now_ms)();
        let fresh = |row: &CoinRow| is_fresh(row.fetched_at_ms, now_ms, COIN_FRESH_MS);
        // The list tells less of a coin than the coin's own look-up, and comes more often.
        let looked_up = self.shared.looked_up.is_fresh(mint, now_ms);
        match cached {
            Some(row) if fresh(&row) && looked_up => Ok(Found::fresh(row)),
            cached => {
                let listed = cached.as_ref().is_some_and(fresh);
                let mut found = fresh_or(cached, self.look_up(mint)).await?;
                found.stale &= !listed;
                Ok(found)
            }
        }
    }

    /// A coin, or what is cached of it, within `limit`; none where nothing is known by then.
    pub(crate) async fn coin_within(&self, mint: &Mint, limit: Duration) -> Option<CoinRow> {
        match timeout(limit, self.coin(mint)).await {
            Ok(Ok(found)) => Some(found.value),
            Ok(Err(error)) => {
                tracing::debug!(%mint, error = error.chain(), "nothing is known of the coin");
                None
            }
            // The look-up goes on; what was known before is better than nothing.
            Err(_) => self.shared.db.coin(mint.to_string()).await.ok().flatten(),
        }
    }

    /// Whether a coin is live, as the platform says now.
    ///
    /// # Errors
    /// As [`Catalogue::coin`], where the platform can't be asked.
    pub(crate) async fn is_live(&self, mint: &Mint) -> Result<Found<bool>, Error> {
        let shared = Arc::clone(&self.shared);
        let asked = mint.clone();
        let remember = |result: &Result<_, Failure>| match result {
            Ok(_) | Err(Failure::Unknown) => Some(LIVE_FRESH),
            Err(Failure::Down(_) | Failure::HeldBack) => Some(FAILURE_PAUSE),
        };
        let pending = self
            .streams
            .start(mint, &self.shared.shutdown, remember, || async move {
                shared.upstream.livestream(&asked).await
            });
        // Who waits too long is told what the coin's description says.
        let answer = timeout(PATIENCE, result(pending)).await.ok().flatten();
        match answer.unwrap_or_else(|| Err(ending())) {
            Ok(Livestream {
                is_live: Some(live),
                ..
            }) => Ok(Found::fresh(live)),
            Err(Failure::Unknown) => Ok(Found::fresh(false)),
            // The coin's own description says it too.
            Ok(_) => self.coin(mint).await.map(flag),
            Err(Failure::Down(_) | Failure::HeldBack) => self.coin(mint).await.map(|found| Found {
                stale: true,
                ..flag(found)
            }),
        }
    }

    /// What the platform says now about a stream's being live; none where it can't be asked or
    /// doesn't say. For the watch rules, which ask again by themselves.
    pub(crate) async fn says_live(&self, mint: &Mint) -> Option<bool> {
        match self.shared.upstream.watched_livestream(mint).await {
            Ok(stream) => stream.is_live,
            Err(Failure::Unknown) => Some(false),
            Err(Failure::Down(_) | Failure::HeldBack) => None,
        }
    }

    /// The coins that are live, in the platform's order.
    ///
    /// # Errors
    /// Bad gateway when the platform can't be asked and no list is cached.
    pub(crate) async fn live(&self) -> Result<Found<Arc<LiveList>>, Error> {
        let cached = self.shared.cached_list().await?;
        match cached {
            Some(list) if self.shared.is_fresh_list(&list) => Ok(Found::fresh(list)),
            cached => Ok(fresh_or(cached, self.fetch_list(Repeats::Some)).await?),
        }
    }

    /// The coins that are live, at most as old as [`Catalogue::live`] gives them; for who asks
    /// regularly by itself. Nothing that is stale, and one request at most for each page.
    ///
    /// # Errors
    /// Bad gateway when the platform can't be asked; the cause says why. Unavailable where too much
    /// is asked at once, which is no failure of the platform.
    pub(crate) async fn look(&self) -> Result<Arc<LiveList>, Error> {
        match self.shared.cached_list().await? {
            Some(list) if self.shared.is_fresh_list(&list) => return Ok(list),
            _ => {}
        }
        let mut looked = result(self.fetch_list(Repeats::None)).await;
        // The list was being asked for by a client, at the clients' pace.
        if matches!(looked, Some(Err(Failure::HeldBack))) {
            let own = self.fetch_list_among(&self.watched_lists, Repeats::None);
            looked = result(own).await;
        }
        Ok(looked.unwrap_or_else(|| Err(ending()))?)
    }

    fn fetch_list(&self, repeats: Repeats) -> Pending<Result<Arc<LiveList>, Failure>> {
        self.fetch_list_among(&self.lists, repeats)
    }

    fn fetch_list_among(
        &self,
        lookups: &Lookups<(), Result<Arc<LiveList>, Failure>>,
        repeats: Repeats,
    ) -> Pending<Result<Arc<LiveList>, Failure>> {
        let this = Arc::clone(&self.shared);
        let remember = |result: &Result<_, Failure>| result.is_err().then_some(FAILURE_PAUSE);
        lookups.start(&(), &self.shared.shutdown, remember, || {
            this.fetch_list(repeats)
        })
    }

    fn look_up(&self, mint: &Mint) -> Pending<Result<CoinRow, Failure>> {
        let (shared, asked) = (Arc::clone(&self.shared), mint.clone());
        let remember = |result: &Result<_, Failure>| match result {
            Ok(_) => None,
            Err(Failure::Unknown) => Some(UNKNOWN_FOR),
            Err(Failure::Down(_) | Failure::HeldBack) => Some(FAILURE_PAUSE),
        };
        self.coins
            .start(mint, &self.shared.shutdown, remember, || async move {
                shared.fetch_coin(&asked).await
            })
    }
}

impl Shared {
    /// Asks for the coin and its stream, and stores them.
    async fn fetch_coin(&self, mint: &Mint) -> Result<CoinRow, Failure> {
        let (coin, stream) = tokio::join!(self.upstream.coin(mint), self.upstream.livestream(mint));
        let now_ms = (self.now_ms)();
        let row = described(coin?, stream, now_ms);
        self.looked_up.add(mint, now_ms);
        self.store(vec![row.clone()], None).await;
        Ok(row)
    }

    /// Reads the platform's list to its end, and stores it.
    async fn fetch_list(self: Arc<Self>, repeats: Repeats) -> Result<Arc<LiveList>, Failure> {
        let mut coins = Vec::new();
        let mut seen = HashSet::new();
        let mut is_whole = false;
        for page in 0..MOST_PAGES {
            let page = self.upstream.live_page(page * PAGE, PAGE, repeats).await?;
            let before = coins.len();
            let new = page.coins.into_iter().filter(|coin| {
                let mint = coin
                    .mint
                    .as_ref()
                    .filter(|mint| mint.parse::<Mint>().is_ok());
                mint.is_some_and(|mint| seen.insert(mint.clone()))
            });
            coins.extend(new);
            // A page that isn't full is the last; one that brings nothing new is no page.
            is_whole = page.entries < PAGE as usize || coins.len() == before;
            if is_whole {
                break;
            }
        }
        if !is_whole {
            tracing::warn!(read = coins.len(), "more coins are live than are read");
        }
        let now_ms = (self.now_ms)();
        let rows: Vec<_> = coins.into_iter().map(|coin| listed(coin, now_ms)).collect();
        let mints = rows.iter().map(|row| row.mint.clone()).collect();
        let fetched = LiveList {
            coins: rows.clone(),
            fetched_at_ms: now_ms,
        };
        let stored = self.store(rows, Some((mints, now_ms))).await;
        // As stored it knows more: when the streams began.
        let list = match stored {
            true => self.db.live_list().await.unwrap_or_else(|error| {
                not_stored(&error);
                None
            }),
            false => None,
        };
        let list = Arc::new(list.unwrap_or(fetched));
        *self.list.lock() = Some(Arc::clone(&list));
        Ok(list)
    }

    fn is_fresh_list(&self, list: &LiveList) -> bool {
        let refresh = self.settings.borrow().pumpfun_refresh;
        let refresh_ms = i64::try_from(refresh.as_millis()).unwrap_or(i64::MAX);
        is_fresh(list.fetched_at_ms, (self.now_ms)(), refresh_ms)
    }

    async fn cached_list(&self) -> Result<Option<Arc<LiveList>>, Error> {
        let known = self.list.lock().clone();
        if known.is_some() {
            return Ok(known);
        }
        let stored = self.db.live_list().await?.map(Arc::new);
        self.list.lock().clone_from(&stored);
        Ok(stored)
    }

    /// Whether it is stored. What was fetched counts all the same where it isn't.
    async fn store(&self, rows: Vec<CoinRow>, list: Option<(Vec<String>, i64)>) -> bool {
        if let Err(error) = self.db.store_coins(rows, list).await {
            not_stored(&error);
            return false;
        }
        let now_ms = (self.now_ms)();
        let due = {
            let mut pruned_at_ms = self.pruned_at_ms.lock();
            let due = !is_fresh(*pruned_at_ms, now_ms, PRUNE_INTERVAL_MS);
            if due {
                *pruned_at_ms = now_ms;
            }
            due
        };
        if due {
            let settings = Arc::clone(&self.settings.borrow());
            let days = settings
                .history_days
                .and_then(|days| i64::try_from(days).ok());
            let oldest_ms = days.map(|days| now_ms - days * 24 * 3600 * 1000);
            let pruned = self.db.prune_coins(oldest_ms, settings.history_rows).await;
            if let Err(error) = pruned {
                not_stored(&error);
            }
        }
        true
    }
}

/// What a look-up comes to, or what is cached where that fails or takes long.
async fn fresh_or<T: Clone>(
    cached: Option<T>,
    pending: Pending<Result<T, Failure>>,
) -> Result<Found<T>, Failure> {
    let found = match &cached {
        None => result(pending).await,
        Some(_) => timeout(PATIENCE, result(pending)).await.ok().flatten(),
    };
    match (found.unwrap_or_else(|| Err(ending())), cached) {
        (Ok(value), _) => Ok(Found::fresh(value)),
        (Err(Failure::Down(_) | Failure::HeldBack), Some(value)) => {
            Ok(Found { value, stale: true })
        }
        (Err(failure), _) => Err(failure),
    }
}

/// A time in the future is one of a clock that was set back: not fresh.
fn is_fresh(at_ms: i64, now_ms: i64, for_ms: i64) -> bool {
    (0..for_ms).contains(&now_ms.saturating_sub(at_ms))
}

/// Whether a coin is live. Where the platform doesn't say, nothing is known of now.
fn flag(found: Found<CoinRow>) -> Found<bool> {
    let said = found.value.coin.is_currently_live;
    Found {
        value: said.unwrap_or(false),
        stale: found.stale || said.is_none(),
    }
}

fn ending() -> Failure {
    Failure::Down("the look-up was given up".into())
}

fn not_stored(error: &Error) {
    tracing::error!(error = error.chain(), "coins can't be stored");
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
