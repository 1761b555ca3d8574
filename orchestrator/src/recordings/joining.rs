//! Recordings deleted, and made one file of several.

use super::{
    Archive, Joined,
    archive::{Claim, blocking, conflict, folder},
    drafts::Draft,
    files,
    library::free_bytes,
    sidecar,
};
use crate::{
    Error, clock,
    db::{FileProgress, FileRow, RecordingRow},
    error::Kind,
};
use parking_lot::Mutex;
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use serde_json::json;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// Why a recording was deleted that somebody asked to delete.
pub(crate) const REQUESTED: &str = "requested";

/// What is being joined: on which disk (the number of its device), and what cancels it.
#[derive(Clone, Default)]
pub(super) struct Joins(Arc<Mutex<Vec<(u64, CancellationToken)>>>);

/// One of them, while it lasts.
struct Joining {
    joins: Joins,
    cancelled: CancellationToken,
}

impl Joins {
    fn begin(&self, device: u64) -> Joining {
        let cancelled = CancellationToken::new();
        self.0.lock().push((device, cancelled.clone()));
        Joining {
            joins: self.clone(),
            cancelled,
        }
    }
}

impl Drop for Joining {
    fn drop(&mut self) {
        // What has ended can't be cancelled any more: it goes with its mark.
        self.cancelled.cancel();
        let mut joins = self.joins.0.lock();
        joins.retain(|(_, token)| !token.is_cancelled());
    }
}

/// What a joined file is made of.
struct Sources {
    parts: Vec<PathBuf>,
    /// Numbers of the parts in which nothing plays.
    left_out: Vec<u32>,
}

impl Archive {
    /// Deletes a recording with all its files.
    ///
    /// # Errors
    /// Not found; conflict while it is written or joined, or while its folder is away.
    pub(crate) async fn delete(&self, id: i64, reason: &'static str) -> Result<(), Error> {
        let _claim = self.claim(id)?;
        let row = self.over(id).await?;
        // It may have been kept since it was chosen.
        if row.kept && reason != REQUESTED {
            return Err(conflict("recording_kept", "The recording is to be kept"));
        }
        let (key, folder) = (row.key.clone(), folder(&row));
        let mut paths: Vec<PathBuf> = row.files.iter().map(|file| file.path.clone()).collect();
        paths.extend(paths.first().map(|first| sidecar::path(first)));
        paths.extend(row.joined.map(|(path, ..)| path));
        let thumbnail = self.thumbnails.join(format!("{id}.jpg"));
        blocking("deleting the recording", move || {
            if !paths.is_empty() && !folder.is_dir() {
                return Err(away(&folder));
            }
            let _ = std::fs::remove_file(thumbnail);
            for path in paths {
                files::remove(&path, &folder).map_err(|error| {
                    let message = format!("{} can't be deleted", path.display());
                    Error::new(Kind::Internal, "cannot_delete", message).caused_by(error)
                })?;
            }
            Ok(())
        })
        .await?;
        self.db
            .delete_recording(id, clock::now_ms(), reason)
            .await?;
        let details = json!({"recording_id": id, "mint_id": key, "reason": reason});
        self.events.emit("recording.deleted", details);
        tracing::info!(recording_id = id, key, reason, "recording deleted");
        Ok(())
    }

    /// Makes one file of the files of a recording, without encoding anything again. Done once;
    /// later it is only told.
    ///
    /// # Errors
    /// Conflict while it is written; unprocessable where the parts don't go together.
    pub(crate) async fn join(&self, id: i64) -> Result<Joined, Error> {
        let claim = self.claim(id)?;
        let row = self.over(id).await?;
        let folder = folder(&row);
        if let Some((path, duration_ms, bytes)) = row.joined.clone() {
            let (known, place) = (path.clone(), folder.clone());
            let open = blocking("opening the joined file", move || {
                files::open(&known, &place).map(drop)
            });
            if open.await.is_ok() {
                return Ok(Joined {
                    path,
                    duration_ms,
                    bytes,
                });
            }
        }
        let sources = self.parts_to_join(&row, &folder).await?;
        let (parts, place) = (sources.parts.clone(), folder.clone());
        let output = blocking("naming the joined file", move || {
            joined_path(&parts, &place)
        });
        let output = output.await?;
        // The one before it has taken its space by then.
        let _turn = self.workers.turn_to_join().await;
        let device = self.check_space(&folder, &sources.parts).await?;
        let draft = Draft::beside(&output);
        let joining = self.joins.begin(device);
        let measure = tokio::select! {
            measure = self.workers.join(&draft.0, &sources.parts) => measure?,
            () = joining.cancelled.cancelled() => return Err(Error::new(
                Kind::InsufficientStorage,
                "disk_full",
                "The disk is full, and recordings that run come first: join the recording later",
            )),
        };
        let joined = Joined {
            path: output,
            duration_ms: measure.duration_ms,
            bytes: measure.bytes,
        };
        // Whether or not its client still waits, the file is kept and known, or neither.
        let this = self.clone();
        let kept = async move { this.keep_joined(claim, &row, draft, joined, &sources).await };
        let kept = self.workers.tasks().spawn(kept).await;
        kept.map_err(|error| Error::internal("keeping the joined file", error))?
    }

