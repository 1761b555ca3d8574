//! The library of recordings: described, served, deleted, joined.

use super::{
    Recording, describing::Descriptions, files, joining::Joins, retention::PolicySource,
    thumbnails::Turns,
};
use crate::{
    Error,
    db::{Candidate, Db, FileRow, Filter, RecordingRow},
    error::Kind,
    events::Events,
    worker::Workers,
};
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    collections::HashSet,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// The library; cheap to clone.
#[derive(Clone)]
pub(crate) struct Archive {
    pub(super) db: Db,
    pub(super) workers: Arc<Workers>,
    pub(super) events: Events,
    pub(super) policy: PolicySource,
    /// Where pictures of recordings are kept.
    pub(super) thumbnails: PathBuf,
    /// Who makes a picture of which recording.
    pub(super) picturing: Turns,
    /// Whether a JSON file is written beside each recording.
    pub(super) describes: bool,
    /// Recordings that are being joined or deleted.
    busy: Arc<Mutex<HashSet<i64>>>,
    pub(super) descriptions: Descriptions,
    /// What is being joined where.
    pub(super) joins: Joins,
}

/// A file of a recording, opened.
pub(crate) struct Served {
    pub(crate) file: File,
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
    /// The part's number, or `joined`.
    pub(crate) part: String,
    /// What it is called when it is downloaded.
    pub(crate) name: String,
}

/// Which file of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The first one that holds something.
    First,
    /// From 1.
    Part(u32),
    Joined,
}

/// A claim on a recording, for as long as it is held.
pub(super) struct Claim {
    id: i64,
    busy: Arc<Mutex<HashSet<i64>>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.busy.lock().remove(&self.id);
    }
}

pub(super) fn conflict(code: &'static str, message: &str) -> Error {
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
            picturing: Turns::default(),
            describes: true,
            busy: Arc::default(),
            descriptions: Descriptions::default(),
            joins: Joins::default(),
        }
    }

    /// The same, which writes no JSON file beside the recordings.
    pub(crate) fn without_descriptions(mut self) -> Self {
        self.describes = false;
        self
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
        let mut files = row.files.into_iter();
        let file = match which {
            Which::First => first_with_content(files),
            Which::Part(number) => files.find(|file| file.part == number),
            Which::Joined => None,
        };
        let (path, part) = match (file, which, row.joined) {
            (Some(file), ..) => (file.path, file.part.to_string()),
            (None, Which::Joined, Some((path, ..))) => (path, "joined".to_owned()),
            (None, which, _) => {
                return Err(no_such_file(match which {
                    Which::Joined => format!("The parts of recording {id} are not joined"),
                    Which::First => format!("Recording {id} has no file"),
                    Which::Part(number) => format!("Recording {id} has no part {number}"),
                }));
            }
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
                part,
            })
        })
        .await
    }

    /// Exempts a recording from retention, or not any more.
    ///
    /// # Errors
    /// Not found; conflict while it is joined or deleted.
    pub(crate) async fn keep(&self, id: i64, kept: bool) -> Result<(), Error> {
        // Retention must not delete what is just being kept.
        let _claim = self.claim(id)?;
        self.row(id).await?;
        self.db.keep_recording(id, kept).await
    }

    /// A recording that isn't written any more, and won't be.
    pub(super) async fn over(&self, id: i64) -> Result<RecordingRow, Error> {
        let row = self.row(id).await?;
        match row.ended_at_ms {
            Some(_) if !row.wanted => Ok(row),
            _ => Err(conflict(
                "recording_running",
                "The recording is still being written: stop it first",
            )),
        }
    }

    pub(super) fn claim(&self, id: i64) -> Result<Claim, Error> {
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
}

pub(super) fn no_such_file(message: String) -> Error {
    Error::new(Kind::NotFound, "file_not_found", message)
}

/// The first file that isn't known to be empty: a worker may have crashed before it wrote anything.
pub(super) fn first_with_content(files: impl IntoIterator<Item = FileRow>) -> Option<FileRow> {
    let mut files = files.into_iter();
    let first = files.next()?;
    let holds = |file: &FileRow| file.progress.bytes > 0 || file.end_reason.is_none();
    if holds(&first) {
        return Some(first);
    }
    files.find(holds).or(Some(first))
}

/// The folder of a recording's files.
pub(super) fn folder(row: &RecordingRow) -> PathBuf {
    let of_first = || row.files.first().and_then(|file| file.path.parent());
    row.directory
        .clone()
        .or_else(|| of_first().map(Path::to_owned))
        .unwrap_or_default()
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Work on the disk, off the threads that serve.
pub(super) async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal(doing, error))?
}

#[cfg(test)]
impl Archive {
    /// A library with one recording, which is over; its id.
    pub(super) async fn with_a_recording(path: &Path) -> (Self, i64) {
        use crate::db::{NewRecording, NewSession, SessionKind};
        let db = Db::in_memory();
        let session = NewSession {
            key: "demo".into(),
            kind: SessionKind::Demo,
            started_at_ms: 1,
        };
        let new = NewRecording {
            session_id: db.insert_session(session).await.unwrap(),
            key: "demo".into(),
            format: "h264".into(),
            config: "{}".into(),
            settings: "{}".into(),
            started_at_ms: 1,
            path: path.into(),
        };
        let id = db.insert_recording(new).await.unwrap();
        let end = db.end_recording(id, 2, "stopped".into(), None, false);
        end.await.unwrap();
        let workers = Workers::new(
            "x".into(),
            None,
            Default::default(),
            Default::default(),
            tokio_util::task::TaskTracker::new(),
        );
        let policy: PolicySource = Arc::new(Default::default);
        let thumbnails = path.with_file_name("thumbnails");
        let archive = Self::new(db, Arc::new(workers), Events::new(), policy, thumbnails);
        (archive, id)
    }
}
