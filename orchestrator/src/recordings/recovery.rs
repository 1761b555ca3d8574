//! After a restart: what should run goes on; recordings that a dead server left running and whose
//! session is over end as `interrupted`, with their true length.

use super::{Archive, Part, Recording};
use crate::{
    Error, clock,
    db::{Db, FileProgress, WantedSession},
    error::Kind,
    worker::{FILE_LOCKED, FILE_MISSING, Workers},
};
use futures_util::StreamExt;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// Why a recording ended whose server died.
const INTERRUPTED: &str = "interrupted";
/// A larger file is never taken for a header without anything behind it.
const LARGEST_LEFTOVER_BYTES: u64 = 64 << 10;
/// So many times 20 s a file is waited for that somebody holds. A worker without its server is done
/// within 15 s.
const LOCK_TRIES: u32 = 3;
/// Recordings that are recovered at a time: most of it is waiting.
const AT_A_TIME: usize = 4;

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
        let recordings = self.recordings.into_iter();
        let recoveries = recordings.map(|(recording, _)| {
            let (db, workers, archive) = (&db, &workers, &archive);
            async move {
                let id = recording.id;
                match recover_one(db, workers, archive, recording).await {
                    Ok(()) => archive.describe(id).await,
                    Err(error) => {
                        let error = error.chain();
                        tracing::error!(recording_id = id, error, "can't be recovered");
                    }
                }
            }
        });
        let recoveries = futures_util::stream::iter(recoveries);
        recoveries.for_each_concurrent(AT_A_TIME, |one| one).await;
    }
}

async fn recover_one(
    db: &Db,
    workers: &Workers,
    archive: &Archive,
    recording: Recording,
) -> Result<(), Error> {
    let id = recording.id;
    // One that ended with its server, as it should.
    if recording.ended.is_some() {
        return db.want_recording(id, false).await;
    }
    let mut end_ms = recording.started_at_ms;
    let is_only = recording.parts.len() == 1;
    for mut part in recording.parts {
        if part.end_reason.is_none() {
            let hurry = CancellationToken::new();
            let measured = measure(workers, &part.path, part.progress, &hurry).await;
            part.progress = measured.progress();
            match measured {
                Measured::Nothing(_) if part.number > 1 => remove_leftover(part.path).await,
                // Beside others, the first one names the recording, also where it is empty.
                Measured::Nothing(progress) if is_only && progress.bytes == 0 => {
                    archive.remove_empty(part.path).await;
                }
                _ => {
                    db.store_part(id, part.row(Some(INTERRUPTED))).await?;
                    end_ms = end_ms.max(end_of(&part));
                    continue;
                }
            }
            db.delete_part(id, part.number).await?;
        } else {
            end_ms = end_ms.max(end_of(&part));
        }
    }
    let (end_ms, reason) = (end_ms.min(clock::now_ms()), INTERRUPTED.to_owned());
    db.end_recording(id, end_ms, reason, None, false).await?;
    let key = recording.key;
    tracing::info!(recording_id = id, key, "a recording was interrupted");
    Ok(())
}

fn end_of(part: &Part) -> i64 {
    let length_ms = part.progress.duration_ms;
    part.started_at_ms.saturating_add_unsigned(length_ms)
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

/// Finds the true length of a file. One that an orphaned worker still holds is waited for, about a
/// minute, or until `hurry` is cancelled.
pub(crate) async fn measure(
    workers: &Workers,
    path: &Path,
    known: FileProgress,
    hurry: &CancellationToken,
) -> Measured {
    let mut tries = 1;
    let error = loop {
        match workers.measure(path).await {
            Ok(measure) => {
                return Measured::Plays(FileProgress {
                    duration_ms: measure.duration_ms,
                    bytes: measure.bytes,
                    ..known
                });
            }
            Err(error)
                if error.code() == FILE_LOCKED && tries < LOCK_TRIES && !hurry.is_cancelled() =>
            {
                tries += 1;
                tracing::warn!(path = %path.display(), "a file is still being written");
            }
            Err(error) => break error,
        }
    };
    tracing::warn!(path = %path.display(), error = error.chain(), "a file can't be measured");
    let on_disk = tokio::fs::metadata(path).await.map(|file| file.len()).ok();
    let is_nothing = match (error.code(), on_disk) {
        (FILE_LOCKED, _) => false,
        // A disk that isn't mounted must not cost the recording what is on it.
        (FILE_MISSING, _) => known.bytes == 0 && lies_in_a_folder(path).await,
        (_, Some(0)) => true,
        (_, Some(bytes)) => error.kind() == Kind::Unprocessable && bytes < LARGEST_LEFTOVER_BYTES,
        (_, None) => false,
    };
    let bytes = on_disk.unwrap_or(known.bytes);
    match is_nothing {
        true => Measured::Nothing(FileProgress {
            duration_ms: 0,
            bytes,
            ..known
        }),
        false => Measured::Known(FileProgress { bytes, ..known }),
    }
}

async fn lies_in_a_folder(path: &Path) -> bool {
    match path.parent() {
        Some(folder) => {
            let metadata = tokio::fs::metadata(folder).await;
            metadata.is_ok_and(|metadata| metadata.is_dir())
        }
        None => false,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{limits::Limits, worker::Timings};
    use tokio_util::task::TaskTracker;

    #[tokio::test]
    async fn what_is_not_there_is_nothing_only_where_nothing_was_known_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let workers = Workers::new(
            "x".into(),
            None,
            Timings::default(),
            Limits::default(),
            TaskTracker::new(),
        );
        let hurry = CancellationToken::new();
        let known = FileProgress {
            duration_ms: 3_600_000,
            bytes: 1 << 30,
            dropped_frames: 1,
        };
        let nothing = FileProgress::default();
        let here = dir.path().join("a.mp4");
        let away = dir.path().join("not-mounted/a.mp4");
        // The folder that a disk is mounted at is there without it too.
        for path in [&here, &away] {
            let measured = measure(&workers, path, known, &hurry).await;
            assert_eq!(measured, Measured::Known(known));
        }
        let measured = measure(&workers, &away, nothing, &hurry).await;
        assert_eq!(measured, Measured::Known(nothing));
        let measured = measure(&workers, &here, nothing, &hurry).await;
        assert_eq!(measured, Measured::Nothing(nothing));
    }
}
