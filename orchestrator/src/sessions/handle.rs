//! A handle to one session: what it is told, and what is seen of it.

use super::{
    actor::{Command, Selector},
    state::{Phase, View},
};
use crate::{
    Error,
    admission::ViewAdmission,
    error::Kind,
    recordings::{Plan, Recording},
    watch::screens::Screens,
};
use std::time::Duration;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

/// How long a start waits for a former recording in the same format to be complete; its stop is told
/// after 30 s that it takes too long.
const RECORDING_END_TIMEOUT: Duration = Duration::from_secs(30);

/// A handle to one session.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) view: watch::Receiver<View>,
    /// Where its viewers get their frames.
    pub(crate) screens: Screens,
    pub(super) showing: ViewAdmission,
}

impl Handle {
    /// What is true of the session now.
    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// What is true of the session, now and later.
    pub(crate) fn views(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Whether one viewer more may be shown the session.
    ///
    /// # Errors
    /// Unavailable where recordings that run would suffer.
    pub(crate) fn admit_viewer(&self) -> Result<(), Error> {
        self.showing.admit()
    }

    /// Waits until the session is over.
    pub(crate) async fn ended(&self) {
        let mut view = self.view.clone();
        // An error says that the actor is gone, which is an end too.
        let _ = view.wait_for(|view| view.phase == Phase::Ended).await;
    }

    /// Ends the session and waits for its end.
    pub(crate) async fn stop(&self, reason: &'static str) {
        // A full queue or a gone actor: the wait below is right in either case.
        let _ = self.commands.send(Command::Stop { reason }).await;
        self.ended().await;
    }

    /// Has every recording finalised, for a reason of the server's own. Doesn't wait for it, nor
    /// for a session that is busy: who asks comes again.
    pub(crate) fn end_recordings(&self, reason: &'static str) {
        let _ = self.commands.try_send(Command::EndRecordings { reason });
    }

    /// Starts a recording.
    ///
    /// # Errors
    /// Conflict when one in this format runs; others when it can't be started.
    pub(crate) async fn start_recording(&self, plan: Plan) -> Result<Recording, Error> {
        self.showing.settled().await;
        let plan = Box::new(plan);
        self.ask(|reply| Command::StartRecording { plan, reply })
            .await
    }

    /// Waits until no recording in this format is left; false when that takes too long.
    pub(crate) async fn recording_ended(&self, format: &str) -> bool {
        let mut view = self.view.clone();
        let gone = view.wait_for(|view| {
            let mut recordings = view.recordings.iter();
            !recordings.any(|recording| recording.format == format)
        });
        // An error says that the actor is gone, and with it the recording.
        timeout(RECORDING_END_TIMEOUT, gone).await.is_ok()
    }

    /// Stops the recording that `selector` means; none when no such one runs.
    ///
    /// # Errors
    /// Unprocessable when several run and none is named.
    pub(crate) async fn stop_recording(
        &self,
        selector: Selector,
    ) -> Result<Option<Recording>, Error> {
        self.ask(|reply| Command::StopRecording { selector, reply })
            .await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> Result<T, Error> {
        let gone = || {
            Error::new(
                Kind::NotFound,
                "session_not_found",
                "No active session: it has just ended",
            )
        };
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
