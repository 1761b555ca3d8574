//! Who is told what happens, and what that takes.

use super::{
    address::{self, PublicOnly},
    intake::{Batch, Intake},
    receiver::{self, Receiver},
    sender::{self, Recipient, Sender},
    signature::Key,
};
use crate::{
    Error, clock,
    config::{Settings, WebhookConfig},
    db::{Db, WebhookRow},
    error::Kind,
    events::KINDS,
    sessions::Context,
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

/// Receivers that there may be.
const MOST_RECEIVERS: usize = 50;
/// Pause before events are stored that could not be.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How long the last events are sent on when the server ends; what isn't taken by then is sent by
/// the next one.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How often it is looked whether they are all taken.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// Counts since the server's start.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Events that were taken.
    pub(crate) delivered: AtomicU64,
    /// Tries that failed.
    pub(crate) failed: AtomicU64,
    /// Events that were too many for a receiver.
    pub(crate) dropped: AtomicU64,
    /// Events that were lost before they were stored.
    pub(crate) missed: AtomicU64,
}

/// The receivers; cheap to clone.
#[derive(Clone)]
pub(crate) struct Webhooks {
    shared: Arc<Shared>,
}

/// What senders, intake and clients' requests share.
pub(super) struct Shared {
    pub(super) db: Db,
    settings: watch::Receiver<Arc<Settings>>,
    own_key: Option<Key>,
    pub(super) allow_private: bool,
    most_waiting: u64,
    /// For receivers that the operator has chosen.
    pub(super) anywhere: reqwest::Client,
    /// For those of clients.
    pub(super) outside: reqwest::Client,
    pub(super) told: Told,
    /// By id.
    senders: Mutex<BTreeMap<i64, Running>>,
    /// Receivers are added one after the other.
    changing: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    /// No more will happen.
    quiet: CancellationToken,
    /// All that has happened is stored.
    stored: CancellationToken,
    /// Ends the senders.
    ending: CancellationToken,
}

struct Running {
    news: Arc<Notify>,
    ending: CancellationToken,
}

impl Shared {
    /// What signs: the key for webhooks, else that of the LiveKit server.
    pub(super) fn key(&self) -> Option<Key> {
        self.own_key.clone().or_else(|| {
            let settings = self.settings.borrow();
            let given = &settings.given;
            Some(Key {
                api_key: given.livekit_api_key.clone()?,
                api_secret: given.livekit_api_secret.clone()?,
            })
        })
    }
}

