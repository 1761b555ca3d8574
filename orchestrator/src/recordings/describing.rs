//! The JSON files beside recordings: written one after the other for each recording, beside who asks
//! for it, and again later where they could not be.

use super::{Archive, archive::blocking, files, sidecar};
use crate::{Error, backoff::Backoff, error::Kind};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// How long who asks for a description waits for it. It is written all the same: a disk that
/// doesn't answer holds up no session.
const PATIENCE: Duration = Duration::from_secs(2);
/// When a description is tried again that could not be written: first, and at the longest.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// What is being described, and what could not be.
#[derive(Clone, Default)]
pub(super) struct Descriptions {
    /// By recording. Of one there is at most one task.
    asked: Arc<Mutex<HashMap<i64, Asked>>>,
    failed: Arc<Mutex<Failed>>,
}

/// How often a description was asked for while it was written, and how many of those are answered.
struct Asked {
    count: u64,
    done: watch::Sender<u64>,
}

#[derive(Default)]
struct Failed {
    ids: HashSet<i64>,
    /// Since the first of them failed.
    again: Option<(Backoff, Instant)>,
}

impl Failed {
    fn add(&mut self, id: i64) {
        self.ids.insert(id);
        let first = || (Backoff::new(FIRST_RETRY, LONGEST_RETRY), Instant::now());
        self.again.get_or_insert_with(first);
    }

    /// Those that are to be tried again now, if it is time.
    fn take_due(&mut self, now: Instant) -> HashSet<i64> {
        match &mut self.again {
            Some((backoff, at)) if *at <= now => {
                *at = now + backoff.next(rand::random());
                std::mem::take(&mut self.ids)
            }
            _ => HashSet::new(),
        }
    }

    /// All that were tried again have been written.
    fn settle(&mut self) {
        if self.ids.is_empty() {
            self.again = None;
        }
    }
}

impl Archive {
    /// Writes the description beside a recording's first file, as the recording is stored now. A
    /// failure is logged, and mended later: the recording is what counts.
    pub(crate) async fn describe(&self, id: i64) {
        if !self.describes {
            return;
        }
        let (mut done, wanted) = {
            let mut asked = self.descriptions.asked.lock();
            let is_new = !asked.contains_key(&id);
            let one = asked.entry(id).or_insert_with(|| Asked {
                count: 0,
                done: watch::Sender::new(0),
            });
            one.count += 1;
            if is_new {
                let this = self.clone();
                self.workers
                    .tasks()
                    .spawn(async move { this.describe_all(id).await });
            }
            (one.done.subscribe(), one.count)
        };
        // An error of the channel says that it is done.
        let _ = timeout(PATIENCE, done.wait_for(|done| *done >= wanted)).await;
    }

    /// Runs until all who have asked are answered.
    async fn describe_all(&self, id: i64) {
        loop {
            let count = match self.descriptions.asked.lock().get(&id) {
                Some(one) => one.count,
                None => return,
            };
            self.describe_now(id).await;
            let mut asked = self.descriptions.asked.lock();
            let Some(one) = asked.get(&id) else {
                return;
            };
            one.done.send_replace(count);
            if one.count == count {
                asked.remove(&id);
                return;
            }
        }
    }

    async fn describe_now(&self, id: i64) {
        let described = async {
            let row = self.row(id).await?;
            let Some(first) = row.files.first() else {
                return Ok(());
            };
            let path = sidecar::path(&first.path);
            let text = sidecar::text(row);
            blocking("describing the recording", move || {
                sidecar::write(&path, text.as_bytes())
                    .map_err(|error| Error::internal("describing the recording", error))
            })
            .await
        };
        if let Err(error) = described.await {
            if error.kind() != Kind::NotFound {
                self.descriptions.failed.lock().add(id);
            }
            let error = error.chain();
            tracing::warn!(recording_id = id, error, "a recording's JSON file");
        }
    }

    /// Writes the descriptions that could not be written before, where it is time to: the disk was
    /// full.
    pub(super) async fn describe_again(&self) {
        let late = self.descriptions.failed.lock().take_due(Instant::now());
        if late.is_empty() {
            return;
        }
        for id in late {
            self.describe(id).await;
        }
        self.descriptions.failed.lock().settle();
    }

    /// Removes the only file of a recording that holds nothing, if it is there and empty, and the
    /// description beside it.
    pub(crate) async fn remove_empty(&self, path: PathBuf) {
        let removed = blocking("removing an empty recording", move || {
            if super::remove_if_empty(&path) == 0
                && let Some(folder) = path.parent()
            {
                files::remove(&sidecar::path(&path), folder)
                    .map_err(|error| Error::internal("removing an empty recording", error))?;
            }
            Ok(())
        });
        match timeout(PATIENCE, removed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = error.chain(), "an empty recording"),
            Err(_) => tracing::warn!("an empty recording's disk doesn't answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_described_is_tried_ever_more_seldom() {
        let (mut failed, mut now) = (Failed::default(), Instant::now());
        assert!(failed.take_due(now).is_empty());
        failed.add(7);
        now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let since = now;
            while failed.take_due(now).is_empty() {
                now += Duration::from_secs(1);
            }
            failed.add(7);
            failed.settle();
            pauses.push(now.duration_since(since));
        }
        assert!(pauses[1] <= FIRST_RETRY + Duration::from_secs(1));
        assert!(pauses[11] >= LONGEST_RETRY / 2);
        // Written: the next failure is tried again at once.
        now += LONGEST_RETRY;
        failed.take_due(now);
        failed.settle();
        failed.add(8);
        assert_eq!(failed.take_due(Instant::now()), [8].into());
    }
}
