//! A coin's time live: what becomes of it, from the begin to the end.

use super::{
    shown::{LiveState, Shown},
    watcher::Shared,
};
use crate::{
    Error,
    backoff::Backoff,
    db::PeriodRow,
    recordings::Plan,
    sessions::{Handle, View},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

/// Pauses between tries to record what is live.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Pauses between tries to store what could not be.
pub(super) const FIRST_STORE_PAUSE: Duration = Duration::from_secs(1);
pub(super) const LONGEST_STORE_PAUSE: Duration = Duration::from_secs(60);
/// Why a session, and a time live, ends that isn't live any more.
pub(super) const STREAM_ENDED: &str = "stream_ended";
/// Why a time live ends that nobody wants to be recorded any more.
pub(super) const RULE_DELETED: &str = "rule_deleted";
/// Codes of what is no failure to tell of: the stream is listed, and nobody is there.
pub(super) const NOBODY_THERE: [&str; 2] = [NO_PUBLISHER, "stream_not_found"];
pub(super) const NO_PUBLISHER: &str = "no_publisher";

/// What a period is told. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Signal {
    /// It is live.
    Live,
    /// Its rule is deleted: what is recorded is recorded to its end, and nothing begun.
    RuleGone,
    /// It isn't live any more.
    Over,
}

/// What a part of a period came to.
pub(super) enum Step {
    /// The period has ended, for this reason.
    Over(String),
    /// The server ends; the next one goes on.
    Suspended,
    /// A client has stopped the session or the recording.
    Dismissed,
    /// Worth another try.
    Failed(Error),
}

impl From<Error> for Step {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The owner of one period.
pub(super) struct Period {
    pub(super) shared: Arc<Shared>,
    pub(super) row: PeriodRow,
    signal: watch::Receiver<Signal>,
    /// Sessions that are over.
    endings: watch::Receiver<u64>,
    state: LiveState,
    pub(super) error: Option<String>,
    shown: watch::Sender<Shown>,
    pub(super) backoff: Backoff,
    /// When the row is stored again that could not be.
    store_at: Option<Instant>,
    store_backoff: Backoff,
}

impl Period {
    pub(super) fn new(
        shared: Arc<Shared>,
        row: PeriodRow,
        signal: watch::Receiver<Signal>,
    ) -> (Self, watch::Receiver<Shown>) {
        let (shown, seen) = watch::channel(Shown::default());
        let this = Self {
            endings: shared.registry.endings(),
            shared,
            row,
            signal,
            state: LiveState::Starting,
            error: None,
            shown,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            store_at: None,
            store_backoff: Backoff::new(FIRST_STORE_PAUSE, LONGEST_STORE_PAUSE),
        };
        this.show();
        (this, seen)
    }

    pub(super) async fn run(mut self) {
        match self.until_over().await {
            Some(reason) => self.end(&reason).await,
            // The next server begins with what is stored.
            None if self.store_at.is_some() => self.store().await,
            None => {}
        }
    }

    /// Why it is over; none where the server ends first.
    async fn until_over(&mut self) -> Option<String> {
        loop {
            // What ends from here on may make place for this.
            self.endings.mark_unchanged();
            let step = match self.row.dismissed {
                true => self.rest().await,
                false => self.record().await,
            };
            match step {
                Step::Over(reason) => return Some(reason),
                Step::Suspended => return None,
                Step::Dismissed => {
                    self.row.dismissed = true;
                    self.store().await;
                }
                Step::Failed(error) => match self.pause_after(&error).await {
                    Some(Step::Over(reason)) => return Some(reason),
                    Some(_) => return None,
                    None => {}
                },
            }
        }
    }

    /// The recording of this period among those that run.
    pub(super) fn recorded(&self, view: &View) -> Option<i64> {
        let id = self.row.recording_id?;
        view.recordings.iter().any(|one| one.id == id).then_some(id)
    }

    /// Whether somebody else records in the session.
    pub(super) fn is_recorded_by_others(&self, handle: &Handle) -> bool {
        let own = self.row.recording_id.filter(|_| self.row.owns_recording);
        let recordings = handle.view().recordings;
        recordings.iter().any(|one| Some(one.id) != own)
    }

    /// Leaves the coin alone until it is live anew.
    async fn rest(&mut self) -> Step {
        self.set_state(LiveState::Dismissed);
        self.told(Signal::RuleGone).await
    }

