//! Signals that end the server or have it read its configuration again, and the tasks that it waits for.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Who may be told to stop, and who is waited for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shutdown {
    /// Cancelled when the server begins to end.
    pub(crate) token: CancellationToken,
    /// Every task that must be over before the process ends.
    pub(crate) tasks: TaskTracker,
    /// Those of them, beside `tasks`, that have something to tell of their end: webhooks end later.
    pub(crate) periods: TaskTracker,
}

impl Shutdown {
    /// Waits for the periods of watch rules, each of which ends once `token` is cancelled.
    pub(crate) async fn finish_periods(&self) {
        self.periods.close();
        self.periods.wait().await;
    }

    /// Runs `work` until it is done or the server begins to end.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let ending = self.token.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = ending.cancelled() => {}
            }
        });
    }
}

/// SIGINT, SIGTERM and SIGHUP, caught from when this is made: one that comes while the server starts
/// ends it as orderly as a later one.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To end. The signal's name.
    End(&'static str),
    /// To read the configuration again (SIGHUP).
    Reload,
}

impl Signals {
    /// Installs the handlers. Inside of a runtime only.
    ///
    /// # Errors
    /// When they can't be installed.
    pub(crate) fn catch() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next of them. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::End("SIGINT"),
            _ = self.terminate.recv() => Asked::End("SIGTERM"),
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }
}
