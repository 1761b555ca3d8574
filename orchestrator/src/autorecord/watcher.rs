//! What is watched, and who owns that.

use super::{
    period::{Period, Signal},
    rules::Rule,
    shown::{Looks, Shown},
};
use crate::{
    Error,
    db::{Db, PeriodRow, RuleRow},
    sessions::{Context, Registry},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};
use tokio::sync::{Notify, Semaphore, watch};

/// Sessions that are started at once, when many coins go live together.
const STARTS: usize = 4;
/// Why a period ended whose room its publisher, or the platform, has closed.
const ROOM_DELETED: &str = "room_deleted";

/// The rules, and what is done for them; cheap to clone.
#[derive(Clone)]
pub(crate) struct Watcher {
    pub(super) shared: Arc<Shared>,
}

/// What the poller, the periods and the clients' requests share. The lock is held for a few
/// statements, and never while waiting.
pub(super) struct Shared {
    pub(super) registry: Registry,
    pub(super) state: Mutex<State>,
    /// There is another rule.
    pub(super) changed: Notify,
    /// Rules are changed one after the other.
    pub(super) changing: tokio::sync::Mutex<()>,
    pub(super) starts: Semaphore,
}

#[derive(Default)]
pub(super) struct State {
    /// By id.
    pub(super) rules: BTreeMap<i64, RuleRow>,
    /// By mint.
    pub(super) lives: HashMap<String, Live>,
    /// When the last time live of a mint has ended: a list that is older tells nothing new of it.
    pub(super) ended_at_ms: HashMap<String, i64>,
    /// Mints whose room was deleted, though the list may name them for a while yet.
    pub(super) closed: HashSet<String>,
    /// Mints about which the platform is being asked.
    pub(super) asked: HashSet<String>,
    pub(super) looks: Looks,
}

/// A period that goes on.
pub(super) struct Live {
    /// The period's.
    pub(super) id: i64,
    pub(super) rule_id: Option<i64>,
    signal: watch::Sender<Signal>,
    shown: watch::Receiver<Shown>,
}

impl Live {
    /// Tells the period; after its end there is nothing more to tell.
    pub(super) fn tell(&self, signal: Signal) {
        self.signal.send_if_modified(|told| {
            let news = *told < signal;
            if news {
                *told = signal;
            }
            news
        });
    }
}

impl State {
    /// A rule with what is done for it.
    pub(super) fn rule(&self, row: &RuleRow) -> Rule {
        let of_it = self.lives.values();
        let of_it = of_it.filter(|live| live.rule_id == Some(row.id));
        let mut live: Vec<_> = of_it.map(|live| live.shown.borrow().clone()).collect();
        live.sort_by(|a, b| (a.began_at_ms, &a.mint).cmp(&(b.began_at_ms, &b.mint)));
        Rule {
            row: row.clone(),
            live,
        }
    }
}

impl Watcher {
    /// With the rules that are stored; what was live when the former server ended goes on. To be
    /// called once the registry has taken up its sessions.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn open(registry: Registry) -> Result<Self, Error> {
        let db = registry.context().db.clone();
        let rules = db.watch_rules().await?;
        let state = State {
            rules: rules.into_iter().map(|row| (row.id, row)).collect(),
            ended_at_ms: db.watch_periods_ended().await?,
            ..State::default()
        };
        let this = Self {
            shared: Arc::new(Shared {
                registry,
                state: Mutex::new(state),
                changed: Notify::new(),
                changing: tokio::sync::Mutex::default(),
                starts: Semaphore::new(STARTS),
            }),
        };
        for period in db.open_watch_periods().await? {
            this.spawn(period);
        }
        Ok(this)
    }

    /// How the looking goes.
    pub(crate) fn looks(&self) -> Looks {
        self.shared.state.lock().looks.clone()
    }

    /// What goes on now.
    pub(crate) fn live(&self) -> Vec<Shown> {
        let state = self.shared.state.lock();
        let lives = state.lives.values();
        lives.map(|live| live.shown.borrow().clone()).collect()
    }

    pub(super) fn db(&self) -> &Db {
        &self.shared.context().db
    }

    /// Has a period run until it has ended, or the server ends.
    pub(super) fn spawn(&self, row: PeriodRow) {
        let (mint, id, rule_id) = (row.mint.clone(), row.id, row.rule_id);
        let period = {
            let mut state = self.shared.state.lock();
            // Whoever deletes the rule tells those that are in the map.
            let first = match rule_id.is_some_and(|id| state.rules.contains_key(&id)) {
                true => Signal::Live,
                false => Signal::RuleGone,
            };
            let (signal, told) = watch::channel(first);
            let (period, shown) = Period::new(Arc::clone(&self.shared), row, told);
            let live = Live {
                id,
                rule_id,
                signal,
                shown,
            };
            state.lives.insert(mint, live);
            period
        };
        self.shared.context().shutdown.periods.spawn(period.run());
    }
}

impl Shared {
    /// What doesn't depend on the settings.
    pub(super) fn context(&self) -> &Context {
        self.registry.context()
    }

    /// A recording was begun for a rule.
    pub(super) fn count_recording(&self, rule_id: Option<i64>, recording_id: i64) {
        let mut state = self.state.lock();
        state.looks.recordings += 1;
        if let Some(rule) = rule_id.and_then(|id| state.rules.get_mut(&id)) {
            rule.recording_id = Some(recording_id);
        }
    }

    /// A period has ended.
    pub(super) fn over(&self, mint: &str, at_ms: i64, reason: &str) {
        let mut state = self.state.lock();
        state.lives.remove(mint);
        if reason == ROOM_DELETED {
            state.closed.insert(mint.to_owned());
        }
        state.ended_at_ms.insert(mint.to_owned(), at_ms);
    }
}
