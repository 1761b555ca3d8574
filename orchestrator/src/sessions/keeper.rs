//! What is looked at every few seconds: free space where recordings are written, and what of the
//! finished ones is kept.

use super::registry::Registry;
use crate::recordings::{Keeper, Policy, PolicySource, Recording, free_bytes};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tokio::time::{MissedTickBehavior, interval};

/// How often the disk is looked at. At 15 recordings of 4 Mbit/s it fills by 15 MB meanwhile.
const DISK_INTERVAL: Duration = Duration::from_secs(2);
/// So many looks at the disk later, retention's turn has come.
const RETENTION_EVERY: u32 = 3;
/// Why a recording ended whose disk is full.
pub(super) const DISK_FULL: &str = "disk_full";

/// Free space that the database needs, which lies in the data folder.
const DATABASE_RESERVE_BYTES: u64 = 16 << 20;

/// Runs for as long as the server. `data_dir` is the folder of the database.
pub(crate) async fn run(registry: Registry, policy: PolicySource, data_dir: PathBuf) {
    let archive = registry.context().archive.clone();
    let keeper = Keeper::new(archive.clone(), policy);
    let dir = registry.current().library.dir().to_owned();
    // A folder that doesn't answer holds up nothing else.
    let cleaning = archive.remove_drafts(dir, SystemTime::now());
    tokio::join!(cleaning, watch(registry, keeper, data_dir));
}

/// Looks at the disks, and lets the keeper do its part, for as long as nobody ends it.
pub(crate) async fn watch(registry: Registry, mut keeper: Keeper, data_dir: PathBuf) {
    let mut ticks = interval(DISK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut disks = Disks::default();
    for tick in 0u32.. {
        ticks.tick().await;
        let policy = keeper.policy();
        check_disks(&registry, &policy, &data_dir, &mut disks).await;
        if tick % RETENTION_EVERY == 0 {
            let running: Vec<_> = running(&registry);
            let bytes = running.iter().map(Recording::bytes).sum();
            let dir = registry.current().library.dir().to_owned();
            keeper.retain(&dir, bytes).await;
            keeper.catch_up().await;
        }
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
    let mut full = BTreeSet::new();
    for (folder, reserve) in &folders {
        if disks.is_full(folder, *reserve).await {
            full.insert(folder.clone());
        }
    }
    disks.0.retain(|folder, _| folders.contains_key(folder));
    let all_end = full.contains(data_dir);
    for (handle, recordings) in handles.iter().zip(&recordings) {
        let mut folders = recordings.iter().filter_map(Recording::folder);
        if folders.any(|folder| all_end || full.contains(&folder)) {
            handle.end_recordings(DISK_FULL);
        }
    }
}

/// What was found of each folder's disk last: every change is said once.
#[derive(Default)]
struct Disks(BTreeMap<PathBuf, Space>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    Enough,
    Full,
    Unknown,
}

impl Disks {
    async fn is_full(&mut self, folder: &Path, reserve_bytes: u64) -> bool {
        let place = folder.to_owned();
        let asked = tokio::task::spawn_blocking(move || free_bytes(&place)).await;
        let asked = asked.map_err(std::io::Error::other).flatten();
        let space = match &asked {
            Ok(free) if *free < reserve_bytes => Space::Full,
            Ok(_) => Space::Enough,
            Err(_) => Space::Unknown,
        };
        if self.0.insert(folder.to_owned(), space) != Some(space) {
            let folder = folder.display();
            match asked {
                Ok(free) if space == Space::Full => {
                    tracing::error!(%folder, free, reserve_bytes, "the disk is full: recordings end");
                }
                Err(error) => tracing::warn!(%folder, %error, "free space is not known"),
                Ok(_) => {}
            }
        }
        space == Space::Full
    }
}
