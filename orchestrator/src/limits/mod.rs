//! How much of the server there is for everybody, and for one client.

mod client;
mod rates;
mod seats;

pub(crate) use client::{Client, Network, Peer};
pub(crate) use rates::Rate;
pub(crate) use seats::Seat;

use crate::{Error, error::Kind};
use http::HeaderMap;
use parking_lot::{Mutex, RwLock};
use rates::Rates;
use seats::Seats;
use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// When a session that was refused is worth another try: they last for minutes and hours.
const SESSION_WAIT: Duration = Duration::from_secs(30);
/// The same of a viewer: some come and go all the time.
const VIEWER_WAIT: Duration = Duration::from_secs(10);

/// What is allowed, as it is configured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed {
    /// Live sessions at once. None: no limit, as below.
    pub(crate) sessions: Option<NonZeroUsize>,
    /// Viewers of all sessions together.
    pub(crate) viewers: Option<NonZeroUsize>,
    /// Viewers of one address.
    pub(crate) viewers_per_address: Option<NonZeroUsize>,
    /// Requests of one address.
    pub(crate) requests: Option<Rate>,
    /// Memory of a worker's process, in bytes.
    pub(crate) worker_memory_bytes: Option<u64>,
    /// The proxies that are believed whose requests they pass on.
    pub(crate) trusted_proxies: Vec<Network>,
}

/// The limits in force, and how much of them is used; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    allowed: RwLock<Arc<Allowed>>,
    rates: Mutex<Rates>,
    seats: Mutex<Seats>,
    refused: [AtomicU64; Refused::ALL.len()],
}

/// What is refused because there is too much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Session,
    Viewer,
    Request,
}

impl Refused {
    pub(crate) const ALL: [Self; 3] = [Self::Session, Self::Viewer, Self::Request];

    /// What clients tell it by.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Session => "too_many_sessions",
            Self::Viewer => "too_many_viewers",
            Self::Request => "rate_limited",
        }
    }
}

impl Limits {
    pub(crate) fn new(allowed: Allowed) -> Self {
        let limits = Self::default();
        limits.replace(allowed);
        limits
    }

    /// Other limits for what comes from now on; what runs goes on.
    pub(crate) fn replace(&self, allowed: Allowed) {
        *self.0.allowed.write() = Arc::new(allowed);
    }

    fn allowed(&self) -> Arc<Allowed> {
        Arc::clone(&self.0.allowed.read())
    }

    /// Memory of a worker's process, in bytes; none: no limit.
    pub(crate) fn worker_memory_bytes(&self) -> Option<u64> {
        self.allowed().worker_memory_bytes
    }

    /// Whose request this is.
    pub(crate) fn client(&self, peer: &Peer, headers: &HeaderMap) -> Client {
        Client::of(peer, headers, &self.allowed().trusted_proxies)
    }

    /// Counts a request.
    ///
    /// # Errors
    /// When the client sends too many.
    pub(crate) fn count_request(&self, client: &Client) -> Result<(), Error> {
        let Some(rate) = self.allowed().requests else {
            return Ok(());
        };
        let Some(source) = client.source() else {
            return Ok(());
        };
        let taken = self.0.rates.lock().take(source, rate, Instant::now());
        taken.map_err(|wait| {
            let limit = rate.per_minute();
            let message = format!(
                "Too many requests from your address: {limit} a minute are allowed \
                 (requests_per_minute); try again in {} s",
                wait.as_secs() + 1
            );
            self.refuse(Refused::Request, Kind::TooManyRequests, message)
                .retry_after(wait)
                .detail("limit", limit)
        })
    }

    /// Whether another session may begin beside the `running` ones.
    ///
    /// # Errors
    /// When there are as many as there may be.
    pub(crate) fn check_sessions(&self, running: usize) -> Result<(), Error> {
        let Some(limit) = self.allowed().sessions.filter(|most| running >= most.get()) else {
            return Ok(());
        };
        let message = format!(
            "{running} sessions are running, and {limit} may (max_sessions): stop one first, or \
             try again later"
        );
        Err(self
            .refuse(Refused::Session, Kind::Unavailable, message)
            .retry_after(SESSION_WAIT)
            .detail("limit", limit.get())
            .detail("running", running))
    }

