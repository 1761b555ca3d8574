//! A coin's time live: its session and its recording, from the begin to the end.

use super::{
    shown::{LiveState, Shown},
    watcher::Shared,
};
use crate::{
    Error,
    backoff::Backoff,
    clock,
    db::PeriodRow,
    error::Kind,
    recordings::{Plan, Recording},
    sessions::{Handle, Phase, Selector, View},
};
use haven_wire::SessionState;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// Pauses between tries to record what is live.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// What was recorded for so long was sound: the pauses begin anew.
const STEADY: Duration = Duration::from_secs(60);
/// Why a session, and a time live, ends that isn't live any more.
const STREAM_ENDED: &str = "stream_ended";
/// Why a time live ends that nobody wants to be recorded any more.
const RULE_DELETED: &str = "rule_deleted";
/// Why a session or a recording ended that a client has stopped.
const STOPPED: &str = "stopped";
/// Why a session ended that goes on under the next server.
const SHUTDOWN: &str = "shutdown";

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
enum Step {
    /// The period has ended, for this reason.
    Over(String),
    /// The server ends; the next one goes on.
    Suspended,
    /// A client has stopped the session or the recording.
    Dismissed,
    /// Worth another try.
    Failed(Error),
}

/// The owner of one period.
pub(super) struct Period {
    shared: Arc<Shared>,
    row: PeriodRow,
    signal: watch::Receiver<Signal>,
    state: LiveState,
    error: Option<String>,
    shown: watch::Sender<Shown>,
    backoff: Backoff,
}

impl Period {
    pub(super) fn new(
        shared: Arc<Shared>,
        row: PeriodRow,
        signal: watch::Receiver<Signal>,
    ) -> (Self, watch::Receiver<Shown>) {
        let (shown, seen) = watch::channel(Shown::default());
        let this = Self {
            shared,
            row,
            signal,
            state: LiveState::Starting,
            error: None,
            shown,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
        };
        this.show();
        (this, seen)
    }

    pub(super) async fn run(mut self) {
        let reason = loop {
            let step = match self.row.dismissed {
                true => self.rest().await,
                false => self.record().await,
            };
            match step {
                Step::Over(reason) => break reason,
                Step::Suspended => return,
                Step::Dismissed => {
                    self.row.dismissed = true;
                    self.store().await;
                }
                Step::Failed(error) => match self.pause_after(&error).await {
                    Some(Step::Over(reason)) => break reason,
                    Some(_) => return,
                    None => {}
                },
            }
        };
        self.end(&reason).await;
    }

    /// A session that shows the coin live, and a recording of it, until something ends that.
    async fn record(&mut self) -> Step {
        self.set_state(LiveState::Starting);
        let handle = match self.session().await {
            Ok(handle) => handle,
            Err(error) => return Step::Failed(error),
        };
        if let Err(step) = self.until_live(&handle).await {
            return step;
        }
        match self.recording(&handle).await {
            Ok(id) => self.supervise(&handle, id).await,
            Err(error) => {
                // A session that was started only for the recording doesn't outlive it.
                if self.row.owns_session && error.kind() != Kind::NotFound {
                    handle.stop(STOPPED).await;
                }
                Step::Failed(error)
            }
        }
    }

    /// The coin's session: the one that runs, or one of our own.
    async fn session(&mut self) -> Result<Handle, Error> {
        // What can't be recorded needs no session.
        self.plan().await?;
        let shared = Arc::clone(&self.shared);
        let registry = &shared.registry;
        let target = registry.current().sources.mint_target(&self.row.mint)?;
        let ran = registry.find(&self.row.mint).is_some();
        if !ran {
            // Noted first: after a crash it is known whose the session is.
            self.row.owns_session = true;
            self.row.session_id = None;
            self.store().await;
        }
        let permit = shared.starts.acquire().await;
        let started = registry.start(&target).await;
        drop(permit);
        let started = match started {
            Ok(started) => started,
            Err(error) => {
                self.row.owns_session = false;
                self.store().await;
                return Err(error);
            }
        };
        let id = started.view.session_id;
        let same = self.row.session_id.is_none_or(|known| known == id);
        self.row.owns_session &= same && (ran || !started.already_active);
        if !same {
            self.row.recording_id = None;
            self.row.owns_recording = false;
        }
        self.row.session_id = Some(id);
        self.store().await;
        Ok(started.handle)
    }

