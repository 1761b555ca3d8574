use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Recordings are for their owner, and readable by the group (a player, a backup).
const FILE_MODE: u32 = 0o640;

/// Makes a file that somebody else then writes, with a recording's permissions.
///
/// # Errors
/// When it exists (it may be what is to be read), or can't be made.
pub(crate) fn create_private(path: &Path) -> Result<(), OutputError> {
    create(path).map(drop)
}

/// Makes or empties a file that somebody else then writes, with a recording's permissions.
///
/// # Errors
/// When it can't be made.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.mode(FILE_MODE).open(path).map(drop)
}

/// Why a recording's file can't be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot create {path}: {source}")]
pub(crate) struct OutputError {
    path: PathBuf,
    source: io::Error,
}

impl OutputError {
    /// Whether there is no room for it.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }

    /// Whether another name would do.
    pub(crate) fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }
}

/// The file of a recording, locked for as long as it is written: whoever repairs files after a
/// crash waits for the lock.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    file: File,
}

impl Output {
    /// Makes a new file.
    ///
    /// # Errors
    /// When it exists (nothing is ever overwritten), or can't be made or locked.
    pub(crate) fn create(path: &Path) -> Result<Self, OutputError> {
        let output = Self {
            path: path.into(),
            file: create(path)?,
        };
        // Where that fails, the empty file goes with the value.
        flock(&output.file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
            OutputError {
                path: path.into(),
                source: errno.into(),
            }
        })?;
        Ok(output)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Size of what was written, in bytes; 0 where the file system doesn't say.
    pub(crate) fn bytes(&self) -> u64 {
        self.size().unwrap_or_default()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

fn create(path: &Path) -> Result<File, OutputError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(FILE_MODE);
    options.open(path).map_err(|source| OutputError {
        path: path.into(),
        source,
    })
}

/// Whether nothing was written to a file. A server of files that has lost its handle (ESTALE) says
/// nothing of a night's recording.
fn is_empty(size: &io::Result<u64>) -> bool {
    matches!(size, Ok(0))
}

impl Drop for Output {
    /// Lets go of the file, and removes it where nothing was written.
    fn drop(&mut self) {
        if is_empty(&self.size())
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an empty recording stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn only_a_file_that_is_known_to_be_empty_is_removed() {
        assert!(is_empty(&Ok(0)));
        assert!(!is_empty(&Ok(1)));
        assert!(!is_empty(&Err(Errno::STALE.into())));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        drop(Output::create(&path).unwrap());
        assert!(!path.exists());
        let output = Output::create(&path).unwrap();
        std::fs::write(&path, "film").unwrap();
        drop(output);
        assert!(path.exists());
        assert!(Output::create(&path).unwrap_err().is_taken());
    }

    #[test]
    fn a_used_up_quota_is_a_full_disk() {
        let of = |errno: Errno| OutputError {
            path: "a.mp4".into(),
            source: errno.into(),
        };
        assert!(of(Errno::DQUOT).is_disk_full());
        assert!(of(Errno::NOSPC).is_disk_full());
        assert!(!of(Errno::ACCESS).is_disk_full());
    }
}
