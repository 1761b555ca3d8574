//! Recordings deleted, and made one file of several.

use super::{
    Archive, Joined,
    archive::{blocking, folder},
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
use serde_json::json;
use std::path::{Path, PathBuf};

impl Archive {
    /// Deletes a recording with all its files.
    ///
    /// # Errors
    /// Not found; conflict while it is written or joined, or while its folder is away.
    pub(crate) async fn delete(&self, id: i64, reason: &'static str) -> Result<(), Error> {
        let _claim = self.claim(id)?;
        let row = self.over(id).await?;
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
        let _claim = self.claim(id)?;
        let row = self.over(id).await?;
        let folder = folder(&row);
        if let Some((path, duration_ms, bytes)) = row.joined.clone()
            && files::open(&path, &folder).is_ok()
        {
            return Ok(Joined {
                path,
                duration_ms,
                bytes,
            });
        }
        let (parts, left_out) = self.parts_to_join(&row, &folder).await?;
        let bytes: u64 = row.files.iter().map(|file| file.progress.bytes).sum();
        let output = joined_path(&parts, &folder)?;
        self.check_space(&folder, bytes).await?;
        let (places, place) = (parts.clone(), folder.clone());
        blocking("opening the recording", move || {
            places
                .iter()
                .try_for_each(|path| files::open(path, &place).map(drop))
        })
        .await?;
        let draft = Draft::beside(&output);
        let measure = self.workers.join(&draft.0, &parts).await?;
        let (from, to) = (draft.0.clone(), output.clone());
        blocking("naming the joined file", move || {
            std::fs::rename(&from, &to)
                .map_err(|error| Error::internal("naming the joined file", error))
        })
        .await?;
        let joined = Joined {
            path: output.clone(),
            duration_ms: measure.duration_ms,
            bytes: measure.bytes,
        };
        self.db
            .store_joined(id, output, measure.duration_ms, measure.bytes)
            .await?;
        self.describe(id).await;
        let details = json!({"recording_id": id, "mint_id": row.key,
            "path": joined.path.to_string_lossy(), "parts": parts.len(), "left_out": left_out});
        self.events.emit("recording.joined", details);
        Ok(joined)
    }

    /// The files that play, and the numbers of those in which nothing does. A length that isn't
    /// known, of a file that a crash has cut, is looked for once more.
    async fn parts_to_join(
        &self,
        row: &RecordingRow,
        folder: &Path,
    ) -> Result<(Vec<PathBuf>, Vec<u32>), Error> {
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
        Ok((parts, left_out))
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

    async fn check_space(&self, folder: &Path, bytes: u64) -> Result<(), Error> {
        let place = folder.to_owned();
        let free = blocking("looking for disk space", move || {
            free_bytes(&place).map_err(|error| Error::internal("looking for disk space", error))
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
            ));
        }
        Ok(())
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
