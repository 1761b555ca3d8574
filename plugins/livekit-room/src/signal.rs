//! The signalling connection: joins, resumes, messages, one at a time.

mod dial;
mod join;
mod link;
mod proxy;
mod regions;
mod request;

use crate::access::TokenSource;
use crate::room::{JoinError, ResumeError};
use dial::{DialError, Dialer, Patience, WebSocket};
use futures_util::StreamExt;
use join::Join;
use link::{Incoming, KeepAlive, Link};
use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use regions::Servers;
pub(crate) use regions::is_cloud;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

/// How long the goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// The first join: nothing is missed while it waits.
const FIRST: Patience = Patience {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(8),
};
/// A room that was lost is asked often: with the longest wait between joins (a second)
/// the time to connect stays below two seconds.
const EAGER: Patience = Patience {
    connect: Duration::from_millis(900),
    answer: Duration::from_millis(900),
};
/// A server that is slow must be reached some time, too. livekit-server itself gives a join 3 s
/// and tries again.
const PATIENT: Patience = Patience {
    connect: Duration::from_secs(3),
    answer: Duration::from_secs(6),
};
/// Every how many eager joins a patient one is made.
const PATIENT_EACH: u32 = 4;
/// A resume that takes longer is better replaced by a join.
const RESUME: Patience = Patience {
    connect: Duration::from_millis(900),
    answer: Duration::from_secs(2),
};

/// Longest refreshed token that is kept.
const MAX_TOKEN_BYTES: usize = 16 << 10;

/// What came of the signalling connection.
pub(crate) enum Signal {
    /// A join succeeded.
    Joined {
        url: String,
        response: Box<proto::JoinResponse>,
    },
    JoinFailed(JoinError),
    /// A resume succeeded.
    Resumed(Box<proto::ReconnectResponse>),
    ResumeFailed(ResumeError),
    Message(Box<Response>),
    Closed(String),
}

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A join that succeeded.
struct Joined {
    session: Session,
    response: Box<proto::JoinResponse>,
    link: Link,
}

/// A resume that succeeded.
type Resumed = (Link, Box<proto::ReconnectResponse>);

/// What a resume needs.
#[derive(Clone)]
struct Session {
    url: String,
    /// The newest the server gave, or the one it was joined with.
    token: String,
    participant_sid: String,
    keep_alive: KeepAlive,
}

/// The operation under way, if any. Messages wait until it is over.
enum Operation {
    None,
    Join(Pending<(Servers, Result<Joined, JoinError>)>),
    Resume(Pending<Result<Resumed, ResumeError>>),
}

/// One signalling connection after the other.
pub(crate) struct Signalling {
    tokens: Arc<dyn TokenSource>,
    dialer: Arc<Dialer>,
    operation: Operation,
    link: Option<Link>,
    session: Option<Session>,
    servers: Servers,
    /// Joins that failed since the last that succeeded.
    failed_joins: u32,
    ever_joined: bool,
    /// Why the link is no good though it hasn't said so.
    broken: Option<String>,
}

impl Signalling {
    pub(crate) fn new(tokens: Arc<dyn TokenSource>) -> Self {
        Self {
            tokens,
            dialer: Arc::default(),
            operation: Operation::None,
            link: None,
            session: None,
            servers: Servers::default(),
            failed_joins: 0,
            ever_joined: false,
            broken: None,
        }
    }

    /// The servers that the next joins try first.
    pub(crate) fn prefer(&mut self, regions: Vec<String>) {
        self.servers.give(regions);
    }

    /// Begins a join on a new connection; the old one is closed first.
    pub(crate) fn join(&mut self) {
        let old = self.link.take();
        self.broken = None;
        self.session = None;
        let join = Join {
            tokens: self.tokens.clone(),
            dialer: self.dialer.clone(),
            patience: match (self.ever_joined, self.failed_joins) {
                (false, _) => FIRST,
                (true, failed) if failed % PATIENT_EACH == PATIENT_EACH - 1 => PATIENT,
                (true, _) => EAGER,
            },
            // The first join has one attempt for everything; later ones take turns.
            everywhere: !self.ever_joined,
        };
        let mut servers = std::mem::take(&mut self.servers);
        self.operation = Operation::Join(Box::pin(async move {
            if let Some(old) = old {
                old.close(CLOSE_TIMEOUT).await;
            }
            let result = join.run(&mut servers).await;
            (servers, result)
        }));
    }

