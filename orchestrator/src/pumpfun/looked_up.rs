//! Which coins were looked up lately, one by one.

use parking_lot::Mutex;
use pumpfun_api::Mint;
use std::collections::HashMap;

/// So many are remembered; beyond, the old ones and then all are forgotten.
const MOST: usize = 4096;

/// When coins were looked up. What the list of live coins tells of a coin doesn't count.
#[derive(Debug)]
pub(super) struct LookedUp {
    fresh_for_ms: i64,
    at_ms: Mutex<HashMap<Mint, i64>>,
}

impl LookedUp {
    pub(super) fn new(fresh_for_ms: i64) -> Self {
        Self {
            fresh_for_ms,
            at_ms: Mutex::default(),
        }
    }

    /// A coin was looked up.
    pub(super) fn add(&self, mint: &Mint, now_ms: i64) {
        let mut known = self.at_ms.lock();
        if known.len() >= MOST {
            known.retain(|_, at_ms| self.counts(*at_ms, now_ms));
        }
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(mint.clone(), now_ms);
    }

    /// Whether a coin was looked up lately.
    pub(super) fn is_fresh(&self, mint: &Mint, now_ms: i64) -> bool {
        let known = self.at_ms.lock();
        let at_ms = known.get(mint);
        at_ms.is_some_and(|at_ms| self.counts(*at_ms, now_ms))
    }

    fn counts(&self, at_ms: i64, now_ms: i64) -> bool {
        (0..self.fresh_for_ms).contains(&now_ms.saturating_sub(at_ms))
    }
}
