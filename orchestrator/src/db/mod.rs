//! The database: one connection on one thread.

mod live_sessions;
mod recordings;

pub(crate) use live_sessions::{NewSession, SessionKind};
pub(crate) use recordings::{FileProgress, NewRecording, RecordingRow};

use crate::Error;
use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};
use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc, thread};
use tokio::sync::{mpsc, oneshot};

/// Every step of the schema, oldest first; a step that was released is never changed.
const STEPS: &[M<'static>] = &[M::up(include_str!(
    "migrations/0001_sessions_and_recordings.sql"
))];
const MIGRATIONS: Migrations<'static> = Migrations::from_slice(STEPS);
/// Calls that may wait for the thread; more callers wait to get in line.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A handle to the database; cheap to clone. The last one dropped closes it.
#[derive(Clone)]
pub(crate) struct Db {
    jobs: mpsc::Sender<Job>,
    _thread: Arc<Thread>,
}

struct Thread(Option<thread::JoinHandle<()>>);

impl Db {
    /// Opens the file `haven.db` in `dir`, made with mode 0600, and brings it up to date.
    ///
    /// # Errors
    /// When it can't be opened, or was made by a newer version.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("haven.db");
        // SQLite gives its -wal and -shm files the mode of the database file.
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Error::internal("opening the database", error))?;
        Self::on(move || Connection::open(path))
    }

    fn on(
        open: impl FnOnce() -> rusqlite::Result<Connection> + Send + 'static,
    ) -> Result<Self, Error> {
        let mut connection =
            open().map_err(|error| Error::internal("opening the database", error))?;
        prepare(&mut connection)?;
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let thread = thread::Builder::new()
            .name("database".into())
            .spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    job(&mut connection);
                }
            })
            .map_err(|error| Error::internal("starting the database's thread", error))?;
        Ok(Self {
            jobs,
            _thread: Arc::new(Thread(Some(thread))),
        })
    }

    /// Runs `work` on the connection.
    async fn call<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Nobody waits for the answer any more: the work is done all the same.
            let _ = reply.send(work(connection));
        });
        let gone = || Error::internal(doing, "the database's thread has ended");
        self.jobs.send(job).await.map_err(|_| gone())?;
        answer
            .await
            .map_err(|_| gone())?
            .map_err(|error| Error::internal(doing, error))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it doesn't.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        self.call("asking the database", |connection| {
            connection.query_row("SELECT 1", [], |_| Ok(()))
        })
        .await
    }

    /// A database in memory, for tests.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Self::on(Connection::open_in_memory).expect("SQLite works in memory")
    }

    /// Waits for what was begun and closes the file, if this is the last handle.
    pub(crate) async fn close(self) {
        let Self { jobs, _thread } = self;
        drop(jobs);
        if let Some(thread) = Arc::into_inner(_thread)
            && let Err(error) = tokio::task::spawn_blocking(move || thread.join()).await
        {
            tracing::error!(%error, "closing the database");
        }
    }
}

impl Thread {
    fn join(mut self) {
        if let Some(thread) = self.0.take()
            && thread.join().is_err()
        {
            tracing::error!("the database's thread panicked");
        }
    }
}

fn prepare(connection: &mut Connection) -> Result<(), Error> {
    let pragmas = |connection: &Connection| -> rusqlite::Result<()> {
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "foreign_keys", "on")?;
        connection.busy_timeout(std::time::Duration::from_secs(5))
    };
    pragmas(connection).map_err(|error| Error::internal("setting the database up", error))?;
    MIGRATIONS
        .to_latest(connection)
        .map_err(|error| Error::internal("bringing the database up to date", error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn migrations_are_sound() {
        MIGRATIONS.validate().unwrap();
    }

    #[tokio::test]
    async fn the_file_is_private_and_can_be_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let db = Db::open(dir.path()).unwrap();
            db.check().await.unwrap();
            for entry in std::fs::read_dir(dir.path()).unwrap() {
                let entry = entry.unwrap();
                let mode = entry.metadata().unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
            }
            db.close().await;
        }
    }
}
