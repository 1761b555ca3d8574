//! Files that are being made: under a name of their own, until they are complete.

use super::Archive;
use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A file that is being made; what is left of it goes when the work is given up.
pub(super) struct Draft(pub(super) PathBuf);

impl Draft {
    /// Of the file at `path`, and of its kind.
    pub(super) fn beside(path: &Path) -> Self {
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

impl Archive {
    /// Removes the drafts that a server left which was killed. Those of this one are younger than
    /// `begun`. `folder` is where recordings lie now.
    pub(crate) async fn remove_drafts(&self, folder: PathBuf, begun: SystemTime) {
        let mut folders = match self.db.recording_folders().await {
            Ok(folders) => folders,
            Err(error) => return tracing::error!(error = error.chain(), "looking for drafts"),
        };
        folders.insert(folder);
        folders.insert(self.thumbnails.clone());
        let work = move || folders.iter().for_each(|folder| remove_in(folder, begun));
        if let Err(error) = tokio::task::spawn_blocking(work).await {
            tracing::error!(%error, "removing drafts");
        }
    }
}

fn remove_in(folder: &Path, begun: SystemTime) {
    // A folder whose disk is away is left for the next time.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_old = || {
            let metadata = entry.metadata().ok();
            let metadata = metadata.filter(|metadata| metadata.is_file());
            let modified = metadata.and_then(|metadata| metadata.modified().ok());
            modified.is_some_and(|modified| modified < begun)
        };
        if is_draft(&entry.file_name().to_string_lossy()) && is_old() {
            let path = entry.path();
            tracing::info!(path = %path.display(), "removing what a dead server left");
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether a file's name is one of ours for drafts: `NAME.0123abcd.tmp`, or that with an extension.
fn is_draft(name: &str) -> bool {
    let mut words: Vec<&str> = name.split('.').collect();
    if words.last() != Some(&"tmp") {
        words.pop();
    }
    match words[..] {
        [_, .., number, "tmp"] => {
            number.len() == 8 && number.bytes().all(|byte| byte.is_ascii_hexdigit())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, time::Duration};

    #[test]
    fn only_drafts_of_former_servers_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let joined = Draft::beside(&dir.path().join("a_joined.mp4"));
        let joined = joined.0.file_name().unwrap().to_str().unwrap().to_owned();
        let drafts = [joined.as_str(), "a.mp4.json.0a1b2c3d.tmp", "7.0a1b2c3d.tmp"];
        let others = [
            "a.mp4",
            "a.tmp.mp4",
            "tmp",
            "0a1b2c3d.tmp",
            "b.0a1b2c3g.tmp.mp4",
        ];
        for name in drafts.into_iter().chain(others) {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let minute = Duration::from_secs(60);
        remove_in(dir.path(), SystemTime::now() - minute);
        let left = || fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left(), drafts.len() + others.len());
        remove_in(dir.path(), SystemTime::now() + minute);
        assert_eq!(left(), others.len());
        remove_in(&dir.path().join("missing"), SystemTime::now());
    }
}
