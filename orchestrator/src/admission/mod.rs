//! Whether this machine has room for one thing more, so that what is recorded loses nothing to what
//! is begun beside it.

mod ledger;
mod machine;
mod measured;

pub(crate) use ledger::{Doing, Planned};
pub(crate) use machine::{Machine, fingerprint};
pub(crate) use measured::measure;

use crate::{Error, error::Kind, watch::screens::Screens};
use haven_wire::{Cost, Costs};
use ledger::{Ledger, Wish};
use parking_lot::Mutex;
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

/// Code of a refusal since the machine has no room.
pub(crate) const OVER_BUDGET: &str = "over_budget";
/// How often it is looked at what the processes use.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(2);
/// After how long asking again is worth it.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// How long is waited for the machine to be measured: a minute is the measurement's own limit.
const MEASURE_LIMIT: Duration = Duration::from_secs(60);

/// Shares of the machine that may be taken, in per cent; 0: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) cpu_percent: u64,
    pub(crate) memory_percent: u64,
}

impl Shares {
    /// Nothing is refused.
    pub(crate) const UNLIMITED: Self = Self {
        cpu_percent: 0,
        memory_percent: 0,
    };

    pub(crate) fn is_unlimited(self) -> bool {
        self == Self::UNLIMITED
    }
}

/// What is known of the costs.
#[derive(Clone, Debug)]
enum Known {
    /// They are being measured.
    NotYet,
    /// As they were measured.
    Costs(Arc<Costs>),
    /// They can't be, or needn't: nothing is refused.
    Nothing,
}

/// Decides what may be begun. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    machine: Machine,
    shares: Shares,
    ledger: Mutex<Ledger>,
    known: watch::Sender<Known>,
    /// Who is watched.
    screens: Mutex<Vec<(u64, Screens)>>,
}

/// What is taken, and what may be; nothing of what has no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) taken: Cost,
    /// Cores.
    pub(crate) cpu: Option<f64>,
    pub(crate) memory_bytes: Option<u64>,
}

impl Admission {
    /// For this machine. Until it was measured, nothing is refused while nothing is recorded.
    pub(crate) fn new(machine: Machine, shares: Shares) -> Self {
        let known = match shares.is_unlimited() {
            true => Known::Nothing,
            false => Known::NotYet,
        };
        Self(Arc::new(Inner {
            machine,
            shares,
            ledger: Mutex::default(),
            known: watch::channel(known).0,
            screens: Mutex::default(),
        }))
    }

    pub(crate) fn machine(&self) -> Machine {
        self.0.machine
    }

    /// Whether anything can be refused.
    pub(crate) fn limits(&self) -> bool {
        !self.0.shares.is_unlimited()
    }

    /// Says what things cost; none where that can't be found out.
    fn set_costs(&self, costs: Option<Costs>) {
        let known = costs.map_or(Known::Nothing, |costs| Known::Costs(Arc::new(costs)));
        self.0.known.send_replace(known);
    }

    /// Waits until the machine is measured, where that decides something.
    pub(crate) async fn settled(&self) {
        if !self.0.ledger.lock().records() {
            return;
        }
        let mut known = self.0.known.subscribe();
        let measured = known.wait_for(|known| !matches!(known, Known::NotYet));
        let _ = timeout(MEASURE_LIMIT, measured).await;
    }

    /// A place for a session; what it does is told to it.
    pub(crate) fn seat(&self, screens: &Screens) -> Seat {
        let id = self.0.ledger.lock().open(Instant::now());
        self.0.screens.lock().push((id, screens.clone()));
        Seat {
            admission: self.clone(),
            id,
        }
    }

    /// Whether a session may begin.
    ///
    /// # Errors
    /// Unavailable where recordings that run would suffer.
    pub(crate) fn admit_session(&self) -> Result<(), Error> {
        self.admit(&Wish::Session, "a session")
    }

    /// What is taken of what; none before the machine was measured, and without limits.
    pub(crate) fn budget(&self) -> Option<Budget> {
        let Known::Costs(costs) = &*self.0.known.borrow() else {
            return None;
        };
        self.note_viewers();
        let taken = self.0.ledger.lock().taken(costs, Instant::now());
        Some(self.with_limits(taken))
    }

    fn with_limits(&self, taken: Cost) -> Budget {
        let Shares {
            cpu_percent,
            memory_percent,
        } = self.0.shares;
        let machine = self.0.machine;
        let cpu = machine.cores * cpu_percent as f64 / 100.0;
        let memory = machine
            .memory_bytes
            .map(|bytes| (bytes as f64 * memory_percent as f64 / 100.0) as u64);
        Budget {
            taken,
            cpu: (cpu_percent > 0).then_some(cpu),
            memory_bytes: memory.filter(|_| memory_percent > 0),
        }
    }

