//! The map from a session's key to its handle.

use super::{
    actor::{Actor, SHUTDOWN},
    handle::Handle,
    source::{Sources, Target},
    state::{Phase, View},
    takeup::TakenUp,
    writes::Writer,
};
use crate::{
    Error,
    admission::Admission,
    config::Settings,
    db::Db,
    error::Kind,
    events::Events,
    limits::Limits,
    recordings::{Archive, Library},
    runtime_dir::RuntimeDir,
    shutdown::Shutdown,
    watch::screens::add,
    worker::Workers,
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{Instrument, field};
use viewer_socket::HubStats;

/// Commands that may wait for a session's actor.
const QUEUE: usize = 16;
/// How often a start waits for a former session of the same key to be gone.
const START_TRIES: u32 = 3;
/// At the server's end: how long is waited for the database to take what it did not take before.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// What every session needs. A session keeps the settings that it was started with.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) db: Db,
    pub(crate) admission: Admission,
    pub(crate) workers: Arc<Workers>,
    pub(crate) sources: Sources,
    pub(crate) library: Library,
    pub(crate) archive: Archive,
    pub(crate) events: Events,
    pub(crate) runtime_dir: Arc<RuntimeDir>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) formats_dir: Option<PathBuf>,
    pub(crate) shutdown: Shutdown,
    pub(crate) limits: Limits,
    /// Workers that were replaced, over all sessions.
    pub(crate) worker_restarts: Arc<AtomicU64>,
}

impl Context {
    /// The same with other settings.
    fn with(&self, settings: Arc<Settings>) -> Self {
        let mut this = self.clone();
        this.sources.livekit = settings.livekit.clone();
        let old = &self.settings;
        if settings.recording_directory != old.recording_directory
            || settings.disk_reserve_bytes != old.disk_reserve_bytes
        {
            let (dir, reserve) = (&settings.recording_directory, settings.disk_reserve_bytes);
            this.library = Library::new(dir.clone(), reserve, self.db.clone());
        }
        this.settings = settings;
        this
    }
}

/// A session that runs.
pub(crate) struct Started {
    pub(crate) view: View,
    pub(crate) handle: Handle,
    /// It ran before.
    pub(crate) already_active: bool,
}

/// All sessions; owns the map and nothing else.
#[derive(Clone)]
pub(crate) struct Registry {
    /// As the server was started.
    context: Arc<Context>,
    /// With the settings in force, as far as they were asked for.
    current: Arc<Mutex<Arc<Context>>>,
    settings: watch::Receiver<Arc<Settings>>,
    writer: Writer,
    sessions: Arc<Mutex<Sessions>>,
}

#[derive(Default)]
struct Sessions {
    by_key: BTreeMap<String, Handle>,
    closed: bool,
    /// Sessions that were begun.
    started: u64,
    /// Sessions that are over, and what went to their viewers.
    ended: watch::Sender<u64>,
    past: HubStats,
}

fn stopping(message: &str) -> Error {
    Error::new(Kind::Conflict, "session_stopping", message)
}

/// Takes a session out of the map, also when its actor panics.
struct Entry {
    sessions: Arc<Mutex<Sessions>>,
    key: String,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut sessions = self.sessions.lock();
        if let Some(handle) = sessions.by_key.remove(&self.key) {
            sessions.ended.send_modify(|ended| *ended += 1);
            add(&mut sessions.past, &handle.screens.stats());
        }
    }
}

impl Registry {
    /// Without sessions. `settings` are those in force, now and later.
    pub(crate) fn new(context: Context, settings: watch::Receiver<Arc<Settings>>) -> Self {
        let context = Arc::new(context);
        let (db, archive) = (context.db.clone(), context.archive.clone());
        Self {
            writer: Writer::new(db, archive, context.shutdown.tasks.clone()),
            current: Arc::new(Mutex::new(Arc::clone(&context))),
            context,
            settings,
            sessions: Arc::default(),
        }
    }

    /// What doesn't depend on the settings.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// What a session gets that is started now.
    pub(crate) fn current(&self) -> Arc<Context> {
        let settings = Arc::clone(&self.settings.borrow());
        let mut current = self.current.lock();
        if !Arc::ptr_eq(&current.settings, &settings) {
            *current = Arc::new(current.with(settings));
        }
        Arc::clone(&current)
    }

    /// The session of this key, unless it is over.
    pub(crate) fn find(&self, key: &str) -> Option<Handle> {
        self.sessions.lock().by_key.get(key).cloned()
    }

    /// Whether the session of this key runs, or may begin.
    ///
    /// # Errors
    /// When as many sessions run as may.
    pub(crate) fn check_startable(&self, key: &str) -> Result<(), Error> {
        let sessions = self.sessions.lock();
        match sessions.by_key.contains_key(key) {
            true => Ok(()),
            false => self.context.limits.check_sessions(sessions.by_key.len()),
        }
    }

    /// Every session, by key.
    pub(crate) fn all(&self) -> Vec<Handle> {
        self.sessions.lock().by_key.values().cloned().collect()
    }

