//! One polite client of the platform for everybody who uses this server.

use super::{
    counts::{Counts, Endpoint, Outcome},
    pace::{Asking, LONGEST_WAIT, Limits},
};
use crate::error::Kind;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use pumpfun_api::{Client, Coin, Error, Join, LivePage, Livestream, Mint, NotAsked};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep, timeout},
};

/// When who was held back may come again: look-ups are a few a second, and nobody's place is kept.
const HELD_BACK: Duration = Duration::from_secs(3);
/// How long nothing is sent after a 429 that names no time, and after one that names a longer one.
const DEFAULT_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Requests for tokens that may be on their way at once; so many of them may be for sessions that
/// have been in their room before.
const JOINS_AT_ONCE: usize = 6;
const REJOINS_AT_ONCE: usize = 3;

/// Longest pause before a request that came to nothing is sent once more; half of it at least.
const REPEAT_PAUSE: Duration = Duration::from_millis(250);

/// Whether a request that failed is sent again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// Once, at its turn, unless the platform asks to wait.
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
    fn live_page(&self, offset: u32, limit: u32) -> BoxFuture<'_, Result<LivePage, Error>>;
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

    fn live_page(&self, offset: u32, limit: u32) -> BoxFuture<'_, Result<LivePage, Error>> {
        Box::pin(self.live_page(offset, limit, true))
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
            )
            .retry_after(HELD_BACK),
            Failure::Down(why) => Self::new(
                Kind::BadGateway,
                "pumpfun_unavailable",
                "pump.fun can't be reached, and nothing is cached: try again in a moment",
            )
            .caused_by(why),
        }
    }
}