    /// Begins a resume of the session.
    pub(crate) fn resume(&mut self) {
        let old = self.link.take();
        self.broken = None;
        let (session, dialer) = (self.session.clone(), self.dialer.clone());
        self.operation = Operation::Resume(Box::pin(async move {
            let Some(session) = session else {
                return Err(ResumeError::SessionLost("there is no session".into()));
            };
            // The server takes the new connection for the old one; a goodbye would end both.
            drop(old);
            resume(&dialer, &session).await
        }));
    }

    /// Queues a request; never waits. What comes while no connection is there is not kept: after
    /// a resume the room says everything anew.
    pub(crate) fn send(&mut self, request: Box<Request>) {
        if let Some(link) = &self.link
            && let Err(full) = link.send(request)
        {
            self.broken = Some(full.to_string());
        }
    }

    /// The next thing that comes. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        if let Some(why) = self.broken.take() {
            self.link = None;
            return Signal::Closed(why);
        }
        match &mut self.operation {
            Operation::Join(pending) => {
                let (servers, result) = pending.await;
                self.operation = Operation::None;
                self.servers = servers;
                return self.joined(result);
            }
            Operation::Resume(pending) => {
                let result = pending.await;
                self.operation = Operation::None;
                return match result {
                    Ok((link, response)) => {
                        self.link = Some(link);
                        Signal::Resumed(response)
                    }
                    Err(error) => Signal::ResumeFailed(error),
                };
            }
            Operation::None => {}
        }
        let Some(link) = &mut self.link else {
            return std::future::pending().await;
        };
        match link.next().await {
            Incoming::Message(message) => {
                if let Response::RefreshToken(token) = &*message {
                    self.refresh(token.clone());
                }
                Signal::Message(message)
            }
            Incoming::Closed(why) => {
                self.link = None;
                Signal::Closed(why)
            }
        }
    }

    /// Closes the connection, the goodbye included.
    pub(crate) async fn close(mut self) {
        self.operation = Operation::None;
        if let Some(link) = self.link.take() {
            link.close(CLOSE_TIMEOUT).await;
        }
    }

    fn joined(&mut self, result: Result<Joined, JoinError>) -> Signal {
        match result {
            Ok(joined) => {
                self.ever_joined = true;
                self.failed_joins = 0;
                self.servers.joined();
                let url = joined.session.url.clone();
                self.session = Some(joined.session);
                self.link = Some(joined.link);
                Signal::Joined {
                    url,
                    response: joined.response,
                }
            }
            Err(error) => {
                self.failed_joins = self.failed_joins.saturating_add(1);
                Signal::JoinFailed(error)
            }
        }
    }

    fn refresh(&mut self, token: String) {
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return;
        }
        if let Some(session) = &mut self.session {
            self.tokens.refreshed(&session.url, &token);
            session.token = token;
        }
    }
}

async fn resume(dialer: &Dialer, session: &Session) -> Result<Resumed, ResumeError> {
    let url = request::resume_endpoint(&session.url, &session.participant_sid)
        .map_err(request::resume_error)?;
    let mut socket = dialer
        .dial(&url, &session.token, RESUME)
        .await
        .map_err(request::resume_error)?;
    match first_message(&mut socket, RESUME.answer).await {
        Ok(Response::Reconnect(response)) => {
            Ok((Link::new(socket, session.keep_alive), Box::new(response)))
        }
        Ok(Response::Leave(leave)) => Err(ResumeError::Left(Box::new(leave))),
        Ok(_) => Err(ResumeError::SessionLost(
            "the LiveKit server began with something else than the resume".into(),
        )),
        Err(error) => Err(ResumeError::SessionLost(error.to_string())),
    }
}

async fn first_message(socket: &mut WebSocket, within: Duration) -> Result<Response, DialError> {
    let read = async {
        loop {
            let bytes = match socket.next().await {
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Close(_))) | None => {
                    return Err("the LiveKit server closed the connection at once".to_owned());
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(format!("the LiveKit server broke off: {error}")),
            };
            if let Some(message) = link::decode(&bytes)? {
                return Ok(*message);
            }
        }
    };
    match timeout(within, read).await {
        Ok(message) => message.map_err(DialError::Failed),
        Err(_) => Err(DialError::Failed(
            "the LiveKit server did not answer in time".into(),
        )),
    }
}
