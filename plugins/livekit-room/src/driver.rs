//! Runs a [`Room`] on tokio.

use crate::access::TokenSource;
use crate::event::{Choice, Choices, EndReason, RoomEvent};
use crate::layers::VideoLimits;
use crate::room::{Input, JoinError, Output, Room, RoomConfig};
use crate::signal::{Signal, Signalling};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;
use tokio::io::ReadBuf;
use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::{mpsc, watch};

/// Largest datagram we expect; LiveKit keeps below an Ethernet frame.
const DATAGRAM_BYTES: usize = 2048;

/// A key frame of a high layer comes in one burst of a few hundred packets; the kernel's default
/// of 208 KiB counts its own overhead and holds fewer.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// Datagrams taken from one socket before the others have their turn.
const BURST: usize = 64;

/// Requests of the application that may wait.
const MAX_COMMANDS: usize = 8;

enum Command {
    RequestKeyframe,
}

/// Runs one room until it ends.
pub struct Driver {
    config: RoomConfig,
    tokens: Arc<dyn TokenSource>,
    stop: watch::Sender<bool>,
    choices: watch::Sender<Choices>,
    limits: watch::Sender<VideoLimits>,
    commands: mpsc::Sender<Command>,
    incoming: mpsc::Receiver<Command>,
}

/// Ends a [`Driver`], asks it for key frames and limits its video, from anywhere.
#[derive(Clone)]
pub struct Stopper {
    stop: watch::Sender<bool>,
    choices: watch::Sender<Choices>,
    limits: watch::Sender<VideoLimits>,
    commands: mpsc::Sender<Command>,
}

impl Stopper {
    /// Leaves the room; [`Driver::run`] returns [`EndReason::Stopped`].
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Says what is wanted of a published track. [`Stopper::forget_choice`] is due when it is gone.
    pub fn choose(&self, track: Arc<str>, choice: Choice) {
        self.choices.send_modify(|choices| {
            choices.insert(track, choice);
        });
    }

    /// Forgets what was chosen for a track that is gone.
    pub fn forget_choice(&self, track: &str) {
        self.choices
            .send_if_modified(|choices| choices.remove(track).is_some());
    }

    /// Whether [`Stopper::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Asks the publisher for a key frame. More than two a second are not sent.
    pub fn request_keyframe(&self) {
        // A full queue has the same request in it already.
        let _ = self.commands.try_send(Command::RequestKeyframe);
    }

    /// Takes video within these limits from now on, and in later connections too. The publisher
    /// or the server may need a second or two to change.
    pub fn set_video_limits(&self, limits: VideoLimits) {
        self.limits.send_if_modified(|current| {
            let changed = *current != limits;
            *current = limits;
            changed
        });
    }
}

impl Driver {
    /// A driver that joins with tokens of this source.
    pub fn new(config: RoomConfig, tokens: Box<dyn TokenSource>) -> Self {
        let (commands, incoming) = mpsc::channel(MAX_COMMANDS);
        Self {
            stop: watch::Sender::new(false),
            limits: watch::Sender::new(config.video_limits),
            config,
            tokens: tokens.into(),
            choices: watch::Sender::default(),
            commands,
            incoming,
        }
    }

    /// What ends it.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            stop: self.stop.clone(),
            choices: self.choices.clone(),
            limits: self.limits.clone(),
            commands: self.commands.clone(),
        }
    }

    /// Joins, stays joined, and tells `on_event` what happens, until the room ends or
    /// [`Stopper::stop`] is called. `on_event` runs between packets and must not block.
    ///
    /// Needs a tokio runtime with I/O and time enabled. Dropping the future closes the sockets
    /// without a goodbye.
    pub async fn run(mut self, mut on_event: impl FnMut(RoomEvent)) -> EndReason {
        let mut stop = self.stop.subscribe();
        let mut choices = self.choices.subscribe();
        choices.mark_changed();
        let mut limits = self.limits.subscribe();
        self.config.video_limits = *limits.borrow_and_update();
        let mut room = Room::new(self.config.clone(), Instant::now());
        let mut signalling = Signalling::new(self.tokens.clone());
        let mut sockets = Sockets::default();
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            let deadline = loop {
                match room.poll(Instant::now()) {
                    Output::Wait(at) => break at,
                    Output::Event(event) => on_event(event),
                    Output::Transmit {
                        source,
                        destination,
                        data,
                    } => sockets.send(source, destination, &data),
                    Output::Signal(request) => signalling.send(request),
                    Output::Regions(regions) => signalling.prefer(regions),
                    Output::Join => signalling.join(),
                    Output::Resume => signalling.resume(),
                    Output::Ended(reason) => {
                        signalling.close().await;
                        return reason;
                    }
                }
            };
            tokio::select! {
                received = sockets.receive(&mut buffer) => {
                    sockets.burst(received, &mut buffer, &mut room);
                }
                signal = signalling.next() => {
                    self.on_signal(signal, &mut room, &mut sockets).await;
                }
                Some(command) = self.incoming.recv() => match command {
                    Command::RequestKeyframe => room.handle(Instant::now(), Input::RequestKeyframe),
                },
                // The sender lives in the driver itself.
                Ok(()) = choices.changed() => {
                    let choices = choices.borrow_and_update().clone();
                    room.handle(Instant::now(), Input::Choices(choices));
                }
                limits = changed(&mut limits) => {
                    room.handle(Instant::now(), Input::SetVideoLimits(limits));
                }
                () = stopped(&mut stop) => room.handle(Instant::now(), Input::Stop),
                () = tokio::time::sleep_until(deadline.into()) => {
                    room.handle(Instant::now(), Input::Timeout);
                }
            }
        }
    }

    async fn on_signal(&self, signal: Signal, room: &mut Room, sockets: &mut Sockets) {
        let input = match signal {
            Signal::Joined { url, response } => {
                match Sockets::open(&self.config.ice_addresses, &url).await {
                    Ok(opened) => {
                        *sockets = opened;
                        let locals = sockets.locals();
                        Input::Joined { response, locals }
                    }
                    Err(error) => Input::JoinFailed(JoinError::Unavailable(format!(
                        "no local address to receive media on: {error}"
                    ))),
                }
            }
            Signal::JoinFailed(error) => Input::JoinFailed(error),
            Signal::Resumed => Input::Resumed,
            Signal::ResumeFailed(error) => Input::ResumeFailed(error),
            Signal::Message(message) => Input::Signal(message),
            Signal::Closed(why) => Input::SignalClosed(why),
        };
        room.handle(Instant::now(), input);
    }
}

