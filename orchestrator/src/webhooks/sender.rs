//! One receiver: what it is to be told, sent until it takes it.

use super::{address, hub::Shared, signature::Key};
use crate::{Error, backoff::Backoff, clock, db::Delivery};
use futures_util::future::join_all;
use http::{StatusCode, header};
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;
use url::Url;

/// Longest wait for an answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// Events of different sessions that are sent at once.
const AT_ONCE: u32 = 4;
/// Pauses after failures: as long as it is down, at most, until this.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// With nothing to tell, the database is looked at after this nevertheless.
const IDLE: Duration = Duration::from_secs(3600);
/// Pauses after failures of the database.
const FIRST_DATABASE_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_DATABASE_PAUSE: Duration = Duration::from_secs(60);
/// `application/webhook+json`, as LiveKit sends it.
const CONTENT_TYPE: &str = "application/webhook+json";

/// Why a receiver wasn't told something.
struct Refused {
    /// A sentence, without the receiver's address.
    why: String,
    /// How long it wants to be left alone.
    retry_after: Duration,
    /// It takes nothing at all; else it doesn't take this event.
    down: bool,
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self {
            why,
            retry_after: Duration::ZERO,
            down: true,
        }
    }
}

/// What became of an event that was sent.
struct Outcome {
    event_id: i64,
    result: Result<Taken, PutOff>,
}

/// It was taken.
struct Taken {
    at_ms: i64,
    /// As the first after failures.
    recovered: bool,
}

/// It is to be sent again.
struct PutOff {
    next_try_at_ms: i64,
    why: String,
}

/// Who is sent what.
pub(super) struct Recipient {
    pub(super) webhook_id: i64,
    pub(super) url: Url,
    /// By the operator, who may have anything asked.
    pub(super) configured: bool,
}

/// Sends to one receiver.
pub(super) struct Sender {
    shared: Arc<Shared>,
    to: Recipient,
    /// There is more to tell.
    news: Arc<Notify>,
    ending: CancellationToken,
    /// In a row, up to now.
    failures: u32,
    backoff: Backoff,
    /// What isn't stored yet: nothing more is sent before it is, or the same would be sent again.
    unwritten: VecDeque<Outcome>,
    database: Backoff,
}

impl Sender {
    pub(super) fn new(
        shared: Arc<Shared>,
        to: Recipient,
        news: Arc<Notify>,
        ending: CancellationToken,
    ) -> Self {
        Self {
            shared,
            to,
            news,
            ending,
            failures: 0,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            unwritten: VecDeque::new(),
            database: Backoff::new(FIRST_DATABASE_PAUSE, LONGEST_DATABASE_PAUSE),
        }
    }

    /// Runs until the receiver is forgotten or the server ends.
    pub(super) async fn run(mut self) {
        loop {
            let pause = match self.tell().await {
                Ok(pause) => {
                    self.database.reset();
                    pause
                }
                Err(error) => {
                    tracing::error!(error = error.chain(), "the database");
                    Some(self.database.next(rand::random()))
                }
            };
            let go_on = match pause {
                Some(pause) => self.sleep(pause).await,
                None => self.until_due().await,
            };
            if !go_on {
                break;
            }
        }
        if let Err(error) = self.write().await {
            tracing::error!(error = error.chain(), "what was told is told again");
        }
    }

    /// Tells what is due. A pause where the receiver is down.
    async fn tell(&mut self) -> Result<Option<Duration>, Error> {
        self.write().await?;
        // Who doesn't take anything isn't asked to take much.
        let limit = if self.failures > 0 { 1 } else { AT_ONCE };
        let (now_ms, db) = (clock::now_ms(), &self.shared.db);
        let due = db
            .due_deliveries(self.to.webhook_id, now_ms, LONGEST_PAUSE, limit)
            .await?;
        let pause = match due.is_empty() {
            true => None,
            false => self.send_all(&due).await,
        };
        self.write().await?;
        Ok(pause)
    }

