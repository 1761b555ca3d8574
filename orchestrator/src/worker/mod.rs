//! Worker processes: one per live session, replaceable at any time.

mod confine;
mod launch;
mod link;
mod tools;

pub(crate) use tools::{FILE_LOCKED, FILE_MISSING};

use crate::limits::Limits;
use haven_wire::{Probe, ServerMessage, WorkerMessage};
use std::{path::PathBuf, time::Duration};
use tokio::sync::{OnceCell, Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timings {
    /// From a session's start to the room being joined.
    pub(crate) start: Duration,
    /// From a worker's launch to its `Ready`.
    pub(crate) ready: Duration,
    /// From `Shutdown` to SIGINT.
    pub(crate) shutdown: Duration,
    /// From SIGINT to SIGKILL.
    pub(crate) interrupt: Duration,
    /// From `Shutdown` to SIGKILL where nothing is to be finalised.
    pub(crate) abandon: Duration,
    /// Pause before a crashed worker's first restart; it doubles.
    pub(crate) first_restart: Duration,
    /// Longest pause before a restart.
    pub(crate) longest_restart: Duration,
    /// A worker that ran this long is sound: the pauses begin anew.
    pub(crate) steady: Duration,
    /// How long the media of a session flows on without a viewer.
    pub(crate) linger: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(10),
            ready: Duration::from_secs(10),
            // A worker gives its files 15 s to be complete.
            shutdown: Duration::from_secs(18),
            interrupt: Duration::from_secs(2),
            abandon: Duration::from_millis(500),
            first_restart: Duration::from_millis(500),
            longest_restart: Duration::from_secs(30),
            steady: Duration::from_secs(60),
            linger: Duration::from_secs(3),
        }
    }
}

/// What a worker process does.
#[derive(Debug)]
pub(crate) enum WorkerEvent {
    /// It said something.
    Message(WorkerMessage),
    /// It is gone and waited for. Always the last event. How it went, for the log.
    Exited(String),
}

/// A handle to a running worker process. Dropping it asks the worker to stop.
#[derive(Debug)]
pub(crate) struct Worker {
    pid: Option<u32>,
    commands: mpsc::Sender<ServerMessage>,
    events: mpsc::Receiver<WorkerEvent>,
    stop: CancellationToken,
    abandon: CancellationToken,
}

/// The worker does not take messages any more, or not fast enough.
#[derive(Debug, thiserror::Error)]
#[error("the worker does not take messages")]
pub(crate) struct Deaf;

impl Worker {
    /// Its process, unless it had ended before it could be looked at.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Says something to the worker; never waits.
    pub(crate) fn send(&self, message: ServerMessage) -> Result<(), Deaf> {
        self.commands.try_send(message).map_err(|_| Deaf)
    }

    /// The next event; after [`WorkerEvent::Exited`] there is none. Cancel-safe.
    pub(crate) async fn next_event(&mut self) -> WorkerEvent {
        match self.events.recv().await {
            Some(event) => event,
            None => WorkerEvent::Exited("its supervision ended".into()),
        }
    }

    /// Begins the ladder: `Shutdown`, SIGINT, SIGKILL. The end comes as an event.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Begins a short ladder without SIGINT, for a worker with nothing to finalise.
    pub(crate) fn abandon(&self) {
        self.abandon.cancel();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts workers, and asks the worker's executable about the machine and about files.
#[derive(Debug)]
pub(crate) struct Workers {
    executable: PathBuf,
    /// The user's descriptions of formats.
    formats_dir: Option<PathBuf>,
    timings: Timings,
    limits: Limits,
    tasks: TaskTracker,
    probe: OnceCell<Probe>,
    /// Measuring a file reads all of it: a few at a time.
    measuring: Semaphore,
    /// Pictures are asked for by people: they don't wait for files that are being measured.
    picturing: Semaphore,
    /// Joining reads and writes whole recordings: one at a time.
    joining: Semaphore,
}

impl Workers {
    pub(crate) fn new(
        executable: PathBuf,
        formats_dir: Option<PathBuf>,
        timings: Timings,
        limits: Limits,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            executable,
            formats_dir,
            timings,
            limits,
            tasks,
            probe: OnceCell::new(),
            measuring: Semaphore::new(2),
            picturing: Semaphore::new(2),
            joining: Semaphore::new(1),
        }
    }

    /// What is waited for at the server's end.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn timings(&self) -> &Timings {
        &self.timings
    }
}
