//! Table `recordings`.

use super::{
    Db,
    recording_files::{FileRow, insert_file, with_files},
};
use crate::Error;
use rusqlite::{OptionalExtension, Row, params};
use std::path::{Path, PathBuf};

/// A recording that begins, with its first file.
#[derive(Clone, Debug)]
pub(crate) struct NewRecording {
    pub(crate) session_id: i64,
    pub(crate) key: String,
    pub(crate) format: String,
    /// JSON: the API's `config`.
    pub(crate) config: String,
    /// JSON: what a worker must be told to go on with it.
    pub(crate) settings: String,
    pub(crate) started_at_ms: i64,
    pub(crate) path: PathBuf,
}

/// A stored recording.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecordingRow {
    pub(crate) id: i64,
    pub(crate) session_id: i64,
    pub(crate) key: String,
    pub(crate) format: String,
    pub(crate) config: String,
    pub(crate) started_at_ms: i64,
    pub(crate) ended_at_ms: Option<i64>,
    pub(crate) end_reason: Option<String>,
    pub(crate) settings: String,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) kept: bool,
    /// It is to go on with its session.
    pub(crate) wanted: bool,
    /// Path, length and size of the file made of all its files.
    pub(crate) joined: Option<(PathBuf, u64, u64)>,
    /// The LiveKit room, if it was joined.
    pub(crate) room_name: Option<String>,
    /// JSON: the coin as it was at the session's start.
    pub(crate) stream_info: Option<String>,
    /// JSON: who published while it was recorded.
    pub(crate) participants: String,
    pub(crate) files: Vec<FileRow>,
}

impl Db {
    /// Writes a recording that begins; its id.
    pub(crate) async fn insert_recording(&self, new: NewRecording) -> Result<i64, Error> {
        self.call("storing the recording", move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute(
                "INSERT INTO recordings (session_id, key, format, config, settings, started_at_ms,
                 directory, wanted) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)",
                params![
                    new.session_id,
                    new.key,
                    new.format,
                    new.config,
                    new.settings,
                    new.started_at_ms,
                    new.path.parent().map(as_text)
                ],
            )?;
            let id = transaction.last_insert_rowid();
            insert_file(&transaction, id, 1, &new.path, new.started_at_ms)?;
            transaction.commit()?;
            Ok(id)
        })
        .await
    }

    /// Stores who has published so far, as JSON.
    pub(crate) async fn store_participants(&self, id: i64, text: String) -> Result<(), Error> {
        self.call("storing the recording's participants", move |connection| {
            connection
                .execute(
                    "UPDATE recordings SET participants = ?2 WHERE id = ?1",
                    params![id, text],
                )
                .map(drop)
        })
        .await
    }

    /// Stores a recording's end, and its final configuration (the encoder in use). One that is
    /// still `wanted` goes on when its session is taken up.
    pub(crate) async fn end_recording(
        &self,
        id: i64,
        ended_at_ms: i64,
        reason: String,
        config: Option<String>,
        wanted: bool,
    ) -> Result<(), Error> {
        self.call("storing the recording's end", move |connection| {
            connection
                .execute(
                    "UPDATE recordings SET ended_at_ms = ?2, end_reason = ?3,
                     config = coalesce(?4, config), wanted = ?5
                     WHERE id = ?1 AND ended_at_ms IS NULL",
                    params![id, ended_at_ms, reason, config, wanted],
                )
                .map(drop)
        })
        .await
    }

    /// Forgets a recording that could not be started.
    pub(crate) async fn forget_recording(&self, id: i64) -> Result<(), Error> {
        self.call("forgetting the recording", move |connection| {
            connection
                .execute("DELETE FROM recordings WHERE id = ?1", [id])
                .map(drop)
        })
        .await
    }

    /// The latest recording of a session's key that ended at `since_ms` or later; with `id` or
    /// `format` only such a one.
    pub(crate) async fn last_recording(
        &self,
        key: String,
        since_ms: i64,
        id: Option<i64>,
        format: Option<String>,
    ) -> Result<Option<RecordingRow>, Error> {
        self.call("looking for the last recording", move |connection| {
            let row = connection
                .query_row(
                    &format!(
                        "{SELECT} WHERE r.key = ?1 AND r.ended_at_ms >= ?2
                         AND (?3 IS NULL OR r.id = ?3) AND (?4 IS NULL OR r.format = ?4)
                         ORDER BY r.ended_at_ms DESC, r.id DESC LIMIT 1"
                    ),
                    params![key, since_ms, id, format],
                    recording,
                )
                .optional()?;
            row.map(|row| with_files(connection, row)).transpose()
        })
        .await
    }

    /// The recordings that have no end, and those that are to go on.
    pub(crate) async fn unfinished_recordings(&self) -> Result<Vec<RecordingRow>, Error> {
        self.call("looking for recordings", move |connection| {
            let sql = format!("{SELECT} WHERE r.ended_at_ms IS NULL OR r.wanted = 1 ORDER BY r.id");
            let rows = connection
                .prepare(&sql)?
                .query_map([], recording)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            rows.into_iter()
                .map(|row| with_files(connection, row))
                .collect()
        })
        .await
    }

    /// A recording goes on that had ended with its server.
    pub(crate) async fn reopen_recording(&self, id: i64) -> Result<(), Error> {
        self.call("taking the recording up", move |connection| {
            connection
                .execute(
                    "UPDATE recordings SET ended_at_ms = NULL, end_reason = NULL, wanted = 1
                     WHERE id = ?1",
                    [id],
                )
                .map(drop)
        })
        .await
    }

    /// Stores whether a recording is to go on under another server.
    pub(crate) async fn want_recording(&self, id: i64, wanted: bool) -> Result<(), Error> {
        self.call("storing the recording's end", move |connection| {
            connection
                .execute(
                    "UPDATE recordings SET wanted = ?2 WHERE id = ?1",
                    params![id, wanted],
                )
                .map(drop)
        })
        .await
    }
}

