//! Table `live_sessions`.

use super::Db;
use crate::Error;
use rusqlite::params;

/// What sort of room a session shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionKind {
    Mint,
    Room,
    Demo,
}

impl SessionKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Mint => "mint",
            Self::Room => "room",
            Self::Demo => "demo",
        }
    }
}

/// A session that begins.
#[derive(Clone, Debug)]
pub(crate) struct NewSession {
    pub(crate) key: String,
    pub(crate) kind: SessionKind,
    pub(crate) started_at_ms: i64,
}

impl Db {
    /// Writes a session that begins; its id.
    pub(crate) async fn insert_session(&self, session: NewSession) -> Result<i64, Error> {
        self.call("storing the session", move |connection| {
            connection.execute(
                "INSERT INTO live_sessions (key, kind, started_at_ms) VALUES (?1, ?2, ?3)",
                params![session.key, session.kind.as_str(), session.started_at_ms],
            )?;
            Ok(connection.last_insert_rowid())
        })
        .await
    }

    /// Stores what was learnt at joining.
    pub(crate) async fn session_joined(
        &self,
        id: i64,
        room_name: String,
        stream_info: String,
    ) -> Result<(), Error> {
        self.call("storing the session", move |connection| {
            connection
                .execute(
                    "UPDATE live_sessions SET room_name = ?2, stream_info = ?3 WHERE id = ?1",
                    params![id, room_name, stream_info],
                )
                .map(drop)
        })
        .await
    }

    /// Stores a session's end. A session that has ended stays as it is.
    pub(crate) async fn end_session(
        &self,
        id: i64,
        ended_at_ms: i64,
        reason: String,
    ) -> Result<(), Error> {
        self.call("storing the session's end", move |connection| {
            connection
                .execute(
                    "UPDATE live_sessions SET ended_at_ms = ?2, end_reason = ?3
                     WHERE id = ?1 AND ended_at_ms IS NULL",
                    params![id, ended_at_ms, reason],
                )
                .map(drop)
        })
        .await
    }

    /// Forgets a session that could not be started.
    pub(crate) async fn forget_session(&self, id: i64) -> Result<(), Error> {
        self.call("forgetting the session", move |connection| {
            connection
                .execute("DELETE FROM live_sessions WHERE id = ?1", [id])
                .map(drop)
        })
        .await
    }

    /// Ends every session that a dead server left running; how many.
    pub(crate) async fn end_dead_sessions(&self, now_ms: i64) -> Result<usize, Error> {
        self.call("ending the sessions of a dead server", move |connection| {
            connection.execute(
                "UPDATE live_sessions SET ended_at_ms = ?1, end_reason = 'server_died'
                 WHERE ended_at_ms IS NULL",
                [now_ms],
            )
        })
        .await
    }
}
