//! What is true of a session, as others see it.

use super::stream_info::StreamInfo;
use crate::{Error, error::Kind, recordings::Recording};
use haven_wire::SessionStatus;
use serde::Serialize;
use utoipa::ToSchema;

/// A session's life. It only moves forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The room isn't joined yet.
    #[default]
    Starting,
    /// The room was joined; the connection may be lost and made again meanwhile.
    Running,
    /// It ends: files are finalised, the worker is waited for.
    Stopping,
    /// Over; nothing of it runs.
    Ended,
}

/// Why a session could not be started, as it is told to all who asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    kind: Kind,
    code: &'static str,
    message: String,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind(),
            code: error.code(),
            message: error.message().to_owned(),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.kind, failure.code, failure.message)
    }
}

/// What is wrong with a session that goes on trying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Trouble {
    /// `crash_loop`.
    pub(crate) code: &'static str,
    /// A sentence for people.
    pub(crate) message: String,
}

/// A session as its actor publishes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) phase: Phase,
    pub(crate) session_id: i64,
    pub(crate) key: String,
    pub(crate) started_at_ms: i64,
    /// What the worker says of the connection.
    pub(crate) status: SessionStatus,
    /// Why the connection is in this state, where that isn't plain.
    pub(crate) state_reason: Option<String>,
    /// Since when.
    pub(crate) state_since_ms: i64,
    /// How often its worker was replaced.
    pub(crate) restarts: u32,
    pub(crate) problem: Option<Trouble>,
    pub(crate) stream_info: StreamInfo,
    /// The recordings that run.
    pub(crate) recordings: Vec<Recording>,
    /// Why it could not be started.
    pub(crate) failure: Option<Failure>,
    /// Why it ended, or is about to.
    pub(crate) end_reason: Option<String>,
}

impl View {
    /// Moves to a later phase; a step back is ignored. Every change of phase goes through here.
    pub(crate) fn advance(&mut self, phase: Phase, why: &str) {
        if phase > self.phase {
            tracing::info!(
                session_id = self.session_id,
                key = self.key,
                from = ?self.phase,
                to = ?phase,
                why,
                "session"
            );
            self.phase = phase;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_only_move_forward() {
        let mut view = View::default();
        view.advance(Phase::Stopping, "stopped");
        view.advance(Phase::Running, "joined");
        assert_eq!(view.phase, Phase::Stopping);
    }
}
