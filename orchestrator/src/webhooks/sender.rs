//! One receiver: what it is to be told, sent until it takes it.

use super::{address, hub::Shared, signature::Key};
use crate::{Error, backoff::Backoff, clock, db::Delivery};
use futures_util::future::join_all;
use http::{StatusCode, header};
use std::{
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
/// Pause after a failure of the database.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);
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

/// Sends to one receiver.
pub(super) struct Sender {
    pub(super) shared: Arc<Shared>,
    pub(super) webhook_id: i64,
    pub(super) url: Url,
    /// By the operator, who may have anything asked.
    pub(super) configured: bool,
    /// There is more to tell.
    pub(super) news: Arc<Notify>,
    pub(super) ending: CancellationToken,
}

impl Sender {
    /// Runs until the receiver is forgotten or the server ends.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut failures = 0u32;
        loop {
            let pause = match self.tell(failures).await {
                Ok(Some(pause)) => {
                    failures = failures.saturating_add(1);
                    Some(pause.max(backoff.next(rand::random())))
                }
                Ok(None) => {
                    failures = 0;
                    backoff.reset();
                    None
                }
                Err(error) => {
                    tracing::error!(error = error.chain(), "the database");
                    Some(DATABASE_PAUSE)
                }
            };
            let go_on = match pause {
                Some(pause) => self.sleep(pause).await,
                None => self.until_due().await,
            };
            if !go_on {
                return;
            }
        }
    }

    /// Tells what is due. A pause where the receiver is down.
    async fn tell(&self, failures: u32) -> Result<Option<Duration>, Error> {
        let db = &self.shared.db;
        // Who doesn't take anything isn't asked to take much.
        let limit = if failures > 0 { 1 } else { AT_ONCE };
        let now_ms = clock::now_ms();
        let due = db.due_deliveries(self.webhook_id, now_ms, limit).await?;
        if due.is_empty() {
            return Ok(None);
        }
        let sent = join_all(due.iter().map(|delivery| self.send(delivery))).await;
        let mut recovered = failures > 0;
        let mut up = false;
        let mut pause = Duration::ZERO;
        for (delivery, sent) in due.iter().zip(sent) {
            let now_ms = clock::now_ms();
            match sent {
                Some(Ok(())) => {
                    db.delivered(self.webhook_id, delivery.event_id, now_ms, recovered)
                        .await?;
                    self.shared.told.delivered.fetch_add(1, Ordering::Relaxed);
                    (up, recovered) = (true, false);
                }
                Some(Err(refused)) => {
                    self.put_off(delivery, &refused).await?;
                    up |= !refused.down;
                    pause = pause.max(refused.retry_after);
                }
                // The server ends: the next one tells it.
                None => {}
            }
        }
        Ok((!up).then_some(pause))
    }

    async fn put_off(&self, delivery: &Delivery, refused: &Refused) -> Result<(), Error> {
        self.shared.told.failed.fetch_add(1, Ordering::Relaxed);
        let (host, why, tries) = (self.url.host_str(), &refused.why, delivery.tries);
        tracing::warn!(
            webhook_id = self.webhook_id,
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
        let next_ms = clock::now_ms().saturating_add(pause_ms);
        let db = &self.shared.db;
        db.not_delivered(
            self.webhook_id,
            delivery.event_id,
            next_ms,
            refused.why.clone(),
        )
        .await
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
        let client = match self.configured || self.shared.allow_private {
            true => &self.shared.anywhere,
            false if address::is_public_literal(&self.url) => &self.shared.outside,
            false => return Err("private addresses aren't allowed".to_owned().into()),
        };
        let request = client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            .header(header::AUTHORIZATION, signature)
            .body(delivery.body.clone());
        let response = request.send().await.map_err(|error| {
            // The address may hold what others must not see.
            let error = error.without_url();
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
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
    async fn until_due(&self) -> bool {
        let next = self.shared.db.next_delivery(self.webhook_id).await;
        let pause = match next {
            Ok(Some(at_ms)) => {
                let left_ms = at_ms.saturating_sub(clock::now_ms());
                Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)).min(IDLE)
            }
            Ok(None) => IDLE,
            Err(_) => DATABASE_PAUSE,
        };
        tokio::select! {
            () = self.ending.cancelled() => false,
            () = self.news.notified() => true,
            () = sleep(pause) => true,
        }
    }
}