/// Why a request has no answer.
enum Refused {
    /// It wasn't sent: when it may come again.
    HeldBack(Duration),
    Failed(Error),
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
    /// `platform` sends each request once: who repeats is this one, which knows everybody's pace.
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
        let how = (joining.into(), Repeats::Some);
        let sent = self.send(Endpoint::Join, how, || self.platform.join(mint));
        sent.await.map_err(|refused| match refused {
            Refused::HeldBack(wait) => {
                tracing::info!(%mint, ?joining, ?wait, "a request for a token is held back");
                Error::RateLimited {
                    retry_after: Some(wait),
                }
            }
            Refused::Failed(error) => error,
        })
    }

    /// Places among the requests for tokens that are on their way. The semaphores are never closed.
    async fn places(&self, asking: Asking) -> [Option<SemaphorePermit<'_>>; 2] {
        let among_rejoins = match asking {
            Asking::Look | Asking::Watch => return [None, None],
            Asking::Start => None,
            Asking::Rejoin => self.rejoins.acquire().await.ok(),
        };
        [among_rejoins, self.joins.acquire().await.ok()]
    }

    /// A coin. An answer that is about none, or another, is no answer.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn coin(&self, mint: &Mint) -> Result<Coin, Failure> {
        let how = (Asking::Look, Repeats::Some);
        let asked = self.ask(Endpoint::Coin, how, || self.platform.coin(mint));
        let coin = asked.await?;
        check_subject(mint, coin.mint.as_deref())?;
        Ok(coin)
    }

    /// A coin's livestream. An answer about another is no answer.
    ///
    /// # Errors
    /// Why there is no answer; unknown while it is offline.
    pub(crate) async fn livestream(&self, mint: &Mint) -> Result<Livestream, Failure> {
        self.stream(mint, (Asking::Look, Repeats::Some)).await
    }

    /// The same for the watch rules, which come again by themselves.
    ///
    /// # Errors
    /// As [`Upstream::livestream`].
    pub(crate) async fn watched_livestream(&self, mint: &Mint) -> Result<Livestream, Failure> {
        self.stream(mint, (Asking::Watch, Repeats::None)).await
    }

    async fn stream(&self, mint: &Mint, how: (Asking, Repeats)) -> Result<Livestream, Failure> {
        let asked = self.ask(Endpoint::Livestream, how, || self.platform.livestream(mint));
        let stream = asked.await?;
        // Which one it is about may be left out.
        if stream.mint_id.is_some() {
            check_subject(mint, stream.mint_id.as_deref())?;
        }
        Ok(stream)
    }

    /// A page of the coins that are live now; for the watch rules, where nobody waits for it.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn live_page(
        &self,
        offset: u32,
        limit: u32,
        repeats: Repeats,
    ) -> Result<LivePage, Failure> {
        let asking = match repeats {
            Repeats::Some => Asking::Look,
            Repeats::None => Asking::Watch,
        };
        let page = || self.platform.live_page(offset, limit);
        self.ask(Endpoint::CurrentlyLive, (asking, repeats), page)
            .await
    }

    /// How long the platform still wants to be left alone.
    pub(crate) fn paused_for(&self) -> Duration {
        self.still_open(Asking::Look).err().unwrap_or_default()
    }

    /// How long it still wants not to be asked for tokens.
    pub(crate) fn joins_paused_for(&self) -> Duration {
        self.still_open(Asking::Rejoin).err().unwrap_or_default()
    }

    /// Sends a request at its turn, and again where the first try came to nothing that lasts.
    async fn send<'a, T>(
        &self,
        endpoint: Endpoint,
        (asking, repeats): (Asking, Repeats),
        call: impl Fn() -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<T, Refused> {
        let error = match self.send_once(endpoint, asking, &call).await {
            Err(Refused::Failed(error)) if repeats == Repeats::Some && is_passing(&error) => error,
            result => return result,
        };
        tracing::debug!(?endpoint, %error, "asking pump.fun again");
        sleep(REPEAT_PAUSE.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        match self.send_once(endpoint, asking, &call).await {
            // Why the first try failed says more.
            Err(Refused::HeldBack(_)) => Err(Refused::Failed(error)),
            result => result,
        }
    }

    async fn send_once<'a, T>(
        &self,
        endpoint: Endpoint,
        asking: Asking,
        call: &impl Fn() -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<T, Refused> {
        let held_back = |wait| {
            self.counts.add(endpoint, Outcome::HeldBack);
            Refused::HeldBack(wait)
        };
        let turn = self.limits.lock().take(asking, Instant::now());
        sleep(turn.map_err(held_back)?).await;
        let Ok(_places) = timeout(LONGEST_WAIT, self.places(asking)).await else {
            return Err(held_back(LONGEST_WAIT));
        };
        // The platform may have asked to wait meanwhile.
        self.still_open(asking).map_err(held_back)?;
        let result = call().await;
        self.counts.add(endpoint, Outcome::from(&result));
        if let Err(Error::RateLimited { retry_after }) = &result {
            self.pause(endpoint, *retry_after);
        }
        result.map_err(Refused::Failed)
    }

    async fn ask<'a, T>(
        &self,
        endpoint: Endpoint,
        how: (Asking, Repeats),
        call: impl Fn() -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<T, Failure> {
        let sent = self.send(endpoint, how, call).await;
        sent.map_err(|refused| match refused {
            Refused::HeldBack(wait) => self.held_back(wait),
            Refused::Failed(Error::NotLive) => Failure::Unknown,
            Refused::Failed(error) => {
                tracing::warn!(?endpoint, %error, "pump.fun gave no answer");
                Failure::Down(error.to_string())
            }
        })
    }

    fn held_back(&self, wait: Duration) -> Failure {
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

/// Whether an answer names this mint.
///
/// # Errors
/// Down: an answer about another is none.
fn check_subject(mint: &Mint, named: Option<&str>) -> Result<(), Failure> {
    match named == Some(mint.as_str()) {
        true => Ok(()),
        false => {
            let why = "the answer isn't about the coin that was asked for";
            Err(Failure::Down(why.into()))
        }
    }
}

/// Whether the same request may be answered in a moment. Who is asked to wait waits.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::NotAsked(NotAsked::Transport(_) | NotAsked::TimedOut) => true,
        // 408 says that the request came too slowly.
        Error::NotAsked(NotAsked::Status(status)) => *status >= 500 || *status == 408,
        _ => false,
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
