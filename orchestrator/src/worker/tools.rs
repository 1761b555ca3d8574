//! What the worker's executable knows of this machine and of files: GStreamer is only there.

use super::{Workers, confine::out_of_memory, launch::log};
use crate::{Error, error::Kind};
use haven_wire::{Costs, Probe};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    sync::SemaphorePermit,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

/// The first probe of a machine scans all its plug-ins.
const PROBE_TIMEOUT: Duration = Duration::from_secs(60);
/// Each format in each quality, and what else a session does, for some seconds together.
const COSTS_TIMEOUT: Duration = Duration::from_secs(90);
/// A long recording has to be read whole where its index is missing.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(300);
/// One picture, from a file of any length.
const THUMBNAIL_TIMEOUT: Duration = Duration::from_secs(20);
/// All parts are read and written once: as fast as the disk is.
const JOIN_TIMEOUT: Duration = Duration::from_secs(1800);
/// With this status the worker says that it can't be done with these files: its answer says why.
const UNFIT: i32 = 3;
/// A worker whose server died finalises its files by itself, within 15 s, and holds their locks
/// meanwhile.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);
/// Code of the error of a file that a worker still holds.
pub(crate) const FILE_LOCKED: &str = "file_locked";
/// Code of the error of a file that isn't there.
pub(crate) const FILE_MISSING: &str = "file_missing";
/// How long what it said last is read for.
const LAST_WORDS: Duration = Duration::from_secs(1);
const LARGEST_ANSWER_BYTES: u64 = 1 << 20;

/// How long and large a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Measure {
    pub(crate) duration_ms: u64,
    pub(crate) bytes: u64,
}

impl Workers {
    /// Whether the worker's executable is there: it may have gone since it was asked.
    ///
    /// # Errors
    /// When it isn't.
    pub(crate) fn find(&self) -> Result<(), Error> {
        // A bare name is looked for in PATH.
        let found = if self.executable.components().count() > 1 {
            self.executable.is_file()
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|dir| dir.join(&self.executable).is_file())
        };
        match found {
            true => Ok(()),
            false => Err(self.cannot_run(std::io::ErrorKind::NotFound.into())),
        }
    }

    /// What this machine can do; asked once.
    ///
    /// # Errors
    /// When the worker's executable can't tell; the next call asks again.
    pub(crate) async fn probe(&self) -> Result<&Probe, Error> {
        self.probe
            .get_or_try_init(|| async {
                let args = self.with_formats("--probe");
                let probe: Probe = self.ask(args, PROBE_TIMEOUT).await?;
                for (element, package) in &probe.missing {
                    tracing::warn!(element, package, "a GStreamer element is missing");
                }
                let formats = probe.formats.values();
                let notes: BTreeSet<_> = formats.flat_map(|format| &format.notes).collect();
                for note in notes {
                    tracing::warn!("{note}");
                }
                Ok(probe)
            })
            .await
    }

    /// What each thing that a session does costs here; takes many seconds of processor time.
    ///
    /// # Errors
    /// When the worker's executable can't tell.
    pub(crate) async fn costs(&self) -> Result<Costs, Error> {
        self.ask(self.with_formats("--costs"), COSTS_TIMEOUT).await
    }

    fn with_formats<'a>(&'a self, tool: &'static str) -> Vec<&'a OsStr> {
        let mut args = vec![OsStr::new(tool)];
        if let Some(folder) = &self.formats_dir {
            args.extend([OsStr::new("--formats-dir"), folder.as_os_str()]);
        }
        args
    }

    /// The length of a media file that nobody writes any more: waits for its lock first.
    ///
    /// # Errors
    /// Unprocessable where nothing in it plays; conflict while somebody holds its lock; not found
    /// where it is missing.
    pub(crate) async fn measure(&self, path: &Path) -> Result<Measure, Error> {
        wait_for_lock(path, LOCK_TIMEOUT).await?;
        let _permit = self.measuring.acquire().await;
        let args = vec![OsStr::new("--measure"), path.as_os_str()];
        self.ask(args, MEASURE_TIMEOUT).await
    }

    /// Writes a JPEG of a recording to `jpeg`.
    ///
    /// # Errors
    /// Not found where the file has no picture.
    pub(crate) async fn thumbnail(&self, path: &Path, jpeg: &Path) -> Result<(), Error> {
        let _permit = self.picturing.acquire().await;
        let args = vec![
            OsStr::new("--thumbnail"),
            path.as_os_str(),
            jpeg.as_os_str(),
        ];
        let made: Result<serde_json::Value, _> = self.ask(args, THUMBNAIL_TIMEOUT).await;
        match made {
            Err(error) if error.kind() == Kind::Unprocessable => Err(Error::new(
                Kind::NotFound,
                "no_picture",
                "This recording has no picture",
            )
            .caused_by(error)),
            made => made.map(drop),
        }
    }

    /// Waits until nothing else is being joined; nothing else is while this is held.
    pub(crate) async fn turn_to_join(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.joining.acquire().await.ok()
    }

    /// Makes one file of several, without encoding anything again; its turn comes first.
    ///
    /// # Errors
    /// Unprocessable, with the reason, where they don't go together.
    pub(crate) async fn join(&self, output: &Path, parts: &[PathBuf]) -> Result<Measure, Error> {
        let mut args = vec![OsStr::new("--join"), output.as_os_str()];
        args.extend(parts.iter().map(|part| part.as_os_str()));
        self.ask(args, JOIN_TIMEOUT).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        args: Vec<&OsStr>,
        limit: Duration,
    ) -> Result<T, Error> {
        let what = args.first().map(|arg| arg.to_string_lossy().into_owned());
        let what = what.unwrap_or_default();
        let fail = |why: String| {
            Error::new(
                Kind::Unavailable,
                "worker_unavailable",
                "haven-worker gives no answer",
            )
            .caused_by(why)
        };
        let mut command = self.command();
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = self.spawn(&mut command)?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(fail("it has no pipes".into()));
        };
        // A process that it leaves may hold the pipe open.
        let logging = AbortOnDropHandle::new(self.tasks.spawn(log(stderr, what)));
        let mut answer = Vec::new();
        let run = async {
            stdout
                .take(LARGEST_ANSWER_BYTES)
                .read_to_end(&mut answer)
                .await?;
            child.wait().await
        };
        let status = timeout(limit, run)
            .await
            .map_err(|_| fail(format!("none within {limit:?}")))?
            .map_err(|error| fail(error.to_string()))?;
        let lacked_memory = matches!(timeout(LAST_WORDS, logging).await, Ok(Ok(true)));
        if status.code() == Some(UNFIT) {
            return Err(unfit(&answer));
        }
        if !status.success() && lacked_memory {
            let why = out_of_memory(self.limits().worker_memory_bytes());
            return Err(fail(format!("{status}, {why}")));
        }
        if !status.success() {
            let text = String::from_utf8_lossy(&answer);
            return Err(fail(format!("{status}: {}", text.trim())));
        }
        serde_json::from_slice(&answer).map_err(|error| fail(error.to_string()))
    }
}

