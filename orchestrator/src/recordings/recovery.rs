//! After a restart: what should run goes on; recordings that a dead server left running and whose
//! session is over end as `interrupted`, with their true length.

use super::{Archive, Recording};
use crate::{
    Error, clock,
    db::{Db, FileProgress, WantedSession},
    worker::Workers,
};
use std::{path::Path, sync::Arc};

/// Why a recording ended whose server died.
const INTERRUPTED: &str = "interrupted";

/// What a former server left: sessions that should run, and recordings that have no end or are to
/// go on.
pub(crate) struct Wreck {
    sessions: Vec<WantedSession>,
    /// With whether each is to go on.
    recordings: Vec<(Recording, bool)>,
}

impl Wreck {
    /// Finds it. To be called before the first session is started.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn find(db: &Db) -> Result<Self, Error> {
        let sessions = db.wanted_sessions().await?;
        let rows = db.unfinished_recordings().await?;
        if !sessions.is_empty() || !rows.is_empty() {
            let (sessions, recordings) = (sessions.len(), rows.len());
            tracing::info!(sessions, recordings, "a former server left work");
        }
        Ok(Self {
            sessions,
            recordings: rows
                .into_iter()
                .map(|row| (row.wanted, row))
                .map(|(wanted, row)| (Recording::from_row(row), wanted))
                .collect(),
        })
    }

    /// Gives the sessions to `take_up`, each with its recordings, and ends those that it doesn't
    /// take. What is left are recordings whose session is over.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn take_up(
        &mut self,
        db: &Db,
        take_up: impl Fn(WantedSession, Vec<Recording>) -> bool,
    ) -> Result<(), Error> {
        let mut taken = Vec::new();
        for session in std::mem::take(&mut self.sessions) {
            let id = session.id;
            let goes_on =
                |(recording, wanted): &(Recording, bool)| recording.session_id == id && *wanted;
            let recordings = self.recordings.iter().filter(|one| goes_on(one));
            if take_up(session, recordings.map(|(one, _)| one.clone()).collect()) {
                taken.push(id);
                self.recordings.retain(|one| !goes_on(one));
            }
        }
        let dead = db.end_dead_sessions(clock::now_ms(), taken).await?;
        if dead > 0 {
            tracing::info!(dead, "sessions of a former server have ended");
        }
        Ok(())
    }

    /// Ends the recordings that are left. Orphaned workers finalise their files by themselves; each
    /// file's lock is waited for. A file that can't be read costs only its own length.
    pub(crate) async fn recover(self, db: Db, workers: Arc<Workers>, archive: Archive) {
        for (recording, _) in self.recordings {
            let id = recording.id;
            match recover_one(&db, &workers, recording).await {
                Ok(()) => archive.describe(id).await,
                Err(error) => {
                    tracing::error!(error = error.chain(), "a recording can't be recovered");
                }
            }
        }
    }
}

async fn recover_one(db: &Db, workers: &Workers, recording: Recording) -> Result<(), Error> {
    let id = recording.id;
    // One that ended with its server, as it should.
    if recording.ended.is_some() {
        return db.give_up_recording(id).await;
    }
    let mut end_ms = recording.started_at_ms;
    for mut part in recording.parts {
        if part.end_reason.is_none() {
            part.progress = measure_or(workers, &part.path, part.progress).await;
            let reason = Some(INTERRUPTED.to_owned());
            db.store_part(id, part.number, part.progress, part.gaps, reason)
                .await?;
        }
        let length_ms = part.progress.duration_ms;
        end_ms = end_ms.max(part.started_at_ms.saturating_add_unsigned(length_ms));
    }
    let (end_ms, reason) = (end_ms.min(clock::now_ms()), INTERRUPTED.to_owned());
    db.end_recording(id, end_ms, reason, None, false).await?;
    let key = recording.key;
    tracing::info!(recording_id = id, key, "a recording was interrupted");
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
