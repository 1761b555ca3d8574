//! What runs, and what it takes; pure.

use haven_wire::{Cost, Costs};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// What a worker uses counts once it has run unchanged for this long; until then, and while nothing
/// comes from its room, what it was measured to need does.
const SETTLED: Duration = Duration::from_secs(8);
/// Over how long what it uses is averaged.
const WINDOW: Duration = Duration::from_secs(10);
/// A picture's size that changes by less changes nothing.
const LEAST_CHANGE: f64 = 0.1;

/// A recording, as far as it costs anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) format: String,
    pub(crate) quality: String,
    /// Whether it needs pictures decoded.
    pub(crate) decodes: bool,
}

/// What is true of a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Doing {
    /// Its worker's process.
    pub(crate) pid: Option<u32>,
    /// Media arrives.
    pub(crate) live: bool,
    /// Pixels a second, where they are known.
    pub(crate) pixel_rate: Option<f64>,
    pub(crate) recordings: Vec<Planned>,
}

/// What a process has used until now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Used {
    /// Processor seconds.
    pub(crate) cpu_s: f64,
    /// Resident memory.
    pub(crate) memory_bytes: u64,
}

/// Something that is to be begun.
#[derive(Clone, Debug)]
pub(super) enum Wish<'a> {
    /// A session.
    Session,
    /// Showing this session to its first viewer.
    View(u64),
    /// A recording of this session.
    Recording(u64, &'a Planned),
}

/// A session's part.
#[derive(Debug)]
struct Place {
    doing: Doing,
    /// What was let in and isn't seen running yet.
    pending: Vec<Planned>,
    watched: bool,
    /// Since when it has done the same.
    since: Instant,
    samples: VecDeque<(Instant, Used)>,
}

/// What runs, and what it takes.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    places: BTreeMap<u64, Place>,
    next: u64,
    /// What this process itself takes.
    own: VecDeque<(Instant, Used)>,
}

impl Ledger {
    pub(super) fn open(&mut self, now: Instant) -> u64 {
        self.next += 1;
        let place = Place {
            doing: Doing::default(),
            pending: Vec::new(),
            watched: false,
            since: now,
            samples: VecDeque::new(),
        };
        self.places.insert(self.next, place);
        self.next
    }

    pub(super) fn close(&mut self, id: u64) {
        self.places.remove(&id);
    }

    /// What a session does now. What was let in is among it, or was given up.
    pub(super) fn update(&mut self, id: u64, doing: Doing, now: Instant) {
        let Some(place) = self.places.get_mut(&id) else {
            return;
        };
        place.pending.clear();
        if place.doing.differs(&doing) {
            place.since = now;
            place.samples.clear();
        } else if place.doing == doing {
            return;
        }
        place.doing = doing;
    }

    /// Counts a recording that was let in until it is seen running.
    pub(super) fn expect(&mut self, id: u64, planned: Planned) {
        if let Some(place) = self.places.get_mut(&id) {
            place.pending.push(planned);
        }
    }

    /// The sessions' processes.
    pub(super) fn processes(&self) -> Vec<(u64, u32)> {
        let places = self.places.iter();
        places
            .filter_map(|(id, place)| Some((*id, place.doing.pid?)))
            .collect()
    }

    /// Whether somebody watches a session.
    pub(super) fn watch(&mut self, id: u64, watched: bool, now: Instant) {
        if let Some(place) = self.places.get_mut(&id)
            && place.watched != watched
        {
            place.watched = watched;
            place.since = now;
            place.samples.clear();
        }
    }

    /// What a session's process `pid` has used until now.
    pub(super) fn sample(&mut self, id: u64, pid: u32, used: Used, now: Instant) {
        if let Some(place) = self.places.get_mut(&id)
            && place.doing.pid == Some(pid)
        {
            remember(&mut place.samples, used, now);
        }
    }

    /// What this process itself has used until now.
    pub(super) fn sample_own(&mut self, used: Used, now: Instant) {
        remember(&mut self.own, used, now);
    }

    /// Whether anything is recorded, or about to be.
    pub(super) fn records(&self) -> bool {
        let mut places = self.places.values();
        places.any(|place| !(place.doing.recordings.is_empty() && place.pending.is_empty()))
    }

    /// What everything takes.
    pub(super) fn taken(&self, costs: &Costs, now: Instant) -> Cost {
        let own = average(&self.own, Duration::ZERO).unwrap_or_default();
        let places = self.places.values().map(|place| place.taken(costs, now));
        places.fold(own, sum)
    }

