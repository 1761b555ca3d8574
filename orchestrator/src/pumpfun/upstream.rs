//! One polite client of the platform for everybody who uses this server.

use super::counts::{Counts, Endpoint, Outcome};
use crate::error::Kind;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use pumpfun_api::{Client, Coin, Error, Join, LivePage, Livestream, Mint};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// Requests a second over a longer time, beside those that open rooms.
const INTERVAL: Duration = Duration::from_millis(500);
/// This many may come at once.
const BURST: u32 = 20;
/// A request that would have to wait longer isn't sent.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long nothing is sent after a 429 that names no time, and after one that names a longer one.
const DEFAULT_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

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

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The platform knows no such coin.
    Unknown,
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
            Failure::Down(why) => Self::new(
                Kind::BadGateway,
                "pumpfun_unavailable",
                "pump.fun can't be reached, and nothing is cached: try again in a moment",
            )
            .caused_by(why),
        }
    }
}

/// The platform, behind a limit for all.
pub(crate) struct Upstream {
    platform: Arc<dyn Platform>,
    pace: Mutex<Pace>,
    counts: Arc<Counts>,
}

/// When requests may be sent.
#[derive(Debug)]
struct Pace {
    /// When the requests so far would be through if they came evenly.
    through_at: Instant,
    /// The platform asked to wait until then.
    paused_until: Instant,
}

impl Pace {
    /// How long a request has to wait; none when that is too long.
    fn take(&mut self, now: Instant) -> Option<Duration> {
        if now < self.paused_until {
            return None;
        }
        let through_at = self.through_at.max(now) + INTERVAL;
        let wait = through_at.saturating_duration_since(now + INTERVAL * BURST);
        (wait <= LONGEST_WAIT).then(|| {
            self.through_at = through_at;
            wait
        })
    }
}

impl Upstream {
    pub(crate) fn new(platform: impl Platform + 'static) -> Self {
        let now = Instant::now();
        Self {
            platform: Arc::new(platform),
            pace: Mutex::new(Pace {
                through_at: now,
                paused_until: now,
            }),
            counts: Arc::default(),
        }
    }

    /// How often what was asked.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// A viewer's token. Sent at once: somebody waits for a room, and nothing can stand in for it.
    ///
    /// # Errors
    /// As [`Client::join`].
    pub(crate) async fn join(&self, mint: &Mint) -> Result<Join, Error> {
        let result = self.platform.join(mint).await;
        self.counts.add(Endpoint::Join, Outcome::from(&result));
        result
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
        let until = self.pace.lock().paused_until;
        until.saturating_duration_since(Instant::now())
    }

    async fn ask<T>(
        &self,
        endpoint: Endpoint,
        call: BoxFuture<'_, Result<T, Error>>,
    ) -> Result<T, Failure> {
        let wait = self.pace.lock().take(Instant::now());
        let Some(wait) = wait else {
            self.counts.add(endpoint, Outcome::HeldBack);
            return Err(Failure::Down("requests are being held back".into()));
        };
        sleep(wait).await;
        let result = call.await;
        self.counts.add(endpoint, Outcome::from(&result));
        result.map_err(|error| match error {
            Error::NotLive => Failure::Unknown,
            error => {
                if let Error::RateLimited { retry_after } = &error {
                    self.pause(*retry_after);
                }
                tracing::warn!(?endpoint, %error, "pump.fun gave no answer");
                Failure::Down(error.to_string())
            }
        })
    }

    fn pause(&self, retry_after: Option<Duration>) {
        let pause = retry_after.unwrap_or(DEFAULT_PAUSE).min(LONGEST_PAUSE);
        let mut pace = self.pace.lock();
        pace.paused_until = pace.paused_until.max(Instant::now() + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_evenly() {
        let start = Instant::now();
        let mut pace = Pace {
            through_at: start,
            paused_until: start,
        };
        let waits: Vec<_> = (0..40).map(|_| pace.take(start)).collect();
        assert!(waits[..20].iter().all(|wait| *wait == Some(Duration::ZERO)));
        assert_eq!(waits[20], Some(INTERVAL));
        assert_eq!(waits[29], Some(LONGEST_WAIT));
        assert_eq!(waits[30], None);
        assert_eq!(
            pace.take(start + Duration::from_secs(60)),
            Some(Duration::ZERO)
        );
    }
}
