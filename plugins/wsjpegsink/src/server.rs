//! The element's own WebSocket server: one task accepts, one task for each connection.

use crate::{
    http as answers,
    http::Route,
    listen::{Endpoint, Listener, StartError},
    roster::Client,
    stream::Stream,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock, mpsc},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::{Builder, Handle, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use viewer_socket::{
    CloseReason, EndReason, Hub, OriginPolicy, Protocol, ViewerOptions, accept, close_with,
    serve_counted_viewer,
};

/// Viewers get this to say goodbye in when the server stops, and then it just ends.
const STOP_LIMIT: Duration = Duration::from_secs(4);
/// For an HTTP request's head, so that silent connections don't collect.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// For all of a connection's requests together: a peer that takes no answer would stay for ever.
/// One that is cut off between two requests connects again.
const HTTP_LIMIT: Duration = Duration::from_secs(60);
/// hyper's buffer for one connection; a request's head must fit.
const REQUEST_BYTES: usize = 16 << 10;
/// Connections beyond the viewers: pages being loaded, upgrades under way, refusals.
const SPARE_CONNECTIONS: usize = 64;
/// Wait after a failed accept (too many open files): the next would fail at once too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the server needs of the element. Called on the server's threads.
pub(crate) trait Clients: Send + Sync + 'static {
    /// The hub to watch now.
    fn hub(&self) -> Hub;
    /// A client wants to watch; none where all places are taken. May block.
    fn add(&self, address: &str, protocol: Protocol) -> Option<Arc<Client>>;
    /// A client that was added is gone. May block.
    fn remove(&self, client: &Client, why: &EndReason);
}

/// Where and for whom.
pub(crate) struct ServerOptions {
    pub(crate) endpoint: Endpoint,
    pub(crate) path: String,
    pub(crate) origins: OriginPolicy,
    pub(crate) max_clients: u32,
    /// A client whose connection takes no byte for so long is dropped.
    pub(crate) client_timeout: Duration,
    pub(crate) ping_interval: Duration,
}

/// A server that runs. Dropping it without [`Server::stop`] only tells it to end.
#[derive(Debug)]
pub(crate) struct Server {
    local: Option<SocketAddr>,
    shutdown: watch::Sender<bool>,
    task: AbortHandle,
    ended: mpsc::Receiver<()>,
    socket_file: Option<PathBuf>,
}

/// One runtime for all elements of this plugin.
fn runtime() -> Result<Handle, StartError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(16)
            .thread_name("wsjpegsink")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    });
    match runtime {
        Ok(runtime) => Ok(runtime.handle().clone()),
        Err(error) => Err(StartError::Threads(error.clone())),
    }
}

impl Server {
    /// Binds, and serves from now on.
    pub(crate) fn start(
        options: ServerOptions,
        clients: Arc<dyn Clients>,
    ) -> Result<Self, StartError> {
        let runtime = runtime()?;
        let (shutdown, stopping) = watch::channel(false);
        let (end, ended) = mpsc::channel();
        let _inside = runtime.enter();
        let (listener, local, socket_file) = Listener::bind(&options.endpoint)?;
        let shared = Arc::new(Shared {
            path: options.path,
            origins: options.origins,
            on_unix_socket: socket_file.is_some(),
            client_timeout: options.client_timeout,
            ping_interval: options.ping_interval,
            connections: Arc::new(Semaphore::new(
                options.max_clients as usize + SPARE_CONNECTIONS,
            )),
            clients,
            stopping,
        });
        let task = runtime.spawn(async move {
            serve(listener, shared).await;
            // Nobody to tell: the element didn't wait that long.
            _ = end.send(());
        });
        Ok(Self {
            local,
            shutdown,
            task: task.abort_handle(),
            ended,
            socket_file,
        })
    }

    /// The TCP address it listens on.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Sends viewers away with 1001 and returns when every task has ended.
    pub(crate) fn stop(self) {
        self.shutdown.send_replace(true);
        if self.ended.recv_timeout(STOP_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            // A handler of the application's that doesn't return: leave it behind.
            self.task.abort();
        }
        if let Some(path) = &self.socket_file {
            // Gone already is as good.
            _ = std::fs::remove_file(path);
        }
    }
}

struct Shared {
    path: String,
    origins: OriginPolicy,
    on_unix_socket: bool,
    client_timeout: Duration,
    ping_interval: Duration,
    connections: Arc<Semaphore>,
    clients: Arc<dyn Clients>,
    stopping: watch::Receiver<bool>,
}

impl Shared {
    /// Ready when the server stops.
    async fn stopped(&self) {
        let mut stopping = self.stopping.clone();
        // An error means that the server was dropped: the same.
        _ = stopping.wait_for(|stopping| *stopping).await;
    }
}

