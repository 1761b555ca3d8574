//! The UDP sockets of a connection.

use super::RECEIVE_BUFFER_BYTES;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};
use tokio::io::ReadBuf;
use tokio::net::{UdpSocket, lookup_host};

/// What came: on which socket, from whom, how many bytes.
pub(super) type Received = (usize, io::Result<(usize, SocketAddr)>);

/// UDP sockets, one for each local address.
#[derive(Default)]
pub(super) struct Sockets(Vec<(SocketAddr, UdpSocket)>);

impl Sockets {
    /// Opens a socket on this address; returns where it is.
    pub(super) fn open(&mut self, address: IpAddr) -> io::Result<SocketAddr> {
        let socket = bind(address)?;
        let sized = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        if let Err(error) = sized {
            tracing::debug!(%error, "the receive buffer stays at the system's default");
        }
        let local = socket.local_addr()?;
        self.0.push((local, socket));
        Ok(local)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn locals(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(local, _)| *local).collect()
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|(local, _)| local.ip() == address)
    }

    /// Closes the sockets whose address this machine no longer has; returns where they were.
    pub(super) fn close_vanished(&mut self) -> Vec<SocketAddr> {
        let mut vanished = Vec::new();
        self.0.retain(|(local, _)| {
            let gone = std::net::UdpSocket::bind((local.ip(), 0))
                .is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable);
            if gone {
                vanished.push(*local);
            }
            !gone
        });
        vanished
    }

    /// Sends or drops: to wait for a full socket would stop everything, and the protocols above
    /// send again what matters.
    pub(super) fn send(&self, source: SocketAddr, destination: SocketAddr, data: &[u8]) {
        let socket = self.0.iter().find(|(local, _)| *local == source);
        if let Some((_, socket)) = socket
            && let Err(error) = socket.try_send_to(data, destination)
        {
            tracing::trace!(%destination, %error, "datagram not sent");
        }
    }

    /// A datagram on any socket.
    pub(super) fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Received> {
        for (index, (_, socket)) in self.0.iter().enumerate() {
            let mut into = ReadBuf::new(buffer);
            if let Poll::Ready(result) = socket.poll_recv_from(context, &mut into) {
                let bytes = into.filled().len();
                return Poll::Ready((index, result.map(|source| (bytes, source))));
            }
        }
        Poll::Pending
    }

    /// Where this socket is.
    pub(super) fn local(&self, index: usize) -> Option<SocketAddr> {
        self.0.get(index).map(|(local, _)| *local)
    }

    /// The next datagram of this socket, without waiting.
    pub(super) fn try_receive(
        &self,
        index: usize,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr)> {
        match self.0.get(index) {
            Some((_, socket)) => socket.try_recv_from(buffer),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// A socket on this address, on any free port.
pub(super) fn bind(address: IpAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind((address, 0))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// The local address from which this one would be reached: the kernel's own choice, found by
/// connecting a UDP socket, which sends nothing.
pub(super) fn address_towards(remote: SocketAddr) -> io::Result<IpAddr> {
    let socket = std::net::UdpSocket::bind((any(remote.is_ipv6()), 0))?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

/// All addresses of a family.
pub(super) fn any(ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

/// The addresses of a URL's host.
pub(super) async fn addresses_of(server: &str) -> io::Result<Vec<SocketAddr>> {
    let url = url::Url::parse(server).map_err(io::Error::other)?;
    let host = url
        .host_str()
        .ok_or_else(|| io::Error::other("the server's URL has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or(443);
    Ok(lookup_host((host, port)).await?.collect())
}

/// The local addresses on the ways to these, so many at most.
pub(super) fn addresses_towards(remotes: &[SocketAddr], most: usize) -> io::Result<Vec<IpAddr>> {
    let mut locals = Vec::new();
    for remote in remotes {
        match address_towards(*remote) {
            Ok(local) if !locals.contains(&local) && locals.len() < most => {
                locals.push(local);
            }
            _ => {}
        }
    }
    if locals.is_empty() {
        return Err(io::Error::other("no way to the server"));
    }
    Ok(locals)
}