    /// What something would take beside what runs.
    pub(super) fn needed(&self, wish: &Wish<'_>, costs: &Costs) -> Cost {
        let place = match wish {
            Wish::Session => return costs.session,
            Wish::View(id) | Wish::Recording(id, _) => self.places.get(id),
        };
        let Some(place) = place else {
            return Cost::default();
        };
        let planned = place.planned(costs, place.watched, None);
        let with = match wish {
            Wish::Recording(_, planned) => place.planned(costs, place.watched, Some(planned)),
            _ => place.planned(costs, true, None),
        };
        Cost {
            cpu: with.cpu - planned.cpu,
            memory_bytes: with.memory_bytes.saturating_sub(planned.memory_bytes),
        }
    }
}

impl Doing {
    /// Whether another one costs something else.
    fn differs(&self, other: &Self) -> bool {
        let rate_differs = match (self.pixel_rate, other.pixel_rate) {
            (Some(one), Some(other)) => (one - other).abs() > LEAST_CHANGE * one.max(other),
            (one, other) => one.is_some() != other.is_some(),
        };
        let same = (self.pid, self.live, &self.recordings);
        rate_differs || same != (other.pid, other.live, &other.recordings)
    }
}

impl Place {
    /// What it uses where that is known, else what it was measured to need.
    fn taken(&self, costs: &Costs, now: Instant) -> Cost {
        let settled = self.doing.live && now.duration_since(self.since) >= SETTLED;
        let used = average(&self.samples, SETTLED).filter(|_| settled);
        used.unwrap_or_else(|| self.planned(costs, self.watched, None))
    }

    /// What it was measured to need, for pictures of the size that comes.
    fn planned(&self, costs: &Costs, watched: bool, more: Option<&Planned>) -> Cost {
        let recordings = self.doing.recordings.iter().chain(&self.pending);
        let recordings: Vec<_> = recordings.chain(more).collect();
        let measured_rate = f64::from(Costs::WIDTH * Costs::HEIGHT * Costs::FPS);
        let scale = self
            .doing
            .pixel_rate
            .map_or(1.0, |rate| rate / measured_rate);
        let scaled = |cost: Cost| Cost {
            cpu: cost.cpu * scale,
            memory_bytes: (cost.memory_bytes as f64 * scale) as u64,
        };
        let mut total = costs.session;
        if watched || recordings.iter().any(|one| one.decodes) {
            total = sum(total, scaled(costs.decoding));
        }
        if watched {
            total = sum(total, scaled(costs.preview));
        }
        for one in recordings {
            total = sum(total, scaled(cost_of(costs, one)));
        }
        total
    }
}

/// What a recording was measured to need. One that couldn't be measured counts as the dearest.
fn cost_of(costs: &Costs, planned: &Planned) -> Cost {
    let known = costs.recordings.get(&planned.format);
    if let Some(cost) = known.and_then(|qualities| qualities.get(&planned.quality)) {
        return *cost;
    }
    let all = || costs.recordings.values().flat_map(BTreeMap::values);
    let same = known.into_iter().flat_map(BTreeMap::values);
    let dearest = same.copied().reduce(dearer);
    dearest
        .or_else(|| all().copied().reduce(dearer))
        .unwrap_or_default()
}

fn dearer(one: Cost, other: Cost) -> Cost {
    if other.cpu > one.cpu { other } else { one }
}

fn sum(one: Cost, other: Cost) -> Cost {
    Cost {
        cpu: one.cpu + other.cpu,
        memory_bytes: one.memory_bytes.saturating_add(other.memory_bytes),
    }
}

fn remember(samples: &mut VecDeque<(Instant, Used)>, used: Used, now: Instant) {
    samples.push_back((now, used));
    // The one before the window is where it begins.
    while samples
        .get(1)
        .is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW)
    {
        samples.pop_front();
    }
}

/// What was used a second over the samples; none where they don't cover `least`.
fn average(samples: &VecDeque<(Instant, Used)>, least: Duration) -> Option<Cost> {
    let ((from, first), (to, last)) = (samples.front()?, samples.back()?);
    let length = to.duration_since(*from);
    if length.is_zero() || length < least {
        return None;
    }
    Some(Cost {
        cpu: (last.cpu_s - first.cpu_s).max(0.0) / length.as_secs_f64(),
        memory_bytes: last.memory_bytes,
    })
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
