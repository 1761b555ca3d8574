//! What comes by the ways, and where it goes.

use super::{Paths, lost};
use crate::driver::BURST;
use crate::driver::link::News;
use crate::driver::udp;
use crate::network::Transport;
use crate::room::{Input, Room};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Instant;

/// What came in.
pub(in crate::driver) enum Received {
    Udp(udp::Received),
    Link(u64, News),
}

impl Paths {
    /// Waits for something on any way; for ever where there is none. Cancel-safe.
    pub(in crate::driver) async fn receive(&mut self, buffer: &mut [u8]) -> Received {
        poll_fn(|context| {
            if let Poll::Ready(received) = self.sockets.poll_receive(context, buffer) {
                return Poll::Ready(Received::Udp(received));
            }
            // Never closed: we have a sender ourselves.
            match self.news.poll_recv(context) {
                Poll::Ready(Some((id, news))) => Poll::Ready(Received::Link(id, news)),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Hands over what came, and what is behind it.
    pub(in crate::driver) fn deliver(
        &mut self,
        received: Received,
        buffer: &mut [u8],
        room: &mut Room,
    ) {
        match received {
            Received::Udp((index, result)) => self.deliver_udp(index, result, buffer, room),
            Received::Link(id, news) => {
                self.on_news(id, news, room);
                for _ in 1..BURST {
                    let Ok((id, news)) = self.news.try_recv() else {
                        return;
                    };
                    self.on_news(id, news, room);
                }
            }
        }
    }

    fn deliver_udp(
        &self,
        index: usize,
        mut result: io::Result<(usize, SocketAddr)>,
        buffer: &mut [u8],
        room: &mut Room,
    ) {
        let Some(destination) = self.sockets.local(index) else {
            return;
        };
        for _ in 0..BURST {
            match result {
                Ok((bytes, source)) => room.handle(
                    Instant::now(),
                    Input::Packet {
                        transport: Transport::Udp,
                        source,
                        destination,
                        data: &buffer[..bytes],
                    },
                ),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // ICMP errors of earlier datagrams come out here; the path may still work.
                Err(error) => tracing::trace!(%error, "receiving failed"),
            }
            result = self.sockets.try_receive(index, buffer);
        }
    }

    fn on_news(&mut self, id: u64, news: News, room: &mut Room) {
        let now = Instant::now();
        // Others were given up, and don't know it yet.
        let Some(index) = self.links.iter().position(|link| link.id == id) else {
            return;
        };
        match news {
            News::Up(local) => {
                tracing::debug!(transport = local.transport.name(), "a way is open");
                self.links[index].local = Some(local);
                room.handle(now, Input::Local(local));
            }
            News::Datagram { source, data } => {
                if let Some(local) = self.links[index].local {
                    let packet = Input::Packet {
                        transport: local.transport,
                        source,
                        destination: local.address,
                        data: &data,
                    };
                    room.handle(now, packet);
                }
            }
            News::Down(error) => {
                let link = self.links.remove(index);
                tracing::info!(target = ?link.target, %error, "a way to the server is closed");
                for input in lost(vec![link]) {
                    room.handle(now, input);
                }
            }
        }
    }
}
