//! Which recordings are deleted by themselves: by age, by the space that all of them take, and by
//! free space on the disk. Off unless configured; never what is kept or being written.

use super::Archive;
use crate::{clock, db::Candidate};
use std::{path::Path, sync::Arc};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// What is kept for how long. None stands for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Days after a recording's end.
    pub(crate) retain_days: Option<u64>,
    /// Bytes of all recordings together.
    pub(crate) retain_bytes: Option<u64>,
    /// Free bytes on the disk, below which the oldest go.
    pub(crate) retain_free_bytes: Option<u64>,
    /// Free bytes below which nothing is recorded: what runs is finalised.
    pub(crate) disk_reserve_bytes: u64,
}

/// Where the policy in force is found.
pub(crate) type PolicySource = Arc<dyn Fn() -> Policy + Send + Sync>;

/// Deletes what the policy doesn't keep.
#[derive(Clone)]
pub(crate) struct Keeper {
    archive: Archive,
    policy: PolicySource,
}

impl Keeper {
    pub(crate) fn new(archive: Archive, policy: PolicySource) -> Self {
        Self { archive, policy }
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Policy {
        (self.policy)()
    }

    /// Writes descriptions that could not be written before.
    pub(crate) async fn catch_up(&self) {
        self.archive.describe_again().await;
    }

    /// Deletes what is too much. `running_bytes` is what is being written, on the disk of which
    /// `folder` is a part.
    pub(crate) async fn retain(&self, folder: &Path, running_bytes: u64) {
        let policy = self.policy();
        let free_bytes = match policy.retain_free_bytes {
            Some(_) => super::library::free_bytes(folder).ok(),
            None => None,
        };
        let candidates = match self.archive.candidates().await {
            Ok(candidates) => candidates,
            Err(error) => return tracing::error!(error = error.chain(), "retention"),
        };
        let now_ms = clock::now_ms();
        for (id, reason) in doomed(&candidates, &policy, now_ms, running_bytes, free_bytes) {
            match self.archive.delete(id, reason).await {
                Ok(()) => tracing::info!(recording_id = id, reason, "a recording was deleted"),
                Err(error) => {
                    tracing::warn!(recording_id = id, error = error.chain(), "retention");
                }
            }
        }
    }
}

/// What is to be deleted and why, of recordings in the order of their ends.
fn doomed(
    candidates: &[Candidate],
    policy: &Policy,
    now_ms: i64,
    running_bytes: u64,
    free_bytes: Option<u64>,
) -> Vec<(i64, &'static str)> {
    let mut total: u64 = running_bytes + candidates.iter().map(|one| one.bytes).sum::<u64>();
    let mut free = free_bytes;
    let oldest_end_ms = policy.retain_days.map(|days| {
        let days = i64::try_from(days).unwrap_or(i64::MAX);
        now_ms.saturating_sub(days.saturating_mul(DAY_MS))
    });
    let mut doomed = Vec::new();
    for one in candidates.iter().filter(|one| !one.kept) {
        let reason = if oldest_end_ms.is_some_and(|oldest| one.ended_at_ms < oldest) {
            "age"
        } else if policy.retain_bytes.is_some_and(|most| total > most) {
            "total_bytes"
        } else if free
            .zip(policy.retain_free_bytes)
            .is_some_and(|(free, least)| free < least)
        {
            "free_disk"
        } else {
            continue;
        };
        total = total.saturating_sub(one.bytes);
        free = free.map(|free| free.saturating_add(one.bytes));
        doomed.push((one.id, reason));
    }
    doomed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates() -> Vec<Candidate> {
        (1..=4)
            .map(|id| Candidate {
                id,
                ended_at_ms: id * DAY_MS,
                bytes: 100,
                kept: id == 1,
            })
            .collect()
    }

    fn ids(policy: &Policy, running: u64, free: Option<u64>) -> Vec<(i64, &'static str)> {
        doomed(&candidates(), policy, 5 * DAY_MS, running, free)
    }

    #[test]
    fn nothing_is_deleted_unless_configured() {
        assert_eq!(ids(&Policy::default(), u64::MAX / 2, Some(0)), []);
    }

    #[test]
    fn the_old_go_but_for_what_is_kept() {
        let policy = |days| Policy {
            retain_days: Some(days),
            ..Policy::default()
        };
        assert_eq!(ids(&policy(2), 0, None), [(2, "age")]);
        assert_eq!(ids(&policy(1), 0, None), [(2, "age"), (3, "age")]);
        assert_eq!(ids(&policy(u64::MAX), 0, None), []);
    }

    #[test]
    fn the_oldest_go_until_all_fit() {
        let policy = |bytes| Policy {
            retain_bytes: Some(bytes),
            ..Policy::default()
        };
        assert_eq!(ids(&policy(400), 0, None), []);
        assert_eq!(ids(&policy(399), 0, None), [(2, "total_bytes")]);
        let two = [(2, "total_bytes"), (3, "total_bytes")];
        assert_eq!(ids(&policy(399), 100, None), two);
    }

    #[test]
    fn the_oldest_go_until_the_disk_has_room() {
        let policy = Policy {
            retain_free_bytes: Some(1000),
            ..Policy::default()
        };
        assert_eq!(ids(&policy, 0, Some(1000)), []);
        assert_eq!(
            ids(&policy, 0, Some(850)),
            [(2, "free_disk"), (3, "free_disk")]
        );
        assert_eq!(ids(&policy, 0, None), []);
    }
}
