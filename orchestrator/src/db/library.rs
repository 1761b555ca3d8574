//! The library of recordings: listed, kept, joined, deleted.

use super::{
    Db, RecordingRow,
    recording_files::with_files,
    recordings::{SELECT, as_text, recording, signed, unsigned},
};
use crate::Error;
use rusqlite::{OptionalExtension, params};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Which recordings are listed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) key: Option<String>,
    /// `recording`, `finished`, `interrupted` or `failed`.
    pub(crate) state: Option<&'static str>,
    pub(crate) offset: u32,
    pub(crate) limit: u32,
}

/// A recording that is over, as retention sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: i64,
    pub(crate) ended_at_ms: i64,
    pub(crate) bytes: u64,
    /// Retention leaves it alone.
    pub(crate) kept: bool,
    /// Where its files lie.
    pub(crate) folder: PathBuf,
}

/// A recording's state in the API's words.
const STATE: &str = "CASE WHEN r.ended_at_ms IS NULL THEN 'recording'
     WHEN r.end_reason = 'interrupted' THEN 'interrupted'
     WHEN r.end_reason LIKE 'error:%' THEN 'failed' ELSE 'finished' END";
/// Bytes of all its files.
const BYTES: &str = "r.joined_bytes + (SELECT coalesce(sum(f.bytes), 0) FROM recording_files f
     WHERE f.recording_id = r.id)";

impl Db {
    /// The recordings that `filter` lets through, newest first, and how many there are without
    /// its limit.
    pub(crate) async fn list_recordings(
        &self,
        filter: Filter,
    ) -> Result<(Vec<RecordingRow>, u64), Error> {
        self.call("listing the recordings", move |connection| {
            let condition = format!("(?1 IS NULL OR r.key = ?1) AND (?2 IS NULL OR {STATE} = ?2)");
            let total = connection.query_row(
                &format!("SELECT count(*) FROM recordings r WHERE {condition}"),
                params![filter.key, filter.state],
                |row| row.get(0),
            )?;
            let sql = format!(
                "{SELECT} WHERE {condition} ORDER BY r.started_at_ms DESC, r.id DESC
                 LIMIT ?3 OFFSET ?4"
            );
            let rows = connection
                .prepare(&sql)?
                .query_map(
                    params![filter.key, filter.state, filter.limit, filter.offset],
                    recording,
                )?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let rows: rusqlite::Result<_> = rows
                .into_iter()
                .map(|row| with_files(connection, row))
                .collect();
            Ok((rows?, unsigned(total)))
        })
        .await
    }

    /// One recording.
    pub(crate) async fn recording(&self, id: i64) -> Result<Option<RecordingRow>, Error> {
        self.call("looking for a recording", move |connection| {
            let row = connection
                .query_row(&format!("{SELECT} WHERE r.id = ?1"), [id], recording)
                .optional()?;
            row.map(|row| with_files(connection, row)).transpose()
        })
        .await
    }

    /// Exempts a recording from retention, or not any more.
    pub(crate) async fn keep_recording(&self, id: i64, kept: bool) -> Result<(), Error> {
        self.call("keeping the recording", move |connection| {
            connection
                .execute(
                    "UPDATE recordings SET kept = ?2 WHERE id = ?1",
                    params![id, kept],
                )
                .map(drop)
        })
        .await
    }

    /// Stores the file that was made of all files of a recording.
    pub(crate) async fn store_joined(
        &self,
        id: i64,
        path: PathBuf,
        duration_ms: u64,
        bytes: u64,
    ) -> Result<(), Error> {
        self.call("storing the joined file", move |connection| {
            connection
                .execute(
                    "UPDATE recordings SET joined_path = ?2, joined_duration_ms = ?3,
                     joined_bytes = ?4 WHERE id = ?1",
                    params![id, as_text(&path), signed(duration_ms), signed(bytes)],
                )
                .map(drop)
        })
        .await
    }

    /// Forgets a recording whose files are deleted; what it was and why it went is kept.
    pub(crate) async fn delete_recording(
        &self,
        id: i64,
        deleted_at_ms: i64,
        reason: &'static str,
    ) -> Result<(), Error> {
        self.call("deleting the recording", move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute(
                &format!(
                    "INSERT INTO recording_deletions (recording_id, session_id, key, format,
                     started_at_ms, ended_at_ms, bytes, deleted_at_ms, reason)
                     SELECT r.id, r.session_id, r.key, r.format, r.started_at_ms, r.ended_at_ms,
                     {BYTES}, ?2, ?3 FROM recordings r WHERE r.id = ?1"
                ),
                params![id, deleted_at_ms, reason],
            )?;
            transaction.execute("DELETE FROM recordings WHERE id = ?1", [id])?;
            transaction.commit()
        })
        .await
    }

    /// The folders in which recordings lie.
    pub(crate) async fn recording_folders(&self) -> Result<BTreeSet<PathBuf>, Error> {
        self.call("looking for the folders of recordings", |connection| {
            connection
                .prepare("SELECT DISTINCT directory FROM recordings WHERE directory IS NOT NULL")?
                .query_map([], |row| row.get::<_, String>(0).map(PathBuf::from))?
                .collect()
        })
        .await
    }

    /// Every recording that is over, the one that ended first coming first.
    pub(crate) async fn candidates(&self) -> Result<Vec<Candidate>, Error> {
        self.call("looking for old recordings", |connection| {
            connection
                .prepare(&format!(
                    "SELECT r.id, r.ended_at_ms, r.kept, {BYTES} AS bytes, r.directory,
                     (SELECT f.path FROM recording_files f WHERE f.recording_id = r.id
                      ORDER BY f.part LIMIT 1) AS path FROM recordings r
                     WHERE r.ended_at_ms IS NOT NULL AND r.wanted = 0
                     ORDER BY r.ended_at_ms, r.id"
                ))?
                .query_map([], |row| {
                    let directory: Option<String> = row.get("directory")?;
                    let path: Option<String> = row.get("path")?;
                    let of_file = || Some(Path::new(path.as_deref()?).parent()?.to_owned());
                    Ok(Candidate {
                        id: row.get("id")?,
                        ended_at_ms: row.get("ended_at_ms")?,
                        bytes: unsigned(row.get("bytes")?),
                        kept: row.get("kept")?,
                        folder: directory
                            .map(PathBuf::from)
                            .or_else(of_file)
                            .unwrap_or_default(),
                    })
                })?
                .collect()
        })
        .await
    }
}
