//! Tables `recordings` and `recording_files`.

use super::Db;
use crate::Error;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::path::{Path, PathBuf};

/// A recording that begins, with its first file.
#[derive(Clone, Debug)]
pub(crate) struct NewRecording {
    pub(crate) session_id: i64,
    pub(crate) key: String,
    pub(crate) format: String,
    /// JSON: the API's `config`.
    pub(crate) config: String,
    pub(crate) started_at_ms: i64,
    pub(crate) path: PathBuf,
}

/// How far a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileProgress {
    pub(crate) duration_ms: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped_frames: u64,
}

/// One file of a stored recording.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FileRow {
    pub(crate) part: u32,
    pub(crate) path: PathBuf,
    pub(crate) started_at_ms: i64,
    pub(crate) progress: FileProgress,
    pub(crate) end_reason: Option<String>,
}

/// A stored recording.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecordingRow {
    pub(crate) id: i64,
    pub(crate) key: String,
    pub(crate) format: String,
    pub(crate) config: String,
    pub(crate) started_at_ms: i64,
    pub(crate) ended_at_ms: Option<i64>,
    pub(crate) end_reason: Option<String>,
    pub(crate) files: Vec<FileRow>,
}

impl Db {
    /// Writes a recording that begins; its id.
    pub(crate) async fn insert_recording(&self, new: NewRecording) -> Result<i64, Error> {
        self.call("storing the recording", move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute(
                "INSERT INTO recordings (session_id, key, format, config, started_at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    new.session_id,
                    new.key,
                    new.format,
                    new.config,
                    new.started_at_ms
                ],
            )?;
            let id = transaction.last_insert_rowid();
            insert_file(&transaction, id, 1, &new.path, new.started_at_ms)?;
            transaction.commit()?;
            Ok(id)
        })
        .await
    }

    /// Writes that a recording goes on in a further file.
    pub(crate) async fn insert_part(
        &self,
        id: i64,
        part: u32,
        path: PathBuf,
        started_at_ms: i64,
    ) -> Result<(), Error> {
        self.call("storing the recording's part", move |connection| {
            insert_file(connection, id, part, &path, started_at_ms)
        })
        .await
    }

    /// Stores that a file has another name.
    pub(crate) async fn rename_part(&self, id: i64, part: u32, path: PathBuf) -> Result<(), Error> {
        self.call("storing the recording's part", move |connection| {
            connection
                .execute(
                    "UPDATE recording_files SET path = ?3 WHERE recording_id = ?1 AND part = ?2",
                    params![id, part, as_text(&path)],
                )
                .map(drop)
        })
        .await
    }

    /// Stores that a file is complete.
    pub(crate) async fn end_part(
        &self,
        id: i64,
        part: u32,
        progress: FileProgress,
        reason: String,
    ) -> Result<(), Error> {
        self.call("storing the recording's part", move |connection| {
            connection
                .execute(
                    "UPDATE recording_files SET duration_ms = ?3, bytes = ?4, dropped_frames = ?5,
                     end_reason = ?6 WHERE recording_id = ?1 AND part = ?2",
                    params![
                        id,
                        part,
                        signed(progress.duration_ms),
                        signed(progress.bytes),
                        signed(progress.dropped_frames),
                        reason
                    ],
                )
                .map(drop)
        })
        .await
    }

    /// Stores a recording's end, and its final configuration (the encoder in use).
    pub(crate) async fn end_recording(
        &self,
        id: i64,
        ended_at_ms: i64,
        reason: String,
        config: Option<String>,
    ) -> Result<(), Error> {
        self.call("storing the recording's end", move |connection| {
            connection
                .execute(
                    "UPDATE recordings SET ended_at_ms = ?2, end_reason = ?3,
                     config = coalesce(?4, config) WHERE id = ?1 AND ended_at_ms IS NULL",
                    params![id, ended_at_ms, reason, config],
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
                    "SELECT * FROM recordings WHERE key = ?1 AND ended_at_ms >= ?2
                     AND (?3 IS NULL OR id = ?3) AND (?4 IS NULL OR format = ?4)
                     ORDER BY ended_at_ms DESC, id DESC LIMIT 1",
                    params![key, since_ms, id, format],
                    recording,
                )
                .optional()?;
            row.map(|row| with_files(connection, row)).transpose()
        })
        .await
    }

    /// The recordings that have no end.
    pub(crate) async fn running_recordings(&self) -> Result<Vec<RecordingRow>, Error> {
        self.call("looking for recordings", move |connection| {
            let rows = connection
                .prepare("SELECT * FROM recordings WHERE ended_at_ms IS NULL ORDER BY id")?
                .query_map([], recording)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            rows.into_iter()
                .map(|row| with_files(connection, row))
                .collect()
        })
        .await
    }

    /// Whether a file of this path is known.
    pub(crate) async fn knows_path(&self, path: PathBuf) -> Result<bool, Error> {
        self.call("looking for a recording's file", move |connection| {
            connection
                .prepare("SELECT 1 FROM recording_files WHERE path = ?1")?
                .exists([as_text(&path)])
        })
        .await
    }
}