    /// A room may be joined in which nobody publishes: that is nothing to record yet.
    async fn until_live(&mut self, handle: &Handle) -> Result<(), Step> {
        let mut views = handle.views();
        loop {
            let view = views.borrow_and_update().clone();
            if view.phase >= Phase::Stopping {
                return Err(ended(&view, handle).await);
            }
            // What is recorded already goes on by itself.
            if view.status.state == SessionState::Live || self.recorded(&view).is_some() {
                return Ok(());
            }
            tokio::select! {
                step = self.told(Signal::RuleGone) => return Err(step),
                // An error says that the session is gone, which its last view says too.
                _ = views.changed() => {}
            }
        }
    }

    /// The recording of this period among those that run.
    fn recorded(&self, view: &View) -> Option<i64> {
        let id = self.row.recording_id?;
        view.recordings.iter().any(|one| one.id == id).then_some(id)
    }

    /// The recording: the one that runs, or a new one.
    async fn recording(&mut self, handle: &Handle) -> Result<i64, Error> {
        if let Some(id) = self.recorded(&handle.view()) {
            self.set_state(LiveState::Recording);
            return Ok(id);
        }
        let plan = self.plan().await?;
        let running = |handle: &Handle| -> Option<Recording> {
            let mut recordings = handle.view().recordings.into_iter();
            recordings.find(|one| one.format == plan.format)
        };
        let (recording, is_ours) = match running(handle) {
            Some(recording) => (recording, false),
            None => match handle.start_recording(plan.clone()).await {
                Ok(recording) => (recording, true),
                // Somebody else was faster.
                Err(error) if error.kind() == Kind::Conflict => {
                    (running(handle).ok_or(error)?, false)
                }
                Err(error) => return Err(error),
            },
        };
        self.row.recording_id = Some(recording.id);
        self.row.owns_recording = is_ours;
        self.store().await;
        self.error = None;
        self.set_state(LiveState::Recording);
        self.shared.count_recording(self.row.rule_id, recording.id);
        let path = recording.output_path();
        self.emit("watch.recording", [("output_path", json!(path))]);
        Ok(recording.id)
    }

    /// Watches the recording until it, its session, or the time live has ended.
    async fn supervise(&mut self, handle: &Handle, id: i64) -> Step {
        let began = Instant::now();
        let mut views = handle.views();
        loop {
            let view = views.borrow_and_update().clone();
            if began.elapsed() >= STEADY {
                self.backoff.reset();
            }
            if view.phase >= Phase::Stopping {
                return ended(&view, handle).await;
            }
            if self.recorded(&view).is_none() {
                return self.recording_ended(id).await;
            }
            tokio::select! {
                step = self.told(Signal::Over) => return step,
                _ = views.changed() => {}
            }
        }
    }

    /// A recording has ended, and its session hasn't.
    async fn recording_ended(&self, id: i64) -> Step {
        let stored = self.shared.context().db.recording(id).await;
        let reason = match stored {
            Ok(row) => row.and_then(|row| row.end_reason).unwrap_or_default(),
            Err(error) => return Step::Failed(error),
        };
        match reason.as_str() {
            STOPPED => Step::Dismissed,
            _ => Step::Failed(Error::new(
                Kind::Unavailable,
                "recording_ended",
                format!("The recording has ended before the stream: {reason}"),
            )),
        }
    }

