//! The folder of recordings: names that never collide or escape it, and free space.

use crate::{Error, clock, db::Db, error::Kind};
use jiff::{Timestamp, tz::TimeZone};
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Semaphore, time::timeout};

/// Longest part of a file's name that comes from the session's key, in bytes.
const LONGEST_STEM: usize = 100;
/// What a recording's file may be, whatever was asked for: the container follows from the codec
/// where nothing is encoded.
const CONTAINERS: [&str; 4] = ["mp4", "webm", "mkv", "wav"];

/// How long a folder may take to answer: that of a network whose server is gone never does.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// So many looks at folders run at a time.
const MOST_LOOKS: usize = 8;

/// The folder of recordings.
#[derive(Clone)]
pub(crate) struct Library {
    dir: PathBuf,
    /// What files are called; none: after the session's key and the time.
    stem: Option<String>,
    reserve_bytes: u64,
    db: Db,
    /// Names given out that are neither on the disk nor in the database yet, without their
    /// extensions: which one a file gets is known only once its worker has seen what is published.
    reserved: Arc<Mutex<HashSet<PathBuf>>>,
    /// A disk that doesn't answer holds up so many threads.
    looks: Arc<Semaphore>,
}

/// A file's name, kept from others until it is in the database.
pub(crate) struct Reservation {
    path: PathBuf,
    stem: PathBuf,
    reserved: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Reservation {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.reserved.lock().remove(&self.stem);
    }
}

impl Library {
    /// The folder `dir`, below `reserve_bytes` of free space closed to new recordings.
    pub(crate) fn new(dir: PathBuf, reserve_bytes: u64, db: Db) -> Self {
        Self {
            dir,
            stem: None,
            reserve_bytes,
            db,
            reserved: Arc::default(),
            looks: Arc::new(Semaphore::new(MOST_LOOKS)),
        }
    }

    /// The same, with files of this name (and a number, from the second on).
    pub(crate) fn with_stem(mut self, stem: Option<String>) -> Self {
        self.stem = stem;
        self
    }

    /// A name for a new file, in a folder that exists and has space.
    ///
    /// # Errors
    /// Insufficient storage below the reserve; internal when the folder can't be made, or doesn't
    /// answer.
    pub(crate) async fn new_file(
        &self,
        key: &str,
        extension: &str,
        at_ms: i64,
    ) -> Result<Reservation, Error> {
        self.check_free().await?;
        self.name_in(&self.dir, key, extension, at_ms).await
    }

    /// A name for a further file of a recording: beside the others of it, in a folder that isn't
    /// made anew. Of those files one must be there, if any are named: the folder of a disk that isn't
    /// mounted is empty.
    ///
    /// # Errors
    /// As [`Library::new_file`].
    pub(crate) async fn further_file(
        &self,
        (folder, others): (PathBuf, Vec<PathBuf>),
        key: &str,
        extension: &str,
        at_ms: i64,
    ) -> Result<Reservation, Error> {
        let (this, dir) = (self.clone(), folder.clone());
        let checked = move || {
            let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
            if !dir.is_dir() || !(others.is_empty() || others.iter().any(is_there)) {
                let why = "the recording's files are not there: its disk may not be mounted yet";
                return Err(unusable(&dir).caused_by(why));
            }
            this.check_space(&dir)
        };
        self.look(&folder, checked).await??;
        self.name_in(&folder, key, extension, at_ms).await
    }

    /// Looks at a folder, for as long as that may take.
    async fn look<T: Send + 'static>(
        &self,
        dir: &Path,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let looks = Arc::clone(&self.looks);
        let looking = async {
            let permit = looks.acquire_owned().await;
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                work()
            })
            .await
        };
        timeout(LOOK_LIMIT, looking)
            .await
            .map_err(|_| unusable(dir).caused_by("it doesn't answer"))?
            .map_err(|error| Error::internal("looking at the folder of recordings", error))
    }

    async fn name_in(
        &self,
        dir: &Path,
        key: &str,
        extension: &str,
        at_ms: i64,
    ) -> Result<Reservation, Error> {
        let by_key = || format!("{}_{}", stem(key), compact_time(at_ms));
        let name = self.stem.clone().unwrap_or_else(by_key);
        for number in 1u32.. {
            let name = match number {
                1 => name.clone(),
                number => format!("{name}_{number}"),
            };
            let Some(reservation) = self.reserve(dir, &name, extension) else {
                continue;
            };
            let (stem, kind) = (reservation.stem.clone(), extension.to_owned());
            let taken = self.look(dir, move || is_taken(&stem, &kind)).await?
                || self.db.knows_stem(reservation.stem.clone()).await?;
            if !taken {
                return Ok(reservation);
            }
        }
        Err(Error::internal("naming a recording", "no name is free"))
    }

    /// Whether there is a folder with space for a recording now.
    ///
    /// # Errors
    /// As [`Library::new_file`].
    pub(crate) async fn check_free(&self) -> Result<(), Error> {
        let (this, dir) = (self.clone(), self.dir.clone());
        let checked = move || {
            std::fs::create_dir_all(&dir).map_err(|error| unusable(&dir).caused_by(error))?;
            this.check_space(&dir)
        };
        self.look(&self.dir, checked).await?
    }

    fn reserve(&self, dir: &Path, name: &str, extension: &str) -> Option<Reservation> {
        let stem = dir.join(name);
        let is_free = self.reserved.lock().insert(stem.clone());
        is_free.then(|| Reservation {
            path: dir.join(format!("{name}.{extension}")),
            stem,
            reserved: Arc::clone(&self.reserved),
        })
    }

    /// Where new recordings lie.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn check_space(&self, dir: &Path) -> Result<(), Error> {
        let free = free_bytes(dir).map_err(|error| unusable(dir).caused_by(error))?;
        if free < self.reserve_bytes {
            return Err(Error::new(
                Kind::InsufficientStorage,
                "disk_full",
                format!(
                    "Not enough disk space for a recording: {} MB are free, {} MB are kept in reserve",
                    free / 1_000_000,
                    self.reserve_bytes / 1_000_000
                ),
            )
            .detail("free_bytes", free)
            .detail("needed_bytes", self.reserve_bytes));
        }
        Ok(())
    }
}

