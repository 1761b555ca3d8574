//! The accept loop. It is our own since upgraded connections, a shared port and a bounded number
//! of connections need it.

use crate::{
    api::{Peer, Service},
    shutdown::Shutdown,
};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use viewer_socket::tune_tcp;

/// Connections at once, viewers included; more wait to be accepted.
const MAX_CONNECTIONS: usize = 8192;
/// A client that takes longer to send its request's head is dropped.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long requests in progress may take once the server ends.
const GRACE: Duration = Duration::from_secs(5);

/// Accepts connections until the server ends. They are tasks of the tracker, which end soon after
/// that too: idle ones at once, those with a request in progress within [`GRACE`].
pub(crate) async fn serve(listener: TcpListener, service: Service, shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = shutdown.token.cancelled() => return,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((tcp, remote, place)) = accepted else {
            continue;
        };
        let Ok(local) = tcp.local_addr() else {
            continue;
        };
        let peer = Peer { remote, local };
        let (service, ending) = (service.clone(), shutdown.token.clone());
        shutdown.tasks.spawn(async move {
            connection(tcp, peer, service, ending).await;
            drop(place);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((tcp, remote)) => {
            // Any connection may become a viewer's.
            if let Err(error) = tune_tcp(&tcp) {
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

/// Serves one connection until it ends or becomes a WebSocket, which is another task's. HTTP/1
/// alone: without TLS no browser or proxy speaks HTTP/2.
async fn connection(tcp: TcpStream, peer: Peer, service: Service, ending: CancellationToken) {
    // Browsers open connections ahead of need: one that has said nothing holds nobody up.
    let said_something = tokio::select! {
        () = ending.cancelled() => false,
        readable = timeout(HEADER_TIMEOUT, tcp.readable()) => matches!(readable, Ok(Ok(()))),
    };
    if !said_something {
        return;
    }
    let with_peer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        hyper::service::Service::call(&service, request)
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(tcp), with_peer)
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
