use std::time::Duration;

/// Why a call gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The platform says that nothing is there: the coin isn't live, or it doesn't know it.
    /// It answers so with 404, or with 200 and an empty body.
    #[error("pump.fun knows no such stream or coin, or it is not live")]
    NotLive,
    /// The platform wants us to come back later, and that is beyond the call's deadline.
    #[error("pump.fun asks to wait before the next request")]
    RateLimited {
        /// How long it said, if it did.
        retry_after: Option<Duration>,
    },
    /// Nothing was learnt: neither that it is there nor that it isn't.
    #[error(transparent)]
    NotAsked(#[from] NotAsked),
    /// A base URL can't be used.
    #[error("{name} is not an http(s), ws or wss URL as needed: {value}")]
    InvalidUrl {
        /// Which setting, as its environment variable.
        name: &'static str,
        /// What it was set to, without user information.
        value: String,
    },
}

impl Error {
    /// Whether the same call may give an answer later on.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::NotAsked(_))
    }
}

/// What stood between us and an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotAsked {
    /// No connection, or it broke.
    #[error("could not ask pump.fun: no connection")]
    Transport(#[source] reqwest::Error),
    /// No answer in time.
    #[error("could not ask pump.fun: no answer in time")]
    TimedOut,
    /// A status that says nothing about the stream (401, 403, 5xx, …).
    #[error("could not ask pump.fun: it answered with HTTP status {0}")]
    Status(u16),
    /// The body is larger than [`crate::MAX_BODY_BYTES`].
    #[error("could not ask pump.fun: its answer is too large")]
    TooLarge,
    /// The body is no JSON: a proxy's page, or cut short.
    #[error("could not ask pump.fun: its answer is no JSON")]
    NotJson(#[source] serde_json::Error),
    /// JSON of another shape than expected.
    #[error("could not ask pump.fun: its answer lacks {0}")]
    Lacks(&'static str),
}
