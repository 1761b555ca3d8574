//! After a crash: recordings that a dead server left running end as `interrupted`, with their true
//! length.

use super::Recording;
use crate::{
    Error, clock,
    db::{Db, FileProgress},
    worker::Workers,
};
use std::{path::Path, sync::Arc};

/// Why a recording ended whose server died.
const INTERRUPTED: &str = "interrupted";

/// What a dead server left running.
pub(crate) struct Wreck {
    recordings: Vec<Recording>,
}

impl Wreck {
    /// Ends the sessions of a dead server in the database and finds their recordings. To be called
    /// before the first session is started.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn find(db: &Db) -> Result<Self, Error> {
        let sessions = db.end_dead_sessions(clock::now_ms()).await?;
        let rows = db.running_recordings().await?;
        if sessions > 0 || !rows.is_empty() {
            tracing::info!(
                sessions,
                recordings = rows.len(),
                "recovering after a crash"
            );
        }
        Ok(Self {
            recordings: rows.into_iter().map(Recording::from_row).collect(),
        })
    }

    /// Ends the recordings. Orphaned workers finalise their files by themselves; each file's lock
    /// is waited for. A file that can't be read costs only its own length.
    pub(crate) async fn recover(self, db: Db, workers: Arc<Workers>) {
        for recording in self.recordings {
            if let Err(error) = recover_one(&db, &workers, recording).await {
                tracing::error!(error = error.chain(), "a recording can't be recovered");
            }
        }
    }
}

async fn recover_one(db: &Db, workers: &Workers, mut recording: Recording) -> Result<(), Error> {
    let id = recording.id;
    if let Some(part) = recording.open_part() {
        let progress = measure_or(workers, &part.path, part.progress).await;
        part.progress = progress;
        let reason = INTERRUPTED.to_owned();
        db.end_part(id, part.number, progress, reason).await?;
    }
    let end_ms = recording
        .parts
        .last()
        .map_or(recording.started_at_ms, |part| {
            part.started_at_ms
                .saturating_add_unsigned(part.progress.duration_ms)
        });
    let now = clock::now_ms();
    db.end_recording(id, end_ms.min(now), INTERRUPTED.to_owned(), None)
        .await?;
    tracing::info!(
        recording_id = id,
        key = recording.key,
        "a recording was interrupted"
    );
    Ok(())
}

/// The true length of a file; where it can't be had, what was known of it.
pub(crate) async fn measure_or(
    workers: &Workers,
    path: &Path,
    known: FileProgress,
) -> FileProgress {
    match workers.measure(path).await {
        Ok(measure) => FileProgress {
            duration_ms: measure.duration_ms,
            bytes: measure.bytes,
            ..known
        },
        Err(error) => {
            tracing::warn!(path = %path.display(), error = error.chain(), "a file can't be measured");
            let bytes = std::fs::metadata(path).map(|metadata| metadata.len());
            FileProgress {
                bytes: bytes.unwrap_or(known.bytes),
                ..known
            }
        }
    }
}