/// Accepts until the server stops, then waits for every connection's task.
async fn serve(listener: Listener, shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stopped() => break,
            Some(_) = tasks.join_next() => continue,
            accepted = next_connection(&listener, &shared) => accepted,
        };
        match accepted {
            Ok(accepted) => _ = tasks.spawn(connection(accepted, Arc::clone(&shared))),
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// The next connection; past the limit it waits in the backlog. Dropping the future loses nothing.
async fn next_connection(listener: &Listener, shared: &Shared) -> io::Result<Accepted> {
    let permit = Arc::clone(&shared.connections).acquire_owned().await;
    let permit = permit.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok(Accepted {
        stream,
        address,
        _permit: permit,
    })
}

/// A connection, and its place among all of them.
struct Accepted {
    stream: Stream,
    address: String,
    _permit: OwnedSemaphorePermit,
}

/// A request that became a WebSocket.
struct Upgrade {
    protocol: Protocol,
    options: ViewerOptions,
    io: OnUpgrade,
}

/// Serves one connection: HTTP until it is upgraded, then a viewer.
async fn connection(accepted: Accepted, shared: Arc<Shared>) {
    let Accepted {
        stream,
        address,
        _permit,
    } = accepted;
    let upgrade = Arc::new(Mutex::new(None));
    let service = {
        let (upgrade, shared) = (Arc::clone(&upgrade), Arc::clone(&shared));
        service_fn(move |request| {
            let response = respond(request, &shared, &upgrade);
            std::future::ready(Ok::<_, Infallible>(response))
        })
    };
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_LIMIT)
        .max_buf_size(REQUEST_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        biased;
        () = shared.stopped() => return,
        // What isn't HTTP was answered by hyper as far as it can be.
        _ = timeout(HTTP_LIMIT, http) => {}
    }
    let upgrade = upgrade.lock().take();
    if let Some(upgrade) = upgrade
        && let Ok(Ok(io)) = timeout(REQUEST_LIMIT, upgrade.io).await
    {
        let io = TokioIo::new(io);
        viewer(io, upgrade.protocol, upgrade.options, address, &shared).await;
    }
}

/// Answers a request; one that becomes a WebSocket is left in `upgrade`.
fn respond(
    mut request: Request<Incoming>,
    shared: &Shared,
    upgrade: &Mutex<Option<Upgrade>>,
) -> Response<Full<Bytes>> {
    let machine = gst::glib::host_name();
    if !answers::admits_host(request.headers(), &shared.origins, &machine) {
        let sentence = "this Host is not served here: use the address, or list it in origins";
        return answers::error(StatusCode::MISDIRECTED_REQUEST, "wrong_host", sentence);
    }
    let path = request.uri().path();
    let protocol = match answers::route(&shared.path, path, shared.on_unix_socket) {
        Route::NotFound => {
            let sentence = "nothing is served at this path";
            return answers::error(StatusCode::NOT_FOUND, "not_found", sentence);
        }
        Route::Watch(protocol) => protocol,
        _ if !matches!(request.method().as_str(), "GET" | "HEAD") => {
            return answers::method_not_allowed();
        }
        Route::AddSlash => return answers::add_slash(path),
        Route::Page(file) => return answers::file(file),
    };
    let options = match ViewerOptions::from_query(request.uri().query()) {
        Ok(options) => ViewerOptions {
            stall_timeout: shared.client_timeout,
            ping_interval: shared.ping_interval,
            ..options
        },
        Err(error) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return answers::error(status, "invalid_query", &error.to_string());
        }
    };
    match accept(request.method(), request.headers(), &shared.origins) {
        Ok(response) => {
            *upgrade.lock() = Some(Upgrade {
                protocol,
                options,
                io: hyper::upgrade::on(&mut request),
            });
            response.map(|()| Full::default())
        }
        Err(refused) => answers::refusal(&refused),
    }
}

async fn viewer<IO>(
    io: IO,
    protocol: Protocol,
    options: ViewerOptions,
    address: String,
    shared: &Shared,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    // The place is made where the client is added: who stops waiting for that leaves it, too.
    let added = on_blocking_thread(&shared.clients, move |clients| {
        let client = clients.add(&address, protocol)?;
        Some(Placed::new(clients, client))
    });
    let Some(mut place) = added.await.flatten() else {
        close_with(io, 1013, "too many viewers, try again later").await;
        return;
    };
    let hub = shared.clients.hub();
    let client = Arc::clone(&place.client);
    let counters = &client.counters;
    let dismissal = async {
        tokio::select! {
            biased;
            () = shared.stopped() => CloseReason::going_away(),
            () = client.dismissed() => CloseReason::dismissed(),
        }
    };
    let end = serve_counted_viewer(io, &hub, protocol, &options, counters, dismissal).await;
    place.reason = end.reason;
    place.leave().await;
}

