//! How often the platform was asked, and how it went.

use pumpfun_api::{Error, NotAsked};
use std::sync::atomic::{AtomicU64, Ordering};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Join,
    Livestream,
    Coin,
    CurrentlyLive,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// The platform knows no such coin or stream.
    Unknown,
    RateLimited,
    TimedOut,
    /// Anything else that gave no answer.
    Failed,
    /// Not sent: too many requests at once, or the platform asked to wait.
    HeldBack,
}

/// Every endpoint with its name, in the order of its number.
pub(crate) const ENDPOINTS: [(Endpoint, &str); 4] = [
    (Endpoint::Join, "join"),
    (Endpoint::Livestream, "livestream"),
    (Endpoint::Coin, "coin"),
    (Endpoint::CurrentlyLive, "currently_live"),
];

/// Every outcome with its name, in the order of its number.
pub(crate) const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Ok, "ok"),
    (Outcome::Unknown, "unknown"),
    (Outcome::RateLimited, "rate_limited"),
    (Outcome::TimedOut, "timed_out"),
    (Outcome::Failed, "failed"),
    (Outcome::HeldBack, "held_back"),
];

impl<T> From<&Result<T, Error>> for Outcome {
    fn from(result: &Result<T, Error>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(Error::NotLive) => Self::Unknown,
            Err(Error::RateLimited { .. }) => Self::RateLimited,
            Err(Error::NotAsked(NotAsked::TimedOut)) => Self::TimedOut,
            Err(_) => Self::Failed,
        }
    }
}

/// Requests since the server's start, repeats among them.
#[derive(Debug, Default)]
pub(crate) struct Counts([[AtomicU64; OUTCOMES.len()]; ENDPOINTS.len()]);

impl Counts {
    /// Counts one request.
    pub(crate) fn add(&self, endpoint: Endpoint, outcome: Outcome) {
        self.0[endpoint as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests went so.
    pub(crate) fn get(&self, endpoint: Endpoint, outcome: Outcome) -> u64 {
        self.0[endpoint as usize][outcome as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        assert!(
            ENDPOINTS
                .iter()
                .enumerate()
                .all(|(index, (endpoint, _))| *endpoint as usize == index)
        );
        assert!(
            OUTCOMES
                .iter()
                .enumerate()
                .all(|(index, (outcome, _))| *outcome as usize == index)
        );
        let counts = Counts::default();
        counts.add(Endpoint::Coin, Outcome::HeldBack);
        assert_eq!(counts.get(Endpoint::Coin, Outcome::HeldBack), 1);
        assert_eq!(counts.get(Endpoint::Coin, Outcome::Ok), 0);
    }
}
