//! A session's worker: launched, listened to, replaced.

use super::{
    actor::{Actor, Finding},
    ending,
    state::Phase,
};
use crate::{
    Error,
    error::Kind,
    worker::{Worker, WorkerEvent},
};
use haven_wire::{
    RoomAccess, ServerMessage, SessionConfig, SessionState, SessionStatus, Source, TokenReply,
    WorkerMessage,
};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};
use tokio::time::Instant;
use viewer_socket::State;

impl Actor {
    pub(super) fn find_source(&mut self) {
        let (context, target) = (Arc::clone(&self.context), self.target.clone());
        self.findings
            .spawn(async move { Finding::Source(context.sources.source(&target).await) });
    }

    pub(super) fn on_source(&mut self, result: Result<Source, Error>) {
        match result {
            _ if self.view.phase >= Phase::Stopping => {}
            Ok(source) => {
                if let Err(error) = self.launch(source) {
                    self.fail_or_retry(&error);
                }
            }
            Err(error) if self.view.phase == Phase::Running && error.kind() == Kind::NotFound => {
                self.stop("room_deleted");
            }
            Err(error) => self.fail_or_retry(&error),
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
        self.launched_at = Instant::now();
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
                WorkerMessage::RecordingProgress(progress) => self.on_progress(&progress),
                WorkerMessage::RecordingPartStarted { recording_id, path } => {
                    self.on_part_started(recording_id, path).await;
                }
                WorkerMessage::RecordingPartFinished {
                    progress,
                    reason,
                    error,
                } => self.on_part_finished(&progress, reason, error).await,
                WorkerMessage::RecordingFinished { progress, error } => {
                    self.on_recording_finished(&progress, error).await;
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
        self.findings.spawn(async move {
            Finding::Token {
                generation,
                request_id,
                result: context.sources.access(&target).await,
            }
        });
    }

    async fn on_status(&mut self, status: SessionStatus) {
        let state = match status.state {
            SessionState::Live => State::Live,
            SessionState::Waiting => State::Waiting,
            SessionState::Reconnecting => State::Reconnecting,
            SessionState::Connecting if self.view.phase == Phase::Starting => State::Waiting,
            SessionState::Connecting => State::Reconnecting,
        };
        let changed = status.state != self.view.status.state;
        self.joined |= status.state != SessionState::Connecting;
        self.view.status = status;
        if self.view.phase < Phase::Stopping && changed {
            self.hub.set_status(state.into());
        }
        self.check_joined().await;
        self.resume_recordings().await;
    }

    /// Whether a worker runs that has joined the room.
    pub(super) fn is_connected(&self) -> bool {
        self.worker.is_some() && self.joined && self.view.phase == Phase::Running
    }

    /// Gives a worker the token it asked for.
    pub(super) fn on_token(
        &self,
        generation: u32,
        request_id: u64,
        result: Result<Option<RoomAccess>, Error>,
    ) {
        let asking = self
            .worker
            .as_ref()
            .filter(|_| generation == self.generation);
        let reply = ServerMessage::Token(token_reply(request_id, result));
        if asking.is_some_and(|worker| worker.send(reply).is_err()) {
            tracing::warn!(key = self.view.key, "the worker takes no token");
        }
    }

    async fn on_exit(&mut self, how: &str) {
        self.worker = None;
        self.joined = false;
        self.socket.send_replace(None);
        if self.view.phase == Phase::Running {
            self.view.status.state = SessionState::Reconnecting;
            self.view.status.video = None;
            self.view.status.audio = None;
        }
        self.measure_cut_files().await;
        match (self.view.phase, self.ended.take()) {
            (Phase::Starting, Some(ended)) => {
                self.fail(&ending::start_failure(&ended, &self.view.key));
            }
            (Phase::Starting, None) => self.fail(&ending::crashed_at_start(how)),
            (Phase::Running, ended) => match ended.as_ref().and_then(ending::reason) {
                Some(reason) => self.stop(reason),
                None => self.schedule_restart(how),
            },
            (Phase::Stopping | Phase::Ended, _) => {}
        }
    }

    fn schedule_restart(&mut self, how: &str) {
        if self.launched_at.elapsed() >= self.context.workers.timings().steady {
            self.backoff.reset();
        }
        let pause = self.backoff.next(rand::random());
        let restarts = &self.context.worker_restarts;
        restarts.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            key = self.view.key,
            how,
            ?pause,
            "the worker is gone: restarting it"
        );
        self.hub.set_status(State::Reconnecting.into());
        self.restart_at = Some(Instant::now() + pause);
    }

    /// At the start an error is the answer; later it is worth another try.
    fn fail_or_retry(&mut self, error: &Error) {
        match self.view.phase {
            Phase::Running => self.schedule_restart(&error.chain()),
            _ => self.fail(error),
        }
    }
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
