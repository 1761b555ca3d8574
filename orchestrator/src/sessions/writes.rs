//! What must not be lost of sessions and recordings is stored, or waits until it can be: the
//! database's disk may be full for a while. What waits outlives the session that wrote it.

use crate::{
    Error,
    db::{self, Db, FileRow},
    recordings::Archive,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long after a failed write it is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Writes that may wait: a hundred sessions that begin and end for hours leave fewer.
const MOST: usize = 10_000;

/// The end of a recording.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct End {
    pub(super) id: i64,
    pub(super) at_ms: i64,
    pub(super) reason: String,
    /// JSON: the configuration with the encoder in use.
    pub(super) config: Option<String>,
    /// It goes on with its session under the next server.
    pub(super) wanted: bool,
}

/// A write that must not be lost. Numbers are ids.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    SessionJoined {
        id: i64,
        room_name: String,
        /// JSON.
        stream_info: String,
    },
    SessionTakenUp {
        id: i64,
        at_ms: i64,
    },
    SessionGivenUp(i64),
    SessionEnded {
        id: i64,
        at_ms: i64,
        reason: String,
    },
    SessionForgotten(i64),
    RecordingReopened(i64),
    /// Whether it is to go on under another server.
    RecordingWanted(i64, bool),
    RecordingEnded(End),
    RecordingForgotten(i64),
    Part(i64, FileRow),
    /// A file that held nothing; its number in the recording.
    PartForgotten(i64, u32),
}

impl Write {
    /// Whether `newer` says all that this one says.
    fn is_replaced_by(&self, newer: &Self) -> bool {
        match (self.file(), newer.file()) {
            (Some(this), Some(other)) => this == other,
            _ => matches!(
                (self, newer),
                (Self::RecordingWanted(this, _), Self::RecordingWanted(other, _)) if this == other
            ),
        }
    }

    fn file(&self) -> Option<(i64, u32)> {
        match self {
            Self::Part(id, row) => Some((*id, row.part)),
            Self::PartForgotten(id, part) => Some((*id, *part)),
            _ => None,
        }
    }

    /// The recording whose description it changes.
    fn described(&self) -> Option<i64> {
        match self {
            Self::RecordingEnded(end) => Some(end.id),
            Self::RecordingReopened(id) | Self::Part(id, _) | Self::PartForgotten(id, _) => {
                Some(*id)
            }
            _ => None,
        }
    }
}

/// Stores what must not be lost; one for all sessions, cheap to clone.
#[derive(Clone)]
pub(crate) struct Writer(Arc<Inner>);

struct Inner {
    db: Db,
    archive: Archive,
    tasks: TaskTracker,
    waiting: Mutex<Waiting>,
    /// How many wait.
    left: watch::Sender<usize>,
    /// Says that waiting any longer is of no use.
    hurry: Notify,
    /// Cancelled when the server ends: what waits then is lost.
    over: CancellationToken,
}

/// Writes that have failed, and those that came after them, the oldest first: of each file at
/// most one. Each has a number of its own.
#[derive(Default)]
struct Waiting {
    writes: VecDeque<(u64, Write)>,
    next: u64,
    /// A task tries them again.
    is_tried: bool,
}

impl Waiting {
    fn add(&mut self, write: Write) {
        self.writes
            .retain(|(_, older)| !older.is_replaced_by(&write));
        if self.writes.len() >= MOST
            && let Some((_, lost)) = self.writes.pop_front()
        {
            tracing::error!(?lost, "too much waits for the database");
        }
        self.writes.push_back((self.next, write));
        self.next += 1;
    }
}

impl Writer {
    pub(crate) fn new(db: Db, archive: Archive, tasks: TaskTracker) -> Self {
        Self(Arc::new(Inner {
            db,
            archive,
            tasks,
            waiting: Mutex::default(),
            left: watch::Sender::new(0),
            hurry: Notify::new(),
            over: CancellationToken::new(),
        }))
    }

