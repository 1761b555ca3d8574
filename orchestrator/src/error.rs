//! The server's one error type.

use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// What sort of failure it is; `api::reply` alone knows the HTTP status of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request can't be understood, or lacks what the server isn't set up for.
    BadRequest,
    /// No token, or a wrong one.
    Unauthorized,
    /// A page of a foreign origin.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The path exists, with another method.
    MethodNotAllowed,
    /// It contradicts what is running.
    Conflict,
    /// The body is too large.
    TooLarge,
    /// Meant for another server (DNS rebinding).
    Misdirected,
    /// No such bytes in the file.
    RangeNotSatisfiable,
    /// A field is missing, ill-typed or out of range.
    Unprocessable,
    /// A WebSocket address was asked without an upgrade.
    UpgradeRequired,
    /// One client asks for more than its share.
    TooManyRequests,
    /// Our own fault.
    Internal,
    /// A neighbour (pump.fun, LiveKit) failed.
    BadGateway,
    /// A neighbour didn't answer in time.
    GatewayTimeout,
    /// Can't be done on this machine now.
    Unavailable,
    /// The disk is full.
    InsufficientStorage,
}

/// A failure: its kind, a stable code, one sentence that a person can act on, and what caused it.
///
/// The sentence is shown to clients, the cause is only logged.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    code: &'static str,
    message: String,
    /// When asking again is worth it.
    retry_after: Option<Duration>,
    details: BTreeMap<&'static str, Value>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            code,
            message: message.into(),
            retry_after: None,
            details: BTreeMap::new(),
            source: None,
        }
    }

    /// A failure of our own, of which clients learn nothing but that.
    pub(crate) fn internal(
        doing: &'static str,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::new(
            Kind::Internal,
            "internal",
            format!("The server failed at {doing}; its log has the cause"),
        )
        .caused_by(source)
    }

    /// A field of a request is missing, ill-typed or out of range.
    pub(crate) fn field(name: &str, message: impl fmt::Display) -> Self {
        Self::new(
            Kind::Unprocessable,
            "invalid_field",
            format!("Field `{name}` {message}"),
        )
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Tells clients after how long asking again is worth it: the header `Retry-After`.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds a field to the answer's body, for programs: beside `success`, `error` and `code`, whose
    /// names it can't have.
    pub(crate) fn detail(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.details.insert(name, value.into());
        self
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// After how long asking again is worth it.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What programs are told beside the code.
    pub(crate) fn details(&self) -> &BTreeMap<&'static str, Value> {
        &self.details
    }

    /// The sentence and its causes, for the log.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_has_the_causes_and_the_message_has_not() {
        let error = Error::internal("writing", std::io::Error::other("disk on fire"));
        assert!(error.chain().ends_with("disk on fire"));
        assert!(!error.message().contains("fire"));
    }
}
