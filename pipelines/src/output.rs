use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Recordings are for their owner, and readable by the group (a player, a backup).
const FILE_MODE: u32 = 0o640;

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
        self.source.kind() == io::ErrorKind::StorageFull
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
        let failed = |source| OutputError {
            path: path.into(),
            source,
        };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(path)
            .map_err(failed)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| failed(errno.into()))?;
        Ok(Self {
            path: path.into(),
            file,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Size of what was written, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl Drop for Output {
    /// Lets go of the file, and removes it where nothing was written.
    fn drop(&mut self) {
        if self.bytes() == 0
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an empty recording stays");
        }
    }
}
