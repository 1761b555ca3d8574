//! A faulty network between a subscriber and the media port of a LiveKit server.
//!
//! The server advertises the relay's address as its own (`node_ip`) and has a single media port. It
//! plays ICE-lite, so that it never looks for a way around the relay. Everybody's packets come
//! through here; faults meet only those who send from [`FAULTY`], which a subscriber chooses as its
//! local address. Linux has all of 127.0.0.0/8 on its loopback interface.

use crate::error::{Result, RigError};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::UdpSocket, sync::mpsc, task::JoinHandle};

/// Who sends from here meets the faults.
pub const FAULTY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
/// Where the relay is.
const RELAY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// How often another port is tried.
const PORT_ATTEMPTS: u32 = 50;
/// Largest datagram.
const DATAGRAM_BYTES: usize = 2048;
/// Datagrams that may wait for their time; more are dropped, as a router would.
const MAX_QUEUED: usize = 20_000;
/// Payload types of sound in LiveKit's offers: Opus and RED.
const AUDIO_PAYLOAD_TYPES: [u8; 2] = [111, 63];

/// What happens to packets in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Share of packets that are lost, from 0 to 1.
    pub loss: f64,
    /// Time by which all are late.
    pub delay: Duration,
    /// Time by which packets of sound are late in addition.
    pub audio_delay: Duration,
    /// Up to so much more, different for each packet: they overtake one another.
    pub jitter: Duration,
}

/// Faults of both directions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Network {
    /// From the server to the subscriber.
    pub down: Faults,
    /// From the subscriber to the server.
    pub up: Faults,
}

impl Network {
    /// The same share of packets is lost both ways.
    pub fn losing(share: f64) -> Self {
        let faults = Faults {
            loss: share,
            ..Faults::default()
        };
        Self {
            down: faults,
            up: faults,
        }
    }
}

/// How many packets of the faulty way came through and how many were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed on.
    pub passed: u64,
    /// Dropped.
    pub lost: u64,
    /// Packets of sound among those passed on to the subscriber.
    pub sound: u64,
}

#[derive(Debug, Default)]
struct State {
    network: Network,
    counts: Counts,
    /// When the first packet of media came since the network was changed.
    first_media_since: Option<Instant>,
}

