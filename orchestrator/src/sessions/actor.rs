//! The owner of one live session: its worker, its status, its recordings.

use super::{
    ending,
    findings::Finding,
    recording::Active,
    registry::Context,
    restarts::Restarts,
    source::Target,
    state::{Failure, Phase, View},
    stream_info::StreamInfo,
    supervision::next_event,
    takeup::TakenUp,
    writes::{Write, Writer},
};
use crate::{
    Error,
    admission::Seat,
    clock,
    db::NewSession,
    recordings::{Plan, Recording},
    watch::{relay, screens::Screens},
    worker::Worker,
};
use haven_wire::{EndReason, ServerMessage};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use viewer_socket::{CloseReason, State, Status};

/// How long a start waits for the stream's description, which runs beside the joining.
const STREAM_INFO_TIMEOUT: Duration = Duration::from_secs(2);
/// Why a session ends that goes on under the next server.
pub(super) const SHUTDOWN: &str = "shutdown";
/// "Never", for a timer.
const FAR: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a session can be told.
pub(super) enum Command {
    Stop {
        reason: &'static str,
    },
    /// Ends every recording, and leaves the session running.
    EndRecordings {
        reason: &'static str,
    },
    StartRecording {
        plan: Box<Plan>,
        reply: oneshot::Sender<Result<Recording, Error>>,
    },
    /// Has the worker serve pictures of at most this width, too.
    Show {
        width: u32,
    },
    StopRecording {
        selector: Selector,
        reply: oneshot::Sender<Result<Option<Recording>, Error>>,
    },
}

/// Which of a session's recordings is meant; with neither, the only one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    pub(crate) recording_id: Option<i64>,
    /// Name of the format, aliases resolved.
    pub(crate) format: Option<String>,
}

/// The owner of one session. Fields by duty: constants, owned state, in, out.
pub(super) struct Actor {
    pub(super) context: Arc<Context>,
    pub(super) target: Target,

    pub(super) view: View,
    pub(super) worker: Option<Worker>,
    /// Counts the launches.
    pub(super) generation: u32,
    /// Whether the worker has said that it is in the room.
    pub(super) joined: bool,
    /// Since when no worker is in the room.
    pub(super) lost_at: Option<Instant>,
    pub(super) restarts: Restarts,
    pub(super) restart_at: Option<Instant>,
    /// Until when the room must be joined, while it isn't.
    pub(super) start_deadline: Option<Instant>,
    pub(super) stream_info_known: bool,
    /// Why the worker says it ended.
    pub(super) ended: Option<EndReason>,
    pub(super) recordings: Vec<Active>,
    pub(super) findings: JoinSet<Finding>,
    /// Stores what must not be lost.
    pub(super) writer: Writer,
    /// Cancelled once the session ends: a file that somebody still holds isn't waited for.
    pub(super) ending: CancellationToken,
    /// What goes on that another server has begun.
    pub(super) taken_up: Option<Box<TakenUp>>,

    /// What it takes of the machine.
    pub(super) seat: Seat,

    /// The other end of `commands`.
    orders: mpsc::Sender<Command>,
    commands: mpsc::Receiver<Command>,
    pub(super) screens: Screens,
    pub(super) socket: watch::Sender<Option<PathBuf>>,
    published: watch::Sender<View>,
}

/// A session that is over, and not yet announced to be.
pub(super) struct Over {
    view: View,
    published: watch::Sender<View>,
}

impl Over {
    /// Tells all who wait for the session's end.
    pub(super) fn announce(mut self) {
        self.view.advance(Phase::Ended, "nothing of it runs");
        self.published.send_replace(self.view);
    }
}