fn insert_file(
    connection: &Connection,
    id: i64,
    part: u32,
    path: &Path,
    started_at_ms: i64,
) -> rusqlite::Result<()> {
    connection
        .execute(
            "INSERT INTO recording_files (recording_id, part, path, started_at_ms)
             VALUES (?1, ?2, ?3, ?4)",
            params![id, part, as_text(path), started_at_ms],
        )
        .map(drop)
}

fn recording(row: &Row<'_>) -> rusqlite::Result<RecordingRow> {
    Ok(RecordingRow {
        id: row.get("id")?,
        key: row.get("key")?,
        format: row.get("format")?,
        config: row.get("config")?,
        started_at_ms: row.get("started_at_ms")?,
        ended_at_ms: row.get("ended_at_ms")?,
        end_reason: row.get("end_reason")?,
        files: Vec::new(),
    })
}

fn with_files(connection: &Connection, mut row: RecordingRow) -> rusqlite::Result<RecordingRow> {
    row.files = connection
        .prepare("SELECT * FROM recording_files WHERE recording_id = ?1 ORDER BY part")?
        .query_map([row.id], |file| {
            Ok(FileRow {
                part: file.get("part")?,
                path: PathBuf::from(file.get::<_, String>("path")?),
                started_at_ms: file.get("started_at_ms")?,
                progress: FileProgress {
                    duration_ms: unsigned(file.get("duration_ms")?),
                    bytes: unsigned(file.get("bytes")?),
                    dropped_frames: unsigned(file.get("dropped_frames")?),
                },
                end_reason: file.get("end_reason")?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(row)
}

fn as_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{NewSession, SessionKind};

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
            started_at_ms: 2,
            path: "/r/demo.mp4".into(),
        };
        let id = db.insert_recording(new).await.unwrap();
        (db, session_id, id)
    }

    #[tokio::test]
    async fn a_recording_is_found_by_key_once_it_ended() {
        let (db, _, id) = db_with_recording().await;
        assert_eq!(db.running_recordings().await.unwrap().len(), 1);
        let last = |since| db.last_recording("demo".into(), since, None, None);
        assert_eq!(last(0).await.unwrap(), None);

        let progress = FileProgress {
            duration_ms: 1500,
            bytes: 9,
            dropped_frames: 1,
        };
        db.end_part(id, 1, progress, "worker_crashed".into())
            .await
            .unwrap();
        db.insert_part(id, 2, "/r/demo_2.mp4".into(), 7)
            .await
            .unwrap();
        let config = Some("{\"a\":1}".to_owned());
        db.end_recording(id, 1000, "stopped".into(), config)
            .await
            .unwrap();

        let row = last(1000).await.unwrap().unwrap();
        assert_eq!((row.id, row.files.len()), (id, 2));
        assert_eq!(row.files[0].progress, progress);
        assert_eq!(row.config, "{\"a\":1}");
        assert_eq!(last(1001).await.unwrap(), None);
        let of_format =
            |format: &str| db.last_recording("demo".into(), 0, None, Some(format.to_owned()));
        assert!(of_format("h264").await.unwrap().is_some());
        assert!(of_format("vp9").await.unwrap().is_none());
        assert!(db.running_recordings().await.unwrap().is_empty());
        assert!(db.knows_path("/r/demo_2.mp4".into()).await.unwrap());
        assert!(!db.knows_path("/r/demo_3.mp4".into()).await.unwrap());
    }

    #[tokio::test]
    async fn an_end_is_stored_once() {
        let (db, session_id, id) = db_with_recording().await;
        db.end_recording(id, 5, "stopped".into(), None)
            .await
            .unwrap();
        db.end_recording(id, 9, "interrupted".into(), None)
            .await
            .unwrap();
        let row = db.last_recording("demo".into(), 0, Some(id), None).await;
        assert_eq!(row.unwrap().unwrap().ended_at_ms, Some(5));
        db.end_session(session_id, 6, "stopped".into())
            .await
            .unwrap();
        assert_eq!(db.end_dead_sessions(9).await.unwrap(), 0);
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
        assert_eq!(db.running_recordings().await.unwrap().len(), 1);
    }
}
