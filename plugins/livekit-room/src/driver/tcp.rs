//! ICE over TCP: a connection to the server's passive candidate (RFC 6544).

use super::framing::{Framing, Messages, WRITE_QUEUE, write_queue};
use super::link::{Link, LinkError, News, Order};
use crate::network::{LocalCandidate, Transport};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

/// Connects, and carries datagrams until the connection breaks or is no longer wanted.
pub(super) async fn run(
    remote: SocketAddr,
    from: Option<IpAddr>,
    link: &mut Link,
) -> Result<(), LinkError> {
    let Some(stream) = link
        .connect(async { Ok(connect(remote, from).await?) })
        .await?
    else {
        return Ok(());
    };
    let address = stream.local_addr()?;
    let up = LocalCandidate {
        transport: Transport::Tcp,
        address,
        base: address,
    };
    if !link.tell(News::Up(up)).await {
        return Ok(());
    }
    let (reader, writer) = stream.into_split();
    let mut messages = Messages::new(reader, Framing::Length);
    let (queue, queued) = mpsc::channel(WRITE_QUEUE);
    let mut writing = pin!(write_queue(writer, queued));
    loop {
        tokio::select! {
            written = &mut writing => return Ok(written?),
            message = messages.next() => {
                let data = message?;
                if !link.tell(News::Datagram { source: remote, data }).await {
                    return Ok(());
                }
            }
            order = link.orders.recv() => match order {
                Some(Order::Datagram { data, .. }) => {
                    // A full queue drops, as a network does.
                    if let Some(wrapped) = Framing::Length.wrap(&data) {
                        let _ = queue.try_send(wrapped);
                    }
                }
                Some(Order::Reach(_)) => {}
                None => return Ok(()),
            }
        }
    }
}

/// A connection without delay of small messages, from this local address if one is given.
pub(super) async fn connect(remote: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv6() {
        TcpSocket::new_v6()?
    } else {
        TcpSocket::new_v4()?
    };
    if let Some(from) = from {
        socket.bind((from, 0).into())?;
    }
    let stream = socket.connect(remote).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
