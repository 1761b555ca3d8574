//! One open signalling connection: a task that reads, writes and keeps alive.

use super::dial::WebSocket;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// Requests that may wait for the socket. A join sends a dozen; a server that reads nothing for
/// this many is gone.
const MAX_OUTGOING: usize = 128;
/// Messages that may wait for the room; behind them the server waits.
const MAX_INCOMING: usize = 64;
/// A write that takes longer means that the server takes nothing any more.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to read on after a write has failed. What a closed connection brought is there already.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(500);

/// What a connection brings.
#[derive(Debug)]
pub(super) enum Incoming {
    Message(Box<Response>),
    /// It is over; nothing follows.
    Closed(String),
}

/// How often to ask whether the server is still there, and how long silence may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeepAlive {
    interval: Duration,
    silence: Duration,
}

impl KeepAlive {
    /// As the server wishes, within what makes sense: livekit-server says 5 s and 15 s.
    pub(super) fn of(join: &proto::JoinResponse) -> Self {
        let wished = |seconds: i32, default: u64, range: std::ops::RangeInclusive<u64>| {
            let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
            seconds
                .unwrap_or(default)
                .clamp(*range.start(), *range.end())
        };
        let interval = wished(join.ping_interval, 5, 1..=30);
        let silence = wished(join.ping_timeout, 15, 2..=90);
        Self {
            interval: Duration::from_secs(interval),
            silence: Duration::from_secs(silence.max(2 * interval)),
        }
    }
}

/// The queue to the server is full.
#[derive(Debug, thiserror::Error)]
#[error("the LiveKit server reads nothing any more")]
pub(super) struct LinkFull;

/// An open connection. Its task ends with it.
pub(super) struct Link {
    outgoing: mpsc::Sender<Box<Request>>,
    incoming: mpsc::Receiver<Incoming>,
    task: JoinHandle<()>,
}

impl Link {
    pub(super) fn new(socket: WebSocket, keep_alive: KeepAlive) -> Self {
        let (outgoing, requests) = mpsc::channel(MAX_OUTGOING);
        let (messages, incoming) = mpsc::channel(MAX_INCOMING);
        let task = tokio::spawn(run(socket, keep_alive, requests, messages));
        Self {
            outgoing,
            incoming,
            task,
        }
    }

    /// Queues a request; never waits.
    pub(super) fn send(&self, request: Box<Request>) -> Result<(), LinkFull> {
        match self.outgoing.try_send(request) {
            // A closed connection says so by itself.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(LinkFull),
        }
    }

    /// What comes next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Incoming {
        self.incoming
            .recv()
            .await
            .unwrap_or_else(|| Incoming::Closed("the signalling connection ended".into()))
    }

    /// Sends what is queued and a goodbye, for as long as this may take.
    pub(super) async fn close(mut self, within: Duration) {
        self.incoming.close();
        let (outgoing, _) = mpsc::channel(1);
        self.outgoing = outgoing;
        let _ = timeout(within, &mut self.task).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a binary message says; none: nothing we know.
///
/// # Errors
/// When it is no message of the protocol.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<Box<Response>>, String> {
    match proto::SignalResponse::decode(bytes) {
        Ok(response) => Ok(response.message.map(Box::new)),
        Err(error) => Err(format!(
            "the LiveKit server sent a message that can't be read: {error}"
        )),
    }
}

async fn run(
    socket: WebSocket,
    keep_alive: KeepAlive,
    requests: mpsc::Receiver<Box<Request>>,
    messages: mpsc::Sender<Incoming>,
) {
    let (sink, stream) = socket.split();
    let round_trip = AtomicI64::new(0);
    let mut read = pin!(read(stream, keep_alive.silence, &messages, &round_trip));
    let why = tokio::select! {
        biased;
        why = &mut read => why,
        why = write(sink, keep_alive.interval, requests, &round_trip) => {
            if why.is_some() {
                // A server says leave and closes. Writing may be the first to notice, while
                // the leave is still to be read.
                let _ = timeout(LAST_WORDS_TIMEOUT, read).await;
            }
            why
        }
    };
    if let Some(why) = why {
        let _ = messages.send(Incoming::Closed(why)).await;
    }
}

