//! A stand-in of pump.fun's HTTP API that mints real tokens for the local LiveKit server.

mod answer;
mod coin;
mod fault;

pub use coin::{Coin, random_mint};
pub use fault::{Endpoint, Fault};

use crate::{
    access::Keys,
    error::{Result, RigError},
    livekit_server::LiveKitServer,
};
use answer::handle;
use fault::Faults;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use warp::Filter;

/// How long a viewer's token is valid, as the platform's are.
const TOKEN_TTL: Duration = Duration::from_secs(15 * 60);
/// Requests remembered; a test that asks more often looks at the newest.
const MAX_REQUESTS: usize = 100_000;

/// The running stand-in. Both of the platform's hosts are served on one port of 127.0.0.1. It ends when
/// dropped.
#[derive(Debug)]
pub struct FakePumpFun {
    state: Arc<State>,
    address: SocketAddr,
    livekit_url: String,
    ending: watch::Sender<bool>,
    server: Option<JoinHandle<()>>,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// What was asked for; none for a path the platform doesn't have.
    pub endpoint: Option<Endpoint>,
    /// Path and query.
    pub uri: String,
    /// Body, as text.
    pub body: String,
    /// The `Origin` header.
    pub origin: Option<String>,
    /// When it arrived.
    pub at: Instant,
}

/// What the handlers share. Each lock is held for a few statements and never together with another.
#[derive(Debug)]
pub(crate) struct State {
    keys: Keys,
    token_ttl: Mutex<Duration>,
    coins: Mutex<BTreeMap<String, Coin>>,
    faults: Mutex<Faults>,
    requests: Mutex<Vec<Request>>,
    ending: watch::Receiver<bool>,
}

impl FakePumpFun {
    /// Starts the stand-in for the rooms of `livekit`.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(livekit: &LiveKitServer) -> Result<Self> {
        Self::start_for(livekit.url(), livekit.keys().clone()).await
    }

    /// Starts the stand-in for any LiveKit server, running or not.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start_for(livekit_url: String, keys: Keys) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(RigError::io("listening for pump.fun's stand-in"))?;
        let address = listener
            .local_addr()
            .map_err(RigError::io("listening for pump.fun's stand-in"))?;
        let (ending, ended) = watch::channel(false);
        let state = Arc::new(State {
            keys,
            token_ttl: Mutex::new(TOKEN_TTL),
            coins: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            ending: ended.clone(),
        });
        let shared = Arc::clone(&state);
        let query = warp::query::raw().or(warp::any().map(String::new)).unify();
        let routes =
            warp::method()
                .and(warp::path::full())
                .and(query)
                .and(warp::header::headers_cloned())
                .and(
                    warp::body::content_length_limit(64 << 10)
                        .and(warp::body::bytes())
                        .or(warp::any().map(Default::default))
                        .unify(),
                )
                .then(
                    move |method, path: warp::path::FullPath, query: String, headers, body| {
                        let state = Arc::clone(&shared);
                        async move {
                            handle(&state, method, path.as_str(), &query, &headers, body).await
                        }
                    },
                );
        let mut stop = ended;
        let server = warp::serve(routes).incoming(listener).graceful(async move {
            let _ = stop.wait_for(|ending| *ending).await;
        });
        Ok(Self {
            state,
            address,
            livekit_url,
            ending,
            server: Some(tokio::spawn(server.run())),
        })
    }

    /// Its address, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The variables that make `haven`, `haven-worker` and the plugins use this stand-in and its rooms.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("HAVEN_PUMPFUN_LIVESTREAM_URL", self.url()),
            ("HAVEN_PUMPFUN_FRONTEND_URL", self.url()),
            ("HAVEN_PUMPFUN_LIVEKIT_URL", self.livekit_url.clone()),
            ("HAVEN_ICE_ADDRESSES", "127.0.0.1".into()),
        ]
        .map(|(name, value)| (name.into(), value))
        .into()
    }

    /// Adds a coin, or replaces it.
    pub fn add_coin(&self, coin: Coin) {
        self.state.coins.lock().insert(coin.mint.clone(), coin);
    }

    /// Changes a coin; false when it isn't there.
    pub fn change_coin(&self, mint: &str, change: impl FnOnce(&mut Coin)) -> bool {
        self.state.coins.lock().get_mut(mint).map(change).is_some()
    }

    /// Switches a coin's stream on or off (off: 200 with an empty body); false when it isn't there.
    pub fn set_live(&self, mint: &str, live: bool) -> bool {
        self.change_coin(mint, |coin| coin.live = live)
    }

    /// How long tokens minted from now on are valid.
    pub fn set_token_ttl(&self, ttl: Duration) {
        *self.state.token_ttl.lock() = ttl;
    }

    /// Lets an endpoint fail, `times` times, or until [`recover`](Self::recover) where that is `None`.
    pub fn fail(&self, endpoint: Endpoint, fault: Fault, times: Option<u32>) {
        self.state.faults.lock().set(endpoint, fault, times);
    }

    /// Lets every endpoint work again. Requests that hang stay so until their client gives up.
    pub fn recover(&self) {
        self.state.faults.lock().clear();
    }

    /// The requests that arrived, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().clone()
    }

    /// How many requests of a kind arrived.
    pub fn count(&self, endpoint: Endpoint) -> usize {
        let requests = self.state.requests.lock();
        requests
            .iter()
            .filter(|request| request.endpoint == Some(endpoint))
            .count()
    }

    /// Stops it: connections are refused from then on.
    pub async fn stop(mut self) {
        self.ending.send_replace(true);
        if let Some(mut server) = self.server.take() {
            // Clients with kept connections don't decide how long this takes.
            if tokio::time::timeout(Duration::from_secs(2), &mut server)
                .await
                .is_err()
            {
                server.abort();
                let _ = server.await;
            }
        }
    }
}

impl Drop for FakePumpFun {
    fn drop(&mut self) {
        self.ending.send_replace(true);
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

impl State {
    fn remember(&self, request: Request) {
        let mut requests = self.requests.lock();
        if requests.len() == MAX_REQUESTS {
            requests.remove(0);
        }
        requests.push(request);
    }
}