    /// Waits before another try, unless there is to be none.
    async fn pause_after(&mut self, error: &Error) -> Option<Step> {
        let pause = self.backoff.next(rand::random());
        // Who is told to come later comes no sooner.
        let pause = pause.max(error.wait().unwrap_or_default());
        let (mint, cause) = (&self.row.mint, error.chain());
        let is_news = self.error.as_deref() != Some(error.message());
        self.error = Some(error.message().to_owned());
        if NOBODY_THERE.contains(&error.code()) {
            tracing::info!(mint, cause, ?pause, "nobody is there to be recorded");
            self.set_state(LiveState::Starting);
        } else if error.wait().is_some() {
            // The server has enough to do: that is as it should be, and told once.
            match is_news {
                true => tracing::info!(mint, cause, "a stream that is live waits for its turn"),
                false => tracing::debug!(mint, cause, ?pause, "it waits on"),
            }
            self.set_state(LiveState::Starting);
        } else {
            tracing::warn!(
                mint,
                error = cause,
                ?pause,
                "a stream that is live is not recorded"
            );
            if is_news {
                let (text, code) = (json!(error.message()), json!(error.code()));
                self.emit("watch.failed", [("error", text), ("code", code)]);
            }
            self.set_state(LiveState::Failing);
        }
        let mut endings = self.endings.clone();
        let place = async {
            if error.wait().is_none() || endings.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            step = self.told(Signal::RuleGone) => Some(step),
            () = sleep(pause) => None,
            () = place => None,
        }
    }

    /// Waits until the period is told this or more, or the server ends. What could not be stored is
    /// stored meanwhile.
    pub(super) async fn told(&mut self, least: Signal) -> Step {
        let ending = self.shared.context().shutdown.token.clone();
        loop {
            let store_at = self.store_at;
            let told = async {
                let told = self.signal.wait_for(|told| *told >= least).await;
                told.map(|told| *told)
            };
            tokio::select! {
                biased;
                () = ending.cancelled() => return Step::Suspended,
                told = told => return match told {
                    Ok(signal) => signal.over(),
                    // Nobody is left to tell anything.
                    Err(_) => Step::Suspended,
                },
                () = until(store_at), if store_at.is_some() => self.store().await,
            }
        }
    }

    /// What the period was told already, where that is the end of what isn't recorded.
    pub(super) fn called_off(&self) -> Option<Step> {
        let told = *self.signal.borrow();
        (told >= Signal::RuleGone).then(|| told.over())
    }

    pub(super) async fn plan(&self) -> Result<Plan, Error> {
        let context = self.shared.registry.current();
        let probe = context.workers.probe().await?;
        self.row.choice.plan(Some(probe), &context.settings)
    }

    /// Stores what has become of it; later, where that fails now.
    pub(super) async fn store(&mut self) {
        self.show();
        let row = self.row.clone();
        match self.shared.context().db.store_watch_period(row).await {
            Ok(()) => {
                self.store_at = None;
                self.store_backoff.reset();
            }
            Err(error) => {
                tracing::error!(error = error.chain(), "the database");
                let pause = self.store_backoff.next(rand::random());
                self.store_at = Some(Instant::now() + pause);
            }
        }
    }

    pub(super) fn set_state(&mut self, state: LiveState) {
        self.state = state;
        self.show();
    }

    fn show(&self) {
        self.shown.send_replace(Shown {
            mint: self.row.mint.clone(),
            state: self.state,
            began_at_ms: self.row.began_at_ms,
            session_id: self.row.session_id,
            recording_id: self.row.recording_id,
            error: self.error.clone(),
        });
    }

    pub(super) fn emit<const N: usize>(&self, kind: &'static str, more: [(&str, Value); N]) {
        let mut details = json!({
            "rule_id": self.row.rule_id,
            "mint_id": self.row.mint,
            "session_id": self.row.session_id,
            "recording_id": self.row.recording_id,
        });
        for (name, value) in more {
            details[name] = value;
        }
        self.shared.context().events.emit(kind, details);
    }
}

impl Signal {
    /// How a period ends that is told so.
    fn over(self) -> Step {
        match self {
            Self::Over => Step::Over(STREAM_ENDED.into()),
            Self::Live | Self::RuleGone => Step::Over(RULE_DELETED.into()),
        }
    }
}

/// Waits until then; for ever without a time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