    /// Sends them, and keeps what became of each. A pause where the receiver is down.
    async fn send_all(&mut self, due: &[Delivery]) -> Option<Duration> {
        let sent = join_all(due.iter().map(|delivery| self.send(delivery))).await;
        let mut recovered = self.failures > 0;
        let mut up = false;
        let mut pause = Duration::ZERO;
        for (delivery, sent) in due.iter().zip(sent) {
            let result = match sent {
                Some(Ok(())) => {
                    self.shared.told.delivered.fetch_add(1, Ordering::Relaxed);
                    up = true;
                    Ok(Taken {
                        at_ms: clock::now_ms(),
                        recovered: std::mem::take(&mut recovered),
                    })
                }
                Some(Err(refused)) => {
                    up |= !refused.down;
                    pause = pause.max(refused.retry_after);
                    Err(self.put_off(delivery, refused))
                }
                // The server ends: the next one tells it.
                None => continue,
            };
            self.unwritten.push_back(Outcome {
                event_id: delivery.event_id,
                result,
            });
        }
        if up {
            self.failures = 0;
            self.backoff.reset();
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        Some(pause.max(self.backoff.next(rand::random())))
    }

    fn put_off(&self, delivery: &Delivery, refused: Refused) -> PutOff {
        self.shared.told.failed.fetch_add(1, Ordering::Relaxed);
        let (host, why, tries) = (self.to.url.host_str(), refused.why, delivery.tries);
        tracing::warn!(
            webhook_id = self.to.webhook_id,
            host,
            why,
            tries,
            "a webhook failed"
        );
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut pause = Duration::ZERO;
        for _ in 0..=delivery.tries.min(16) {
            pause = backoff.next(rand::random());
        }
        let pause = pause.max(refused.retry_after);
        let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        PutOff {
            next_try_at_ms: clock::now_ms().saturating_add(pause_ms),
            why,
        }
    }

    /// Stores what became of what was sent, in turn.
    async fn write(&mut self) -> Result<(), Error> {
        let (db, webhook_id) = (&self.shared.db, self.to.webhook_id);
        while let Some(outcome) = self.unwritten.front() {
            let event_id = outcome.event_id;
            match &outcome.result {
                Ok(taken) => {
                    db.delivered(webhook_id, event_id, taken.at_ms, taken.recovered)
                        .await?;
                }
                Err(put_off) => {
                    let (next_ms, why) = (put_off.next_try_at_ms, put_off.why.clone());
                    db.not_delivered(webhook_id, event_id, next_ms, why).await?;
                }
            }
            self.unwritten.pop_front();
        }
        Ok(())
    }

    /// None when the server, or the receiver's time, ends meanwhile.
    async fn send(&self, delivery: &Delivery) -> Option<Result<(), Refused>> {
        tokio::select! {
            sent = self.post(delivery) => Some(sent),
            () = self.ending.cancelled() => None,
        }
    }

    async fn post(&self, delivery: &Delivery) -> Result<(), Refused> {
        let key: Key = self
            .shared
            .key()
            .ok_or_else(|| "there is no key to sign with".to_owned())?;
        // Signed for each try: a signature is valid for minutes.
        let signature = key
            .sign(&delivery.body)
            .map_err(|error| error.message().to_owned())?;
        let client = match self.to.configured || self.shared.allow_private {
            true => &self.shared.anywhere,
            false if address::is_public_literal(&self.to.url) => &self.shared.outside,
            false => return Err("private addresses aren't allowed".to_owned().into()),
        };
        let request = client
            .post(self.to.url.clone())
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            .header(header::AUTHORIZATION, signature)
            .body(delivery.body.clone());
        let response = request.send().await.map_err(|error| {
            // The address may hold what others must not see.
            chain(&error.without_url())
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let seconds = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let asks = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        let wait = seconds
            .filter(|_| asks)
            .map_or(Duration::ZERO, Duration::from_secs);
        Err(Refused {
            why: format!("it answered {status}"),
            retry_after: wait.min(LONGEST_PAUSE),
            down: asks || status.is_server_error(),
        })
    }

    /// Waits; false when the server, or the receiver's time, ends.
    async fn sleep(&self, pause: Duration) -> bool {
        tokio::select! {
            () = self.ending.cancelled() => false,
            () = sleep(pause) => true,
        }
    }

    /// Waits until something is due; false as above.
    async fn until_due(&mut self) -> bool {
        let pause = match self.shared.db.next_delivery(self.to.webhook_id).await {
            Ok(Some(at_ms)) => {
                let left_ms = at_ms.saturating_sub(clock::now_ms());
                let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
                // What would be later was put off by a clock that was set back since.
                if left > LONGEST_PAUSE {
                    Duration::ZERO
                } else {
                    left
                }
            }
            Ok(None) => IDLE,
            Err(_) => self.database.next(rand::random()),
        };
        tokio::select! {
            () = self.ending.cancelled() => false,
            () = self.news.notified() => true,
            () = sleep(pause) => true,
        }
    }
}

/// An error with its causes, to the last one.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
