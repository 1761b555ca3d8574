//! Table `recording_files`.

use super::{
    Db, RecordingRow,
    recordings::{as_text, signed, unsigned},
};
use crate::Error;
use haven_wire::Gap;
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};

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
    pub(crate) gaps: Vec<Gap>,
    pub(crate) end_reason: Option<String>,
}

impl Db {
    /// Stores a file as it is; one that isn't known yet is a further one of the recording. Why it
    /// ended says that it is complete. Nothing is stored of a recording that is forgotten.
    pub(crate) async fn store_part(&self, id: i64, file: FileRow) -> Result<(), Error> {
        let gaps = serde_json::to_string(&file.gaps).unwrap_or_else(|_| "[]".into());
        self.call("storing the recording's part", move |connection| {
            connection
                .execute(
                    "INSERT INTO recording_files (recording_id, part, path, started_at_ms,
                     duration_ms, bytes, dropped_frames, gaps, end_reason)
                     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
                     WHERE EXISTS (SELECT 1 FROM recordings WHERE id = ?1)
                     ON CONFLICT (recording_id, part) DO UPDATE SET path = excluded.path,
                     started_at_ms = excluded.started_at_ms, duration_ms = excluded.duration_ms, bytes = excluded.bytes,
                     dropped_frames = excluded.dropped_frames, gaps = excluded.gaps,
                     end_reason = excluded.end_reason",
                    params![
                        id,
                        file.part,
                        as_text(&file.path),
                        file.started_at_ms,
                        signed(file.progress.duration_ms),
                        signed(file.progress.bytes),
                        signed(file.progress.dropped_frames),
                        gaps,
                        file.end_reason
                    ],
                )
                .map(drop)
        })
        .await
    }

    /// Forgets a file that held nothing.
    pub(crate) async fn delete_part(&self, id: i64, part: u32) -> Result<(), Error> {
        self.call("forgetting the recording's part", move |connection| {
            connection
                .execute(
                    "DELETE FROM recording_files WHERE recording_id = ?1 AND part = ?2",
                    params![id, part],
                )
                .map(drop)
        })
        .await
    }

    /// Whether a file of this path is known, whatever its extension.
    pub(crate) async fn knows_stem(&self, stem: PathBuf) -> Result<bool, Error> {
        self.call("looking for a recording's file", move |connection| {
            let stem = as_text(&stem);
            // What begins with the stem and a dot: the byte after '.' is '/'.
            connection
                .prepare("SELECT 1 FROM recording_files WHERE path >= ?1 AND path < ?2")?
                .exists([format!("{stem}."), format!("{stem}/")])
        })
        .await
    }
}

pub(super) fn insert_file(
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

pub(super) fn with_files(
    connection: &Connection,
    mut row: RecordingRow,
) -> rusqlite::Result<RecordingRow> {
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
                gaps: serde_json::from_str(&file.get::<_, String>("gaps")?).unwrap_or_default(),
                end_reason: file.get("end_reason")?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(row)
}
