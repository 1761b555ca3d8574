//! The plugin's tokio runtime, made with the first element that joins a room.

use std::io;
use std::sync::{Mutex, PoisonError};
use tokio::runtime::{Builder, Handle, Runtime};

/// A session costs one or two hundredths of a core; two threads serve many, and one that is busy
/// with a join doesn't hold the others' media back.
const THREADS: usize = 2;

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
