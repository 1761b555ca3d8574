//! Viewers' places.

use super::Limits;
use std::{collections::HashMap, net::IpAddr};

/// How many viewers there are, and of whom; no more than there are connections.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: usize,
    by_source: HashMap<IpAddr, usize>,
}

impl Seats {
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    pub(super) fn of(&self, source: IpAddr) -> usize {
        self.by_source.get(&source).copied().unwrap_or(0)
    }

    pub(super) fn take(&mut self, source: Option<IpAddr>) {
        self.taken += 1;
        if let Some(source) = source {
            *self.by_source.entry(source).or_default() += 1;
        }
    }

    fn give_back(&mut self, source: Option<IpAddr>) {
        self.taken -= 1;
        let Some(source) = source else { return };
        if let Some(count) = self.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

/// A viewer's place among all of them; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    limits: Limits,
    source: Option<IpAddr>,
}

impl Seat {
    pub(super) fn new(limits: Limits, source: Option<IpAddr>) -> Self {
        Self { limits, source }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.limits.0.seats.lock().give_back(self.source);
    }
}