/// What the worker says of files with which it can't be done.
fn unfit(answer: &[u8]) -> Error {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let why = answer["error"].as_str().unwrap_or("its files don't fit");
    let message = format!("It can't be done with this recording: {why}");
    Error::new(Kind::Unprocessable, "recording_unfit", message)
}

/// Waits until nobody holds the file's lock, at most `limit`.
async fn wait_for_lock(path: &Path, limit: Duration) -> Result<(), Error> {
    let place = path.to_owned();
    let opened = spawn_blocking(move || File::open(place)).await;
    let opened = opened.map_err(std::io::Error::other).flatten();
    let file = opened.map_err(|error| {
        let (kind, code) = match error.kind() {
            std::io::ErrorKind::NotFound => (Kind::NotFound, FILE_MISSING),
            _ => (Kind::Internal, "file_unreadable"),
        };
        Error::new(kind, code, "A recording's file can't be opened").caused_by(error)
    })?;
    let until = Instant::now() + limit;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < until => {}
            Err(Errno::WOULDBLOCK | Errno::INTR) => {
                return Err(Error::new(
                    Kind::Conflict,
                    FILE_LOCKED,
                    "A recording's file is still being written",
                ));
            }
            // A file system without locks tells nothing of who writes.
            Ok(()) | Err(_) => return Ok(()),
        }
        // flock can't be waited for with a limit.
        sleep(Duration::from_millis(100)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_held_is_waited_for_and_never_taken_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.mp4");
        let wait = || wait_for_lock(&path, Duration::from_millis(150));
        assert_eq!(wait().await.unwrap_err().code(), FILE_MISSING);
        let holder = File::create(&path).unwrap();
        flock(&holder, FlockOperation::LockExclusive).unwrap();
        assert_eq!(wait().await.unwrap_err().code(), FILE_LOCKED);
        drop(holder);
        wait().await.unwrap();
    }
}
