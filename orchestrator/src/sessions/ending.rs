//! Why sessions end, in the contract's words, and what a failed start is answered.

use crate::{Error, error::Kind};
use haven_wire::EndReason;

/// The stored reason of a session whose worker has found the room's end. None where a worker only
/// failed or stopped, which nobody asked it for: it is replaced.
pub(super) fn final_reason(ended: &EndReason) -> Option<String> {
    match ended {
        EndReason::RoomDeleted => Some("room_deleted".into()),
        EndReason::NoPublisher => Some("no_publisher".into()),
        EndReason::NotAuthorized { message } => Some(format!("error: not authorized: {message}")),
        EndReason::Stopped | EndReason::Connection { .. } | EndReason::Error { .. } => None,
    }
}

/// What a start is answered whose worker ended before the room was joined. LiveKit's failures
/// contain the word `connection`, which frontends look for.
pub(super) fn start_failure(ended: &EndReason, key: &str) -> Error {
    let gateway = |code, message| Error::new(Kind::BadGateway, code, message);
    match ended {
        EndReason::RoomDeleted | EndReason::NoPublisher => Error::new(
            Kind::NotFound,
            "stream_not_found",
            format!("Stream not found or not live for mint_id: {key}"),
        ),
        EndReason::NotAuthorized { message } => gateway(
            "livekit_not_authorized",
            format!("LiveKit connection failed, the room's server refuses the token: {message}"),
        ),
        EndReason::Connection { message } => gateway(
            "livekit_connection_failed",
            format!("LiveKit connection failed: {message}"),
        ),
        EndReason::Error { message } => Error::new(
            Kind::Internal,
            "worker_failed",
            format!("The session's pipeline could not be started: {message}"),
        ),
        EndReason::Stopped => crashed_at_start("it stopped"),
    }
}

/// What a start is answered whose worker went away without a word.
pub(super) fn crashed_at_start(how: &str) -> Error {
    Error::new(
        Kind::Internal,
        "worker_failed",
        "The session's worker ended before the room was joined; the server's log has its last words",
    )
    .caused_by(how.to_owned())
}

/// What a start is answered that took too long.
pub(super) fn start_timed_out() -> Error {
    Error::new(
        Kind::GatewayTimeout,
        "livekit_connection_timeout",
        "Timed out: no connection to the LiveKit room in time",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_livekit_say_connection() {
        let message = || "x".to_owned();
        for ended in [
            EndReason::NotAuthorized { message: message() },
            EndReason::Connection { message: message() },
        ] {
            let error = start_failure(&ended, "key");
            assert_eq!(error.kind(), Kind::BadGateway);
            assert!(error.message().contains("connection"), "{error}");
        }
        assert!(start_timed_out().message().contains("connection"));
    }
}