    /// A viewer's place, until it is dropped.
    ///
    /// # Errors
    /// When all are taken, or all that one address may have.
    pub(crate) fn take_seat(&self, client: &Client) -> Result<Seat, Error> {
        let (allowed, source) = (self.allowed(), client.source());
        let mut seats = self.0.seats.lock();
        let of_address = source.map_or(0, |source| seats.of(source));
        let (limit, message) = if let Some(limit) = reached(allowed.viewers, seats.taken()) {
            let message = format!(
                "The server has {} viewers, and may have {limit} (max_viewers): try again later",
                seats.taken()
            );
            (limit, message)
        } else if let Some(limit) = reached(allowed.viewers_per_address, of_address) {
            let message = format!(
                "Your address has {of_address} viewers here, and may have {limit} \
                 (max_viewers_per_address): close one first"
            );
            (limit, message)
        } else {
            seats.take(source);
            return Ok(Seat::new(self.clone(), source));
        };
        drop(seats);
        Err(self
            .refuse(Refused::Viewer, Kind::Unavailable, message)
            .retry_after(VIEWER_WAIT)
            .detail("limit", limit))
    }

    fn refuse(&self, what: Refused, kind: Kind, message: String) -> Error {
        self.0.refused[what as usize].fetch_add(1, Ordering::Relaxed);
        Error::new(kind, what.code(), message)
    }

    /// How often something was refused since the server's start.
    pub(crate) fn refused(&self, what: Refused) -> u64 {
        self.0.refused[what as usize].load(Ordering::Relaxed)
    }
}

/// The limit, where `taken` has reached it.
fn reached(limit: Option<NonZeroUsize>, taken: usize) -> Option<usize> {
    limit.map(NonZeroUsize::get).filter(|limit| taken >= *limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        Client {
            address: address.parse().unwrap(),
            forwarded: true,
            secure: false,
        }
    }

    fn limits(viewers: usize, per_address: usize) -> Limits {
        Limits::new(Allowed {
            viewers: NonZeroUsize::new(viewers),
            viewers_per_address: NonZeroUsize::new(per_address),
            ..Allowed::default()
        })
    }

    #[test]
    fn a_viewers_place_is_free_again_when_the_viewer_has_gone() {
        let limits = limits(3, 2);
        let first = limits.take_seat(&client("10.0.0.1")).unwrap();
        let _second = limits.take_seat(&client("10.0.0.1")).unwrap();
        let error = limits.take_seat(&client("10.0.0.1")).unwrap_err();
        assert!(error.message().contains("max_viewers_per_address"));
        let _third = limits.take_seat(&client("10.0.0.2")).unwrap();
        let error = limits.take_seat(&client("10.0.0.3")).unwrap_err();
        assert!(error.message().contains("(max_viewers)"), "{error}");
        assert_eq!(error.details()["limit"], 3);
        drop(first);
        let _fourth = limits.take_seat(&client("10.0.0.1")).unwrap();
        assert_eq!(limits.refused(Refused::Viewer), 2);
    }

    #[test]
    fn viewers_that_came_before_a_limit_count() {
        let limits = limits(0, 0);
        let _seats: Vec<_> = (0..5).map(|_| limits.take_seat(&client("::5"))).collect();
        limits.replace(Allowed {
            viewers: NonZeroUsize::new(5),
            ..Allowed::default()
        });
        assert!(limits.take_seat(&client("10.0.0.3")).is_err());
    }

    #[test]
    fn as_many_sessions_run_as_may() {
        let limits = Limits::default();
        assert!(limits.check_sessions(1000).is_ok());
        limits.replace(Allowed {
            sessions: NonZeroUsize::new(2),
            ..Allowed::default()
        });
        assert!(limits.check_sessions(1).is_ok());
        let error = limits.check_sessions(2).unwrap_err();
        assert_eq!(error.code(), "too_many_sessions");
        assert!(error.wait().is_some());
    }
}
