//! A signalling server that does what each test says, and a room that is run against it.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "what fails here fails the test; no test uses everything"
)]

use futures_util::{SinkExt, StreamExt};
use livekit_protocol as proto;
use livekit_room::{
    Access, AccessError, AccessFuture, Driver, EndReason, RoomConfig, RoomEvent, Stopper,
    TokenSource,
};
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server;
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// Fails the test where this takes too long.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(done) => done,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

/// A server that only does what it is told.
pub(crate) struct FakeServer {
    listener: TcpListener,
}

impl FakeServer {
    pub(crate) async fn start() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.listener.local_addr().unwrap())
    }

    /// Lets the next client connect and says nothing.
    pub(crate) async fn connection(&self) -> TcpStream {
        soon("a client connects", self.listener.accept())
            .await
            .unwrap()
            .0
    }

    /// Answers the next request with this status and body instead of a WebSocket; gives what was
    /// asked.
    pub(crate) async fn answer(&self, status: u16, body: &str) -> String {
        let mut stream = self.connection().await;
        let mut asked = Vec::new();
        let mut buffer = [0; 4096];
        while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
            let read = soon("a request comes", stream.read(&mut buffer)).await;
            asked.extend_from_slice(&buffer[..read.unwrap()]);
        }
        let answer = format!(
            "HTTP/1.1 {status} Said\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        String::from_utf8(asked).unwrap()
    }

    /// Upgrades the next client.
    pub(crate) async fn accept(&self) -> Connection {
        let stream = self.connection().await;
        let mut token = String::new();
        let mut query = HashMap::new();
        #[allow(clippy::result_large_err, reason = "the signature is the library's")]
        let note = |request: &server::Request, response: server::Response| {
            let bearer = request.headers()["authorization"].to_str().unwrap();
            bearer["Bearer ".len()..].clone_into(&mut token);
            let url = format!("ws://server{}", request.uri());
            query = url::Url::parse(&url)
                .unwrap()
                .query_pairs()
                .into_owned()
                .collect();
            Ok(response)
        };
        let socket = soon(
            "an upgrade",
            tokio_tungstenite::accept_hdr_async(stream, note),
        )
        .await
        .unwrap();
        Connection {
            socket,
            token,
            query,
        }
    }

    /// Upgrades the next client, which must want to join, and lets it.
    pub(crate) async fn join(&self, others: &[proto::ParticipantInfo]) -> Connection {
        let mut connection = self.accept().await;
        assert!(!connection.is_resume(), "a join, not a resume");
        connection.send(Response::Join(join_response(others))).await;
        connection
    }

    /// Upgrades the next client, which must want to resume, and lets it.
    pub(crate) async fn resume(&self) -> Connection {
        let mut connection = self.accept().await;
        assert!(connection.is_resume(), "a resume, not a join");
        let welcome = Response::Reconnect(proto::ReconnectResponse::default());
        connection.send(welcome).await;
        connection
    }
}

/// A client that is connected.
pub(crate) struct Connection {
    socket: WebSocketStream<TcpStream>,
    /// The token it came with.
    pub(crate) token: String,
    /// What it asked for.
    pub(crate) query: HashMap<String, String>,
}

impl Connection {
    pub(crate) fn is_resume(&self) -> bool {
        self.query.get("reconnect").is_some_and(|flag| flag == "1")
    }

    pub(crate) async fn send(&mut self, message: Response) {
        let message = proto::SignalResponse {
            message: Some(message),
        };
        self.send_bytes(message.encode_to_vec()).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: Vec<u8>) {
        let sending = self.socket.send(Message::Binary(Bytes::from(bytes)));
        soon("a message is sent", sending).await.unwrap();
    }

    /// Sends what the client may not want to the end.
    pub(crate) async fn send_unwanted(&mut self, bytes: Vec<u8>) {
        let sending = self.socket.send(Message::Binary(Bytes::from(bytes)));
        let _ = soon("a message is sent or refused", sending).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        let sending = self.socket.send(Message::text(text));
        soon("a text is sent", sending).await.unwrap();
    }

    pub(crate) async fn leave(&mut self, action: proto::leave_request::Action, reason: i32) {
        self.send(Response::Leave(proto::LeaveRequest {
            action: action as i32,
            reason,
            ..Default::default()
        }))
        .await;
    }

