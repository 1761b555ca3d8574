//! The accept loop. It is our own since upgraded connections, a shared port and a bounded number
//! of connections need it.

use crate::{api::Service, limits::Peer, shutdown::Shutdown, tls::Tls};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use viewer_socket::{limit_silence, tune_tcp};

/// Connections at once, viewers included; more wait to be accepted. Fewer where the process may not
/// open as many files.
const MAX_CONNECTIONS: u64 = 8192;
/// Files that are left for the database, recordings that are served, and workers, each of which has
/// a handful: a quarter of what the process may open, within these.
const RESERVED_FILES: std::ops::RangeInclusive<u64> = 64..=2048;
/// A peer that is gone, or takes nothing of an answer, keeps its connection for so long. Browsers
/// read a film that is paused in spurts, and ask again for the rest.
const SILENCE_LIMIT: Duration = Duration::from_secs(180);
/// A client that takes longer to send its request's head, or for TLS's handshake, is dropped.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// How a TLS connection begins: with a record of the handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// What who speaks HTTP to a port of TLS is told.
const SPEAKS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 38\r\n\r\nThis port speaks TLS: ask by https://\n";
/// How long requests in progress may take once the server ends.
const GRACE: Duration = Duration::from_secs(5);

/// Accepts connections until the server ends. They are tasks of the tracker, which end soon after
/// that too: idle ones at once, those with a request in progress within [`GRACE`].
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    service: Service,
    shutdown: Shutdown,
) {
    let places = Arc::new(Semaphore::new(connections()));
    loop {
        let accepted = tokio::select! {
            () = shutdown.token.cancelled() => return,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((tcp, remote, place)) = accepted else {
            continue;
        };
        let place = Place(Arc::new(place));
        let Ok(local) = tcp.local_addr() else {
            continue;
        };
        let peer = Peer {
            remote,
            local,
            secure: tls.is_some(),
        };
        let (service, ending) = (service.clone(), shutdown.token.clone());
        let tls = tls.clone();
        shutdown.tasks.spawn(async move {
            connection(tcp, tls, (peer, place), service, ending).await;
        });
    }
}

/// A connection's place among all of them, in the extensions of its requests: who takes the
/// connection over at an upgrade takes the place along.
#[derive(Clone, Debug)]
pub(crate) struct Place(
    #[allow(dead_code, reason = "it is held, and given back when it is dropped")]
    Arc<OwnedSemaphorePermit>,
);

/// Raises the number of files that the process may open to what is allowed; many systems start
/// processes with 1024, which some hundred viewers use up.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files can't be raised");
    }
}

/// How many connections there may be at once.
fn connections() -> usize {
    let connections = connections_within(getrlimit(Resource::Nofile).current);
    if connections < MAX_CONNECTIONS {
        tracing::info!(
            connections,
            "limited by the number of open files (ulimit -n)"
        );
    }
    usize::try_from(connections).unwrap_or(usize::MAX)
}

/// None: no limit.
fn connections_within(open_files: Option<u64>) -> u64 {
    let Some(open_files) = open_files else {
        return MAX_CONNECTIONS;
    };
    let (least, most) = RESERVED_FILES.into_inner();
    let reserved = (open_files / 4).clamp(least, most);
    // Without any the server were none.
    open_files
        .saturating_sub(reserved)
        .clamp(16, MAX_CONNECTIONS)
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((tcp, remote)) => {
            // Any connection may become a viewer's.
            if let Err(error) = tune_tcp(&tcp).and_then(|()| limit_silence(&tcp, SILENCE_LIMIT)) {
                tracing::debug!(%remote, %error, "a connection can't be prepared for viewers");
            }
            Some((tcp, remote, place))
        }
        Err(error) => {
            // Out of file descriptors, as a rule: it passes when connections end.
            tracing::warn!(%error, "can't accept a connection");
            sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// Serves one connection until it ends or becomes a WebSocket, which is another task's.
async fn connection(
    tcp: TcpStream,
    tls: Option<Tls>,
    (peer, place): (Peer, Place),
    service: Service,
    ending: CancellationToken,
) {
    // Browsers open connections ahead of need: one that has said nothing holds nobody up.
    let said_something = tokio::select! {
        () = ending.cancelled() => false,
        readable = timeout(HEADER_TIMEOUT, tcp.readable()) => matches!(readable, Ok(Ok(()))),
    };
    if !said_something {
        return;
    }
    let Some(tls) = tls else {
        return http(tcp, (peer, place), service, ending).await;
    };
    let shaken = tokio::select! {
        () = ending.cancelled() => return,
        shaken = timeout(HEADER_TIMEOUT, shake_hands(tcp, &tls)) => shaken,
    };
    match shaken {
        Ok(Ok(Some(stream))) => http(stream, (peer, place), service, ending).await,
        Ok(Ok(None)) => {}
        // Every scanner of the internet comes by.
        Ok(Err(error)) => tracing::debug!(remote = %peer.remote, %error, "no TLS connection"),
        Err(_) => tracing::debug!(remote = %peer.remote, "a TLS handshake took too long"),
    }
}

/// The encrypted connection; none where the client speaks HTTP, and was told so.
async fn shake_hands(tcp: TcpStream, tls: &Tls) -> std::io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    if tcp.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        refuse(tcp).await?;
        return Ok(None);
    }
    tls.acceptor().accept(tcp).await.map(Some)
}

/// Says that the port speaks TLS. What was asked is read, or the answer would be lost with the
/// connection (RFC 9112, 9.6).
async fn refuse(mut tcp: TcpStream) -> std::io::Result<()> {
    tcp.write_all(SPEAKS_TLS).await?;
    tcp.shutdown().await?;
    let mut ignored = [0; 1024];
    while tcp.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// HTTP/1 alone: WebSockets are opened over it, and without TLS no browser or proxy speaks HTTP/2.
async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (peer, place): (Peer, Place),
    service: Service,
    ending: CancellationToken,
) {
    let with_peer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(place.clone());
        hyper::service::Service::call(&service, request)
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), with_peer)
        .with_upgrades();
    let mut http = pin!(http);
    let served = tokio::select! {
        served = &mut http => served,
        () = ending.cancelled() => {
            http.as_mut().graceful_shutdown();
            match timeout(GRACE, http).await {
                Ok(served) => served,
                Err(_) => {
                    return tracing::warn!(remote = %peer.remote, "a request was still in progress");
                }
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(remote = %peer.remote, %error, "connection");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_left_for_what_is_no_connection() {
        assert_eq!(connections_within(None), 8192);
        assert_eq!(connections_within(Some(1 << 20)), 8192);
        assert_eq!(connections_within(Some(4096)), 3072);
        assert_eq!(connections_within(Some(1024)), 768);
        assert_eq!(connections_within(Some(128)), 64);
        assert_eq!(connections_within(Some(20)), 16);
    }
}