impl Actor {
    pub(super) fn new(
        context: Arc<Context>,
        target: Target,
        writer: Writer,
        (orders, commands): (mpsc::Sender<Command>, mpsc::Receiver<Command>),
    ) -> (Self, watch::Receiver<View>, Screens) {
        let view = View {
            phase: Phase::Starting,
            session_id: 0,
            key: target.key().to_owned(),
            started_at_ms: clock::now_ms(),
            stream_info: StreamInfo::named(target.key(), target.key()),
            ..View::default()
        };
        let screens = Screens::new(&view.key);
        let seat = context.admission.seat(&screens);
        let (published, seen) = watch::channel(view.clone());
        let timings = *context.workers.timings();
        let actor = Self {
            target,
            view,
            worker: None,
            generation: 0,
            joined: false,
            lost_at: None,
            restarts: Restarts::new(&timings),
            restart_at: None,
            start_deadline: Some(Instant::now() + timings.start),
            stream_info_known: false,
            ended: None,
            recordings: Vec::new(),
            findings: JoinSet::new(),
            writer,
            ending: CancellationToken::new(),
            taken_up: None,
            seat,
            orders,
            commands,
            screens: screens.clone(),
            socket: watch::channel(None).0,
            published,
            context,
        };
        (actor, seen, screens)
    }

    /// Runs the session to its end: until nothing of it runs any more.
    pub(super) async fn run(mut self) -> Over {
        self.relay_frames();
        let begun = match self.taken_up.take() {
            Some(taken_up) => self.take_up(*taken_up).await,
            None => self.begin().await,
        };
        if let Err(error) = begun {
            self.fail(&error);
        }
        self.publish();
        while !self.is_over() {
            let deadline = self.next_deadline();
            tokio::select! {
                Some(command) = self.commands.recv() => self.on_command(command).await,
                event = next_event(&mut self.worker), if self.worker.is_some() => {
                    self.on_event(event).await;
                }
                Some(finding) = self.findings.join_next() => self.on_finding(finding).await,
                () = sleep_until(deadline) => self.on_deadline().await,
            }
            self.publish();
        }
        self.end().await
    }

    /// Has frames come from the session's workers to those who watch, for as long as the session lives.
    fn relay_frames(&self) {
        let linger = self.context.workers.timings().linger;
        for (width, hub) in self.screens.all() {
            let feed = relay::Feed {
                socket: self.socket.subscribe(),
                rendition: width.map(|width| {
                    let orders = self.orders.clone();
                    let order = move || {
                        // A full queue: it is asked for again before long.
                        let _ = orders.try_send(Command::Show { width });
                    };
                    (width, Box::new(order) as Box<_>)
                }),
            };
            let relay = relay::run(hub.clone(), feed, linger);
            self.context.shutdown.tasks.spawn(relay.in_current_span());
        }
    }