    /// The client's next request that is no ping; none: it has gone.
    pub(crate) async fn request(&mut self) -> Option<Request> {
        loop {
            match soon("a request of the client", self.socket.next()).await {
                Some(Ok(Message::Binary(bytes))) => {
                    let request = proto::SignalRequest::decode(&bytes[..]).unwrap().message;
                    if !matches!(request, Some(Request::PingReq(_))) {
                        return request;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }
}

pub(crate) fn join_response(others: &[proto::ParticipantInfo]) -> proto::JoinResponse {
    proto::JoinResponse {
        room: Some(proto::Room {
            name: "room".into(),
            sid: "RM_1".into(),
            ..Default::default()
        }),
        participant: Some(person("PA_me", "me", &[])),
        other_participants: others.to_vec(),
        ping_interval: 5,
        ping_timeout: 15,
        ..Default::default()
    }
}

/// A participant with cameras of these SIDs.
pub(crate) fn person(sid: &str, identity: &str, cameras: &[&str]) -> proto::ParticipantInfo {
    let camera = |sid: &&str| proto::TrackInfo {
        sid: (*sid).into(),
        r#type: proto::TrackType::Video as i32,
        source: proto::TrackSource::Camera as i32,
        ..Default::default()
    };
    proto::ParticipantInfo {
        sid: sid.into(),
        identity: identity.into(),
        state: proto::participant_info::State::Active as i32,
        tracks: cameras.iter().map(camera).collect(),
        ..Default::default()
    }
}

/// Gives `token-1`, `token-2` and so on.
#[derive(Clone, Default)]
pub(crate) struct Tokens {
    pub(crate) url: String,
    pub(crate) has_regions: bool,
    /// Answers nothing at all.
    pub(crate) stuck: bool,
    /// What the second and later tokens are instead.
    pub(crate) later: Option<AccessError>,
    pub(crate) given: Arc<Mutex<u32>>,
}

impl Tokens {
    pub(crate) fn of(server: &FakeServer) -> Self {
        Self {
            url: server.url(),
            ..Self::default()
        }
    }
}

impl TokenSource for Tokens {
    fn access(&self) -> AccessFuture<'_> {
        if self.stuck {
            return Box::pin(std::future::pending());
        }
        let mut given = self.given.lock().unwrap();
        *given += 1;
        let access = match &self.later {
            Some(error) if *given > 1 => Err(error.clone()),
            _ => Ok(Access {
                url: self.url.clone(),
                token: format!("token-{given}"),
            }),
        };
        Box::pin(std::future::ready(access))
    }

    fn has_regions(&self, _url: &str) -> bool {
        self.has_regions
    }
}

/// A room that runs.
pub(crate) struct Client {
    events: mpsc::UnboundedReceiver<RoomEvent>,
    stopper: Stopper,
    task: JoinHandle<EndReason>,
}

impl Client {
    pub(crate) fn start(tokens: impl TokenSource + 'static) -> Self {
        Self::start_with(RoomConfig::default(), tokens)
    }

    pub(crate) fn start_with(config: RoomConfig, tokens: impl TokenSource + 'static) -> Self {
        let driver = Driver::new(config, Box::new(tokens));
        let stopper = driver.stopper();
        let (send, events) = mpsc::unbounded_channel();
        let task = tokio::spawn(driver.run(move |event| {
            let _ = send.send(event);
        }));
        Self {
            events,
            stopper,
            task,
        }
    }

    /// The next event that is wanted.
    pub(crate) async fn event<T>(&mut self, wanted: impl Fn(&RoomEvent) -> Option<T>) -> T {
        let next = async {
            loop {
                let event = self.events.recv().await.expect("the room has not ended");
                if let Some(found) = wanted(&event) {
                    return found;
                }
            }
        };
        soon("an event of the room", next).await
    }

    pub(crate) async fn joined(&mut self) {
        self.event(|event| matches!(event, RoomEvent::Joined(_)).then_some(()))
            .await;
    }

    /// Why the connection is made again.
    pub(crate) async fn reconnecting(&mut self) -> String {
        self.event(|event| match event {
            RoomEvent::Reconnecting { reason, .. } => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    /// How the room ends.
    pub(crate) async fn end(self) -> EndReason {
        soon("the room ends", self.task).await.unwrap()
    }

    /// Stops it; says how long that took.
    pub(crate) async fn stop(self) -> Duration {
        let start = Instant::now();
        self.stopper.stop();
        assert_eq!(self.end().await, EndReason::Stopped);
        start.elapsed()
    }
}