/// Recordings with what is known of their sessions.
pub(super) const SELECT: &str = "SELECT r.*, s.room_name, s.stream_info FROM recordings r
     JOIN live_sessions s ON s.id = r.session_id";

pub(super) fn recording(row: &Row<'_>) -> rusqlite::Result<RecordingRow> {
    let path_of = |name: &str| {
        let text = row.get::<_, Option<String>>(name);
        text.map(|text| text.map(PathBuf::from))
    };
    let joined = path_of("joined_path")?;
    let lengths = (
        unsigned(row.get("joined_duration_ms")?),
        unsigned(row.get("joined_bytes")?),
    );
    Ok(RecordingRow {
        id: row.get("id")?,
        session_id: row.get("session_id")?,
        key: row.get("key")?,
        format: row.get("format")?,
        config: row.get("config")?,
        started_at_ms: row.get("started_at_ms")?,
        ended_at_ms: row.get("ended_at_ms")?,
        end_reason: row.get("end_reason")?,
        settings: row.get("settings")?,
        directory: path_of("directory")?,
        kept: row.get("kept")?,
        wanted: row.get("wanted")?,
        joined: joined.map(|path| (path, lengths.0, lengths.1)),
        room_name: row.get("room_name")?,
        stream_info: row.get("stream_info")?,
        participants: row.get("participants")?,
        files: Vec::new(),
    })
}

