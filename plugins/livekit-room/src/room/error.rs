//! Why a connection can't be made.

use livekit_protocol as proto;

/// Why a join failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum JoinError {
    /// The token is refused; asking again with the same right won't help.
    #[error("not authorized: {0}")]
    NotAuthorized(String),
    /// The stream is not there.
    #[error("not found: {0}")]
    NotFound(String),
    /// The server can't be reached, or isn't able to now.
    #[error("{0}")]
    Unavailable(String),
    /// The server's first word was that we leave.
    #[error("the server sends us away: {:?}", .0.reason())]
    Left(Box<proto::LeaveRequest>),
}

/// Why a resume failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ResumeError {
    /// The server can't be reached; the session may still be there.
    #[error("{0}")]
    Unavailable(String),
    /// The server no longer knows the session: join anew.
    #[error("{0}")]
    SessionLost(String),
    /// The server's first word was that we leave.
    #[error("the server sends us away: {:?}", .0.reason())]
    Left(Box<proto::LeaveRequest>),
}
