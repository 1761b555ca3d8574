//! How the kernel should treat a viewer's connection.

use socket2::{SockRef, TcpKeepalive};
use std::{io, time::Duration};
use tokio::net::TcpStream;

/// Unsent bytes the kernel takes for one viewer. Left alone it takes megabytes: seconds of old
/// pictures, which nobody can take back when a newer one is there.
const NOTSENT_LOWAT_BYTES: u32 = 128 << 10;
/// What the kernel counts the times of a keep-alive in; less is none.
const SECOND: Duration = Duration::from_secs(1);

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

/// Has the kernel end a connection whose peer is gone, or takes nothing of what is sent, for `limit`
/// (`TCP_USER_TIMEOUT`, on Linux, and `SO_KEEPALIVE`): else a peer that stops reading keeps its
/// connection, and all that is held for it, for ever.
///
/// # Errors
/// When the connection is gone already.
pub fn limit_silence(stream: &TcpStream, limit: Duration) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time((limit / 3).max(SECOND))
        .with_interval((limit / 6).max(SECOND));
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(limit))?;
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use tokio::{
        io::AsyncWriteExt,
        net::TcpListener,
        time::{Instant, timeout},
    };

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let _peer = peer.unwrap();
        let (mut stream, _) = accepted.unwrap();
        limit_silence(&stream, Duration::from_secs(1)).unwrap();
        let begin = Instant::now();
        let endless = async {
            loop {
                if let Err(error) = stream.write_all(&[0; 65_536]).await {
                    break error;
                }
            }
        };
        let error = timeout(Duration::from_secs(60), endless).await.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() >= Duration::from_secs(1));
    }
}
