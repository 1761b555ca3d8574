//! A period that is recorded: its session, its recording, and what ends them before the stream.

use super::{
    period::{NO_PUBLISHER, Period, Signal, Step},
    shown::LiveState,
};
use crate::{
    Error,
    error::Kind,
    sessions::{ALREADY_RECORDING, Handle, Phase, RECORDING_ENDING, View},
};
use haven_wire::SessionState;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// What was recorded for so long was sound: the pauses begin anew.
const STEADY: Duration = Duration::from_secs(60);
/// Why a session or a recording ended that a client has stopped.
const STOPPED: &str = "stopped";
/// Why a session ended that goes on under the next server.
const SHUTDOWN: &str = "shutdown";
/// Code of a worker that can't make the recording; a fresh one may.
const REFUSED: &str = "recording_failed";
/// Codes of sessions that could not be started because somebody stopped them, or all.
const STOPPED_MEANWHILE: &str = "session_stopping";
const SHUTTING_DOWN: &str = "shutting_down";

impl Period {
    /// A session that shows the coin live, and a recording of it, until something ends that.
    pub(super) async fn record(&mut self) -> Step {
        self.set_state(LiveState::Starting);
        let handle = match self.session().await {
            Ok(handle) => handle,
            Err(step) => return step,
        };
        if let Err(step) = self.until_live(&handle).await {
            return step;
        }
        match self.recording(&handle).await {
            Ok(id) => self.supervise(&handle, id).await,
            Err(error) => self.without_recording(&handle, error).await,
        }
    }

    /// The coin's session: the one that runs, or one of our own.
    async fn session(&mut self) -> Result<Handle, Step> {
        let shared = Arc::clone(&self.shared);
        let registry = &shared.registry;
        let ran = registry.find(&self.row.mint).is_some();
        let owned = self.row.owns_session;
        // What is recorded since before needs nothing but to be found.
        if !ran || self.row.recording_id.is_none() {
            self.check_startable().await?;
        }
        let target = registry.current().sources.mint_target(&self.row.mint)?;
        if !ran {
            registry.check_startable(&self.row.mint)?;
            // What can't be recorded needs no session.
            registry.current().library.check_free().await?;
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
                return Err(self.not_started(error));
            }
        };
        let id = started.view.session_id;
        let same = self.row.session_id.is_none_or(|known| known == id);
        self.row.owns_session = !started.already_active || (ran && owned && same);
        if !same {
            self.row.recording_id = None;
            self.row.owns_recording = false;
        }
        self.row.session_id = Some(id);
        self.store().await;
        Ok(started.handle)
    }

    /// Whether a recording is to be begun, and can be.
    async fn check_startable(&self) -> Result<(), Step> {
        match self.called_off() {
            Some(step) => Err(step),
            None => Ok(self.plan().await.map(drop)?),
        }
    }

    /// What it means that there is no session.
    fn not_started(&self, error: Error) -> Step {
        let ending = self.shared.context().shutdown.token.is_cancelled();
        match error.code() {
            STOPPED_MEANWHILE | SHUTTING_DOWN if ending => Step::Suspended,
            // Nobody but a client stops what is being started.
            STOPPED_MEANWHILE => Step::Dismissed,
            _ => Step::Failed(error),
        }
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
            if self.recorded(&view).is_some() {
                return Ok(());
            }
            // It may have been told while the session was being started.
            if let Some(step) = self.called_off() {
                return Err(step);
            }
            if view.status.state == SessionState::Live {
                return Ok(());
            }
            tokio::select! {
                step = self.told(Signal::RuleGone) => return Err(step),
                changed = views.changed() => changed.map_err(|_| gone())?,
            }
        }
    }

    /// The recording: the one that runs, or a new one.
    async fn recording(&mut self, handle: &Handle) -> Result<i64, Error> {
        if let Some(id) = self.recorded(&handle.view()) {
            self.set_state(LiveState::Recording);
            return Ok(id);
        }
        let plan = self.plan().await?;
        let mut begun = handle.start_recording(plan.clone()).await;
        // One that a client has just stopped: ours begins after it.
        if begun
            .as_ref()
            .is_err_and(|error| error.code() == RECORDING_ENDING)
            && handle.recording_ended(&plan.format).await
        {
            begun = handle.start_recording(plan.clone()).await;
        }
        let (recording, is_ours) = match begun {
            Ok(recording) => (recording, true),
            Err(error) if error.code() == ALREADY_RECORDING => {
                let mut running = handle.view().recordings.into_iter();
                let same = running.find(|one| one.format == plan.format);
                (same.ok_or(error)?, false)
            }
            Err(error) => return Err(error),
        };
        self.row.recording_id = Some(recording.id);
        self.row.owns_recording = is_ours;
        self.error = None;
        self.store().await;
        self.set_state(LiveState::Recording);
        self.shared.count_recording(self.row.rule_id, recording.id);
        let path = recording.output_path();
        self.emit("watch.recording", [("output_path", json!(path))]);
        Ok(recording.id)
    }

    /// The session runs, and can't be recorded. It is kept, and the recording tried again: joining
    /// and leaving the room each time would help nobody.
    async fn without_recording(&self, handle: &Handle, error: Error) -> Step {
        let view = handle.view();
        if view.phase >= Phase::Stopping {
            return ended(&view, handle).await;
        }
        let is_used = self.is_recorded_by_others(handle) || handle.screens.viewers() > 0;
        if error.code() == REFUSED && self.row.owns_session && !is_used {
            handle.stop(STOPPED).await;
        }
        Step::Failed(error)
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
                changed = views.changed() => if changed.is_err() {
                    return gone();
                },
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
            _ => unavailable(
                "recording_ended",
                format!("The recording has ended before the stream: {reason}"),
            ),
        }
    }
}

/// What the end of a session means to its period; once nothing of it runs any more.
async fn ended(view: &View, handle: &Handle) -> Step {
    handle.ended().await;
    let reason = view.end_reason.clone().unwrap_or_default();
    match reason.as_str() {
        SHUTDOWN => Step::Suspended,
        STOPPED => Step::Dismissed,
        // The platform lists it: somebody may come back.
        NO_PUBLISHER => Step::Failed(Error::new(
            Kind::NotFound,
            NO_PUBLISHER,
            "Nobody publishes, though pump.fun lists the stream as live",
        )),
        reason if reason.starts_with("error") => unavailable(
            "session_ended",
            format!("The session has ended before the stream: {reason}"),
        ),
        _ => Step::Over(reason),
    }
}

/// The session's task has ended without a word, which only a panic does.
fn gone() -> Step {
    unavailable("session_ended", "The session has ended by a failure".into())
}

fn unavailable(code: &'static str, message: String) -> Step {
    Step::Failed(Error::new(Kind::Unavailable, code, message))
}
