//! The accept loop. It is our own since upgraded connections, a shared port and a bounded number
//! of connections need it.

use crate::{
    api::{Peer, Service},
    shutdown::Shutdown,
};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

/// Connections at once, viewers included; more wait to be accepted.
const MAX_CONNECTIONS: usize = 8192;
/// A client that takes longer to send its request's head is dropped.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long requests in progress may take once the server ends.
const GRACE: Duration = Duration::from_secs(5);

/// Serves connections until the server ends, then waits for requests in progress. Upgraded
/// connections aren't waited for here: they are tasks of the tracker.
pub(crate) async fn serve(listener: TcpListener, service: Service, shutdown: Shutdown) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = shutdown.token.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((tcp, remote, place)) = accepted else {
            continue;
        };
        let Ok(local) = tcp.local_addr() else {
            continue;
        };
        let peer = Peer { remote, local };
        let service = service.clone();
        let with_peer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            hyper::service::Service::call(&service, request)
        });
        let connection = builder()
            .serve_connection_with_upgrades(TokioIo::new(tcp), with_peer)
            .into_owned();
        let connection = graceful.watch(connection);
        shutdown.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(remote = %peer.remote, %error, "connection");
            }
            drop(place);
        });
    }
    drop(listener);
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still in progress");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((tcp, remote)) => {
            // Frames are written whole: waiting for more to send only delays them.
            if let Err(error) = tcp.set_nodelay(true) {
                tracing::debug!(%remote, %error, "no TCP_NODELAY");
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

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    builder
}
