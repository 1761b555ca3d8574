//! Folders: where they really are, and whether they can be written to.

use rustix::fs::{Access, access};
use std::{
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf},
};

/// Where an absolute path leads once the links of what exists of it are followed; the rest may
/// not exist yet.
///
/// # Errors
/// For a path that isn't absolute or goes up (`..`), and when it can't be looked at.
pub(crate) fn real_path(path: &Path) -> io::Result<PathBuf> {
    let goes_up = path.components().any(|part| part == Component::ParentDir);
    if !path.is_absolute() || goes_up {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut rest = Vec::new();
    let mut there = path;
    loop {
        match fs::canonicalize(there) {
            Ok(real) => return Ok(rest.iter().rev().fold(real, |path, name| path.join(name))),
            // A dangling link exists, and leads who knows where.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && there.symlink_metadata().is_err() =>
            {
                let (Some(parent), Some(name)) = (there.parent(), there.file_name()) else {
                    return Err(error);
                };
                rest.push(name);
                there = parent;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Makes the folder where it is missing, and writes a file into it that is removed again.
///
/// # Errors
/// When that fails.
pub(crate) fn check_writable(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let path = dir.join(format!(".haven-{:016x}", rand::random::<u64>()));
    let written =
        File::create_new(&path).and_then(|mut file| io::Write::write_all(&mut file, b"x"));
    let removed = fs::remove_file(&path);
    written.and(removed)
}

/// Whether a folder may be written to, or made where it is missing. Changes nothing.
///
/// # Errors
/// When it may not.
pub(crate) fn may_write(dir: &Path) -> io::Result<()> {
    for there in dir.ancestors() {
        match fs::metadata(there) {
            Ok(metadata) if metadata.is_dir() => {
                return Ok(access(there, Access::WRITE_OK | Access::EXEC_OK)?);
            }
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_and_what_is_missing_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(root.join("a")).unwrap();
        symlink(root.join("a"), root.join("link")).unwrap();
        symlink(root.join("nowhere"), root.join("dangling")).unwrap();
        let real = |path: &str| real_path(&root.join(path)).ok();
        assert_eq!(real("link/new/folder"), Some(root.join("a/new/folder")));
        assert_eq!(real("a"), Some(root.join("a")));
        assert_eq!(real("a/../b"), None);
        assert_eq!(real("dangling/x"), None);
        assert!(real_path(Path::new("a")).is_err());
    }

    #[test]
    fn looking_whether_a_folder_may_be_written_to_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        may_write(dir.path()).unwrap();
        may_write(&dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(may_write(&dir.path().join("file")).is_err());
        assert!(may_write(&dir.path().join("file/x")).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_made_and_left_empty() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("a/b");
        check_writable(&new).unwrap();
        assert_eq!(fs::read_dir(&new).unwrap().count(), 0);
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(check_writable(&dir.path().join("file")).is_err());
    }
}
