//! The plugin's tokio runtime, made with the first element that joins a room.

use std::io;
use std::sync::{Mutex, PoisonError};
use tokio::runtime::{Builder, Handle, Runtime};

/// A session costs a hundredth of a core, so one thread serves dozens. Two would serve one session in
/// turns, at the price of a switch for every other packet.
const THREADS: usize = 1;

static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

/// The runtime.
///
/// # Errors
/// When its threads can't be started.
pub(crate) fn handle() -> io::Result<Handle> {
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*runtime {
        return Ok(runtime.handle().clone());
    }
    let made = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("livekitsrc")
        .enable_io()
        .enable_time()
        .build()?;
    Ok(runtime.insert(made).handle().clone())
}
