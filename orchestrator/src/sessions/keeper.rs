//! What is looked at every few seconds: free space where recordings are written, and what of the
//! finished ones is kept.

use super::registry::Registry;
use crate::recordings::{Keeper, Policy, Recording, free_bytes};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use tokio::time::{MissedTickBehavior, interval};

/// How often the disk is looked at. At 15 recordings of 4 Mbit/s it fills by 15 MB meanwhile.
const DISK_INTERVAL: Duration = Duration::from_secs(2);
/// So many looks at the disk later, retention's turn has come.
const RETENTION_EVERY: u32 = 3;
/// Why a recording ended whose disk is full.
pub(super) const DISK_FULL: &str = "disk_full";

/// Runs for as long as the server.
pub(crate) async fn run(registry: Registry, keeper: Keeper) {
    let mut ticks = interval(DISK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0u32.. {
        ticks.tick().await;
        let policy = keeper.policy();
        check_disk(&registry, &policy).await;
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

/// Below the reserve every recording on that disk is finalised, while there is space to do it.
async fn check_disk(registry: &Registry, policy: &Policy) {
    let mut full: BTreeMap<PathBuf, bool> = BTreeMap::new();
    for handle in registry.all() {
        let folders = handle.view().recordings;
        let mut ends = false;
        for folder in folders.iter().filter_map(Recording::folder) {
            let is_full = match full.get(&folder) {
                Some(known) => *known,
                None => is_full(folder.clone(), policy.disk_reserve_bytes).await,
            };
            full.insert(folder, is_full);
            ends |= is_full;
        }
        if ends {
            handle.end_recordings(DISK_FULL).await;
        }
    }
}

async fn is_full(folder: PathBuf, reserve_bytes: u64) -> bool {
    let asked = tokio::task::spawn_blocking(move || (free_bytes(&folder), folder)).await;
    match asked {
        Ok((Ok(free), folder)) => {
            let full = free < reserve_bytes;
            if full {
                let folder = folder.display();
                tracing::error!(%folder, free, reserve_bytes, "the disk is full: recordings end");
            }
            full
        }
        Ok((Err(error), folder)) => {
            tracing::warn!(folder = %folder.display(), %error, "free space is not known");
            false
        }
        Err(error) => {
            tracing::error!(%error, "looking for disk space");
            false
        }
    }
}
