//! What is stored of recordings, until it is: the database's disk may be full for a while.

use super::actor::Actor;
use crate::{Error, db::FileRow};
use std::time::Duration;
use tokio::time::Instant;

/// How long after a failed write it is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

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

/// A write that must not be lost.
#[derive(Clone, Debug, PartialEq)]
enum Write {
    Part(i64, FileRow),
    Gone(i64, u32),
    End(End),
}

impl Write {
    /// Whether `newer` says all that this one says.
    fn is_replaced_by(&self, newer: &Self) -> bool {
        let part = |write: &Self| match write {
            Self::Part(id, row) => Some((*id, row.part)),
            Self::Gone(id, part) => Some((*id, *part)),
            Self::End(_) => None,
        };
        part(self).is_some() && part(self) == part(newer)
    }
}

/// Writes that have failed, the oldest first: of each file at most one.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    writes: Vec<Write>,
    again_at: Option<Instant>,
}

impl Unwritten {
    fn add(&mut self, write: Write) {
        self.writes.retain(|older| !older.is_replaced_by(&write));
        self.writes.push(write);
        self.again_at = Some(Instant::now() + RETRY_INTERVAL);
    }

    /// When they are to be tried again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again_at
    }
}

impl Actor {
    /// Stores a file of a recording, now or as soon as it can be.
    pub(super) async fn store_part(&mut self, id: i64, row: FileRow) {
        self.write(Write::Part(id, row)).await;
    }

    /// Forgets a file that held nothing.
    pub(super) async fn forget_part(&mut self, id: i64, part: u32) {
        self.write(Write::Gone(id, part)).await;
    }

    /// Stores the end of a recording.
    pub(super) async fn store_end(&mut self, end: End) {
        self.write(Write::End(end)).await;
    }

    async fn write(&mut self, write: Write) {
        // In their order: what is newer waits behind what failed.
        if self.unwritten.writes.is_empty() {
            match self.try_write(write.clone()).await {
                Ok(()) => return,
                Err(error) => tracing::error!(error = error.chain(), "the database: trying again"),
            }
        }
        self.unwritten.add(write);
    }

    async fn try_write(&self, write: Write) -> Result<(), Error> {
        let db = &self.context.db;
        match write {
            Write::Part(id, row) => db.store_part(id, row).await,
            Write::Gone(id, part) => db.delete_part(id, part).await,
            Write::End(end) => {
                db.end_recording(end.id, end.at_ms, end.reason, end.config, end.wanted)
                    .await
            }
        }
    }

    /// Tries what has failed again.
    pub(super) async fn write_again(&mut self) {
        self.unwritten.again_at = None;
        let writes = std::mem::take(&mut self.unwritten.writes);
        let mut writes = writes.into_iter();
        while let Some(write) = writes.next() {
            if let Err(error) = self.try_write(write.clone()).await {
                tracing::error!(error = error.chain(), "the database: trying again");
                let rest = std::iter::once(write).chain(writes);
                self.unwritten.writes = rest.collect();
                self.unwritten.again_at = Some(Instant::now() + RETRY_INTERVAL);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recordings::Part;

    #[test]
    fn of_each_file_only_the_newest_state_waits() {
        let mut unwritten = Unwritten::default();
        let row = |number, reason| Part::new(number, "/r/a.mp4".into(), 1).row(reason);
        unwritten.add(Write::Part(1, row(1, None)));
        unwritten.add(Write::Part(1, row(2, None)));
        unwritten.add(Write::Part(2, row(1, None)));
        unwritten.add(Write::Part(1, row(1, Some("stopped"))));
        unwritten.add(Write::Gone(1, 2));
        let left = [
            Write::Part(2, row(1, None)),
            Write::Part(1, row(1, Some("stopped"))),
            Write::Gone(1, 2),
        ];
        assert_eq!(unwritten.writes, left);
        assert!(unwritten.deadline().is_some());
    }
}