    fn admit(&self, wish: &Wish<'_>, what: &str) -> Result<(), Error> {
        let Known::Costs(costs) = self.0.known.borrow().clone() else {
            return Ok(());
        };
        self.note_viewers();
        let (records, taken, needed) = {
            let ledger = self.0.ledger.lock();
            let taken = ledger.taken(&costs, Instant::now());
            (ledger.records(), taken, ledger.needed(wish, &costs))
        };
        let budget = self.with_limits(taken);
        let Some(refusal) = budget.refusal(needed, what, self.0.shares) else {
            return Ok(());
        };
        if !records {
            // Nothing suffers from it but itself.
            tracing::warn!(problem = refusal.message(), "begun all the same");
            return Ok(());
        }
        Err(refusal)
    }

    fn note_viewers(&self) {
        let now = Instant::now();
        let screens = self.0.screens.lock();
        let mut ledger = self.0.ledger.lock();
        for (id, screens) in &*screens {
            ledger.watch(*id, screens.viewers() > 0, now);
        }
    }

    /// Looks at what the processes use, for as long as it isn't dropped.
    pub(crate) async fn watch_processes(self) {
        let mut ticks = interval(SAMPLE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.note_viewers();
            let processes = self.0.ledger.lock().processes();
            for (id, pid) in processes {
                // One that has just ended has no figures any more.
                if let Ok(used) = machine::used_by(pid) {
                    let mut ledger = self.0.ledger.lock();
                    ledger.sample(id, pid, used, Instant::now());
                }
            }
            if let Ok(used) = machine::used_here() {
                self.0.ledger.lock().sample_own(used, Instant::now());
            }
        }
    }
}

/// A session's place in what is counted. It is free again once it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    admission: Admission,
    id: u64,
}

impl Seat {
    /// Tells what the session does now.
    pub(crate) fn update(&self, doing: Doing) {
        let mut ledger = self.admission.0.ledger.lock();
        ledger.update(self.id, doing, Instant::now());
    }

    /// Whether a recording of the session may begin. It counts from now on, until the next
    /// [`Seat::update`] says whether it runs.
    ///
    /// # Errors
    /// Unavailable where recordings that run would suffer.
    pub(crate) fn admit_recording(&self, planned: &Planned) -> Result<(), Error> {
        let what = format!("a recording as {}", planned.format);
        let wish = Wish::Recording(self.id, planned);
        self.admission.admit(&wish, &what)?;
        let mut ledger = self.admission.0.ledger.lock();
        ledger.expect(self.id, planned.clone());
        Ok(())
    }

    /// Who is asked whether the session may be shown.
    pub(crate) fn view(&self) -> ViewAdmission {
        ViewAdmission {
            admission: self.admission.clone(),
            id: self.id,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let inner = &self.admission.0;
        inner.screens.lock().retain(|(id, _)| *id != self.id);
        inner.ledger.lock().close(self.id);
    }
}

/// Whether a session may be shown to its first viewer. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ViewAdmission {
    admission: Admission,
    id: u64,
}

impl ViewAdmission {
    /// Whether the session may be shown; more viewers of one that is shown cost nothing that counts.
    ///
    /// # Errors
    /// Unavailable where recordings that run would suffer.
    pub(crate) fn admit(&self) -> Result<(), Error> {
        self.admission
            .admit(&Wish::View(self.id), "showing this session")
    }

    /// As [`Admission::settled`].
    pub(crate) async fn settled(&self) {
        self.admission.settled().await;
    }
}

impl Budget {
    /// Why there is no room for it, if there is none.
    fn refusal(&self, needed: Cost, what: &str, shares: Shares) -> Option<Error> {
        let problem = if let Some(cores) = self.cpu
            && needed.cpu > 0.0
            && self.taken.cpu + needed.cpu > cores
        {
            format!(
                "it needs {:.3} processor cores, and {:.3} of {cores:.3} are taken (cpu_budget_percent \
                 is {})",
                needed.cpu, self.taken.cpu, shares.cpu_percent
            )
        } else if let Some(bytes) = self.memory_bytes
            && needed.memory_bytes > 0
            && self.taken.memory_bytes.saturating_add(needed.memory_bytes) > bytes
        {
            let mega = |bytes: u64| bytes / 1_000_000;
            format!(
                "it needs {} MB of memory, and {} of {} MB are taken (memory_budget_percent is {})",
                mega(needed.memory_bytes),
                mega(self.taken.memory_bytes),
                mega(bytes),
                shares.memory_percent
            )
        } else {
            return None;
        };
        let message = format!(
            "This machine has no room for {what} beside the recordings that run: {problem}. Stop \
             something, or choose what costs less (source encodes nothing)"
        );
        let of = |used, needed, budget| json!({"used": used, "needed": needed, "budget": budget});
        let cpu = of(
            json!(thousandths(self.taken.cpu)),
            json!(thousandths(needed.cpu)),
            json!(self.cpu.map(thousandths)),
        );
        let memory = of(
            json!(self.taken.memory_bytes),
            json!(needed.memory_bytes),
            json!(self.memory_bytes),
        );
        let refusal = Error::new(Kind::Unavailable, OVER_BUDGET, message)
            .retry_after(RETRY_AFTER)
            .detail("cpu_cores", cpu)
            .detail("memory_bytes", memory);
        Some(refusal)
    }
}

fn thousandths(cores: f64) -> f64 {
    (cores * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests;