fn client(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, Error> {
    builder
        .user_agent(concat!("haven/", env!("CARGO_PKG_VERSION")))
        .timeout(sender::TIMEOUT)
        // Who is told is who was named.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| Error::internal("setting up webhooks", error))
}

impl Webhooks {
    /// With the receivers that are configured or stored. What happens from now on is told, and what
    /// a former server has left to tell.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn open(
        config: &WebhookConfig,
        context: &Context,
        settings: watch::Receiver<Arc<Settings>>,
    ) -> Result<Self, Error> {
        let db = context.db.clone();
        let urls = config.urls.iter().map(Url::to_string).collect();
        db.configure_webhooks(urls, clock::now_ms()).await?;
        let outside = reqwest::Client::builder()
            .no_proxy()
            .dns_resolver(Arc::new(PublicOnly));
        let own_key = config.key.clone().map(|(api_key, api_secret)| Key {
            api_key,
            api_secret,
        });
        let this = Self {
            shared: Arc::new(Shared {
                settings,
                own_key,
                allow_private: config.allow_private,
                most_waiting: config.most_waiting,
                anywhere: client(reqwest::Client::builder())?,
                outside: client(outside)?,
                told: Told::default(),
                senders: Mutex::default(),
                changing: tokio::sync::Mutex::default(),
                tasks: context.shutdown.tasks.clone(),
                quiet: CancellationToken::new(),
                stored: CancellationToken::new(),
                ending: CancellationToken::new(),
                db,
            }),
        };
        for row in this.shared.db.webhooks().await? {
            this.spawn(&row);
        }
        let intake = Intake::new(&context.events);
        this.shared.tasks.spawn(this.clone().take_in(intake));
        Ok(this)
    }

    /// Counts since the server's start.
    pub(crate) fn told(&self) -> &Told {
        &self.shared.told
    }

    /// Whether there is a key to sign with.
    pub(crate) fn can_sign(&self) -> bool {
        self.shared.key().is_some()
    }

    /// Every receiver, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn receivers(&self) -> Result<Vec<Receiver>, Error> {
        let rows = self.shared.db.webhooks().await?;
        Ok(rows.into_iter().map(|row| Receiver { row }).collect())
    }

    /// Adds a receiver; or finds the one that is the same, which is told by `true`. Without
    /// `events` it is told everything.
    ///
    /// # Errors
    /// Unprocessable for an address that can't be, or leads inside, and for an unknown event; bad
    /// request without a key to sign with; conflict where the address is taken, or there are too
    /// many.
    pub(crate) async fn add(
        &self,
        url: &str,
        mut events: Vec<String>,
    ) -> Result<(Receiver, bool), Error> {
        let url = address::parse(url)?;
        if let Some(unknown) = events.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
            let known = KINDS.join(", ");
            let message = format_args!("names an unknown event ({unknown}): known are {known}");
            return Err(Error::field("events", message));
        }
        receiver::put_in_order(&mut events);
        if !self.shared.allow_private {
            address::check_public(&url).await?;
        }
        if !self.can_sign() {
            return Err(no_key());
        }
        let _one_at_a_time = self.shared.changing.lock().await;
        let receivers = self.receivers().await?;
        let url = url.to_string();
        if let Some(known) = receivers.iter().find(|known| known.row.url == url) {
            return match known.is_told(&events) {
                true => Ok((known.clone(), true)),
                false => Err(other_receiver(known.row.id)),
            };
        }
        if receivers.len() >= MOST_RECEIVERS {
            return Err(too_many());
        }
        let db = &self.shared.db;
        let id = db.insert_webhook(url, events, clock::now_ms()).await?;
        let receiver = self.find(id).await?;
        tracing::info!(webhook_id = id, "a webhook was added");
        self.spawn(&receiver.row);
        Ok((receiver, false))
    }

    /// Forgets a receiver, with what it was still to be told.
    ///
    /// # Errors
    /// Not found when there is none; conflict when the operator has configured it.
    pub(crate) async fn remove(&self, id: i64) -> Result<Receiver, Error> {
        let _one_at_a_time = self.shared.changing.lock().await;
        let receiver = self.find(id).await?;
        if receiver.row.configured {
            return Err(is_configured());
        }
        self.shared.db.delete_webhook(id).await?;
        tracing::info!(webhook_id = id, "a webhook was deleted");
        if let Some(running) = self.shared.senders.lock().remove(&id) {
            running.ending.cancel();
        }
        Ok(receiver)
    }

    /// Tells what has happened until now, as far as it is taken at once. To be called when no
    /// session runs any more.
    pub(crate) async fn finish(&self) {
        self.shared.quiet.cancel();
        let last_words = async {
            self.shared.stored.cancelled().await;
            while self.is_somebody_listening().await {
                sleep(LAST_LOOK).await;
            }
        };
        let _ = timeout(LAST_WORDS, last_words).await;
        self.shared.ending.cancel();
    }

    /// Whether somebody is still to be told something, and takes it.
    async fn is_somebody_listening(&self) -> bool {
        let rows = self.shared.db.webhooks().await.unwrap_or_default();
        rows.iter()
            .any(|row| row.waiting > 0 && row.last_error.is_none())
    }

    async fn find(&self, id: i64) -> Result<Receiver, Error> {
        let mut receivers = self.receivers().await?.into_iter();
        receivers.find(|one| one.row.id == id).ok_or_else(not_found)
    }

    fn spawn(&self, row: &WebhookRow) {
        let url = match Url::parse(&row.url) {
            Ok(url) => url,
            Err(error) => {
                return tracing::error!(webhook_id = row.id, %error, "a stored webhook is no address");
            }
        };
        let running = Running {
            news: Arc::default(),
            ending: self.shared.ending.child_token(),
        };
        let to = Recipient {
            webhook_id: row.id,
            url,
            configured: row.configured,
        };
        let (shared, news) = (Arc::clone(&self.shared), Arc::clone(&running.news));
        let sender = Sender::new(shared, to, news, running.ending.clone());
        self.shared.senders.lock().insert(row.id, running);
        self.shared.tasks.spawn(sender.run());
    }

    /// Stores what happens until nothing more will.
    async fn take_in(self, mut intake: Intake) {
        loop {
            let batch = tokio::select! {
                biased;
                () = self.shared.quiet.cancelled() => break,
                batch = intake.next() => batch,
            };
            match batch {
                Some(batch) => self.store(batch).await,
                None => break,
            }
        }
        loop {
            let batch = intake.rest();
            if batch.happened.is_empty() {
                break;
            }
            self.store(batch).await;
        }
        self.shared.stored.cancel();
    }

    /// Stores events; tried again while the database fails, for the ring keeps what comes
    /// meanwhile.
    async fn store(&self, batch: Batch) {
        let told = &self.shared.told;
        if batch.missed > 0 {
            told.missed.fetch_add(batch.missed, Ordering::Relaxed);
            tracing::error!(
                missed = batch.missed,
                "events came too fast for the webhooks"
            );
        }
        loop {
            let now_ms = clock::now_ms();
            let most = self.shared.most_waiting;
            let happened = batch.happened.clone();
            match self.shared.db.queue_events(happened, most, now_ms).await {
                Ok(lost) => {
                    for (webhook_id, dropped) in lost {
                        told.dropped.fetch_add(dropped, Ordering::Relaxed);
                        tracing::error!(webhook_id, dropped, "a webhook lost its oldest events");
                    }
                    break;
                }
                Err(error) => {
                    tracing::error!(error = error.chain(), "events can't be stored");
                    tokio::select! {
                        () = self.shared.ending.cancelled() => return,
                        () = sleep(STORE_PAUSE) => {}
                    }
                }
            }
        }
        for running in self.shared.senders.lock().values() {
            running.news.notify_one();
        }
    }
}

fn not_found() -> Error {
    Error::new(
        Kind::NotFound,
        "webhook_not_found",
        "There is no such webhook",
    )
}

fn no_key() -> Error {
    Error::new(
        Kind::BadRequest,
        "webhooks_not_configured",
        "There is no key to sign webhooks with: set HAVEN_WEBHOOK_API_KEY and \
         HAVEN_WEBHOOK_API_SECRET, or LIVEKIT_API_KEY and LIVEKIT_API_SECRET",
    )
}

fn other_receiver(id: i64) -> Error {
    let message = format!("Webhook {id} has this address, and other events: delete it first");
    Error::new(Kind::Conflict, "webhook_exists", message)
}

fn is_configured() -> Error {
    let message = "This webhook is in the server's configuration: it is deleted there";
    Error::new(Kind::Conflict, "webhook_configured", message)
}

fn too_many() -> Error {
    let message = format!("There are {MOST_RECEIVERS} webhooks already: delete one first");
    Error::new(Kind::Conflict, "too_many_webhooks", message)
}
