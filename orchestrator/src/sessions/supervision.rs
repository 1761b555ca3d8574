//! A session's worker: launched, listened to, replaced.

use super::{
    actor::{Actor, log_failure},
    ending,
    findings::Finding,
    state::{Phase, Trouble},
};
use crate::{
    Error, clock,
    db::StateChange,
    error::Kind,
    pumpfun::Joining,
    worker::{Worker, WorkerEvent},
};
use haven_wire::{
    EndReason, RoomAccess, ServerMessage, SessionConfig, SessionState, SessionStatus, Source,
    TokenReply, WorkerMessage,
};
use serde_json::json;
use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::Instant;
use viewer_socket::State;

impl Actor {
    pub(super) fn find_source(&mut self) {
        let (context, target) = (Arc::clone(&self.context), self.target.clone());
        let joining = match self.view.phase {
            Phase::Starting => Joining::Start,
            _ => Joining::Rejoin,
        };
        self.find(
            async move { Finding::Source(context.sources.source(&target, joining).await) },
            |error| Finding::Source(Err(error)),
        );
    }

    pub(super) async fn on_source(&mut self, result: Result<Source, Error>) {
        let is_running = self.view.phase == Phase::Running;
        match result {
            _ if self.view.phase >= Phase::Stopping => {}
            Ok(source) => match self.launch(source) {
                Err(error) if is_running => {
                    tracing::error!(key = self.view.key, error = error.chain(), "no worker");
                    self.restart_after_crash(error.message()).await;
                }
                Err(error) => self.fail(&error),
                Ok(()) => {}
            },
            Err(error) if !is_running => self.fail(&error),
            Err(error) if error.kind() == Kind::NotFound => self.stop("room_deleted"),
            Err(error) => {
                tracing::warn!(key = self.view.key, error = error.chain(), "no token");
                self.retry_after_outage(error.message()).await;
            }
        }
    }

    fn launch(&mut self, source: Source) -> Result<(), Error> {
        self.generation += 1;
        let name = format!("s{}-{}", self.view.session_id, self.generation);
        let config = SessionConfig {
            session_id: self.view.session_id,
            key: self.view.key.clone(),
            source,
            media_socket: self.context.runtime_dir.socket(&name),
            waiting_timeout_ms: u64::try_from(self.context.settings.waiting_timeout.as_millis())
                .unwrap_or(u64::MAX),
            formats_dir: self.context.formats_dir.clone(),
        };
        self.worker = Some(self.context.workers.launch(config)?);
        self.joined = false;
        self.ended = None;
        Ok(())
    }

