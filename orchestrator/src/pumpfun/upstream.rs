//! One polite client of the platform for everybody who uses this server.

use super::{
    counts::{Counts, Endpoint, Outcome},
    pace::{Asking, LONGEST_WAIT, Limits},
};
use crate::error::Kind;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use pumpfun_api::{Client, Coin, Error, Join, LivePage, Livestream, Mint};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep, timeout},
};

/// How long nothing is sent after a 429 that names no time, and after one that names a longer one.
const DEFAULT_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Requests for tokens that may be on their way at once; so many of them may be for sessions that
/// have been in their room before.
const JOINS_AT_ONCE: usize = 6;
const REJOINS_AT_ONCE: usize = 3;

/// Whether a request that failed is sent again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// With growing pauses, for as long as who waits for it has patience.
    Some,
    /// No: it is sent regularly anyway.
    None,
}

/// What is asked of the platform.
pub(crate) trait Platform: Send + Sync {
    fn join<'a>(&'a self, mint: &'a Mint) -> BoxFuture<'a, Result<Join, Error>>;
    fn coin<'a>(&'a self, mint: &'a Mint) -> BoxFuture<'a, Result<Coin, Error>>;
    fn livestream<'a>(&'a self, mint: &'a Mint) -> BoxFuture<'a, Result<Livestream, Error>>;
    /// A page of the coins that are live, nsfw ones among them.
    fn live_page(
        &self,
        offset: u32,
        limit: u32,
        repeats: Repeats,
    ) -> BoxFuture<'_, Result<LivePage, Error>>;
}

impl Platform for Client {
    fn join<'a>(&'a self, mint: &'a Mint) -> BoxFuture<'a, Result<Join, Error>> {
        Box::pin(self.join(mint))
    }

    fn coin<'a>(&'a self, mint: &'a Mint) -> BoxFuture<'a, Result<Coin, Error>> {
        Box::pin(self.coin(mint))
    }

    fn livestream<'a>(&'a self, mint: &'a Mint) -> BoxFuture<'a, Result<Livestream, Error>> {
        Box::pin(self.livestream(mint))
    }

    fn live_page(
        &self,
        offset: u32,
        limit: u32,
        repeats: Repeats,
    ) -> BoxFuture<'_, Result<LivePage, Error>> {
        let client = match repeats {
            Repeats::Some => self.clone(),
            Repeats::None => self.without_repeats(),
        };
        Box::pin(async move { client.live_page(offset, limit, true).await })
    }
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joining {
    /// A session that somebody starts and waits for.
    Start,
    /// A session that has been in its room before. An outage of the SFU makes many of these at once.
    Rejoin,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The platform knows no such coin.
    Unknown,
    /// It wasn't asked: too many requests at once.
    HeldBack,
    /// It couldn't be asked; why, for the log.
    Down(String),
}

impl From<Failure> for crate::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unknown => Self::new(
                Kind::NotFound,
                "stream_not_found",
                "Stream not found: pump.fun knows no such coin",
            ),
            Failure::HeldBack => Self::new(
                Kind::Unavailable,
                "pumpfun_held_back",
                "Too many coins are being looked up at once, and nothing is cached of this: try \
                 again in a few seconds",
            ),
            Failure::Down(why) => Self::new(
                Kind::BadGateway,
                "pumpfun_unavailable",
                "pump.fun can't be reached, and nothing is cached: try again in a moment",
            )
            .caused_by(why),
        }
    }
}

/// The platform, behind limits for all.
pub(crate) struct Upstream {
    platform: Arc<dyn Platform>,
    limits: Mutex<Limits>,
    joins: Semaphore,
    rejoins: Semaphore,
    counts: Arc<Counts>,
}

impl Upstream {
    pub(crate) fn new(platform: impl Platform + 'static) -> Self {
        Self {
            platform: Arc::new(platform),
            limits: Mutex::new(Limits::new(Instant::now())),
            joins: Semaphore::new(JOINS_AT_ONCE),
            rejoins: Semaphore::new(REJOINS_AT_ONCE),
            counts: Arc::default(),
        }
    }

