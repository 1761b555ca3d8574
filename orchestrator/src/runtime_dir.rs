//! The folder of the workers' media sockets.

use crate::Error;
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// A Unix socket's path has at most 107 bytes (`unix(7)`); this leaves room for a socket's name.
const LONGEST_PATH_BYTES: usize = 80;
const PREFIX: &str = "haven-";
const LOCK: &str = "lock";

/// A folder of this process alone, mode 0700, removed when dropped. While its owner lives, the
/// file `lock` inside is locked; a folder whose lock is free was left by a server that died.
#[derive(Debug)]
pub(crate) struct RuntimeDir {
    path: PathBuf,
    _lock: File,
}

impl RuntimeDir {
    /// Makes the folder, and removes those that dead servers left.
    ///
    /// # Errors
    /// When no place for it can be written to.
    pub(crate) fn create(data_dir: &Path) -> Result<Self, Error> {
        let places = places(data_dir);
        let mut last = io::Error::other("no place has a short enough path");
        for place in places {
            remove_stale(&place);
            match create_in(&place) {
                Ok(dir) => return Ok(dir),
                Err(error) => last = error,
            }
        }
        Err(Error::internal(
            "making the folder of the media sockets",
            last,
        ))
    }

    /// Path of a socket in it.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "can't remove the sockets' folder");
        }
    }
}

fn places(data_dir: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        places.push(PathBuf::from(dir));
    }
    places.push(data_dir.join("run"));
    places.push(std::env::temp_dir());
    places
}

fn create_in(place: &Path) -> io::Result<RuntimeDir> {
    let name = format!(
        "{PREFIX}{}-{:04x}",
        std::process::id(),
        rand::random::<u16>()
    );
    let path = std::path::absolute(place)?.join(name);
    if path.as_os_str().len() > LONGEST_PATH_BYTES {
        return Err(io::Error::other("the path is too long for a socket"));
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(place)?;
    DirBuilder::new().mode(0o700).create(&path)?;
    let lock = File::create_new(path.join(LOCK))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(RuntimeDir { path, _lock: lock })
}

fn remove_stale(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        // Opening fails for a folder of another user, and for one whose owner is just making it.
        let Ok(lock) = File::open(path.join(LOCK)) else {
            continue;
        };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            tracing::info!(path = %path.display(), "removing what a dead server left");
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_folder_is_private_and_goes_with_its_owner() {
        let place = tempfile::tempdir().unwrap();
        let dir = create_in(place.path()).unwrap();
        let path = dir.path.clone();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(dir.socket("s1-1").as_os_str().len() < 108);
        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn only_what_a_dead_server_left_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let alive = create_in(place.path()).unwrap();
        let dead = place.path().join("haven-1-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        let foreign = place.path().join("other");
        fs::create_dir(&foreign).unwrap();
        remove_stale(place.path());
        assert!(alive.path.exists() && foreign.exists() && !dead.exists());
    }

    #[test]
    fn a_long_path_is_refused() {
        let place = tempfile::tempdir().unwrap();
        assert!(create_in(&place.path().join("x".repeat(80))).is_err());
    }
}
