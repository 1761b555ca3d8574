//! What is looked at every few seconds: free space where recordings are written, and what of the
//! finished ones is kept.

use super::registry::Registry;
use crate::recordings::{Keeper, Policy, PolicySource, Recording, free_bytes};
use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};

/// How often the disk is looked at. At 15 recordings of 4 Mbit/s it fills by 15 MB meanwhile.
const DISK_INTERVAL: Duration = Duration::from_secs(2);
/// How long a look may take. That at a disk of the network whose server is gone takes for ever.
const LOOK_LIMIT: Duration = Duration::from_secs(1);
/// How often it is looked for what is to be deleted.
const RETENTION_INTERVAL: Duration = Duration::from_secs(6);
/// Why a recording ended whose disk is full.
pub(super) const DISK_FULL: &str = "disk_full";

/// Free space that the database needs, which lies in the data folder.
const DATABASE_RESERVE_BYTES: u64 = 16 << 20;

/// Runs for as long as the server. `data_dir` is the folder of the database.
pub(crate) async fn run(registry: Registry, policy: PolicySource, data_dir: PathBuf) {
    let archive = registry.context().archive.clone();
    let keeper = Keeper::new(archive.clone(), PolicySource::clone(&policy));
    let dir = registry.current().library.dir().to_owned();
    // A folder that doesn't answer holds up nothing else.
    let cleaning = archive.remove_drafts(dir, SystemTime::now());
    let retention = retain(registry.clone(), keeper);
    tokio::join!(cleaning, retention, watch(registry, policy, data_dir));
}