    /// Leaves the coin alone until it is live anew.
    async fn rest(&mut self) -> Step {
        self.set_state(LiveState::Dismissed);
        self.told(Signal::RuleGone).await
    }

    /// Waits before another try, unless there is to be none.
    async fn pause_after(&mut self, error: &Error) -> Option<Step> {
        let pause = self.backoff.next(rand::random());
        let (mint, cause) = (&self.row.mint, error.chain());
        tracing::warn!(
            mint,
            error = cause,
            ?pause,
            "a stream that is live is not recorded"
        );
        if self.error.as_deref() != Some(error.message()) {
            self.error = Some(error.message().to_owned());
            let (text, code) = (json!(error.message()), json!(error.code()));
            self.emit("watch.failed", [("error", text), ("code", code)]);
        }
        self.set_state(LiveState::Failing);
        tokio::select! {
            step = self.told(Signal::RuleGone) => Some(step),
            () = sleep(pause) => None,
        }
    }

    /// Waits until the period is told this or more, or the server ends.
    async fn told(&mut self, least: Signal) -> Step {
        let ending = self.shared.context().shutdown.token.clone();
        let told = async {
            let told = self.signal.wait_for(|told| *told >= least).await;
            told.map(|told| *told)
        };
        tokio::select! {
            biased;
            () = ending.cancelled() => Step::Suspended,
            told = told => match told {
                Ok(Signal::Over) => Step::Over(STREAM_ENDED.into()),
                Ok(_) => Step::Over(RULE_DELETED.into()),
                // Nobody is left to tell anything.
                Err(_) => Step::Suspended,
            },
        }
    }

    /// Ends what was started for this period, and the period.
    async fn end(self, reason: &str) {
        let handle = self.shared.registry.find(&self.row.mint);
        let ours = |handle: &Handle| Some(handle.view().session_id) == self.row.session_id;
        if let Some(handle) = handle.filter(ours) {
            if self.row.owns_session {
                handle.stop(STREAM_ENDED).await;
            } else if let Some(id) = self.recorded(&handle.view())
                && self.row.owns_recording
            {
                let selector = Selector {
                    recording_id: Some(id),
                    format: None,
                };
                if let Err(error) = handle.stop_recording(selector).await {
                    tracing::warn!(recording_id = id, error = error.chain(), "recording");
                }
            }
        }
        let at_ms = clock::now_ms();
        let db = &self.shared.context().db;
        let ended = db.end_watch_period(self.row.id, at_ms, reason.to_owned());
        if let Err(error) = ended.await {
            tracing::error!(error = error.chain(), "the database");
        }
        tracing::info!(mint = self.row.mint, reason, "not live any more");
        self.shared.over(&self.row.mint, at_ms);
        self.emit("watch.ended", [("reason", json!(reason))]);
    }

    async fn plan(&self) -> Result<Plan, Error> {
        let context = self.shared.registry.current();
        let probe = context.workers.probe().await?;
        self.row.choice.plan(Some(probe), &context.settings)
    }

    async fn store(&mut self) {
        let stored = self
            .shared
            .context()
            .db
            .store_watch_period(self.row.clone());
        if let Err(error) = stored.await {
            tracing::error!(error = error.chain(), "the database");
        }
        self.show();
    }

    fn set_state(&mut self, state: LiveState) {
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

    fn emit<const N: usize>(&self, kind: &'static str, more: [(&str, Value); N]) {
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

/// What the end of a session means to its period; once nothing of it runs any more.
async fn ended(view: &View, handle: &Handle) -> Step {
    handle.ended().await;
    let reason = view.end_reason.clone().unwrap_or_default();
    match reason.as_str() {
        SHUTDOWN => Step::Suspended,
        STOPPED => Step::Dismissed,
        reason if reason.starts_with("error") => Step::Failed(Error::new(
            Kind::Unavailable,
            "session_ended",
            format!("The session has ended before the stream: {reason}"),
        )),
        _ => Step::Over(reason),
    }
}