/// Reads until the connection ends, and says why; none: nobody listens.
async fn read(
    mut stream: SplitStream<WebSocket>,
    silence: Duration,
    messages: &mpsc::Sender<Incoming>,
    round_trip: &AtomicI64,
) -> Option<String> {
    loop {
        let next = match timeout_at(Instant::now() + silence, stream.next()).await {
            Ok(next) => next,
            Err(_) => return Some(format!("the LiveKit server was silent for {silence:?}")),
        };
        let bytes = match next {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Close(_))) | None => {
                return Some("the LiveKit server closed the signalling connection".into());
            }
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Some(format!("the signalling connection broke: {error}")),
        };
        let message = match decode(&bytes) {
            Ok(Some(message)) => message,
            Ok(None) => continue,
            Err(why) => return Some(why),
        };
        if let Response::PongResp(pong) = &*message {
            let took = unix_ms().saturating_sub(pong.last_ping_timestamp);
            round_trip.store(took.clamp(0, 60_000), Ordering::Relaxed);
            continue;
        }
        // Whoever closes the connection doesn't listen any more, and still wants the queue sent.
        if messages.send(Incoming::Message(message)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Writes until nothing more comes; says why where it failed.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    interval: Duration,
    mut requests: mpsc::Receiver<Box<Request>>,
    round_trip: &AtomicI64,
) -> Option<String> {
    let mut ping = interval_at(Instant::now() + interval, interval);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let request = tokio::select! {
            request = requests.recv() => request,
            _ = ping.tick() => Some(Box::new(Request::PingReq(proto::Ping {
                timestamp: unix_ms(),
                rtt: round_trip.load(Ordering::Relaxed),
            }))),
        };
        let Some(request) = request else {
            let _ = timeout(WRITE_TIMEOUT, sink.close()).await;
            return None;
        };
        let bytes = proto::SignalRequest {
            message: Some(*request),
        }
        .encode_to_vec();
        match timeout(
            WRITE_TIMEOUT,
            sink.send(Message::Binary(Bytes::from(bytes))),
        )
        .await
        {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Some(format!("the signalling connection broke: {error}")),
            Err(_) => return Some(LinkFull.to_string()),
        }
    }
}

fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::tungstenite::protocol::Role;
    use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

    #[test]
    fn a_servers_wish_for_pings_is_kept_within_reason() {
        let of = |ping_interval, ping_timeout| {
            let keep_alive = KeepAlive::of(&proto::JoinResponse {
                ping_interval,
                ping_timeout,
                ..Default::default()
            });
            (keep_alive.interval.as_secs(), keep_alive.silence.as_secs())
        };
        assert_eq!(of(5, 15), (5, 15));
        assert_eq!(of(0, 0), (5, 15));
        assert_eq!(of(-3, i32::MIN), (5, 15));
        assert_eq!(of(i32::MAX, i32::MAX), (30, 90));
        assert_eq!(of(10, 1), (10, 20));
    }

    /// A server that says leave and resets the connection, while we write.
    async fn connection_that_ends_with_a_leave() -> WebSocket {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = TcpStream::connect(listener.local_addr().unwrap());
        let (ours, theirs) = tokio::join!(connect, listener.accept());
        let ours = MaybeTlsStream::Plain(ours.unwrap());
        let theirs = theirs.unwrap().0;
        let ours = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
        let mut theirs = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
        let leave = proto::SignalResponse {
            message: Some(Response::Leave(proto::LeaveRequest::default())),
        };
        let leave = Message::Binary(leave.encode_to_vec().into());
        theirs.send(leave).await.unwrap();
        theirs.get_ref().set_zero_linger().unwrap();
        ours
    }

    #[tokio::test]
    async fn a_leave_is_read_though_writing_fails_first() {
        for _ in 0..20 {
            let mut link = Link::new(
                connection_that_ends_with_a_leave().await,
                KeepAlive::of(&proto::JoinResponse::default()),
            );
            for _ in 0..10 {
                link.send(Box::new(Request::Simulate(Default::default())))
                    .unwrap();
            }
            let first = link.next().await;
            assert!(matches!(first, Incoming::Message(_)), "{first:?}");
            assert!(matches!(link.next().await, Incoming::Closed(_)));
        }
    }
}