    /// Stores it, now or as soon as it can be.
    pub(super) async fn write(&self, write: Write) {
        // In their order: what is newer waits behind what failed.
        if self.0.waiting.lock().writes.is_empty() {
            match self.store(write.clone()).await {
                Ok(()) => return,
                Err(error) if db::is_refused_for_good(&error) => return lost(&write, &error),
                Err(error) => tracing::error!(error = error.chain(), "the database: trying again"),
            }
        }
        let mut waiting = self.0.waiting.lock();
        waiting.add(write);
        self.0.left.send_replace(waiting.writes.len());
        if !std::mem::replace(&mut waiting.is_tried, true) {
            self.0.tasks.spawn(self.clone().try_again());
        }
    }

    /// At the server's end: waits until all is stored, for `limit` at most.
    pub(super) async fn drain(&self, limit: Duration) {
        self.0.hurry.notify_one();
        let mut left = self.0.left.subscribe();
        if timeout(limit, left.wait_for(|left| *left == 0))
            .await
            .is_err()
        {
            let left = *left.borrow();
            tracing::error!(left, "the database takes nothing: what it was told is lost");
        }
        self.0.over.cancel();
    }

    /// Runs until nothing waits any more.
    async fn try_again(self) {
        let mut late = BTreeSet::new();
        loop {
            tokio::select! {
                () = sleep(RETRY_INTERVAL) => {}
                () = self.0.hurry.notified() => {}
                () = self.0.over.cancelled() => return,
            }
            if !self.store_all(&mut late).await {
                continue;
            }
            // What was described meanwhile, was described as it had been before.
            for id in std::mem::take(&mut late) {
                self.0.archive.describe(id).await;
            }
            let mut waiting = self.0.waiting.lock();
            if waiting.writes.is_empty() {
                waiting.is_tried = false;
                return;
            }
        }
    }

    /// Whether all is stored. The recordings whose description is `late` then.
    async fn store_all(&self, late: &mut BTreeSet<i64>) -> bool {
        loop {
            let first = self.0.waiting.lock().writes.front().cloned();
            let Some((number, write)) = first else {
                return true;
            };
            match self.store(write.clone()).await {
                Ok(()) => late.extend(write.described()),
                Err(error) if db::is_refused_for_good(&error) => lost(&write, &error),
                Err(error) => {
                    tracing::error!(error = error.chain(), "the database: trying again");
                    return false;
                }
            }
            // It may have been replaced meanwhile.
            let mut waiting = self.0.waiting.lock();
            waiting.writes.retain(|(one, _)| *one != number);
            self.0.left.send_replace(waiting.writes.len());
        }
    }

    async fn store(&self, write: Write) -> Result<(), Error> {
        let db = &self.0.db;
        match write {
            Write::SessionJoined {
                id,
                room_name,
                stream_info,
            } => db.session_joined(id, room_name, stream_info).await,
            Write::SessionTakenUp { id, at_ms } => db.take_up_session(id, at_ms).await,
            Write::SessionGivenUp(id) => db.give_up_session(id).await,
            Write::SessionEnded { id, at_ms, reason } => db.end_session(id, at_ms, reason).await,
            Write::SessionForgotten(id) => db.forget_session(id).await,
            Write::RecordingReopened(id) => db.reopen_recording(id).await,
            Write::RecordingWanted(id, wanted) => db.want_recording(id, wanted).await,
            Write::RecordingEnded(end) => {
                db.end_recording(end.id, end.at_ms, end.reason, end.config, end.wanted)
                    .await
            }
            Write::RecordingForgotten(id) => db.forget_recording(id).await,
            Write::Part(id, row) => db.store_part(id, row).await,
            Write::PartForgotten(id, part) => db.delete_part(id, part).await,
        }
    }
}

fn lost(write: &Write, error: &Error) {
    let error = error.chain();
    tracing::error!(?write, error, "the database refuses this for good");
}

#[cfg(test)]
#[path = "writes_tests.rs"]
mod tests;
