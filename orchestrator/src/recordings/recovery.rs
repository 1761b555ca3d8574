//! After a restart: what should run goes on; recordings that a dead server left running and whose
//! session is over end as `interrupted`, with their true length.

use super::{Archive, Recording};
use crate::{
    Error, clock,
    db::{Db, FileProgress, WantedSession},
    error::Kind,
    worker::{FILE_LOCKED, FILE_MISSING, Workers},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// Why a recording ended whose server died.
const INTERRUPTED: &str = "interrupted";
/// A larger file is never taken for a header without anything behind it.
const LARGEST_LEFTOVER_BYTES: u64 = 64 << 10;

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
                .map(|row| (row.wanted, Recording::from_row(row)))
                // An older version didn't store how a recording goes on.
                .map(|(wanted, one)| (wanted && one.settings.are_known(), one))
                .map(|(wanted, one)| (one, wanted))
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
        return db.want_recording(id, false).await;
    }
    let mut end_ms = recording.started_at_ms;
    for mut part in recording.parts {
        if part.end_reason.is_none() {
            let hurry = CancellationToken::new();
            let measured = measure(workers, &part.path, part.progress, &hurry).await;
            part.progress = measured.progress();
            db.store_part(id, part.row(Some(INTERRUPTED))).await?;
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

/// What is found of a file whose worker is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measured {
    /// Its true length.
    Plays(FileProgress),
    /// It can't be measured: what was known of it.
    Known(FileProgress),
    /// Nothing in it plays, and it is hardly more than its header.
    Nothing(FileProgress),
}

impl Measured {
    pub(crate) fn progress(&self) -> FileProgress {
        match self {
            Self::Plays(progress) | Self::Known(progress) | Self::Nothing(progress) => *progress,
        }
    }
}

/// Finds the true length of a file. One that an orphaned worker still holds is waited for, until
/// `hurry` is cancelled.
pub(crate) async fn measure(
    workers: &Workers,
    path: &Path,
    known: FileProgress,
    hurry: &CancellationToken,
) -> Measured {
    let error = loop {
        match workers.measure(path).await {
            Ok(measure) => {
                return Measured::Plays(FileProgress {
                    duration_ms: measure.duration_ms,
                    bytes: measure.bytes,
                    ..known
                });
            }
            Err(error) if error.code() == FILE_LOCKED && !hurry.is_cancelled() => {
                tracing::warn!(path = %path.display(), "a file is still being written");
            }
            Err(error) => break error,
        }
    };
    tracing::warn!(path = %path.display(), error = error.chain(), "a file can't be measured");
    let bytes = tokio::fs::metadata(path).await.map(|file| file.len());
    let is_missing = error.code() == FILE_MISSING;
    let bytes = bytes.unwrap_or(if is_missing { 0 } else { known.bytes });
    let progress = FileProgress { bytes, ..known };
    let is_unfit = error.kind() == Kind::Unprocessable && bytes < LARGEST_LEFTOVER_BYTES;
    match is_missing || bytes == 0 || is_unfit {
        true => Measured::Nothing(FileProgress {
            duration_ms: 0,
            ..progress
        }),
        false => Measured::Known(progress),
    }
}

/// Removes a file in which nothing plays.
pub(crate) async fn remove_leftover(path: PathBuf) {
    match tokio::fs::remove_file(&path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "an empty file can't be removed");
        }
        _ => tracing::info!(path = %path.display(), "nothing was recorded in this file"),
    }
}