fn unusable(dir: &Path) -> Error {
    let message = format!("The recording folder {} can't be used", dir.display());
    Error::new(Kind::Internal, "recording_dir", message)
}

/// Bytes that are free for us on the disk of a folder.
///
/// # Errors
/// When the folder isn't there or can't be asked.
pub(crate) fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    let space = rustix::fs::statvfs(folder)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// A worker that fails early may have made the file already. How large it is; 0 where it is gone.
pub(crate) fn remove_if_empty(path: &Path) -> u64 {
    let bytes = std::fs::metadata(path).map(|file| file.len());
    if bytes.as_ref().is_ok_and(|bytes| *bytes == 0)
        && let Err(error) = std::fs::remove_file(path)
    {
        tracing::warn!(path = %path.display(), %error, "can't remove an empty file");
    }
    bytes.unwrap_or(0)
}

/// A session's key as part of a file's name: what might mean something to a file system or a
/// shell becomes `_`.
fn stem(key: &str) -> String {
    let safe = |c: char| match c {
        'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-' => c,
        _ => '_',
    };
    let stem: String = key.chars().take(LONGEST_STEM).map(safe).collect();
    match stem.strip_prefix(['.', '-']) {
        Some(rest) => format!("_{rest}"),
        None => stem,
    }
}

/// Whether a recording of this name is on the disk, in any container.
fn is_taken(stem: &Path, extension: &str) -> bool {
    let mut extensions = CONTAINERS.into_iter().chain([extension]);
    extensions.any(|extension| {
        let mut name = stem.as_os_str().to_owned();
        name.push(".");
        name.push(extension);
        Path::new(&name).symlink_metadata().is_ok()
    })
}

fn compact_time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms)
        .map(|time| {
            time.to_zoned(TimeZone::UTC)
                .strftime("%Y%m%d_%H%M%S")
                .to_string()
        })
        .unwrap_or_else(|_| clock::rfc3339(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{NewRecording, NewSession, SessionKind};

    const AT_MS: i64 = 1_762_948_800_123;

    #[test]
    fn names_stay_in_their_folder() {
        for (key, expected) in [
            ("demo", "demo"),
            ("a b/c:ü", "a_b_c__"),
            ("../../etc/passwd", "_._.._etc_passwd"),
            ("-rf", "_rf"),
            ("..", "_."),
            ("\0\n'\"$`", "______"),
        ] {
            assert_eq!(stem(key), expected);
            assert_eq!(Path::new(&stem(key)).components().count(), 1);
        }
        assert_eq!(stem(&"é".repeat(256)).len(), LONGEST_STEM);
    }

    #[tokio::test]
    async fn names_never_collide() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::in_memory();
        let library = Library::new(dir.path().join("new"), 0, db.clone());
        let name = |file: &Reservation| file.path().file_name().unwrap().to_owned();

        let first = library.new_file("a/b", "mp4", AT_MS).await.unwrap();
        assert_eq!(name(&first), "a_b_20251112_120000.mp4");
        let second = library.new_file("a:b", "mp4", AT_MS).await.unwrap();
        assert_eq!(name(&second), "a_b_20251112_120000_2.mp4");

        std::fs::write(first.path(), "on the disk").unwrap();
        drop(first);
        let session = NewSession {
            key: "a:b".into(),
            kind: SessionKind::Room,
            started_at_ms: 0,
        };
        let new = NewRecording {
            session_id: db.insert_session(session).await.unwrap(),
            key: "a:b".into(),
            format: "h264".into(),
            config: "{}".into(),
            settings: "{}".into(),
            started_at_ms: 0,
            path: second.path().into(),
        };
        db.insert_recording(new).await.unwrap();
        drop(second);
        let third = library.new_file("a:b", "mp4", AT_MS).await.unwrap();
        assert_eq!(name(&third), "a_b_20251112_120000_3.mp4");
        // What was asked for as mp4 may become a webm file.
        let fourth = library.new_file("a:b", "webm", AT_MS).await.unwrap();
        assert_eq!(name(&fourth), "a_b_20251112_120000_4.webm");
        std::fs::write(fourth.path(), "on the disk").unwrap();
        drop(fourth);
        let fifth = library.new_file("a:b", "mp4", AT_MS).await.unwrap();
        assert_eq!(name(&fifth), "a_b_20251112_120000_5.mp4");
    }

    #[tokio::test]
    async fn a_full_disk_is_told_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::new(dir.path().into(), u64::MAX, Db::in_memory());
        let error = library.new_file("demo", "mp4", AT_MS).await.err().unwrap();
        assert_eq!(error.kind(), Kind::InsufficientStorage);
        assert_eq!(error.details()["needed_bytes"], u64::MAX);
    }
}