/// A running relay. Dropping it ends it.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts on a port that is free for a server too. `seed` decides which packets are lost.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(seed: u64) -> Result<Self> {
        for _ in 0..PORT_ATTEMPTS {
            // Below Linux's ephemeral ports, beside those of servers without a relay.
            let port = rand::random_range(30_000..32_000);
            let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let free = UdpSocket::bind(server).await;
            if let (Ok(front), Ok(_)) = (UdpSocket::bind((RELAY, port)).await, free) {
                let state = Arc::new(Mutex::new(State::default()));
                let forwarder = Forwarder::new(front, server, seed, state.clone());
                let task = tokio::spawn(forwarder.run());
                return Ok(Self { port, state, task });
            }
        }
        Err(RigError::unexpected("starting a relay", "no port is free"))
    }

    /// What the server's configuration needs to stand behind this relay.
    pub fn configuration(&self) -> Value {
        json!({ "rtc": {
            "udp_port": self.port,
            "port_range_start": 0,
            "port_range_end": 0,
            "tcp_port": 0,
            "node_ip": RELAY.to_string(),
            "use_ice_lite": true,
        }})
    }

    /// Changes the network from the next packet on.
    pub fn set(&self, network: Network) {
        let mut state = self.state.lock();
        state.network = network;
        state.first_media_since = None;
    }

    /// What became of the packets until now.
    pub fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    /// When the first packet of media came through since the network was changed.
    pub fn first_media(&self) -> Option<Instant> {
        self.state.lock().first_media_since
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A packet on its way.
struct Flying {
    due: Instant,
    /// Keeps packets of the same time in order.
    number: u64,
    client: SocketAddr,
    /// To the client, or else to the server.
    down: bool,
    bytes: Vec<u8>,
}

impl PartialEq for Flying {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Flying {}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flying {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// A client's own socket towards the server, by which the server tells clients apart.
struct Back {
    socket: Arc<UdpSocket>,
    reader: JoinHandle<()>,
}

impl Drop for Back {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

struct Forwarder {
    front: Arc<UdpSocket>,
    server: SocketAddr,
    state: Arc<Mutex<State>>,
    random: StdRng,
    backs: HashMap<SocketAddr, Back>,
    flying: BinaryHeap<Reverse<Flying>>,
    number: u64,
}

impl Forwarder {
    fn new(front: UdpSocket, server: SocketAddr, seed: u64, state: Arc<Mutex<State>>) -> Self {
        Self {
            front: Arc::new(front),
            server,
            state,
            random: StdRng::seed_from_u64(seed),
            backs: HashMap::new(),
            flying: BinaryHeap::new(),
            number: 0,
        }
    }

    async fn run(mut self) {
        let (answers, mut answered) = mpsc::channel(1024);
        let mut buffer = vec![0; DATAGRAM_BYTES];
        let front = self.front.clone();
        loop {
            let due = self.flying.peek().map(|Reverse(next)| next.due);
            let next = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                received = front.recv_from(&mut buffer) => {
                    // An error is an ICMP answer to an earlier datagram.
                    if let Ok((bytes, client)) = received {
                        if !self.backs.contains_key(&client) {
                            let Ok(back) = Self::connect(self.server, client, answers.clone()).await else {
                                continue;
                            };
                            self.backs.insert(client, back);
                        }
                        self.take_off(client, false, buffer[..bytes].to_vec());
                    }
                }
                Some((client, bytes)) = answered.recv() => self.take_off(client, true, bytes),
                () = next => {}
            }
            self.land().await;
        }
    }

    async fn connect(
        server: SocketAddr,
        client: SocketAddr,
        answers: mpsc::Sender<(SocketAddr, Vec<u8>)>,
    ) -> std::io::Result<Back> {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        socket.connect(server).await?;
        let from = socket.clone();
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; DATAGRAM_BYTES];
            loop {
                // Errors say that the server is away; it may come back.
                match from.recv(&mut buffer).await {
                    Ok(bytes) => {
                        if answers
                            .send((client, buffer[..bytes].to_vec()))
                            .await
                            .is_err()
                        {
                            return;
                        }
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        Ok(Back { socket, reader })
    }

    /// Decides what becomes of a packet.
    fn take_off(&mut self, client: SocketAddr, down: bool, bytes: Vec<u8>) {
        let mut due = Instant::now();
        if client.ip() == FAULTY {
            let mut state = self.state.lock();
            let faults = if down {
                state.network.down
            } else {
                state.network.up
            };
            if self.random.random_bool(faults.loss.clamp(0.0, 1.0))
                || self.flying.len() >= MAX_QUEUED
            {
                state.counts.lost += 1;
                return;
            }
            state.counts.passed += 1;
            if down && is_rtp(&bytes) {
                state.first_media_since.get_or_insert(due);
            }
            due += faults.delay + faults.jitter.mul_f64(self.random.random_range(0.0..=1.0));
            if is_audio(&bytes) {
                state.counts.sound += u64::from(down);
                due += faults.audio_delay;
            }
        }
        self.number += 1;
        self.flying.push(Reverse(Flying {
            due,
            number: self.number,
            client,
            down,
            bytes,
        }));
    }

    /// Delivers what is due.
    async fn land(&mut self) {
        let now = Instant::now();
        while self
            .flying
            .peek()
            .is_some_and(|Reverse(next)| next.due <= now)
        {
            let Some(Reverse(packet)) = self.flying.pop() else {
                return;
            };
            // Who is gone misses it.
            let _ = if packet.down {
                self.front.send_to(&packet.bytes, packet.client).await
            } else if let Some(back) = self.backs.get(&packet.client) {
                back.socket.send(&packet.bytes).await
            } else {
                continue;
            };
        }
    }
}

/// Whether this is RTP, by its version (RFC 7983), and no RTCP (RFC 5761, section 4).
fn is_rtp(packet: &[u8]) -> bool {
    matches!(packet, [128..=191, second, ..] if !(192..=223).contains(second))
}

fn is_audio(packet: &[u8]) -> bool {
    is_rtp(packet) && AUDIO_PAYLOAD_TYPES.contains(&(packet[1] & 0x7f))
}
