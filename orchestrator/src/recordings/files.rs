//! Files of recordings on the disk: opened and removed only where they belong.

use crate::{Error, error::Kind};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Component, Path},
};

/// Opens a file that lies directly in `folder`, for reading.
///
/// # Errors
/// Not found where it is missing, elsewhere, a link, or no regular file.
pub(super) fn open(path: &Path, folder: &Path) -> Result<File, Error> {
    if !lies_in(path, folder) {
        tracing::error!(path = %path.display(), "a file of a recording is outside of its folder");
        return Err(missing("it is outside of its folder"));
    }
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(no_follow)
        .open(path)
        .map_err(missing)?;
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(missing("it is no regular file")),
        Err(error) => Err(missing(error)),
    }
}

/// Removes a file that lies directly in `folder`; one that is gone already is fine.
///
/// # Errors
/// When it can't be removed, or is elsewhere.
pub(super) fn remove(path: &Path, folder: &Path) -> io::Result<()> {
    if !lies_in(path, folder) {
        return Err(io::Error::other("it is outside of its folder"));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a path names something directly in `folder`: by its components, not as a text.
pub(crate) fn lies_in(path: &Path, folder: &Path) -> bool {
    path.is_absolute()
        && path.parent() == Some(folder)
        && matches!(path.components().next_back(), Some(Component::Normal(_)))
        && !folder.components().any(|part| part == Component::ParentDir)
}

fn missing(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(
        Kind::NotFound,
        "file_missing",
        "This file of the recording is not on the disk any more",
    )
    .caused_by(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_of_the_folder_are_opened_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("r");
        fs::create_dir(&folder).unwrap();
        fs::write(root.path().join("secret"), "x").unwrap();
        fs::write(folder.join("a.mp4"), "x").unwrap();
        symlink(root.path().join("secret"), folder.join("link.mp4")).unwrap();
        fs::create_dir(folder.join("sub")).unwrap();
        assert!(open(&folder.join("a.mp4"), &folder).is_ok());
        for outside in [
            folder.join("link.mp4"),
            folder.join("sub"),
            folder.join("missing.mp4"),
            folder.join("../secret"),
            folder.join("sub/../../secret"),
            folder.join(".."),
            root.path().join("secret"),
            root.path().join("r2/a.mp4"),
            "a.mp4".into(),
        ] {
            let error = open(&outside, &folder).unwrap_err();
            assert_eq!(error.kind(), Kind::NotFound, "{}", outside.display());
        }
        assert!(remove(&root.path().join("secret"), &folder).is_err());
        assert!(remove(&folder.join("../secret"), &folder).is_err());
        // The link itself goes, what it leads to stays.
        remove(&folder.join("link.mp4"), &folder).unwrap();
        remove(&folder.join("a.mp4"), &folder).unwrap();
        remove(&folder.join("a.mp4"), &folder).unwrap();
        assert!(root.path().join("secret").exists());
    }
}
