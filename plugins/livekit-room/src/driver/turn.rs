//! A TURN server as a way to the server (RFC 8656), over UDP, TCP or TLS.

use super::framing::{Framing, Messages, WRITE_QUEUE, write_queue};
use super::link::{Link, LinkError, News, Order};
use super::{RECEIVE_BUFFER_BYTES, tcp, tls, udp};
use crate::network::{LocalCandidate, Transport, TurnServer};
use bytes::Bytes;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::mpsc;
use turn_client_proto::api::{
    Transmit, TurnClientApi, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet,
};
use turn_client_proto::stun::Instant as TurnInstant;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::{AddressFamily, TransportType, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

turn_client_proto::impl_client!(pub(super) Client, (Udp, TurnClientUdp), (Stream, TurnClientTcp));

/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_millis(300);

/// Shortest sleep between two looks at the client's timers.
const TICK: Duration = Duration::from_millis(1);

/// Addresses that are tried of those that a TURN server's name has.
const MAX_ADDRESSES: usize = 4;

/// Channels of one allocation: more candidates than a server has.
const MAX_CHANNELS: usize = 64;

/// Allocates an address, and relays until the connection breaks or is no longer wanted.
pub(super) async fn run(
    server: &TurnServer,
    from: &[IpAddr],
    link: &mut Link,
) -> Result<(), LinkError> {
    let Some(wire) = link.connect(connect(server, from)).await? else {
        return Ok(());
    };
    let mut relay = Relay::new(server, wire, &link.reach);
    let result = relay.run(link).await;
    relay.goodbye().await;
    result
}

/// Messages to and from the TURN server.
struct Wire {
    local: SocketAddr,
    remote: SocketAddr,
    medium: Medium,
}

type Writing = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

enum Medium {
    Udp(UdpSocket),
    Stream {
        messages: Messages<Box<dyn AsyncRead + Send + Unpin>>,
        queue: mpsc::Sender<Vec<u8>>,
        /// None once it has ended.
        writing: Option<Writing>,
    },
}

/// Largest datagram we expect from a TURN server: ours, and its header.
const DATAGRAM_BYTES: usize = 2048 + 64;

impl Wire {
    /// Sends or drops, as a network does.
    fn send(&self, message: &[u8]) {
        match &self.medium {
            Medium::Udp(socket) => {
                let _ = socket.try_send(message);
            }
            Medium::Stream { queue, .. } => {
                if let Some(wrapped) = Framing::Turn.wrap(message) {
                    let _ = queue.try_send(wrapped);
                }
            }
        }
    }

    /// The next message. Cancel-safe.
    async fn receive(&mut self) -> io::Result<Bytes> {
        match &mut self.medium {
            Medium::Udp(socket) => loop {
                let mut buffer = Vec::with_capacity(DATAGRAM_BYTES);
                match socket.recv_buf(&mut buffer).await {
                    Ok(_) => return Ok(buffer.into()),
                    // ICMP errors of earlier datagrams come out here; requests are repeated.
                    Err(error) => tracing::trace!(%error, "receiving failed"),
                }
            },
            Medium::Stream {
                messages, writing, ..
            } => {
                let Some(running) = writing else {
                    return Err(io::ErrorKind::BrokenPipe.into());
                };
                tokio::select! {
                    message = messages.next() => message,
                    written = running => {
                        *writing = None;
                        Err(written.err().unwrap_or(io::ErrorKind::BrokenPipe.into()))
                    }
                }
            }
        }
    }
}

async fn connect(server: &TurnServer, from: &[IpAddr]) -> Result<Wire, LinkError> {
    let addresses = lookup_host((server.host.as_str(), server.port)).await?;
    let mut failed = LinkError::Io(io::ErrorKind::AddrNotAvailable.into());
    for remote in addresses.take(MAX_ADDRESSES) {
        let from = from.iter().find(|from| from.is_ipv6() == remote.is_ipv6());
        match connect_to(server, remote, from.copied()).await {
            Ok(wire) => return Ok(wire),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn connect_to(
    server: &TurnServer,
    remote: SocketAddr,
    from: Option<IpAddr>,
) -> Result<Wire, LinkError> {
    if server.transport == Transport::TurnUdp {
        let socket = udp::bind(from.unwrap_or(udp::any(remote.is_ipv6())))?;
        // The system's default serves as well, if only for fewer packets.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        socket.connect(remote).await?;
        return Ok(Wire {
            local: socket.local_addr()?,
            remote,
            medium: Medium::Udp(socket),
        });
    }
    let stream = tcp::connect(remote, from).await?;
    let local = stream.local_addr()?;
    let medium = if server.transport == Transport::TurnTls {
        stream_medium(tls::connect(&server.host, stream).await?)
    } else {
        stream_medium(stream)
    };
    Ok(Wire {
        local,
        remote,
        medium,
    })
}

fn stream_medium(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Medium {
    let (reader, writer) = tokio::io::split(stream);
    let (queue, queued) = mpsc::channel(WRITE_QUEUE);
    Medium::Stream {
        messages: Messages::new(Box::new(reader), Framing::Turn),
        queue,
        writing: Some(Box::pin(write_queue(writer, queued))),
    }
}

/// An allocation, or the wish for one.
struct Relay {
    transport: Transport,
    wire: Wire,
    client: Client,
    /// The client's clock starts here.
    start: Instant,
    address: Option<SocketAddr>,
    /// Asked for; those that were refused are taken out.
    channels: Vec<SocketAddr>,
    announced: bool,
}

impl Relay {
    fn new(server: &TurnServer, wire: Wire, reach: &[SocketAddr]) -> Self {
        let credentials = TurnCredentials::new(&server.username, &server.password);
        let mut config = TurnConfig::new(credentials);
        // One family only: a second allocation isn't offered everywhere.
        if !reach.is_empty() && reach.iter().all(SocketAddr::is_ipv6) {
            config.set_address_family(AddressFamily::IPV6);
        }
        let client = match wire.medium {
            Medium::Udp(_) => Client::Udp(TurnClientUdp::allocate(wire.local, wire.remote, config)),
            Medium::Stream { .. } => {
                Client::Stream(TurnClientTcp::allocate(wire.local, wire.remote, config))
            }
        };
        Self {
            transport: server.transport,
            wire,
            client,
            start: Instant::now(),
            address: None,
            channels: Vec::new(),
            announced: false,
        }
    }

    fn now(&self) -> TurnInstant {
        TurnInstant::from_std(self.start)
    }

    async fn run(&mut self, link: &mut Link) -> Result<(), LinkError> {
        loop {
            let deadline = loop {
                let wait = self.client.poll(self.now());
                self.flush();
                if self.on_events(link).await? {
                    continue;
                }
                match wait {
                    TurnPollRet::WaitUntil(at) => {
                        let since = Duration::from_nanos(at.as_nanos().max(0) as u64);
                        break (self.start + since).max(Instant::now() + TICK);
                    }
                    TurnPollRet::Closed => return Err(LinkError::Refused("to go on")),
                    // Only where a TCP allocation was asked for.
                    _ => return Err(LinkError::Refused("a UDP allocation")),
                }
            };
            tokio::select! {
                message = self.wire.receive() => {
                    if !self.on_message(&message?, link).await {
                        return Ok(());
                    }
                }
                order = link.orders.recv() => match order {
                    Some(Order::Datagram { destination, data }) => self.relay(destination, &data),
                    Some(Order::Reach(address)) => {
                        link.reach.push(address);
                        self.bind(address);
                    }
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
        }
    }

    fn flush(&mut self) {
        let now = self.now();
        while let Some(transmit) = self.client.poll_transmit(now) {
            self.wire.send(&transmit.data);
        }
    }

    /// Handles what the client says; whether it said anything.
    async fn on_events(&mut self, link: &mut Link) -> Result<bool, LinkError> {
        let mut any = false;
        while let Some(event) = self.client.poll_event() {
            any = true;
            tracing::debug!(?event, "TURN");
            match event {
                TurnEvent::AllocationCreated(_, address) => {
                    self.address = Some(address);
                    for candidate in link.reach.clone() {
                        self.bind(candidate);
                    }
                }
                TurnEvent::AllocationCreateFailed(_) => {
                    return Err(LinkError::Refused("the allocation"));
                }
                // A check that is sent before is refused here and repeated; so the server needn't
                // hear of an address that can't reach it yet.
                TurnEvent::ChannelCreated(..) if !self.announced => {
                    self.announced = true;
                    self.announce(link).await;
                }
                TurnEvent::ChannelCreateFailed(_, peer) => {
                    tracing::warn!(%peer, "the TURN server refused a channel");
                    self.channels.retain(|channel| *channel != peer);
                    if self.channels.is_empty() {
                        return Err(LinkError::Refused("every channel"));
                    }
                }
                _ => {}
            }
        }
        Ok(any)
    }

    async fn announce(&mut self, link: &Link) {
        if let Some(address) = self.address {
            let candidate = LocalCandidate {
                transport: self.transport,
                address,
                base: self.wire.local,
            };
            link.tell(News::Up(candidate)).await;
        }
    }

    /// Opens a channel to one of the server's addresses.
    fn bind(&mut self, peer: SocketAddr) {
        let fits = self
            .address
            .is_some_and(|address| address.is_ipv6() == peer.is_ipv6());
        if !fits || self.channels.contains(&peer) || self.channels.len() == MAX_CHANNELS {
            return;
        }
        let now = self.now();
        match self.client.bind_channel(TransportType::Udp, peer, now) {
            Ok(()) => self.channels.push(peer),
            Err(error) => tracing::warn!(%peer, %error, "no channel"),
        }
        self.flush();
    }

    fn relay(&mut self, destination: SocketAddr, data: &[u8]) {
        let now = self.now();
        match self
            .client
            .send_to(TransportType::Udp, destination, data, now)
        {
            Ok(Some(transmit)) => self.wire.send(&transmit.build().data),
            Ok(None) => {}
            Err(error) => tracing::trace!(%destination, %error, "datagram not relayed"),
        }
        self.flush();
    }

    /// False when the driver is gone.
    async fn on_message(&mut self, message: &[u8], link: &Link) -> bool {
        let now = self.now();
        let transmit = Transmit::new(
            message,
            self.client.transport(),
            self.wire.remote,
            self.wire.local,
        );
        if let TurnRecvRet::PeerData(data) = self.client.recv(transmit, now) {
            let datagram = News::Datagram {
                source: data.peer,
                data: Bytes::copy_from_slice(data.data()),
            };
            if !link.tell(datagram).await {
                return false;
            }
        }
        while let Some(data) = self.client.poll_recv(now) {
            let datagram = News::Datagram {
                source: data.peer,
                data: Bytes::copy_from_slice(data.data()),
            };
            if !link.tell(datagram).await {
                return false;
            }
        }
        true
    }

    /// Gives the address back, so that the server has its port for others at once.
    async fn goodbye(mut self) {
        let now = self.now();
        if self.client.delete(now).is_err() {
            return;
        }
        let _ = self.client.poll(now);
        self.flush();
        if let Medium::Stream { queue, writing, .. } = self.wire.medium
            && let Some(writing) = writing
        {
            drop(queue);
            let _ = tokio::time::timeout(GOODBYE, writing).await;
        }
    }
}
