//! The library of recordings: described, served, deleted, joined.

use super::{Joined, Recording, files, library::free_bytes, retention::PolicySource, sidecar};
use crate::{
    Error, clock,
    db::{Candidate, Db, Filter, RecordingRow},
    error::Kind,
    events::Events,
    worker::Workers,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// A larger picture of a recording is none of ours.
const LARGEST_THUMBNAIL_BYTES: u64 = 8 << 20;

/// The library; cheap to clone.
#[derive(Clone)]
pub(crate) struct Archive {
    db: Db,
    workers: Arc<Workers>,
    events: Events,
    policy: PolicySource,
    /// Where pictures of recordings are kept.
    thumbnails: PathBuf,
    /// Recordings that are being joined or deleted.
    busy: Arc<Mutex<HashSet<i64>>>,
    /// Recordings whose description could not be written.
    undescribed: Arc<Mutex<HashSet<i64>>>,
}

/// A file of a recording, opened.
pub(crate) struct Served {
    pub(crate) file: File,
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
    /// What it is called when it is downloaded.
    pub(crate) name: String,
}

/// Which file of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// From 1.
    Part(u32),
    Joined,
}

/// A claim on a recording, for as long as it is held.
struct Claim {
    id: i64,
    busy: Arc<Mutex<HashSet<i64>>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.busy.lock().remove(&self.id);
    }
}

/// A file that is being made; what is left of it goes when the work is given up.
struct Draft(PathBuf);

