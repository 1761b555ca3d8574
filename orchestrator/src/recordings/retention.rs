//! Which recordings are deleted by themselves: by age, by the space that all of them take, and by
//! free space on the disk. Off unless configured; never what is kept or being written.

use super::Archive;
use crate::{backoff::Backoff, clock, db::Candidate};
use std::{
    collections::{HashMap, HashSet},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

const DAY_MS: i64 = 24 * 3600 * 1000;
/// Why a recording went whose disk was nearly full.
const FREE_DISK: &str = "free_disk";
/// When a recording is tried again that could not be deleted: first, and at the longest.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LONGEST_RETRY: Duration = Duration::from_secs(3600);
/// How long no recording is deleted for free space after that has freed none.
const FUTILE_PAUSE: Duration = Duration::from_secs(60);
/// So much must be deleted before it counts that it has freed nothing: what is recorded meanwhile
/// takes space too.
const FUTILE_BYTES: u64 = 64 << 20;

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
pub(crate) struct Keeper {
    archive: Archive,
    policy: PolicySource,
    /// Recordings that could not be deleted: when they are tried again.
    failed: HashMap<i64, (Backoff, Instant)>,
    /// Until when nothing is deleted for free space: it has freed none.
    futile_until: Option<Instant>,
    /// Whether free space could be asked for.
    is_known: bool,
}

/// The disk whose free space counts.
struct Disk {
    free_bytes: u64,
    /// The folders of recordings that lie on it.
    folders: HashSet<PathBuf>,
    /// Free bytes at the round's begin.
    free_at_first: u64,
    /// Bytes of what was deleted for it in this round.
    deleted_bytes: u64,
}

impl Disk {
    /// Whether deleting frees nothing, as of files that somebody still reads.
    fn is_futile(&self) -> bool {
        self.deleted_bytes >= FUTILE_BYTES && self.free_bytes <= self.free_at_first
    }
}

impl Policy {
    /// Whether nothing is ever deleted.
    fn keeps_all(&self) -> bool {
        self.retain_days.is_none()
            && self.retain_bytes.is_none()
            && self.retain_free_bytes.is_none()
    }
}

impl Keeper {
    pub(crate) fn new(archive: Archive, policy: PolicySource) -> Self {
        Self {
            archive,
            policy,
            failed: HashMap::new(),
            futile_until: None,
            is_known: true,
        }
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Policy {
        (self.policy)()
    }

    /// Writes descriptions that could not be written before.
    pub(crate) async fn catch_up(&self) {
        self.archive.describe_again().await;
    }

    /// Deletes what is too much. `running_bytes` is what is being written, `folder` where new
    /// recordings lie: free space is that of its disk.
    pub(crate) async fn retain(&mut self, folder: &Path, running_bytes: u64) {
        let policy = self.policy();
        if policy.keeps_all() {
            return;
        }
        let candidates = match self.archive.candidates().await {
            Ok(candidates) => candidates,
            Err(error) => return tracing::error!(error = error.chain(), "retention"),
        };
        let now = Instant::now();
        let mut total = running_bytes + candidates.iter().map(|one| one.bytes).sum::<u64>();
        let known: HashSet<i64> = candidates.iter().map(|one| one.id).collect();
        self.failed.retain(|id, _| known.contains(id));
        self.futile_until = self.futile_until.filter(|until| *until > now);
        let mut disk = match policy.retain_free_bytes {
            Some(_) if self.futile_until.is_none() => self.look(folder, &candidates).await,
            _ => None,
        };
        let waits = |one: &Candidate| self.failed.get(&one.id).is_some_and(|(_, at)| *at > now);
        let mut left: Vec<_> = candidates
            .into_iter()
            .filter(|one| !one.kept && !waits(one))
            .collect();
        let now_ms = clock::now_ms();
        while let Some((index, reason)) = next_doomed(&left, &policy, now_ms, total, disk.as_ref())
        {
            let one = left.remove(index);
            if !self.delete(&one, reason).await {
                continue;
            }
            total = total.saturating_sub(one.bytes);
            disk = self.look_again(folder, disk, (&one, reason)).await;
        }
    }

    /// Whether the recording is gone. One that stays doesn't keep the others from going.
    async fn delete(&mut self, one: &Candidate, reason: &'static str) -> bool {
        let id = one.id;
        match self.archive.delete(id, reason).await {
            Ok(()) => {
                self.failed.remove(&id);
                true
            }
            Err(error) => {
                let first = || (Backoff::new(FIRST_RETRY, LONGEST_RETRY), Instant::now());
                let (backoff, at) = self.failed.entry(id).or_insert_with(first);
                let pause = backoff.next(rand::random());
                *at = Instant::now() + pause;
                let error = error.chain();
                tracing::warn!(
                    recording_id = id,
                    error,
                    ?pause,
                    "a recording can't be deleted"
                );
                false
            }
        }
    }

    async fn look(&mut self, folder: &Path, candidates: &[Candidate]) -> Option<Disk> {
        let folder = folder.to_owned();
        let folders: HashSet<_> = candidates.iter().map(|one| one.folder.clone()).collect();
        let asked = tokio::task::spawn_blocking(move || look(&folder, folders)).await;
        let disk = asked.map_err(io::Error::other).flatten();
        if self.is_known
            && let Err(error) = &disk
        {
            tracing::warn!(%error, "free space is not known: nothing is deleted for it");
        }
        self.is_known = disk.is_ok();
        disk.ok()
    }

    /// The disk after a deletion. Where deleting frees nothing, no more is deleted for it so soon.
    async fn look_again(
        &mut self,
        folder: &Path,
        disk: Option<Disk>,
        (one, reason): (&Candidate, &str),
    ) -> Option<Disk> {
        let mut disk = disk?;
        disk.free_bytes = self.look(folder, &[]).await?.free_bytes;
        if reason == FREE_DISK {
            disk.deleted_bytes = disk.deleted_bytes.saturating_add(one.bytes);
        }
        if disk.is_futile() {
            tracing::warn!("deleting recordings frees no space");
            self.futile_until = Some(Instant::now() + FUTILE_PAUSE);
            return None;
        }
        Some(disk)
    }
}

fn look(folder: &Path, mut folders: HashSet<PathBuf>) -> io::Result<Disk> {
    let device = |folder: &Path| std::fs::metadata(folder).map(|metadata| metadata.dev());
    let this = device(folder)?;
    folders.retain(|other| device(other).is_ok_and(|other| other == this));
    let free_bytes = super::library::free_bytes(folder)?;
    Ok(Disk {
        free_bytes,
        folders,
        free_at_first: free_bytes,
        deleted_bytes: 0,
    })
}

/// What is to be deleted next and why, of recordings in the order of their ends.
fn next_doomed(
    left: &[Candidate],
    policy: &Policy,
    now_ms: i64,
    total_bytes: u64,
    disk: Option<&Disk>,
) -> Option<(usize, &'static str)> {
    let oldest_end_ms = policy.retain_days.map(|days| {
        let days = i64::try_from(days).unwrap_or(i64::MAX);
        now_ms.saturating_sub(days.saturating_mul(DAY_MS))
    });
    let full = disk
        .zip(policy.retain_free_bytes)
        .filter(|(disk, least)| disk.free_bytes < *least);
    left.iter().enumerate().find_map(|(index, one)| {
        let reason = if oldest_end_ms.is_some_and(|oldest| one.ended_at_ms < oldest) {
            "age"
        } else if policy.retain_bytes.is_some_and(|most| total_bytes > most) {
            "total_bytes"
        } else if full.is_some_and(|(disk, _)| disk.folders.contains(&one.folder)) {
            FREE_DISK
        } else {
            return None;
        };
        Some((index, reason))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates() -> Vec<Candidate> {
        (2..=4)
            .map(|id| Candidate {
                id,
                ended_at_ms: id * DAY_MS,
                bytes: 100,
                kept: false,
                folder: format!("/disk{}", id % 2).into(),
            })
            .collect()
    }

    fn disk(free_bytes: u64) -> Disk {
        Disk {
            free_bytes,
            folders: ["/disk0".into()].into(),
            free_at_first: free_bytes,
            deleted_bytes: 0,
        }
    }

    #[test]
    fn what_is_recorded_meanwhile_does_not_make_deleting_futile() {
        let mut disk = disk(1000);
        disk.free_bytes = 900;
        disk.deleted_bytes = FUTILE_BYTES - 1;
        assert!(!disk.is_futile());
        disk.deleted_bytes += 1;
        assert!(disk.is_futile());
        disk.free_bytes = 1001;
        assert!(!disk.is_futile());
        assert!(Policy::default().keeps_all());
    }

    /// All that goes where every deletion frees what it should. Beside it, a kept recording of 100
    /// bytes.
    fn ids(policy: &Policy, running: u64, free: Option<u64>) -> Vec<(i64, &'static str)> {
        let (mut left, mut total, mut doomed) = (candidates(), 400 + running, Vec::new());
        let mut disk = free.map(disk);
        while let Some((index, reason)) =
            next_doomed(&left, policy, 5 * DAY_MS, total, disk.as_ref())
        {
            let one = left.remove(index);
            total -= one.bytes;
            if let Some(disk) = &mut disk {
                disk.free_bytes += one.bytes;
            }
            doomed.push((one.id, reason));
        }
        doomed
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
        assert_eq!(ids(&policy, 0, Some(950)), [(2, FREE_DISK)]);
        // What lies on another disk would free nothing of this one.
        let all_here = [(2, FREE_DISK), (4, FREE_DISK)];
        assert_eq!(ids(&policy, 0, Some(0)), all_here);
        assert_eq!(ids(&policy, 0, None), []);
    }
}
