//! Signals that end the server, and the tasks that it waits for.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Who may be told to stop, and who is waited for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shutdown {
    /// Cancelled when the server begins to end.
    pub(crate) token: CancellationToken,
    /// Every task that must be over before the process ends.
    pub(crate) tasks: TaskTracker,
}

/// Waits for SIGINT or SIGTERM and names it.
///
/// # Errors
/// When the handlers can't be installed.
pub(crate) async fn signalled() -> std::io::Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    })
}
