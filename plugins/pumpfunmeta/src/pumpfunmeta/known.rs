//! What is known of the coin, and for how long.

use crate::{facts::Facts, meta, tags};
use pumpfun_api::{Error, Mint, Observation};
use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

/// So many requests in a row fail before it is called an outage and the application is told.
pub(crate) const FAILURES_OF_AN_OUTAGE: u32 = 2;

/// A coin, ready to be attached and told.
#[derive(Debug)]
pub(super) struct Coin {
    facts: Facts,
    /// When the platform said so.
    fetched: (SystemTime, Instant),
    pub(super) structure: gst::Structure,
    pub(super) tags: gst::TagList,
}

/// What is known now.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Which target it is about: one that was followed before counts no more.
    pub(super) generation: u64,
    pub(super) mint: Option<Mint>,
    pub(super) coin: Option<Arc<Coin>>,
    requests: u64,
    failures: u32,
    error: Option<Arc<Error>>,
    told_outage: bool,
}

/// What the application is to be told.
#[derive(Debug)]
pub(super) enum News {
    /// Nothing that it doesn't know.
    Nothing,
    /// The coin has changed, or is known now.
    Coin(gst::Structure),
    /// Nothing can be learnt at present.
    Outage(Arc<Error>),
}

impl Known {
    /// Begins anew, with another coin or none. Whether there was one that is forgotten.
    pub(super) fn forget(&mut self, mint: Option<Mint>) -> bool {
        let before = std::mem::replace(
            self,
            Self {
                generation: self.generation + 1,
                mint,
                ..Self::default()
            },
        );
        before.coin.is_some()
    }

    /// Takes an observation in.
    pub(super) fn learn(&mut self, generation: u64, seen: &Observation) -> News {
        let Some(mint) = self.mint.as_ref().filter(|_| generation == self.generation) else {
            return News::Nothing;
        };
        self.requests = seen.requests;
        self.failures = seen.failures;
        self.error.clone_from(&seen.error);
        // What is older than what is known was learnt before an outage, and is known.
        if let (Some(answer), Some(fetched)) = (&seen.coin, seen.fetched)
            && self
                .coin
                .as_ref()
                .is_none_or(|coin| coin.fetched != fetched)
        {
            let before = self.coin.as_ref().map(|coin| &coin.facts);
            let facts = Facts::new(mint, answer, before);
            let changed = before != Some(&facts);
            let coin = Arc::new(Coin::new(facts, fetched));
            self.coin = Some(Arc::clone(&coin));
            self.told_outage = false;
            if changed {
                return News::Coin(coin.structure.clone());
            }
        }
        match &seen.error {
            Some(error) if self.failures >= FAILURES_OF_AN_OUTAGE && !self.told_outage => {
                self.told_outage = true;
                News::Outage(Arc::clone(error))
            }
            _ => News::Nothing,
        }
    }

    /// The `stats` property.
    pub(super) fn stats(&self, buffers: u64) -> gst::Structure {
        let mint = self.mint.as_ref().map(Mint::as_str);
        let age = self.coin.as_ref().map(|coin| coin.fetched.1.elapsed());
        let age = age.and_then(|age| u64::try_from(age.as_nanos()).ok());
        gst::Structure::builder("pumpfunmeta-stats")
            .field_if_some("mint", mint)
            .field("buffers", buffers)
            .field("requests", self.requests)
            .field("failures", u64::from(self.failures))
            .field_if_some("age", age)
            .field_if_some("last-error", self.error.as_ref().map(ToString::to_string))
            .build()
    }
}

impl Coin {
    fn new(facts: Facts, fetched: (SystemTime, Instant)) -> Self {
        Self {
            structure: meta::describe(&facts, fetched.0),
            tags: tags::of(&facts),
            facts,
            fetched,
        }
    }
}
