//! Sums over what is stored.

use super::Db;
use crate::Error;

/// Sums over the complete files of recordings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordingTotals {
    pub(crate) files: i64,
    pub(crate) bytes: i64,
    pub(crate) dropped_frames: i64,
}

impl Db {
    /// Sums over the complete files of recordings.
    pub(crate) async fn recording_totals(&self) -> Result<RecordingTotals, Error> {
        self.call("adding up the recordings", move |connection| {
            connection.query_row(
                "SELECT count(*), coalesce(sum(bytes), 0), coalesce(sum(dropped_frames), 0)
                 FROM recording_files WHERE end_reason IS NOT NULL",
                [],
                |row| {
                    Ok(RecordingTotals {
                        files: row.get(0)?,
                        bytes: row.get(1)?,
                        dropped_frames: row.get(2)?,
                    })
                },
            )
        })
        .await
    }
}
