//! The database: one connection on one thread.

mod coins;
mod config;
mod library;
mod live_sessions;
mod machine_costs;
mod recording_files;
mod recordings;
mod totals;
mod watch_rules;
mod webhooks;

pub(crate) use coins::{CoinRow, LiveList, Observation};
pub(crate) use library::{Candidate, Filter};
pub(crate) use live_sessions::{NewSession, SessionKind, StateChange, WantedSession};
pub(crate) use recording_files::{FileProgress, FileRow};
pub(crate) use recordings::{NewRecording, RecordingRow};
pub(crate) use watch_rules::{PeriodRow, RuleRow};
pub(crate) use webhooks::{Delivery, Happened, WebhookRow};

use crate::{Error, error::Kind};
use rusqlite::{Connection, ErrorCode};
use rusqlite_migration::{M, Migrations};
use std::{
    fs::OpenOptions,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::Arc,
    thread,
};
use tokio::sync::{mpsc, oneshot};

/// Every step of the schema, oldest first; a step that was released is never changed.
const STEPS: &[M<'static>] = &[
    M::up(include_str!("migrations/0001_sessions_and_recordings.sql")),
    M::up(include_str!("migrations/0002_settings_and_coins.sql")),
    M::up(include_str!("migrations/0003_recordings_that_last.sql")),
    M::up(include_str!("migrations/0004_participants.sql")),
    M::up(include_str!("migrations/0005_watch_rules.sql")),
    M::up(include_str!("migrations/0006_webhooks.sql")),
    M::up(include_str!("migrations/0007_webhook_heads.sql")),
    M::up(include_str!("migrations/0008_machine_costs.sql")),
];
const MIGRATIONS: Migrations<'static> = Migrations::from_slice(STEPS);
/// Calls that may wait for the thread; more callers wait to get in line.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The database's name in the data folder.
const FILE: &str = "haven.db";