    pub(super) async fn on_event(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::Exited(how) => self.on_exit(&how).await,
            WorkerEvent::Message(message) => match message {
                WorkerMessage::Ready { version } => {
                    tracing::debug!(key = self.view.key, version, "worker ready");
                    self.socket.send_replace(Some(self.media_socket()));
                }
                WorkerMessage::TokenRequest { request_id } => self.find_token(request_id),
                WorkerMessage::Status(status) => self.on_status(status).await,
                WorkerMessage::RecordingStarted {
                    recording_id,
                    encoder,
                    path,
                } => {
                    self.on_recording_started(recording_id, encoder, path).await;
                }
                WorkerMessage::RecordingProgress(progress) => self.on_progress(&progress).await,
                WorkerMessage::RecordingPartStarted { recording_id, path } => {
                    self.on_part_started(recording_id, path).await;
                }
                WorkerMessage::RecordingPartFinished {
                    progress,
                    reason,
                    error,
                } => self.on_part_finished(&progress, reason, error).await,
                WorkerMessage::RecordingFinished {
                    progress,
                    error,
                    disk_full,
                } => {
                    self.on_recording_finished(&progress, error, disk_full)
                        .await;
                }
                WorkerMessage::Ended { reason } => self.ended = Some(reason),
            },
        }
    }

    fn media_socket(&self) -> PathBuf {
        let name = format!("s{}-{}", self.view.session_id, self.generation);
        self.context.runtime_dir.socket(&name)
    }

    fn find_token(&mut self, request_id: u64) {
        let (context, target) = (Arc::clone(&self.context), self.target.clone());
        let generation = self.generation;
        let token = move |result| Finding::Token {
            generation,
            request_id,
            result,
        };
        self.find(
            async move { token(context.sources.access(&target, Joining::Rejoin).await) },
            move |error| token(Err(error)),
        );
    }

    async fn on_status(&mut self, mut status: SessionStatus) {
        if status.state != SessionState::Connecting {
            self.joined = true;
            self.restarts.joined(Instant::now());
        }
        let first = self.view.phase == Phase::Starting;
        let shown = match status.state {
            SessionState::Live => State::Live,
            SessionState::Waiting => State::Waiting,
            SessionState::Reconnecting => State::Reconnecting,
            SessionState::Connecting if first => State::Waiting,
            SessionState::Connecting => State::Reconnecting,
        };
        // A replaced worker connects anew; the session has been in the room before.
        if status.state == SessionState::Connecting && !first {
            status.state = SessionState::Reconnecting;
            status.room_name.clone_from(&self.view.status.room_name);
        }
        if self.joined {
            self.lost_at = None;
        }
        let changed = status.state != self.view.status.state;
        let reason = match status.state {
            SessionState::Waiting => Some("no_publisher".to_owned()),
            SessionState::Reconnecting if self.joined => Some("connection_lost".to_owned()),
            SessionState::Reconnecting => self.view.state_reason.clone(),
            SessionState::Connecting | SessionState::Live => None,
        };
        self.view.status = status;
        if self.view.phase < Phase::Stopping && changed {
            self.screens.set_status(&shown.into());
            self.change_state(reason).await;
        }
        self.check_joined().await;
        self.note_participants().await;
        self.resume_recordings().await;
    }

    /// The connection's state has changed: said to all who listen, and stored.
    pub(super) async fn change_state(&mut self, reason: Option<String>) {
        self.view.state_reason = reason;
        self.view.state_since_ms = clock::now_ms();
        // What never ran is nobody's business but the one's who starts it.
        if self.view.phase == Phase::Running {
            self.session_event("session.state");
            self.store_state().await;
        }
    }

    pub(super) async fn store_state(&self) {
        let state = serde_json::to_value(self.view.status.state).unwrap_or_default();
        let change = StateChange {
            state: state.as_str().unwrap_or_default().to_owned(),
            reason: self.view.state_reason.clone(),
            at_ms: self.view.state_since_ms,
            restarts: self.view.restarts,
        };
        let db = &self.context.db;
        log_failure(db.session_state(self.view.session_id, change).await);
    }

    /// Tells who listens what has happened to the session. Who asks after that finds it so.
    pub(super) fn session_event(&mut self, kind: &'static str) {
        self.publish();
        let view = &self.view;
        let over = view.end_reason.is_some();
        let state = match over {
            true => json!("ended"),
            false => json!(view.status.state),
        };
        let reason = view.end_reason.as_ref().or(view.state_reason.as_ref());
        let details = json!({
            "mint_id": view.key,
            "session_id": view.session_id,
            "room_name": view.status.room_name,
            "participant_sid": view.status.participant_sid,
            "state": state,
            "reason": reason,
            "restarts": view.restarts,
            "problem": view.problem,
        });
        self.context.events.emit(kind, details);
    }

    /// Whether a worker runs that has joined the room.
    pub(super) fn is_connected(&self) -> bool {
        self.worker.is_some() && self.joined && self.view.phase == Phase::Running
    }

    /// Gives a worker the token it asked for. There is none for a stream that is over.
    pub(super) fn on_token(
        &mut self,
        generation: u32,
        request_id: u64,
        result: Result<Option<RoomAccess>, Error>,
    ) {
        if generation != self.generation {
            return;
        }
        let is_over = matches!(&result, Err(error) if error.kind() == Kind::NotFound);
        let reply = ServerMessage::Token(token_reply(request_id, result));
        let asking = self.worker.as_ref();
        if asking.is_some_and(|worker| worker.send(reply).is_err()) {
            tracing::warn!(key = self.view.key, "the worker takes no token");
        }
        if is_over && self.view.phase == Phase::Running {
            self.stop("room_deleted");
        }
    }

    async fn on_exit(&mut self, how: &str) {
        let joined = std::mem::take(&mut self.joined);
        self.restarts.exited(Instant::now());
        self.worker = None;
        self.socket.send_replace(None);
        if self.view.phase == Phase::Running {
            self.lost_at.get_or_insert_with(Instant::now);
            self.view.status.video = None;
            self.view.status.audio = None;
        }
        let ended = self.ended.take();
        match self.view.phase {
            Phase::Starting => self.fail(&match &ended {
                Some(ended) => ending::start_failure(ended, &self.view.key),
                None => ending::crashed_at_start(how),
            }),
            Phase::Running => self.replace(ended, joined, how).await,
            Phase::Stopping | Phase::Ended => {}
        }
        // What it left is looked at once it is known whether the session goes on.
        self.close_cut_files().await;
    }

    /// Ends the session where its worker has found the room's end. Everything else that ends a
    /// worker is passing: the session has been in the room, and will be again.
    async fn replace(&mut self, ended: Option<EndReason>, joined: bool, how: &str) {
        if let Some(reason) = ended.as_ref().and_then(ending::final_reason) {
            return self.stop(reason);
        }
        if matches!(ended, None | Some(EndReason::Stopped)) {
            return self.restart_after_crash(how).await;
        }
        let (is_outage, why) = match ended {
            Some(EndReason::Connection { message }) => (!joined, format!("connection: {message}")),
            Some(EndReason::Error { message }) => (false, message),
            _ => (false, how.to_owned()),
        };
        self.note_restart();
        if !joined && self.is_given_up() {
            return self.stop(format!("error: {why}"));
        }
        let pause = if is_outage {
            self.restarts.after_outage(rand::random())
        } else {
            self.restarts.after_crash(rand::random())
        };
        let word = if is_outage {
            "room_unavailable"
        } else {
            "worker_failed"
        };
        self.schedule_restart(pause, format!("{word}: {why}")).await;
    }

    /// Whether the room could not be joined for as long as a session waits for a publisher.
    fn is_given_up(&self) -> bool {
        let limit = self.context.settings.waiting_timeout;
        !limit.is_zero() && self.lost_at.is_some_and(|since| since.elapsed() >= limit)
    }

    fn note_restart(&mut self) {
        let restarts = &self.context.worker_restarts;
        restarts.fetch_add(1, Ordering::Relaxed);
        self.view.restarts += 1;
    }

    async fn restart_after_crash(&mut self, how: &str) {
        self.note_restart();
        let pause = self.restarts.after_crash(rand::random());
        self.schedule_restart(pause, format!("worker_failed: {how}"))
            .await;
    }

    /// Without a token no worker is launched: that one is to be had is tried again later, not
    /// before the platform wants to be asked.
    async fn retry_after_outage(&mut self, why: &str) {
        if self.is_given_up() {
            return self.stop(format!("error: {why}"));
        }
        let pause = self.restarts.after_outage(rand::random());
        let pause = pause.max(spread(self.context.sources.held_back(&self.target)));
        self.schedule_restart(pause, format!("room_unavailable: {why}"))
            .await;
    }

    async fn schedule_restart(&mut self, pause: Duration, reason: String) {
        let (key, crashes) = (&self.view.key, self.restarts.crash_loop());
        tracing::warn!(key, reason, crashes, ?pause, "no worker runs: trying again");
        self.view.problem = crashes.map(|crashes| Trouble {
            code: "crash_loop",
            message: format!(
                "The session's worker has failed {crashes} times in a row ({reason}); it is started \
                 again every {} s at most",
                self.context.workers.timings().longest_restart.as_secs()
            ),
        });
        self.screens.set_status(&State::Reconnecting.into());
        self.view.status.state = SessionState::Reconnecting;
        self.change_state(Some(reason)).await;
        self.restart_at = Some(Instant::now() + pause);
    }

    /// The pause before the next worker is over.
    pub(super) fn on_restart(&mut self) {
        self.restart_at = None;
        // Another session may have been told meanwhile to come back later.
        let held_back = self.context.sources.held_back(&self.target);
        if held_back.is_zero() {
            self.find_source();
        } else {
            self.restart_at = Some(Instant::now() + spread(held_back));
        }
    }

    pub(super) async fn on_steady(&mut self) {
        self.restarts.settle();
        if self.view.problem.take().is_some() {
            self.session_event("session.state");
        }
    }
}

/// A little longer, so that those who were told the same don't come back together.
fn spread(held_back: Duration) -> Duration {
    held_back.mul_f64(1.0 + rand::random::<f64>() / 4.0)
}

/// The worker's next event; never, without a worker.
pub(super) async fn next_event(worker: &mut Option<Worker>) -> WorkerEvent {
    match worker {
        Some(worker) => worker.next_event().await,
        None => std::future::pending().await,
    }
}

fn token_reply(request_id: u64, result: Result<Option<RoomAccess>, Error>) -> TokenReply {
    match result {
        Ok(access) => TokenReply {
            request_id,
            error: access.is_none().then(|| "this room needs no token".into()),
            access,
            retry: false,
        },
        Err(error) => TokenReply {
            request_id,
            access: None,
            retry: error.kind() != Kind::NotFound,
            error: Some(error.message().to_owned()),
        },
    }
}