    async fn begin(&mut self) -> Result<(), Error> {
        let session = NewSession {
            key: self.view.key.clone(),
            kind: self.target.kind(),
            started_at_ms: self.view.started_at_ms,
        };
        self.view.session_id = self.context.db.insert_session(session).await?;
        tracing::Span::current().record("session_id", self.view.session_id);
        let (context, target) = (Arc::clone(&self.context), self.target.clone());
        let unknown = self.view.stream_info.clone();
        let fetch = async move {
            let fetch = context.sources.stream_info(&target, STREAM_INFO_TIMEOUT);
            Finding::StreamInfo(fetch.await)
        };
        self.find(fetch, |_| Finding::StreamInfo(unknown));
        self.find_source();
        Ok(())
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Stop { reason } => {
                // Also when the server dies before all of it has ended.
                if reason != SHUTDOWN {
                    let id = self.view.session_id;
                    self.writer.write(Write::SessionGivenUp(id)).await;
                }
                self.stop(reason);
            }
            Command::EndRecordings { reason } => self.end_all_recordings(reason).await,
            Command::StartRecording { plan, reply } => self.start_recording(*plan, reply).await,
            Command::Show { width } => {
                if let Some(worker) = &self.worker {
                    // One that is deaf is asked again before long.
                    let _ = worker.send(ServerMessage::Show { width });
                }
            }
            Command::StopRecording { selector, reply } => {
                self.stop_recording(&selector, reply).await;
            }
        }
    }

    /// The start is complete once the room is joined and the stream's description is known, or
    /// known not to come in time.
    pub(super) async fn check_joined(&mut self) {
        if self.view.phase != Phase::Starting || !self.joined || !self.stream_info_known {
            return;
        }
        self.start_deadline = None;
        self.lost_at = None;
        self.view.advance(Phase::Running, "room joined");
        let joined = Write::SessionJoined {
            id: self.view.session_id,
            room_name: self.view.status.room_name.clone(),
            stream_info: serde_json::to_string(&self.view.stream_info).unwrap_or_default(),
        };
        self.writer.write(joined).await;
        self.session_event("session.started");
        self.store_state().await;
    }

    /// The session can't be started, or can't go on.
    pub(super) fn fail(&mut self, error: &Error) {
        tracing::warn!(key = self.view.key, error = error.chain(), "session failed");
        if self.view.phase == Phase::Starting {
            self.view.failure = Some(Failure::from(error));
        }
        self.stop(format!("error: {}", error.message()));
        if let Some(worker) = self.worker.as_ref().filter(|_| self.view.failure.is_some()) {
            worker.abandon();
        }
    }

    pub(super) fn stop(&mut self, reason: impl Into<String>) {
        if self.view.phase >= Phase::Stopping {
            return;
        }
        let reason = reason.into();
        self.view.advance(Phase::Stopping, &reason);
        self.start_deadline = None;
        self.restart_at = None;
        let mut status = Status::from(State::Ended);
        status.extra.insert("reason".into(), reason.clone().into());
        self.screens.set_status(&status);
        self.screens.close(&match reason.as_str() {
            SHUTDOWN => CloseReason::going_away(),
            _ => CloseReason::session_ended(),
        });
        self.view.end_reason = Some(reason);
        self.ending.cancel();
        if let Some(worker) = &self.worker {
            worker.stop();
        }
    }

    fn is_over(&self) -> bool {
        self.view.phase == Phase::Stopping && self.worker.is_none() && !self.is_measuring()
    }

    fn next_deadline(&self) -> Instant {
        [
            self.start_deadline,
            self.restart_at,
            self.restarts.steady_deadline(),
            self.recording_deadline(),
            self.resume_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or_else(|| Instant::now() + FAR)
    }

    async fn on_deadline(&mut self) {
        let now = Instant::now();
        if self.start_deadline.is_some_and(|deadline| deadline <= now) {
            self.fail(&ending::start_timed_out());
        }
        if self.restart_at.is_some_and(|deadline| deadline <= now) {
            self.on_restart();
        }
        let steady_at = self.restarts.steady_deadline();
        if steady_at.is_some_and(|deadline| deadline <= now) {
            self.on_steady().await;
        }
        if self
            .resume_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.resume_recordings().await;
        }
        self.on_recording_deadline(now);
    }

    async fn end(mut self) -> Over {
        let reason = self.view.end_reason.clone().unwrap_or_default();
        self.end_recordings(&reason).await;
        let (id, at_ms) = (self.view.session_id, clock::now_ms());
        let end = match self.view.failure {
            Some(_) => Write::SessionForgotten(id),
            None => Write::SessionEnded { id, at_ms, reason },
        };
        self.writer.write(end).await;
        if self.view.failure.is_none() {
            self.session_event("session.ended");
        }
        // What is still being asked for (a token) is of no use any more.
        self.findings.shutdown().await;
        Over {
            view: self.view,
            published: self.published,
        }
    }

    /// Shows others what is true now.
    pub(super) fn publish(&mut self) {
        self.view.recordings = self.recordings.iter().map(Active::shown).collect();
        self.seat.update(self.doing());
        self.published.send_replace(self.view.clone());
    }
}

/// A failed write costs the history a line, never the session.
pub(super) fn log_failure(result: Result<(), Error>) {
    if let Err(error) = result {
        tracing::error!(error = error.chain(), "the database");
    }
}
