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
    /// The kind of a stored name.
    fn of(name: &str) -> Option<Self> {
        [Self::Mint, Self::Room, Self::Demo]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }

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

/// A session's state as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StateChange {
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) at_ms: i64,
    /// How often its worker was replaced so far.
    pub(crate) restarts: u32,
}

/// A session that should run, and whose server has ended.
#[derive(Clone, Debug)]
pub(crate) struct WantedSession {
    pub(crate) id: i64,
    pub(crate) key: String,
    pub(crate) kind: SessionKind,
    pub(crate) room_name: String,
    /// JSON: the coin as it was at the start.
    pub(crate) stream_info: String,
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

    /// Stores what was learnt at joining; from now on the session is to run until it ends.
    pub(crate) async fn session_joined(
        &self,
        id: i64,
        room_name: String,
        stream_info: String,
    ) -> Result<(), Error> {
        self.call("storing the session", move |connection| {
            connection
                .execute(
                    "UPDATE live_sessions SET room_name = ?2, stream_info = ?3, wanted = 1
                     WHERE id = ?1",
                    params![id, room_name, stream_info],
                )
                .map(drop)
        })
        .await
    }

    /// Stores what a session is doing.
    pub(crate) async fn session_state(&self, id: i64, change: StateChange) -> Result<(), Error> {
        self.call("storing the session's state", move |connection| {
            connection
                .execute(
                    "UPDATE live_sessions SET state = ?2, state_reason = ?3, state_at_ms = ?4,
                     restarts = ?5 WHERE id = ?1",
                    params![
                        id,
                        change.state,
                        change.reason,
                        change.at_ms,
                        change.restarts
                    ],
                )
                .map(drop)
        })
        .await
    }

    /// Stores a session's end. A session that has ended stays as it is. One that ends with its
    /// server is taken up by the next.
    pub(crate) async fn end_session(
        &self,
        id: i64,
        ended_at_ms: i64,
        reason: String,
    ) -> Result<(), Error> {
        self.call("storing the session's end", move |connection| {
            connection
                .execute(
                    "UPDATE live_sessions SET ended_at_ms = ?2, end_reason = ?3, state = 'ended',
                     state_reason = ?3, state_at_ms = ?2,
                     wanted = CASE WHEN ?3 = 'shutdown' THEN wanted ELSE 0 END
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

    /// A session does not go on under another server.
    pub(crate) async fn give_up_session(&self, id: i64) -> Result<(), Error> {
        self.call("storing the session's end", move |connection| {
            connection
                .execute("UPDATE live_sessions SET wanted = 0 WHERE id = ?1", [id])
                .map(drop)
        })
        .await
    }

    /// The sessions that should run. Of each key the newest counts alone: that an older one has ended
    /// may not have been stored. To be asked before the first session is started.
    pub(crate) async fn wanted_sessions(&self) -> Result<Vec<WantedSession>, Error> {
        self.call("looking for sessions", |connection| {
            connection
                .prepare(
                    "SELECT * FROM live_sessions WHERE wanted = 1 AND id IN
                     (SELECT max(id) FROM live_sessions GROUP BY key) ORDER BY id",
                )?
                .query_map([], |row| {
                    let kind: String = row.get("kind")?;
                    Ok(SessionKind::of(&kind).map(|kind| WantedSession {
                        id: row.get("id").unwrap_or_default(),
                        key: row.get("key").unwrap_or_default(),
                        kind,
                        room_name: row.get("room_name").unwrap_or_default(),
                        stream_info: row.get("stream_info").unwrap_or_default(),
                        started_at_ms: row.get("started_at_ms").unwrap_or_default(),
                    }))
                })?
                .filter_map(Result::transpose)
                .collect()
        })
        .await
    }

    /// A session goes on under a new server.
    pub(crate) async fn take_up_session(&self, id: i64, now_ms: i64) -> Result<(), Error> {
        self.call("taking the session up", move |connection| {
            connection
                .execute(
                    "UPDATE live_sessions SET ended_at_ms = NULL, end_reason = NULL, wanted = 1,
                     taken_up = taken_up + 1, state = 'reconnecting',
                     state_reason = 'server_restarted', state_at_ms = ?2 WHERE id = ?1",
                    params![id, now_ms],
                )
                .map(drop)
        })
        .await
    }

    /// Ends every session that a dead server left running, but for those that are taken up; how
    /// many.
    pub(crate) async fn end_dead_sessions(
        &self,
        now_ms: i64,
        taken_up: Vec<i64>,
    ) -> Result<usize, Error> {
        self.call("ending the sessions of a dead server", move |connection| {
            let transaction = connection.transaction()?;
            let mut ended = 0;
            let dead: Vec<i64> = transaction
                .prepare("SELECT id FROM live_sessions WHERE ended_at_ms IS NULL OR wanted = 1")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for id in dead.into_iter().filter(|id| !taken_up.contains(id)) {
                ended += transaction.execute(
                    "UPDATE live_sessions SET wanted = 0, state = 'ended',
                     ended_at_ms = coalesce(ended_at_ms, ?2),
                     end_reason = coalesce(end_reason, 'server_died'),
                     state_reason = coalesce(end_reason, 'server_died'),
                     state_at_ms = coalesce(ended_at_ms, ?2) WHERE id = ?1",
                    params![id, now_ms],
                )?;
            }
            transaction.commit()?;
            Ok(ended)
        })
        .await
    }
}