async fn changed(limits: &mut watch::Receiver<VideoLimits>) -> VideoLimits {
    // The sender lives in the driver itself, so this only ends with a change.
    let _ = limits.changed().await;
    *limits.borrow_and_update()
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender lives in the driver itself, so this only ends with a stop.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What came first: which socket, from whom, how many bytes.
type Received = (usize, io::Result<(usize, SocketAddr)>);

/// The UDP sockets of a connection.
#[derive(Default)]
struct Sockets(Vec<(SocketAddr, UdpSocket)>);

impl Sockets {
    /// One socket for each address, or for the address on the way to the server.
    async fn open(addresses: &[IpAddr], server: &str) -> io::Result<Self> {
        let addresses = match addresses {
            [] => addresses_towards(server).await?,
            given => given.to_vec(),
        };
        let mut sockets = Vec::new();
        for address in addresses {
            let socket = UdpSocket::bind((address, 0)).await?;
            let sized = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
            if let Err(error) = sized {
                tracing::debug!(%error, "the receive buffer stays at the system's default");
            }
            sockets.push((socket.local_addr()?, socket));
        }
        Ok(Self(sockets))
    }

    fn locals(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(local, _)| *local).collect()
    }

    /// Sends or drops: to wait for a full socket would stop everything, and the protocols above
    /// send again what matters.
    fn send(&self, source: SocketAddr, destination: SocketAddr, data: &[u8]) {
        let socket = self.0.iter().find(|(local, _)| *local == source);
        if let Some((_, socket)) = socket
            && let Err(error) = socket.try_send_to(data, destination)
        {
            tracing::trace!(%destination, %error, "datagram not sent");
        }
    }

    /// Waits for a datagram on any socket; for ever where there is none. Cancel-safe.
    async fn receive(&self, buffer: &mut [u8]) -> Received {
        poll_fn(|context| {
            for (index, (_, socket)) in self.0.iter().enumerate() {
                let mut into = ReadBuf::new(buffer);
                if let Poll::Ready(result) = socket.poll_recv_from(context, &mut into) {
                    let bytes = into.filled().len();
                    return Poll::Ready((index, result.map(|source| (bytes, source))));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Hands over the datagram that came, and those behind it.
    fn burst(&self, (index, mut result): Received, buffer: &mut [u8], room: &mut Room) {
        let Some((destination, socket)) = self.0.get(index) else {
            return;
        };
        for _ in 0..BURST {
            match result {
                Ok((bytes, source)) => room.handle(
                    Instant::now(),
                    Input::Packet {
                        source,
                        destination: *destination,
                        data: &buffer[..bytes],
                    },
                ),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // ICMP errors of earlier datagrams come out here; the path may still work.
                Err(error) => tracing::trace!(%error, "receiving failed"),
            }
            result = socket.try_recv_from(buffer);
        }
    }
}

/// The local addresses from which the server would be reached: the kernel's own choice, found by
/// connecting a UDP socket, which sends nothing.
async fn addresses_towards(server: &str) -> io::Result<Vec<IpAddr>> {
    let url = url::Url::parse(server).map_err(io::Error::other)?;
    let host = url
        .host_str()
        .ok_or_else(|| io::Error::other("the server's URL has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or(443);
    let mut addresses = Vec::new();
    for remote in lookup_host((host, port)).await? {
        let any: IpAddr = match remote {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        if socket.connect(remote).await.is_err() {
            continue;
        }
        let local = socket.local_addr()?.ip();
        if !addresses.contains(&local) {
            addresses.push(local);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::other(format!("no way to {host}")));
    }
    Ok(addresses)
}
