//! Every way to the server: UDP sockets at once, and links over TCP and TURN where those fail.

mod incoming;

use super::link::{Handle, Link, MAX_ORDERS, News, Order, Target, run_link};
use super::udp::{self, Sockets, addresses_of, addresses_towards};
use crate::network::{
    LocalCandidate, Path, RemoteCandidate, Transport, TransportPolicy, TurnServer,
};
use crate::room::{Input, RoomConfig};
use livekit_protocol as proto;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// UDP has this long to connect before TCP and TURN are tried as well. It needs two round trips, so
/// that even a server on another continent is usually reached without them.
const FALLBACK_AFTER: Duration = Duration::from_millis(400);

/// UDP sockets of one connection.
const MAX_SOCKETS: usize = 8;
/// TCP connections and TURN allocations that are tried at the same time.
const MAX_LINKS: usize = 8;

/// News of links that may wait for the driver.
const MAX_NEWS: usize = 512;

/// How long the links' goodbyes may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(400);

/// Whether TCP and TURN are tried.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fallback {
    /// Not needed.
    Off,
    /// From then on, if nothing has connected.
    Due(Instant),
    /// They are.
    On,
}

/// The ways to the server of one connection after the other.
pub(super) struct Paths {
    config: RoomConfig,
    policy: TransportPolicy,
    turn_servers: Vec<TurnServer>,
    /// The signalling server is on this machine, or the application says so.
    loopback: bool,
    sockets: Sockets,
    links: Vec<Handle>,
    remotes: Vec<RemoteCandidate>,
    path: Option<Transport>,
    fallback: Fallback,
    next_id: u64,
    news: mpsc::Receiver<(u64, News)>,
    reporter: mpsc::Sender<(u64, News)>,
    tasks: JoinSet<()>,
}

impl Paths {
    pub(super) fn new(config: &RoomConfig) -> Self {
        let (reporter, news) = mpsc::channel(MAX_NEWS);
        Self {
            config: config.clone(),
            policy: config.network.policy,
            turn_servers: Vec::new(),
            loopback: false,
            sockets: Sockets::default(),
            links: Vec::new(),
            remotes: Vec::new(),
            path: None,
            fallback: Fallback::Off,
            next_id: 0,
            news,
            reporter,
            tasks: JoinSet::new(),
        }
    }

    /// Starts over for a new connection; returns where UDP can come to.
    pub(super) async fn open(
        &mut self,
        server: &str,
        response: &proto::JoinResponse,
    ) -> io::Result<Vec<SocketAddr>> {
        // Their tasks say goodbye by themselves.
        self.links.clear();
        self.remotes.clear();
        self.path = None;
        self.fallback = Fallback::Off;
        self.sockets = Sockets::default();
        self.configure(
            &response.ice_servers,
            response.client_configuration.as_ref(),
        );
        let given = &self.config.ice_addresses;
        let server = addresses_of(server).await?;
        self.loopback = given
            .iter()
            .copied()
            .chain(server.iter().map(SocketAddr::ip))
            .any(|address| address.is_loopback());
        if self.uses_udp() {
            let addresses = match given.as_slice() {
                [] => addresses_towards(&server, MAX_SOCKETS)?,
                given => given.to_vec(),
            };
            for address in addresses {
                self.sockets.open(address)?;
            }
        }
        Ok(self.sockets.locals())
    }

    /// The server's newest TURN credentials, and whether it wants TURN.
    pub(super) fn configure(
        &mut self,
        ice_servers: &[proto::IceServer],
        client: Option<&proto::ClientConfiguration>,
    ) {
        let forced = client
            .is_some_and(|client| client.force_relay() == proto::ClientConfigSetting::Enabled);
        self.policy = match forced {
            true => TransportPolicy::Relay,
            false => self.config.network.policy,
        };
        self.turn_servers
            .clone_from(&self.config.network.turn_servers);
        let named = ice_servers.iter().flat_map(|server| {
            server.urls.iter().filter_map(|url| {
                // Servers list STUN too, which somebody who only receives has no use for.
                TurnServer::from_url(url, &server.username, &server.credential)
                    .inspect_err(|error| tracing::debug!(url, %error, "not used"))
                    .ok()
            })
        });
        for server in named {
            if !self.turn_servers.contains(&server) {
                self.turn_servers.push(server);
            }
        }
    }

    fn uses_udp(&self) -> bool {
        matches!(self.policy, TransportPolicy::All | TransportPolicy::Udp)
    }

