//! How much of the server there is for whom.

use super::{Options, invalid};
use crate::{
    Error,
    limits::{Allowed, Rate},
};
use std::num::{NonZeroU32, NonZeroUsize};

/// A page and its parts, a player that fetches segments and a dashboard are far below it; a program
/// that has lost its way is beyond it at once.
const DEFAULT_REQUESTS_PER_MINUTE: u64 = 1200;
const MOST_REQUESTS_PER_MINUTE: u32 = 1_000_000;
/// Five times what a worker counted (VmData, 745 MB) that recorded 720p in five formats at once.
const DEFAULT_WORKER_MEMORY_BYTES: u64 = 4 << 30;
/// One that does nothing yet counts 126 MB.
const LEAST_WORKER_MEMORY_BYTES: u64 = 256 << 20;
/// Beyond any machine; the kernel counts in pages of a signed number.
const MOST_WORKER_MEMORY_BYTES: u64 = 1 << 62;

/// What is configured of the limits.
pub(super) fn resolve(merged: &Options) -> Result<Allowed, Error> {
    let per_minute = merged
        .requests_per_minute
        .unwrap_or(DEFAULT_REQUESTS_PER_MINUTE);
    let per_minute = u32::try_from(per_minute).ok();
    let per_minute = per_minute.filter(|given| *given <= MOST_REQUESTS_PER_MINUTE);
    let per_minute = per_minute.ok_or_else(|| {
        invalid(&format!(
            "requests_per_minute must be from 0 to {MOST_REQUESTS_PER_MINUTE}; 0 is no limit"
        ))
    })?;
    let memory = merged
        .worker_memory_bytes
        .unwrap_or(DEFAULT_WORKER_MEMORY_BYTES);
    if memory != 0 && !(LEAST_WORKER_MEMORY_BYTES..=MOST_WORKER_MEMORY_BYTES).contains(&memory) {
        return Err(invalid(&format!(
            "worker_memory_bytes must be at least {LEAST_WORKER_MEMORY_BYTES}, with less no worker \
             runs; 0 is no limit"
        )));
    }
    Ok(Allowed {
        sessions: most(merged.max_sessions),
        viewers: most(merged.max_viewers),
        viewers_per_address: most(merged.max_viewers_per_address),
        requests: NonZeroU32::new(per_minute).map(Rate::new),
        worker_memory_bytes: Some(memory).filter(|bytes| *bytes > 0),
        trusted_proxies: merged.trusted_proxies.clone(),
    })
}

/// None for no limit.
fn most(given: Option<u64>) -> Option<NonZeroUsize> {
    NonZeroUsize::new(usize::try_from(given.unwrap_or(0)).unwrap_or(usize::MAX))
}
