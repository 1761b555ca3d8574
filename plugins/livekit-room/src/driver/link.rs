//! A way to the server that isn't a plain UDP socket: a task with a connection of its own.

use super::{tcp, turn};
use crate::network::{LocalCandidate, RemoteCandidate, TurnServer};
use bytes::Bytes;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;

/// Orders that may wait for a link: more candidates than a server has, and a burst of datagrams.
pub(super) const MAX_ORDERS: usize = 256;

/// How long a connection, with its TLS handshake, may take to come about.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the driver wants of a link. A link whose driver has no more orders for it ends.
pub(super) enum Order {
    /// Send this to the server.
    Datagram {
        destination: SocketAddr,
        data: Vec<u8>,
    },
    /// The server can be reached there, too.
    Reach(SocketAddr),
}

/// What a link says to the driver.
pub(super) enum News {
    /// It works from now on.
    Up(LocalCandidate),
    /// The server sent this.
    Datagram { source: SocketAddr, data: Bytes },
    /// It is over.
    Down(LinkError),
}

/// Why a link is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it took too long to connect")]
    Timeout,
    #[error("the TURN server refused {0}")]
    Refused(&'static str),
    #[error("the certificate authorities can't be read: {0}")]
    Tls(String),
}

/// A link's end of the channels to and from the driver.
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) news: mpsc::Sender<(u64, News)>,
    /// Where the server can be reached.
    pub(super) reach: Vec<SocketAddr>,
}

impl Link {
    /// Tells the driver, and waits until it has a place for it: what came by TCP isn't dropped,
    /// the sender is slowed down. False when the driver is gone.
    pub(super) async fn tell(&self, news: News) -> bool {
        self.news.send((self.id, news)).await.is_ok()
    }

    /// Waits for a connection, but not longer than it is wanted: none when it no longer is.
    pub(super) async fn connect<T>(
        &mut self,
        connecting: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<Option<T>, LinkError> {
        let mut connecting = pin!(tokio::time::timeout(CONNECT_TIMEOUT, connecting));
        loop {
            tokio::select! {
                connected = &mut connecting => {
                    return connected.map_err(|_| LinkError::Timeout)?.map(Some);
                }
                order = self.orders.recv() => match order {
                    Some(Order::Reach(address)) => self.reach.push(address),
                    Some(Order::Datagram { .. }) => {}
                    None => return Ok(None),
                }
            }
        }
    }
}

/// Where a link goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    Tcp(RemoteCandidate),
    Turn(TurnServer),
}

/// The driver's end of a link.
pub(super) struct Handle {
    pub(super) id: u64,
    pub(super) target: Target,
    pub(super) orders: mpsc::Sender<Order>,
    /// Set when it works.
    pub(super) local: Option<LocalCandidate>,
}

/// Runs a link to its end, and says why it ended.
pub(super) async fn run_link(target: Target, from: Vec<IpAddr>, mut link: Link) {
    let result = match &target {
        Target::Tcp(remote) => {
            let remote = remote.address;
            let from = from
                .into_iter()
                .find(|from| from.is_ipv6() == remote.is_ipv6());
            tcp::run(remote, from, &mut link).await
        }
        Target::Turn(server) => turn::run(server, &from, &mut link).await,
    };
    if let Err(error) = result {
        link.tell(News::Down(error)).await;
    }
}
