//! How the kernel should treat a viewer's connection.

use socket2::SockRef;
use std::io;
use tokio::net::TcpStream;

/// Unsent bytes the kernel takes for one viewer. Left alone it takes megabytes: seconds of old
/// pictures, which nobody can take back when a newer one is there.
const NOTSENT_LOWAT_BYTES: u32 = 128 << 10;

/// Prepares an accepted connection for viewers: no waiting for more to send (`TCP_NODELAY`), and
/// little unsent in the kernel (`TCP_NOTSENT_LOWAT`, on Linux), so that the newest frame really is
/// what a slow viewer gets next.
///
/// # Errors
/// When the connection is gone already.
pub fn tune_tcp(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    SockRef::from(stream).set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES)?;
    Ok(())
}