/// The disks alone, without retention. Runs for as long as it is let.
pub(crate) async fn watch(registry: Registry, policy: PolicySource, data_dir: PathBuf) {
    let mut ticks = interval(DISK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut disks = Disks::default();
    loop {
        ticks.tick().await;
        check_disks(&registry, &policy(), &data_dir, &mut disks).await;
    }
}

async fn retain(registry: Registry, mut keeper: Keeper) {
    let mut ticks = interval(RETENTION_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let running: Vec<_> = running(&registry);
        let bytes = running.iter().map(Recording::bytes).sum();
        let dir = registry.current().library.dir().to_owned();
        keeper.retain(&dir, bytes).await;
        keeper.catch_up().await;
    }
}

fn running(registry: &Registry) -> Vec<Recording> {
    let handles = registry.all();
    handles
        .iter()
        .flat_map(|handle| handle.view().recordings)
        .collect()
}

/// Below the reserve every recording on that disk is finalised, while there is space to do it; all
/// of them, where the database has no space.
async fn check_disks(registry: &Registry, policy: &Policy, data_dir: &Path, disks: &mut Disks) {
    let handles = registry.all();
    let recordings: Vec<_> = handles
        .iter()
        .map(|handle| handle.view().recordings)
        .collect();
    let mut folders: BTreeMap<PathBuf, u64> = recordings
        .iter()
        .flatten()
        .filter_map(Recording::folder)
        .map(|folder| (folder, policy.disk_reserve_bytes))
        .collect();
    if !folders.is_empty() {
        let reserve = policy.disk_reserve_bytes.min(DATABASE_RESERVE_BYTES);
        folders.entry(data_dir.to_owned()).or_insert(reserve);
    }
    let full = disks.full(&folders, LOOK_LIMIT, look).await;
    // What is joined can be joined later, what isn't recorded now never.
    let archive = &registry.context().archive;
    let devices = full.values();
    if devices.filter(|one| archive.cancel_joins_on(**one)).count() > 0 {
        return tracing::warn!("the disk is full: recordings are no longer joined");
    }
    let all_end = full.contains_key(data_dir);
    for (handle, recordings) in handles.iter().zip(&recordings) {
        let mut folders = recordings.iter().filter_map(Recording::folder);
        if folders.any(|folder| all_end || full.contains_key(&folder)) {
            handle.end_recordings(DISK_FULL);
        }
    }
}

/// What was found of each folder's disk last: every change is said once.
#[derive(Default)]
struct Disks {
    known: BTreeMap<PathBuf, Space>,
    /// Looks that have begun: at each folder one at a time, however long that takes.
    looks: BTreeMap<PathBuf, JoinHandle<io::Result<Free>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    Enough,
    Full,
    Unknown,
}

/// What a look finds.
struct Free {
    bytes: u64,
    /// The number of the disk's device.
    device: u64,
}

fn look(folder: &Path) -> io::Result<Free> {
    Ok(Free {
        bytes: free_bytes(folder)?,
        device: std::fs::metadata(folder)?.dev(),
    })
}

impl Disks {
    /// The folders whose disk has less free space than is to be kept in reserve, with the numbers of
    /// the disks' devices. A folder that doesn't answer within `limit` is not among them.
    async fn full(
        &mut self,
        folders: &BTreeMap<PathBuf, u64>,
        limit: Duration,
        look: impl Fn(&Path) -> io::Result<Free> + Clone + Send + 'static,
    ) -> BTreeMap<PathBuf, u64> {
        for folder in folders.keys() {
            self.looks.entry(folder.clone()).or_insert_with(|| {
                let (look, folder) = (look.clone(), folder.clone());
                spawn_blocking(move || look(&folder))
            });
        }
        let until = Instant::now() + limit;
        let mut full = BTreeMap::new();
        for (folder, mut looking) in std::mem::take(&mut self.looks) {
            let found = match timeout_at(until, &mut looking).await {
                Ok(found) => found.map_err(io::Error::other).flatten(),
                Err(_) => {
                    self.looks.insert(folder.clone(), looking);
                    Err(io::Error::new(io::ErrorKind::TimedOut, "it doesn't answer"))
                }
            };
            let Some(reserve_bytes) = folders.get(&folder) else {
                continue;
            };
            if let Some(device) = self.note(&folder, *reserve_bytes, found) {
                full.insert(folder, device);
            }
        }
        self.known.retain(|folder, _| folders.contains_key(folder));
        full
    }

    /// The number of the disk's device, if it is full.
    fn note(&mut self, folder: &Path, reserve: u64, found: io::Result<Free>) -> Option<u64> {
        let space = match &found {
            Ok(free) if free.bytes < reserve => Space::Full,
            Ok(_) => Space::Enough,
            Err(_) => Space::Unknown,
        };
        if self.known.insert(folder.to_owned(), space) != Some(space) {
            let folder = folder.display();
            match &found {
                Ok(Free { bytes, .. }) if space == Space::Full => {
                    tracing::error!(%folder, free = bytes, reserve, "the disk is full: recordings end");
                }
                Err(error) => tracing::warn!(%folder, %error, "free space is not known"),
                Ok(_) => {}
            }
        }
        let device = found.ok().map(|free| free.device);
        device.filter(|_| space == Space::Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    };

    #[tokio::test]
    async fn a_folder_that_does_not_answer_holds_up_no_other_and_is_asked_once() {
        let folders = [("/full", 10), ("/hung", 10), ("/roomy", 10)];
        let folders = folders.map(|(name, reserve)| (PathBuf::from(name), reserve));
        let (release, released) = mpsc::channel::<()>();
        let (released, hung) = (Arc::new(Mutex::new(released)), Arc::new(AtomicU32::new(0)));
        let asked = Arc::clone(&hung);
        let look = move |folder: &Path| {
            if folder == Path::new("/hung") {
                asked.fetch_add(1, Ordering::SeqCst);
                let _ = released.lock().recv();
            }
            let bytes = if folder == Path::new("/roomy") { 10 } else { 9 };
            Ok(Free { bytes, device: 7 })
        };
        let folders = BTreeMap::from(folders);
        let mut disks = Disks::default();
        let mut rounds = async |wanted: &[&str]| {
            let wanted = wanted.iter().map(|name| (PathBuf::from(name), 7));
            let wanted: BTreeMap<_, _> = wanted.collect();
            // However busy the machine is.
            let until = Instant::now() + Duration::from_secs(60);
            let limit = Duration::from_millis(50);
            while disks.full(&folders, limit, look.clone()).await != wanted {
                assert!(Instant::now() < until, "never {wanted:?}");
            }
        };
        rounds(&["/full"]).await;
        rounds(&["/full"]).await;
        assert_eq!(hung.load(Ordering::SeqCst), 1);
        drop(release);
        rounds(&["/full", "/hung"]).await;
    }
}