    async fn keep_joined(
        &self,
        _claim: Claim,
        row: &RecordingRow,
        draft: Draft,
        joined: Joined,
        sources: &Sources,
    ) -> Result<Joined, Error> {
        let (from, to) = (draft.0.clone(), joined.path.clone());
        blocking("naming the joined file", move || {
            rename_new(&from, &to).map_err(|error| Error::internal("naming the joined file", error))
        })
        .await?;
        let path = joined.path.clone();
        let stored = self
            .db
            .store_joined(row.id, path.clone(), joined.duration_ms, joined.bytes);
        if let Err(error) = stored.await {
            // Nobody would know of it.
            blocking("removing the joined file", move || {
                fs::remove_file(&path)
                    .map_err(|error| Error::internal("removing the joined file", error))
            })
            .await?;
            return Err(error);
        }
        self.describe(row.id).await;
        let details = json!({"recording_id": row.id, "mint_id": row.key,
            "path": joined.path.to_string_lossy(), "parts": sources.parts.len(),
            "left_out": sources.left_out});
        self.events.emit("recording.joined", details);
        Ok(joined)
    }

    /// Gives up what is being joined on a disk (the number of its device); whether there was
    /// something.
    pub(crate) fn cancel_joins_on(&self, device: u64) -> bool {
        let joins = self.joins.0.lock();
        let on_it = joins.iter().filter(|(other, _)| *other == device);
        let cancelled = on_it.map(|(_, token)| token.cancel()).count();
        cancelled > 0
    }

    /// The files that play. A length that isn't known, of a file that a crash has cut, is looked for
    /// once more.
    async fn parts_to_join(&self, row: &RecordingRow, folder: &Path) -> Result<Sources, Error> {
        let (mut parts, mut left_out) = (Vec::new(), Vec::new());
        for file in &row.files {
            if file.progress.duration_ms > 0 || self.measure_again(row.id, file, folder).await? {
                parts.push(file.path.clone());
            } else {
                left_out.push(file.part);
            }
        }
        if !left_out.is_empty() {
            let id = row.id;
            tracing::warn!(recording_id = id, parts = ?left_out, "nothing plays in these parts");
        }
        Ok(Sources { parts, left_out })
    }

    /// Whether something plays in a file whose length isn't known; it is stored then.
    async fn measure_again(&self, id: i64, file: &FileRow, folder: &Path) -> Result<bool, Error> {
        let (path, place) = (file.path.clone(), folder.to_owned());
        let looking = blocking("opening the recording", move || files::open(&path, &place));
        let measured = match looking.await {
            Ok(_) => self.workers.measure(&file.path).await,
            Err(error) => Err(error),
        };
        match measured {
            Ok(measure) if measure.duration_ms > 0 => {
                let progress = FileProgress {
                    duration_ms: measure.duration_ms,
                    bytes: measure.bytes,
                    ..file.progress
                };
                let file = FileRow {
                    progress,
                    ..file.clone()
                };
                self.db.store_part(id, file).await?;
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) if matches!(error.kind(), Kind::Unprocessable | Kind::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether there is space for a file as large as all parts are now; the number of the disk's
    /// device.
    async fn check_space(&self, folder: &Path, parts: &[PathBuf]) -> Result<u64, Error> {
        let (place, parts) = (folder.to_owned(), parts.to_owned());
        let fail = |error| Error::internal("looking for disk space", error);
        let (device, free, bytes) = blocking("looking for disk space", move || {
            let device = fs::metadata(&place).map_err(fail)?.dev();
            let mut bytes = 0u64;
            for part in &parts {
                let file = files::open(part, &place)?;
                bytes = bytes.saturating_add(file.metadata().map_err(fail)?.len());
            }
            Ok((device, free_bytes(&place).map_err(fail)?, bytes))
        })
        .await?;
        let needed = bytes.saturating_add((self.policy)().disk_reserve_bytes);
        if free < needed {
            return Err(Error::new(
                Kind::InsufficientStorage,
                "disk_full",
                format!(
                    "Not enough disk space to join the recording: {} MB are free, {} MB are needed",
                    free / 1_000_000,
                    needed / 1_000_000
                ),
            )
            .detail("free_bytes", free)
            .detail("needed_bytes", needed));
        }
        Ok(device)
    }
}

/// Gives a file a name that nobody has: what has it is never replaced.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system knows it.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        renamed => return Ok(renamed?),
    }
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // Nor has every one links. Nobody else makes such names.
        Err(_) => fs::rename(from, to),
    }
}

