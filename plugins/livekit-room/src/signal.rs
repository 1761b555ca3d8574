//! The signalling connection: joins, resumes, messages, one at a time.

use crate::access::{AccessError, TokenSource};
use crate::room::{JoinError, ResumeError};
use livekit_protocol as proto;
use livekit_signaling::{
    SignalClient, SignalError, SignalEvent, SignalEvents, SignalOptions, SignalResult,
};
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A token source and a server have this long together, so that a waited-for room is asked often.
const JOIN_TIMEOUT: Duration = Duration::from_secs(8);
/// A resume that takes longer is better replaced by a join.
const RESUME_TIMEOUT: Duration = Duration::from_secs(4);
/// How long the goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// What came of the signalling connection.
pub(crate) enum Signal {
    /// A join succeeded.
    Joined {
        url: String,
        response: Box<proto::JoinResponse>,
    },
    JoinFailed(JoinError),
    Resumed,
    ResumeFailed(ResumeError),
    Message(Box<Response>),
    Closed(String),
}

type JoinResult = Result<(String, SignalClient, proto::JoinResponse, SignalEvents), JoinError>;
type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The operation under way, if any. Messages wait until it is over.
enum Operation {
    None,
    Join(Pending<JoinResult>),
    Resume(Pending<Result<SignalResult<proto::ReconnectResponse>, tokio::time::error::Elapsed>>),
}

/// One signalling connection after the other.
pub(crate) struct Signalling {
    tokens: Arc<dyn TokenSource>,
    operation: Operation,
    client: Option<Arc<SignalClient>>,
    events: Option<SignalEvents>,
    /// Restarting a live connection closes the old one, and that is reported too.
    stale_close_expected: bool,
    alive: bool,
}

impl Signalling {
    pub(crate) fn new(tokens: Arc<dyn TokenSource>) -> Self {
        Self {
            tokens,
            operation: Operation::None,
            client: None,
            events: None,
            stale_close_expected: false,
            alive: false,
        }
    }

    /// Begins a join on a new connection; the old one is closed first.
    pub(crate) fn join(&mut self) {
        let old = self.client.take();
        self.events = None;
        self.alive = false;
        self.stale_close_expected = false;
        let tokens = self.tokens.clone();
        self.operation = Operation::Join(Box::pin(async move {
            if let Some(old) = old {
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, old.close()).await;
            }
            match tokio::time::timeout(JOIN_TIMEOUT, join(&*tokens)).await {
                Ok(result) => result,
                Err(_) => Err(JoinError::Unavailable(
                    "the LiveKit server did not answer in time".into(),
                )),
            }
        }));
    }

    /// Begins a resume of the session.
    pub(crate) fn resume(&mut self) {
        let Some(client) = self.client.clone() else {
            let lost = SignalError::Closed;
            self.operation = Operation::Resume(Box::pin(std::future::ready(Ok(Err(lost)))));
            return;
        };
        self.stale_close_expected |= self.alive;
        self.operation =
            Operation::Resume(Box::pin(tokio::time::timeout(RESUME_TIMEOUT, async move {
                client
                    .restart(proto::ReconnectReason::RrSignalDisconnected)
                    .await
            })));
    }

    /// Tells the client that the session is whole again, so that it sends what it held back.
    pub(crate) async fn confirm_resumed(&mut self) {
        if let Some(client) = &self.client {
            client.set_reconnected().await;
        }
    }

    pub(crate) async fn send(&mut self, request: Request) {
        // While an operation runs, the client may hold its lock for seconds.
        if let (Operation::None, Some(client)) = (&self.operation, &self.client) {
            client.send(request).await;
        }
    }

    /// The next thing that comes. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        loop {
            match &mut self.operation {
                Operation::Join(pending) => {
                    let result = pending.await;
                    self.operation = Operation::None;
                    return self.joined(result);
                }
                Operation::Resume(pending) => {
                    let result = pending.await;
                    self.operation = Operation::None;
                    return self.resumed(result);
                }
                Operation::None => {}
            }
            let Some(events) = &mut self.events else {
                return std::future::pending().await;
            };
            match events.recv().await {
                Some(SignalEvent::Message(message)) => return Signal::Message(message),
                Some(SignalEvent::Close(_)) if self.stale_close_expected => {
                    self.stale_close_expected = false;
                }
                Some(SignalEvent::Close(why)) => {
                    self.alive = false;
                    return Signal::Closed(why.into_owned());
                }
                None => {
                    self.events = None;
                    self.alive = false;
                    return Signal::Closed("the signalling client ended".into());
                }
            }
        }
    }

    /// Closes the connection, the goodbye included.
    pub(crate) async fn close(mut self) {
        self.operation = Operation::None;
        if let Some(client) = self.client.take() {
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, client.close()).await;
        }
    }

    fn joined(&mut self, result: JoinResult) -> Signal {
        match result {
            Ok((url, client, response, events)) => {
                self.client = Some(Arc::new(client));
                self.events = Some(events);
                self.alive = true;
                Signal::Joined {
                    url,
                    response: Box::new(response),
                }
            }
            Err(error) => Signal::JoinFailed(error),
        }
    }

    fn resumed(
        &mut self,
        result: Result<SignalResult<proto::ReconnectResponse>, tokio::time::error::Elapsed>,
    ) -> Signal {
        match result {
            Ok(Ok(_)) => {
                self.alive = true;
                Signal::Resumed
            }
            Ok(Err(
                error @ (SignalError::LeaveRequest { .. }
                | SignalError::Client(..)
                | SignalError::Closed
                | SignalError::InvalidState(_)),
            )) => Signal::ResumeFailed(ResumeError::SessionLost(error.to_string())),
            Ok(Err(error)) => Signal::ResumeFailed(ResumeError::Unavailable(error.to_string())),
            Err(_) => Signal::ResumeFailed(ResumeError::SessionLost(
                "the LiveKit server did not answer in time".into(),
            )),
        }
    }
}

async fn join(tokens: &dyn TokenSource) -> JoinResult {
    let access = tokens.access().await.map_err(|error| match error {
        AccessError::NotAuthorized(why) => JoinError::NotAuthorized(why),
        AccessError::NotFound(why) => JoinError::NotFound(why),
        AccessError::Unavailable(why) => JoinError::Unavailable(why),
    })?;
    match SignalClient::connect(&access.url, &access.token, options(), None).await {
        Ok((client, response, events)) => Ok((access.url, client, response, events)),
        Err(error) => Err(join_error(&error)),
    }
}

fn options() -> SignalOptions {
    let mut options = SignalOptions::default();
    // We subscribe to what is taken, not to everybody.
    options.auto_subscribe = false;
    options.adaptive_stream = false;
    options.single_peer_connection = false;
    options.region_failover = true;
    // The default asks for frames with a trailer that we would have to strip.
    options.client_capabilities = Vec::new();
    options
}

fn join_error(error: &SignalError) -> JoinError {
    let status = match error {
        SignalError::Client(status, _) => Some(status.as_u16()),
        SignalError::Handshake { status } => Some(status.as_u16()),
        _ => None,
    };
    match (status, error) {
        (Some(401 | 403), _) | (_, SignalError::TokenFormat) => {
            JoinError::NotAuthorized("the LiveKit server refused the token".into())
        }
        (Some(404), _) => JoinError::NotFound("the LiveKit server does not know the room".into()),
        (_, SignalError::UrlParse(why)) => {
            JoinError::NotFound(format!("the LiveKit server's URL can't be used: {why}"))
        }
        _ => JoinError::Unavailable(format!("the LiveKit server can't be reached: {error}")),
    }
}