    /// The server can be reached here; returns what the room must know.
    pub(super) fn on_remote(
        &mut self,
        now: Instant,
        remote: RemoteCandidate,
    ) -> Vec<Input<'static>> {
        let mut inputs = Vec::new();
        let restarted = self
            .remotes
            .first()
            .is_none_or(|known| known.generation != remote.generation);
        if restarted {
            self.remotes.clear();
            let wait = match (self.policy, self.path) {
                (TransportPolicy::All, None | Some(Transport::Udp)) => FALLBACK_AFTER,
                _ => Duration::ZERO,
            };
            self.fallback = Fallback::Due(now + wait);
            let vanished = self.sockets.close_vanished().into_iter();
            inputs.extend(vanished.map(|address| Input::LocalLost(LocalCandidate::udp(address))));
        }
        self.remotes.push(remote);
        if remote.transport == Transport::Udp {
            inputs.extend(self.open_towards(remote.address).map(Input::Local));
            for link in &self.links {
                // A queue that is full belongs to a link that is stuck.
                let _ = link.orders.try_send(Order::Reach(remote.address));
            }
        }
        if self.fallback == Fallback::On {
            self.start_links();
        }
        inputs
    }

    /// A socket on the interface that leads to this address, if there is none yet.
    fn open_towards(&mut self, remote: SocketAddr) -> Option<LocalCandidate> {
        let wanted = self.uses_udp()
            && self.config.ice_addresses.is_empty()
            && self.sockets.len() < MAX_SOCKETS
            && self.may_reach(remote);
        let address = udp::address_towards(remote).ok().filter(|_| wanted)?;
        if self.sockets.has(address) {
            return None;
        }
        match self.sockets.open(address) {
            Ok(local) => Some(LocalCandidate::udp(local)),
            Err(error) => {
                tracing::debug!(%address, %error, "no socket there");
                None
            }
        }
    }

    /// A server elsewhere has no business with the services of this machine.
    fn may_reach(&self, remote: SocketAddr) -> bool {
        let ip = remote.ip();
        !ip.is_unspecified() && !ip.is_multicast() && (self.loopback || !ip.is_loopback())
    }

    /// Media takes this way: the others over TCP and TURN are given up. Returns what the room must
    /// know.
    pub(super) fn on_path(&mut self, path: &Path) -> Vec<Input<'static>> {
        tracing::debug!(%path, "media path");
        self.path = Some(path.transport);
        self.fallback = Fallback::Off;
        let chosen = |link: &Handle| {
            link.local.is_some_and(|local| {
                local.transport == path.transport && local.address == path.local
            })
        };
        let (keep, give_up) = std::mem::take(&mut self.links)
            .into_iter()
            .partition(chosen);
        self.links = keep;
        lost(give_up)
    }

    /// Does what is due; `connected` says whether some way works.
    pub(super) fn advance(&mut self, now: Instant, connected: bool) {
        match self.fallback {
            Fallback::Due(_) if connected => self.fallback = Fallback::Off,
            Fallback::Due(at) if at <= now => {
                self.fallback = Fallback::On;
                self.start_links();
            }
            _ => {}
        }
    }

    /// When [`Paths::advance`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.fallback {
            Fallback::Due(at) => Some(at),
            Fallback::Off | Fallback::On => None,
        }
    }

    fn start_links(&mut self) {
        let tcp = matches!(self.policy, TransportPolicy::All | TransportPolicy::Tcp);
        let relay = matches!(self.policy, TransportPolicy::All | TransportPolicy::Relay);
        let candidates = self
            .remotes
            .iter()
            .filter(|remote| tcp && remote.transport == Transport::Tcp)
            .filter(|remote| self.may_reach(remote.address))
            .map(|remote| Target::Tcp(*remote));
        let servers = self.turn_servers.iter().filter(|_| relay).cloned();
        let targets: Vec<_> = candidates.chain(servers.map(Target::Turn)).collect();
        for target in targets {
            let known = self.links.iter().any(|link| link.target == target);
            if !known && self.links.len() < MAX_LINKS {
                self.start_link(target);
            }
        }
    }

    fn start_link(&mut self, target: Target) {
        // What has ended needs no joining any more.
        while self.tasks.try_join_next().is_some() {}
        let id = self.next_id;
        self.next_id += 1;
        let (orders, incoming) = mpsc::channel(MAX_ORDERS);
        let link = Link {
            id,
            orders: incoming,
            news: self.reporter.clone(),
            reach: self
                .remotes
                .iter()
                .filter(|remote| remote.transport == Transport::Udp)
                .map(|remote| remote.address)
                .collect(),
        };
        let from = self.config.ice_addresses.clone();
        self.tasks.spawn(run_link(target.clone(), from, link));
        self.links.push(Handle {
            id,
            target,
            orders,
            local: None,
        });
    }

    /// Sends or drops. Returns what the room must know if the way is gone.
    pub(super) fn send(
        &mut self,
        transport: Transport,
        source: SocketAddr,
        destination: SocketAddr,
        data: Vec<u8>,
    ) -> Option<Input<'static>> {
        if transport == Transport::Udp {
            self.sockets.send(source, destination, &data);
            return None;
        }
        let index = self.links.iter().position(|link| {
            link.local
                .is_some_and(|local| local.transport == transport && local.address == source)
        })?;
        let order = Order::Datagram { destination, data };
        match self.links[index].orders.try_send(order) {
            Err(mpsc::error::TrySendError::Closed(_)) => {
                self.links.remove(index).local.map(Input::LocalLost)
            }
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => None,
        }
    }

    /// Gives everything back.
    pub(super) async fn close(mut self) {
        self.links.clear();
        self.news.close();
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, async {
            while self.tasks.join_next().await.is_some() {}
        })
        .await;
        self.tasks.shutdown().await;
    }
}

fn lost(links: Vec<Handle>) -> Vec<Input<'static>> {
    links
        .into_iter()
        .filter_map(|link| link.local.map(Input::LocalLost))
        .collect()
}