/// A disk that isn't mounted must not cost the library what is on it.
fn away(folder: &Path) -> Error {
    Error::new(
        Kind::Conflict,
        "folder_missing",
        format!(
            "The recording's folder {} is not there: mount its disk, or make the folder anew",
            folder.display()
        ),
    )
}

/// Where the file made of these parts is: beside the first one, under a name that is free.
fn joined_path(parts: &[PathBuf], folder: &Path) -> Result<PathBuf, Error> {
    let Some(first) = parts.first() else {
        return Err(Error::new(
            Kind::Unprocessable,
            "nothing_to_join",
            "The recording holds nothing that could be joined",
        ));
    };
    let stem = first.file_stem().unwrap_or_default().to_string_lossy();
    let extension = first.extension().unwrap_or_default().to_string_lossy();
    let names = (1u32..1000).map(|number| match number {
        1 => folder.join(format!("{stem}_joined.{extension}")),
        number => folder.join(format!("{stem}_joined_{number}.{extension}")),
    });
    let mut free = names.filter(|path| path.symlink_metadata().is_err());
    free.next()
        .ok_or_else(|| Error::internal("naming the joined file", "no name is free"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_never_takes_anothers_name() {
        let dir = tempfile::tempdir().unwrap();
        let [draft, taken, free] = ["draft", "taken", "free"].map(|name| dir.path().join(name));
        fs::write(&draft, "new").unwrap();
        fs::write(&taken, "old").unwrap();
        let error = rename_new(&draft, &taken).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&taken).unwrap(), b"old");
        rename_new(&draft, &free).unwrap();
        assert_eq!(fs::read(&free).unwrap(), b"new");
        assert!(!draft.exists());
    }

    #[test]
    fn what_is_joined_is_known_by_its_disk_for_as_long_as_it_lasts() {
        let joins = Joins::default();
        let [first, second] = [1, 2].map(|device| joins.begin(device));
        assert!(!first.cancelled.is_cancelled());
        drop(second);
        assert_eq!(joins.0.lock().len(), 1);
        assert!(!first.cancelled.is_cancelled());
        drop(first);
        assert_eq!(joins.0.lock().len(), 0);
    }

    #[tokio::test]
    async fn what_has_just_been_kept_goes_only_where_somebody_asks_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let (archive, id) = Archive::with_a_recording(&dir.path().join("a.mp4")).await;
        archive.keep(id, true).await.unwrap();
        let error = archive.delete(id, "age").await.unwrap_err();
        assert_eq!(error.code(), "recording_kept");
        let claim = archive.claim(id).unwrap();
        let error = archive.keep(id, false).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (Kind::Conflict, "recording_busy")
        );
        drop(claim);
        archive.delete(id, REQUESTED).await.unwrap();
        let error = archive.keep(id, true).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
    }

    #[tokio::test]
    async fn what_is_about_to_go_on_is_neither_joined_nor_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let (archive, id) = Archive::with_a_recording(&dir.path().join("a.mp4")).await;
        archive.db.want_recording(id, true).await.unwrap();
        for error in [
            archive.delete(id, REQUESTED).await.unwrap_err(),
            archive.join(id).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(error.code(), "recording_running");
        }
        assert_eq!(archive.row(id).await.unwrap().id, id);
    }
}