    /// How often what was asked.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// A viewer's token. Who starts a session doesn't wait for those who rejoin.
    ///
    /// # Errors
    /// As [`Client::join`]; [`Error::RateLimited`] also where the request is held back.
    pub(crate) async fn join(&self, mint: &Mint, joining: Joining) -> Result<Join, Error> {
        let held_back = |wait: Duration| {
            self.counts.add(Endpoint::Join, Outcome::HeldBack);
            tracing::info!(%mint, ?joining, ?wait, "a request for a token is held back");
            Error::RateLimited {
                retry_after: Some(wait),
            }
        };
        let turn = self.limits.lock().take(joining.into(), Instant::now());
        sleep(turn.map_err(held_back)?).await;
        let Ok(_places) = timeout(LONGEST_WAIT, self.places(joining)).await else {
            return Err(held_back(LONGEST_WAIT));
        };
        self.still_open(Asking::from(joining)).map_err(held_back)?;
        let result = self.platform.join(mint).await;
        self.counts.add(Endpoint::Join, Outcome::from(&result));
        if let Err(Error::RateLimited { retry_after }) = &result {
            self.pause(Endpoint::Join, *retry_after);
        }
        result
    }

    /// Places among the requests for tokens that are on their way. The semaphores are never closed.
    async fn places(&self, joining: Joining) -> [Option<SemaphorePermit<'_>>; 2] {
        let among_rejoins = match joining {
            Joining::Start => None,
            Joining::Rejoin => self.rejoins.acquire().await.ok(),
        };
        [among_rejoins, self.joins.acquire().await.ok()]
    }

    /// A coin. An answer that is about none, or another, is no answer.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn coin(&self, mint: &Mint) -> Result<Coin, Failure> {
        let coin = self.ask(Endpoint::Coin, self.platform.coin(mint)).await?;
        if coin.mint.as_deref() != Some(mint.as_str()) {
            let why = "the answer isn't about the coin that was asked for";
            return Err(Failure::Down(why.into()));
        }
        Ok(coin)
    }

    /// A coin's livestream.
    ///
    /// # Errors
    /// Why there is no answer; unknown while it is offline.
    pub(crate) async fn livestream(&self, mint: &Mint) -> Result<Livestream, Failure> {
        self.ask(Endpoint::Livestream, self.platform.livestream(mint))
            .await
    }

    /// A page of the coins that are live now.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn live_page(
        &self,
        offset: u32,
        limit: u32,
        repeats: Repeats,
    ) -> Result<LivePage, Failure> {
        let call = self.platform.live_page(offset, limit, repeats);
        self.ask(Endpoint::CurrentlyLive, call).await
    }

    /// How long the platform still wants to be left alone.
    pub(crate) fn paused_for(&self) -> Duration {
        self.still_open(Asking::Look).err().unwrap_or_default()
    }

    /// How long it still wants not to be asked for tokens.
    pub(crate) fn joins_paused_for(&self) -> Duration {
        self.still_open(Asking::Rejoin).err().unwrap_or_default()
    }

    async fn ask<T>(
        &self,
        endpoint: Endpoint,
        call: BoxFuture<'_, Result<T, Error>>,
    ) -> Result<T, Failure> {
        let turn = self.limits.lock().take(Asking::Look, Instant::now());
        sleep(turn.map_err(|wait| self.held_back(endpoint, wait))?).await;
        // The platform may have asked to wait meanwhile.
        self.still_open(Asking::Look)
            .map_err(|wait| self.held_back(endpoint, wait))?;
        let result = call.await;
        self.counts.add(endpoint, Outcome::from(&result));
        result.map_err(|error| match error {
            Error::NotLive => Failure::Unknown,
            error => {
                if let Error::RateLimited { retry_after } = &error {
                    self.pause(endpoint, *retry_after);
                }
                tracing::warn!(?endpoint, %error, "pump.fun gave no answer");
                Failure::Down(error.to_string())
            }
        })
    }

    fn held_back(&self, endpoint: Endpoint, wait: Duration) -> Failure {
        self.counts.add(endpoint, Outcome::HeldBack);
        match self.still_open(Asking::Look) {
            Ok(()) => Failure::HeldBack,
            Err(_) => Failure::Down(format!("pump.fun asks to wait for {} s", wait.as_secs())),
        }
    }

    /// Whether the platform may be asked.
    ///
    /// # Errors
    /// Not yet: for how long.
    fn still_open(&self, asking: Asking) -> Result<(), Duration> {
        self.limits.lock().open(asking, Instant::now())
    }

    fn pause(&self, endpoint: Endpoint, retry_after: Option<Duration>) {
        let pause = retry_after.unwrap_or(DEFAULT_PAUSE).min(LONGEST_PAUSE);
        // Rooms are opened by the host that describes streams.
        let joins = matches!(endpoint, Endpoint::Join | Endpoint::Livestream);
        self.limits.lock().pause(Instant::now() + pause, joins);
    }
}

impl From<Joining> for Asking {
    fn from(joining: Joining) -> Self {
        match joining {
            Joining::Start => Self::Start,
            Joining::Rejoin => Self::Rejoin,
        }
    }
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