/// A client's place among the clients. It is given up also when the client's task ends early.
struct Placed {
    clients: Arc<dyn Clients>,
    client: Arc<Client>,
    reason: EndReason,
    left: bool,
}

impl Placed {
    fn new(clients: &Arc<dyn Clients>, client: Arc<Client>) -> Self {
        Self {
            clients: Arc::clone(clients),
            client,
            reason: EndReason::Gone,
            left: false,
        }
    }

    /// Gives the place up, and waits for the application's handlers.
    async fn leave(mut self) {
        self.left = true;
        let (client, reason) = (Arc::clone(&self.client), self.reason.clone());
        on_blocking_thread(&self.clients, move |clients| {
            clients.remove(&client, &reason);
        })
        .await;
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if !self.left {
            let (clients, client) = (Arc::clone(&self.clients), Arc::clone(&self.client));
            let reason = self.reason.clone();
            // Not here: the application's handlers may take their time.
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn_blocking(move || clients.remove(&client, &reason));
            }
        }
    }
}

/// Calls the element where the application's handlers may take their time: only this one viewer
/// waits for them.
async fn on_blocking_thread<T: Send + 'static>(
    clients: &Arc<dyn Clients>,
    call: impl FnOnce(&Arc<dyn Clients>) -> T + Send + 'static,
) -> Option<T> {
    let clients = Arc::clone(clients);
    tokio::task::spawn_blocking(move || call(&clients))
        .await
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::Roster;
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
    use viewer_socket::HubOptions;

    #[derive(Default)]
    struct Fake {
        roster: Roster,
        left: Option<UnboundedSender<u64>>,
        /// Tells that a client is being added, and waits until it may be.
        hold: Option<(UnboundedSender<()>, Mutex<mpsc::Receiver<()>>)>,
    }

    impl Clients for Fake {
        fn hub(&self) -> Hub {
            Hub::new(HubOptions::default())
        }

        fn add(&self, address: &str, protocol: Protocol) -> Option<Arc<Client>> {
            let client = self.roster.admit(address, protocol, 8);
            if let Some((adding, may)) = &self.hold {
                adding.send(()).unwrap();
                may.lock().recv().unwrap();
            }
            client
        }

        fn remove(&self, client: &Client, _: &EndReason) {
            self.roster.leave(client.id);
            self.left.as_ref().unwrap().send(client.id).unwrap();
        }
    }

    #[tokio::test]
    async fn a_clients_place_is_given_up_once_however_its_task_ends() {
        let (left, mut has_left) = unbounded_channel();
        let fake = Arc::new(Fake {
            left: Some(left),
            ..Fake::default()
        });
        let clients: Arc<dyn Clients> = Arc::clone(&fake) as _;
        let place = |address| {
            let client = fake.add(address, Protocol::Json).unwrap();
            Placed::new(&clients, client)
        };
        let (cut_off, orderly) = (place("a"), place("b"));
        let task = tokio::spawn(async move {
            let _cut_off = cut_off;
            std::future::pending::<()>().await;
        });
        task.abort();
        assert_eq!(has_left.recv().await, Some(0));
        orderly.leave().await;
        assert_eq!(has_left.recv().await, Some(1));
        assert_eq!(fake.roster.count(), 0);
        assert!(has_left.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_client_whose_task_ends_while_it_is_added_gives_its_place_up() {
        let (left, mut has_left) = unbounded_channel();
        let (adding, mut is_adding) = unbounded_channel();
        let (allow, may) = mpsc::channel();
        let fake = Arc::new(Fake {
            left: Some(left),
            hold: Some((adding, Mutex::new(may))),
            ..Fake::default()
        });
        let (_stop, stopping) = watch::channel(false);
        let shared = Shared {
            path: "/".into(),
            origins: OriginPolicy::default(),
            on_unix_socket: false,
            client_timeout: REQUEST_LIMIT,
            ping_interval: REQUEST_LIMIT,
            connections: Arc::new(Semaphore::new(1)),
            clients: Arc::clone(&fake) as _,
            stopping,
        };
        let (io, _other) = tokio::io::duplex(1024);
        let task = tokio::spawn(async move {
            let (protocol, options) = (Protocol::Json, ViewerOptions::default());
            viewer(io, protocol, options, "a".into(), &shared).await;
        });
        is_adding.recv().await.unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        allow.send(()).unwrap();
        assert_eq!(has_left.recv().await, Some(0));
        assert_eq!(fake.roster.count(), 0);
    }
}