    /// How many sessions were begun, and how many are over.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let sessions = self.sessions.lock();
        (sessions.started, *sessions.ended.borrow())
    }

    /// Changes whenever a session is over: what was refused for want of a place may be tried again.
    pub(crate) fn endings(&self) -> watch::Receiver<u64> {
        self.sessions.lock().ended.subscribe()
    }

    /// What has gone to viewers since the server's start, and how many there are now.
    pub(crate) fn traffic(&self) -> HubStats {
        let sessions = self.sessions.lock();
        // Viewers of past sessions are gone.
        let mut sum = HubStats {
            viewers: 0,
            ..sessions.past
        };
        for handle in sessions.by_key.values() {
            add(&mut sum, &handle.screens.stats());
        }
        sum
    }

    /// Starts a session, or joins in waiting for the one that is being started, or finds the one
    /// that runs. Answers once the room is joined.
    ///
    /// # Errors
    /// Why it could not be started, or may not; nothing of it is left then.
    pub(crate) async fn start(&self, target: &Target) -> Result<Started, Error> {
        for _ in 0..START_TRIES {
            let (handle, already_active) = self.find_or_spawn(target)?;
            let mut view = handle.view.clone();
            let was_ending = view.borrow().phase >= Phase::Stopping;
            let settled = view
                .wait_for(|view| match view.phase {
                    Phase::Starting => false,
                    Phase::Running | Phase::Ended => true,
                    // A failure is told once nothing is left of the session.
                    Phase::Stopping => view.failure.is_none(),
                })
                .await
                .map(|view| view.clone())
                .map_err(|error| Error::internal("starting the session", error))?;
            match settled {
                View {
                    failure: Some(failure),
                    ..
                } => return Err(failure.into()),
                View {
                    phase: Phase::Running,
                    ..
                } => {
                    return Ok(Started {
                        view: settled,
                        handle,
                        already_active,
                    });
                }
                // The former session is ending: begin anew after it.
                _ if was_ending => {
                    let limit = self.context.workers.timings().start;
                    if timeout(limit, handle.ended()).await.is_err() {
                        return Err(stopping("The session is still being stopped"));
                    }
                }
                _ => break,
            }
        }
        Err(stopping(
            "The session was stopped while it was being started",
        ))
    }

    /// Ends every session and starts no more; returns when all are over.
    pub(crate) async fn shut_down(&self) {
        let handles: Vec<_> = {
            let mut sessions = self.sessions.lock();
            sessions.closed = true;
            sessions.by_key.values().cloned().collect()
        };
        // All at once: each has its own worker to wait for.
        let stops = handles.iter().map(|handle| handle.stop(SHUTDOWN));
        futures_util::future::join_all(stops).await;
        self.writer.drain(WRITE_LIMIT).await;
    }

    /// Has a session go on that another server has begun. To be called before the first session
    /// is started. Nobody waits for the room to be joined.
    pub(super) fn spawn_taken_up(&self, target: &Target, taken_up: TakenUp) -> bool {
        let mut sessions = self.sessions.lock();
        let free = !sessions.by_key.contains_key(target.key());
        if free {
            self.spawn(&mut sessions, target, Some(Box::new(taken_up)));
        }
        free
    }

    fn spawn(
        &self,
        sessions: &mut Sessions,
        target: &Target,
        taken_up: Option<Box<TakenUp>>,
    ) -> Handle {
        let (commands, queue) = mpsc::channel(QUEUE);
        let (mut actor, view, screens) = Actor::new(
            self.current(),
            target.clone(),
            self.writer.clone(),
            (commands.clone(), queue),
        );
        actor.taken_up = taken_up;
        let handle = Handle {
            commands,
            view,
            screens,
            showing: actor.seat.view(),
        };
        let key = target.key().to_owned();
        sessions.by_key.insert(key.clone(), handle.clone());
        sessions.started += 1;
        let entry = Entry {
            sessions: Arc::clone(&self.sessions),
            key: key.clone(),
        };
        // On every line of its log, whatever is logged: an error's span is never filtered out.
        let span = tracing::error_span!("session", mint = key, session_id = field::Empty);
        let session = async move {
            let over = actor.run().await;
            // Out of the map first: who hears of the end may start the next session.
            drop(entry);
            over.announce();
        };
        self.context.shutdown.tasks.spawn(session.instrument(span));
        handle
    }

    fn find_or_spawn(&self, target: &Target) -> Result<(Handle, bool), Error> {
        let mut sessions = self.sessions.lock();
        if let Some(handle) = sessions.by_key.get(target.key()) {
            return Ok((handle.clone(), true));
        }
        if sessions.closed {
            return Err(Error::new(
                Kind::Unavailable,
                "shutting_down",
                "The server is shutting down",
            ));
        }
        self.context.limits.check_sessions(sessions.by_key.len())?;
        self.context.admission.admit_session()?;
        let handle = self.spawn(&mut sessions, target, None);
        Ok((handle, false))
    }
}
