//! A disk that is full soon.

use crate::Result;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A folder on a disk in memory: one of its own where this process may mount one, else the machine's.
pub struct SmallDisk {
    folder: TempDir,
    mounted: bool,
}

impl SmallDisk {
    /// A disk of this size in bytes, empty.
    ///
    /// # Errors
    /// When there is no disk in memory.
    pub fn new(bytes: u64) -> Result<Self> {
        let folder = tempfile::tempdir_in("/dev/shm")?;
        let mut mount = Command::new("mount");
        let size = format!("size={bytes}");
        mount
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path());
        let mounted = mount.output()?.status.success();
        if !mounted {
            println!("no disk of its own without the right to mount one");
        }
        let disk = Self { folder, mounted };
        std::fs::create_dir(disk.recordings())?;
        Ok(disk)
    }

    /// Whether nobody else writes to it.
    pub fn is_its_own(&self) -> bool {
        self.mounted
    }

    /// An empty folder on it.
    pub fn recordings(&self) -> PathBuf {
        self.folder.path().join("recordings")
    }

    /// Free bytes.
    ///
    /// # Errors
    /// When the disk doesn't say.
    pub fn free(&self) -> Result<u64> {
        let space = statvfs(self.folder.path())?;
        Ok(space.f_bavail * space.f_frsize)
    }

    /// Takes so many of the free bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn fill(&self, bytes: u64) -> Result {
        let filler = File::create(self.filler())?;
        Ok(fallocate(&filler, FallocateFlags::empty(), 0, bytes)?)
    }

    /// Gives back what [`SmallDisk::fill`] took.
    ///
    /// # Errors
    /// When it took nothing.
    pub fn give_back(&self) -> Result {
        Ok(std::fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily: who still reads there doesn't keep it.
            let _ = Command::new("umount")
                .arg("-l")
                .arg(self.folder.path())
                .output();
        }
    }
}