pub(super) fn as_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{FileProgress, NewSession, SessionKind};
    use haven_wire::Gap;

    async fn db_with_recording() -> (Db, i64, i64) {
        let db = Db::in_memory();
        let session = NewSession {
            key: "demo".into(),
            kind: SessionKind::Demo,
            started_at_ms: 1,
        };
        let session_id = db.insert_session(session).await.unwrap();
        let new = NewRecording {
            session_id,
            key: "demo".into(),
            format: "h264".into(),
            config: "{}".into(),
            settings: "{}".into(),
            started_at_ms: 2,
            path: "/r/demo.mp4".into(),
        };
        let id = db.insert_recording(new).await.unwrap();
        (db, session_id, id)
    }

    #[tokio::test]
    async fn a_recording_is_found_by_key_once_it_ended() {
        let (db, _, id) = db_with_recording().await;
        assert_eq!(db.unfinished_recordings().await.unwrap().len(), 1);
        let last = |since| db.last_recording("demo".into(), since, None, None);
        assert_eq!(last(0).await.unwrap(), None);

        let progress = FileProgress {
            duration_ms: 1500,
            bytes: 9,
            dropped_frames: 1,
        };
        let gaps = vec![Gap {
            at_ms: 3,
            for_ms: 4,
        }];
        let file = |part, path: &str| FileRow {
            part,
            path: path.into(),
            started_at_ms: 7,
            progress,
            gaps: gaps.clone(),
            end_reason: Some("worker_crashed".to_owned()),
        };
        db.store_part(id, file(1, "/r/demo.mp4")).await.unwrap();
        // Whether or not it was stored when it began.
        db.store_part(id, file(2, "/r/demo_2.mp4")).await.unwrap();
        db.store_part(99, file(1, "/r/other.mp4")).await.unwrap();
        let config = Some("{\"a\":1}".to_owned());
        db.end_recording(id, 1000, "stopped".into(), config, false)
            .await
            .unwrap();

        let row = last(1000).await.unwrap().unwrap();
        assert_eq!((row.id, row.files.len()), (id, 2));
        assert_eq!(row.files[0].progress, progress);
        assert_eq!(row.files[0].gaps, gaps);
        assert_eq!(row.directory.as_deref(), Some(Path::new("/r")));
        assert_eq!(row.config, "{\"a\":1}");
        assert_eq!(last(1001).await.unwrap(), None);
        let of_format =
            |format: &str| db.last_recording("demo".into(), 0, None, Some(format.to_owned()));
        assert!(of_format("h264").await.unwrap().is_some());
        assert!(of_format("vp9").await.unwrap().is_none());
        assert!(db.unfinished_recordings().await.unwrap().is_empty());
        assert!(db.knows_stem("/r/demo_2".into()).await.unwrap());
        assert!(!db.knows_stem("/r/demo_3".into()).await.unwrap());
        assert!(!db.knows_stem("/r/dem".into()).await.unwrap());
        assert!(!db.knows_stem("/r/other".into()).await.unwrap());
        db.delete_part(id, 2).await.unwrap();
        assert!(!db.knows_stem("/r/demo_2".into()).await.unwrap());
    }

    #[tokio::test]
    async fn an_end_is_stored_once() {
        let (db, session_id, id) = db_with_recording().await;
        db.end_recording(id, 5, "stopped".into(), None, false)
            .await
            .unwrap();
        db.end_recording(id, 9, "interrupted".into(), None, false)
            .await
            .unwrap();
        let row = db.last_recording("demo".into(), 0, Some(id), None).await;
        assert_eq!(row.unwrap().unwrap().ended_at_ms, Some(5));
        db.end_session(session_id, 6, "stopped".into())
            .await
            .unwrap();
        assert_eq!(db.end_dead_sessions(9, Vec::new()).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_recording_needs_its_session_and_a_path_of_its_own() {
        let (db, session_id, _) = db_with_recording().await;
        assert!(db.forget_session(session_id).await.is_err());
        let new = NewRecording {
            session_id: 99,
            key: "x".into(),
            format: "h264".into(),
            config: "{}".into(),
            settings: "{}".into(),
            started_at_ms: 2,
            path: "/r/other.mp4".into(),
        };
        assert!(db.insert_recording(new.clone()).await.is_err());
        let new = NewRecording {
            session_id,
            path: "/r/demo.mp4".into(),
            ..new
        };
        assert!(db.insert_recording(new).await.is_err());
        assert_eq!(db.unfinished_recordings().await.unwrap().len(), 1);
    }
}
