//! The log on standard error, which may have lost its reader.

use std::io::{self, Write};
use tracing_subscriber::EnvFilter;

/// The TURN library says at this level what it does for each packet.
const DEFAULT: &str = "info,turn_client_proto=warn,stun_proto=warn";

/// Starts the log. Standard output is the protocol's.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| LossyStderr)
        .with_ansi(false)
        .init();
}

/// Standard error whose failures are no failures.
///
/// When the server is killed, nobody reads the worker's log any more: a write gives EPIPE, and
/// the log's own complaint about that would panic while the recordings are being finalised.
struct LossyStderr;

impl Write for LossyStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