/// Whether a write was refused that can never succeed, however often it is tried: it contradicts
/// the schema. A full disk passes.
pub(crate) fn is_refused_for_good(error: &Error) -> bool {
    let source = std::error::Error::source(error);
    let Some(rusqlite::Error::SqliteFailure(failure, _)) =
        source.and_then(|source| source.downcast_ref::<rusqlite::Error>())
    else {
        return false;
    };
    match failure.code {
        // The schema has no triggers: whoever made one can drop it again.
        ErrorCode::ConstraintViolation => {
            failure.extended_code != rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER
        }
        ErrorCode::TooBig | ErrorCode::TypeMismatch | ErrorCode::ParameterOutOfRange => true,
        _ => false,
    }
}

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
        let path = dir.join(FILE);
        // SQLite gives its -wal and -shm files the mode of the database file.
        let made = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path);
        made.and_then(|_| make_private(dir))
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

    /// Whether the database can be written to.
    ///
    /// # Errors
    /// When it can't.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        let now_ms = crate::clock::now_ms();
        self.call("writing to the database", move |connection| {
            connection
                .execute(
                    "INSERT INTO liveness (id, checked_at_ms) VALUES (1, ?1)
                     ON CONFLICT (id) DO UPDATE SET checked_at_ms = excluded.checked_at_ms",
                    [now_ms],
                )
                .map(drop)
        })
        .await
    }

    /// Whether a folder holds a database of ours.
    pub(crate) fn is_in(data_dir: &Path) -> bool {
        data_dir.join(FILE).is_file()
    }

    /// A database in memory, which is gone with its last handle.
    ///
    /// # Errors
    /// When SQLite or its thread can't be started.
    pub(crate) fn temporary() -> Result<Self, Error> {
        Self::on(Connection::open_in_memory)
    }

    /// A database in memory, for tests.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Self::temporary().expect("SQLite works in memory")
    }

    /// From now on nothing can be stored, as on a full disk.
    #[cfg(test)]
    pub(crate) async fn make_read_only(&self) {
        let done = self.call("giving up writing", |connection| {
            connection.pragma_update(None, "query_only", true)
        });
        done.await.expect("the database answers");
    }

    /// What can't be stored since [`Self::make_read_only`] can be stored again.
    #[cfg(test)]
    pub(crate) async fn make_writable(&self) {
        let done = self.call("writing again", |connection| {
            connection.pragma_update(None, "query_only", false)
        });
        done.await.expect("the database answers");
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

/// A database that was there, restored from somewhere, may be readable by others.
fn make_private(dir: &Path) -> std::io::Result<()> {
    for name in ["haven.db", "haven.db-wal", "haven.db-shm"] {
        let file = match OpenOptions::new().append(true).open(dir.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut permissions = file.metadata()?.permissions();
        if permissions.mode() & 0o077 != 0 {
            permissions.set_mode(0o600);
            file.set_permissions(permissions)?;
        }
    }
    Ok(())
}

fn prepare(connection: &mut Connection) -> Result<(), Error> {
    let pragmas = |connection: &Connection| -> rusqlite::Result<()> {
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "foreign_keys", "on")?;
        connection.busy_timeout(std::time::Duration::from_secs(5))
    };
    pragmas(connection).map_err(|error| Error::internal("setting the database up", error))?;
    refuse_newer(connection)?;
    MIGRATIONS
        .to_latest(connection)
        .map_err(|error| Error::internal("bringing the database up to date", error))
}

/// A newer version may have changed what this one doesn't know of.
fn refuse_newer(connection: &Connection) -> Result<(), Error> {
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| Error::internal("reading the database's version", error))?;
    let known = STEPS.len();
    if usize::try_from(version).is_ok_and(|version| version <= known) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Conflict,
        "newer_database",
        format!(
            "the database in the data folder is of version {version}, made by a newer haven (this \
             one knows {known}): run that one, or choose another --data-dir"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            // As after a restore by hand.
            let readable = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(dir.path().join("haven.db"), readable).unwrap();
        }
    }

    /// What a version of the schema may hold, as its own code would have written it.
    const CONTENT: &[&str] = &[
        "INSERT INTO live_sessions (key, kind, started_at_ms) VALUES ('demo', 'demo', 1);
         INSERT INTO recordings (session_id, key, format, config, started_at_ms)
         VALUES (1, 'demo', 'h264', '{}', 2);
         INSERT INTO recording_files (recording_id, part, path, started_at_ms)
         VALUES (1, 1, '/r/demo.mp4', 2);",
        "INSERT INTO config (name, value) VALUES ('split_minutes', '5');",
    ];

    #[tokio::test]
    async fn every_older_version_is_brought_up_to_date_with_its_content() {
        for version in 1..=STEPS.len() {
            let dir = tempfile::tempdir().unwrap();
            let mut old = Connection::open(dir.path().join("haven.db")).unwrap();
            Migrations::from_slice(&STEPS[..version])
                .to_latest(&mut old)
                .unwrap();
            for content in &CONTENT[..version.min(CONTENT.len())] {
                old.execute_batch(content).unwrap();
            }
            drop(old);
            let db = Db::open(dir.path()).unwrap();
            db.check().await.unwrap();
            let running = db.unfinished_recordings().await.unwrap();
            assert_eq!(running[0].files[0].path, Path::new("/r/demo.mp4"));
            let stored = db.config().await.unwrap().contains_key("split_minutes");
            assert_eq!(stored, version >= 2);
            db.close().await;
        }
    }

    #[test]
    fn a_newer_version_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("haven.db");
        let newer = Connection::open(&path).unwrap();
        newer.pragma_update(None, "user_version", 1000).unwrap();
        drop(newer);
        let error = Db::open(dir.path()).err().unwrap();
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(error.message().contains("newer"), "{error}");
        let left: i64 = Connection::open(&path)
            .unwrap()
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(left, 1000);
    }
}