impl Draft {
    fn beside(path: &Path) -> Self {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        Self(path.with_extension(format!("{:08x}.tmp.{extension}", rand::random::<u32>())))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Under its own name it is there no more.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn conflict(code: &'static str, message: &str) -> Error {
    Error::new(Kind::Conflict, code, message)
}

impl Archive {
    pub(crate) fn new(
        db: Db,
        workers: Arc<Workers>,
        events: Events,
        policy: PolicySource,
        thumbnails: PathBuf,
    ) -> Self {
        Self {
            db,
            workers,
            events,
            policy,
            thumbnails,
            busy: Arc::default(),
            undescribed: Arc::default(),
        }
    }

    pub(crate) async fn list(&self, filter: Filter) -> Result<(Vec<RecordingRow>, u64), Error> {
        self.db.list_recordings(filter).await
    }

    pub(super) async fn candidates(&self) -> Result<Vec<Candidate>, Error> {
        self.db.candidates().await
    }

    /// One recording.
    ///
    /// # Errors
    /// Not found.
    pub(crate) async fn row(&self, id: i64) -> Result<RecordingRow, Error> {
        self.db.recording(id).await?.ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                "recording_not_found",
                format!("There is no recording {id}"),
            )
        })
    }

    /// A recording as the API shows it. `running` is what its session knows of it.
    pub(crate) fn shown(row: RecordingRow, running: Option<&Recording>) -> Value {
        let info: Value = row
            .stream_info
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let room_name = row.room_name.clone();
        let mut recording = Recording::from_row(row);
        if let Some(running) = running.filter(|_| recording.ended.is_none()) {
            recording.parts.clone_from(&running.parts);
            recording.config.clone_from(&running.config);
        }
        let mut shown = recording.library_json();
        shown.insert("room_name".into(), room_name.into());
        shown.insert("stream_data".into(), info);
        Value::Object(shown)
    }

    /// Opens a file of a recording, to be served.
    ///
    /// # Errors
    /// Not found.
    pub(crate) async fn open(&self, id: i64, which: Which) -> Result<Served, Error> {
        let row = self.row(id).await?;
        let folder = folder(&row);
        let path = match which {
            Which::Part(number) => {
                let mut files = row.files.into_iter();
                let file = files.find(|file| file.part == number);
                file.map(|file| file.path)
                    .ok_or_else(|| no_such_file(format!("Recording {id} has no part {number}")))?
            }
            Which::Joined => row.joined.map(|(path, ..)| path).ok_or_else(|| {
                no_such_file(format!("The parts of recording {id} are not joined"))
            })?,
        };
        blocking("opening the recording", move || {
            let file = files::open(&path, &folder)?;
            let metadata = file
                .metadata()
                .map_err(|error| Error::internal("reading the recording", error))?;
            Ok(Served {
                file,
                bytes: metadata.len(),
                modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                name: name_of(&path),
            })
        })
        .await
    }

    /// A JPEG of a recording, made once it is asked for first.
    ///
    /// # Errors
    /// Not found where it has no picture.
    pub(crate) async fn thumbnail(&self, id: i64) -> Result<Vec<u8>, Error> {
        let row = self.row(id).await?;
        let cached = self.thumbnails.join(format!("{id}.jpg"));
        if let Some(jpeg) = read_small(cached.clone()).await? {
            return Ok(jpeg);
        }
        let (folder, running) = (folder(&row), row.ended_at_ms.is_none());
        let Some(first) = row.files.into_iter().next() else {
            return Err(no_such_file(format!("Recording {id} has no file")));
        };
        let path = first.path.clone();
        blocking("opening the recording", move || files::open(&path, &folder)).await?;
        let dir = self.thumbnails.clone();
        blocking("making the folder of thumbnails", move || {
            std::fs::create_dir_all(&dir)
                .map_err(|error| Error::internal("making the folder of thumbnails", error))
        })
        .await?;
        let draft = self
            .thumbnails
            .join(format!("{id}.{:08x}.tmp", rand::random::<u32>()));
        let made = self.workers.thumbnail(&first.path, &draft).await;
        let jpeg = read_small(draft.clone()).await;
        // What is still being written may have a better picture later.
        let kept = matches!((&made, &jpeg), (Ok(()), Ok(Some(_)))) && !running;
        let _ = tokio::task::spawn_blocking(move || match kept {
            true => std::fs::rename(&draft, &cached),
            false => std::fs::remove_file(&draft),
        })
        .await;
        made?;
        jpeg?.ok_or_else(|| Error::internal("making a thumbnail", "the worker made none"))
    }

    /// Exempts a recording from retention, or not any more.
    ///
    /// # Errors
    /// Not found.
    pub(crate) async fn keep(&self, id: i64, kept: bool) -> Result<(), Error> {
        self.row(id).await?;
        self.db.keep_recording(id, kept).await
    }

    /// Deletes a recording with all its files.
    ///
    /// # Errors
    /// Not found; conflict while it is written or joined.
    pub(crate) async fn delete(&self, id: i64, reason: &'static str) -> Result<(), Error> {
        let _claim = self.claim(id)?;
        let row = self.over(id).await?;
        let (key, folder) = (row.key.clone(), folder(&row));
        let mut paths: Vec<PathBuf> = row.files.iter().map(|file| file.path.clone()).collect();
        paths.extend(paths.first().map(|first| sidecar::path(first)));
        paths.extend(row.joined.map(|(path, ..)| path));
        let thumbnail = self.thumbnails.join(format!("{id}.jpg"));
        blocking("deleting the recording", move || {
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
        let parts: Vec<PathBuf> = row
            .files
            .iter()
            .filter(|file| file.progress.duration_ms > 0)
            .map(|file| file.path.clone())
            .collect();
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
            "path": joined.path.to_string_lossy(), "parts": parts.len()});
        self.events.emit("recording.joined", details);
        Ok(joined)
    }

    /// Writes the description beside a recording's first file. A failure is logged, and mended later:
    /// the recording is what counts.
    pub(crate) async fn describe(&self, id: i64) {
        let described = async {
            let row = self.row(id).await?;
            let Some(first) = row.files.first() else {
                return Ok(());
            };
            let path = sidecar::path(&first.path);
            let text = sidecar::text(row);
            blocking("describing the recording", move || {
                sidecar::write(&path, text.as_bytes())
                    .map_err(|error| Error::internal("describing the recording", error))
            })
            .await
        };
        if let Err(error) = described.await {
            if error.kind() != Kind::NotFound {
                self.undescribed.lock().insert(id);
            }
            let error = error.chain();
            tracing::warn!(recording_id = id, error, "a recording's JSON file");
        }
    }

    /// Writes the descriptions that could not be written before: the disk was full.
    pub(super) async fn describe_again(&self) {
        let late = std::mem::take(&mut *self.undescribed.lock());
        for id in late {
            self.describe(id).await;
        }
    }

    /// A recording that isn't written any more.
    async fn over(&self, id: i64) -> Result<RecordingRow, Error> {
        let row = self.row(id).await?;
        match row.ended_at_ms {
            Some(_) => Ok(row),
            None => Err(conflict(
                "recording_running",
                "The recording is still being written: stop it first",
            )),
        }
    }

    fn claim(&self, id: i64) -> Result<Claim, Error> {
        match self.busy.lock().insert(id) {
            true => Ok(Claim {
                id,
                busy: Arc::clone(&self.busy),
            }),
            false => Err(conflict(
                "recording_busy",
                "The recording is just being joined or deleted: ask again",
            )),
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

fn no_such_file(message: String) -> Error {
    Error::new(Kind::NotFound, "file_not_found", message)
}

/// The folder of a recording's files.
fn folder(row: &RecordingRow) -> PathBuf {
    let of_first = || row.files.first().and_then(|file| file.path.parent());
    row.directory
        .clone()
        .or_else(|| of_first().map(Path::to_owned))
        .unwrap_or_default()
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

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// A file's bytes, if it is there and no larger than a picture.
async fn read_small(path: PathBuf) -> Result<Option<Vec<u8>>, Error> {
    blocking("reading a thumbnail", move || {
        match std::fs::metadata(&path) {
            Ok(metadata) if (1..=LARGEST_THUMBNAIL_BYTES).contains(&metadata.len()) => {}
            _ => return Ok(None),
        }
        std::fs::read(&path)
            .map(Some)
            .map_err(|error| Error::internal("reading a thumbnail", error))
    })
    .await
}

/// Work on the disk, off the threads that serve.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal(doing, error))?
}
