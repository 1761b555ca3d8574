//! When requests may be sent to the platform.

use std::time::Duration;
use tokio::time::Instant;

/// A request that would have to wait longer isn't sent.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Time from one look-up to the next over a longer time, and so many may come at once.
const LOOKS: (Duration, u32) = (Duration::from_millis(500), 20);
/// Of what the watch rules need: clients that look much up don't keep them waiting.
const WATCHES: (Duration, u32) = (Duration::from_millis(500), 20);
/// Of the tokens for sessions that somebody starts.
const STARTS: (Duration, u32) = (Duration::from_millis(250), 20);
/// Of the tokens for sessions that lost their room.
const REJOINS: (Duration, u32) = (Duration::from_millis(250), 5);

/// What is asked for. Each has a pace of its own: none waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// Coins, streams, lists.
    Look,
    /// The same, for the watch rules.
    Watch,
    /// A token, for who starts a session.
    Start,
    /// A token, for a session that lost its room.
    Rejoin,
}

/// The paces, and what the platform asked for.
#[derive(Debug)]
pub(super) struct Limits {
    looks: Pace,
    watches: Pace,
    starts: Pace,
    rejoins: Pace,
    /// The platform asked to wait until then with look-ups, and with tokens.
    looks_paused_until: Instant,
    joins_paused_until: Instant,
}

impl Limits {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            looks: Pace::new(LOOKS, now),
            watches: Pace::new(WATCHES, now),
            starts: Pace::new(STARTS, now),
            rejoins: Pace::new(REJOINS, now),
            looks_paused_until: now,
            joins_paused_until: now,
        }
    }

    /// How long a request has to wait for its turn.
    ///
    /// # Errors
    /// It can't be sent now: when it may come again.
    pub(super) fn take(&mut self, asking: Asking, now: Instant) -> Result<Duration, Duration> {
        self.open(asking, now)?;
        let pace = match asking {
            Asking::Look => &mut self.looks,
            Asking::Watch => &mut self.watches,
            Asking::Start => &mut self.starts,
            Asking::Rejoin => &mut self.rejoins,
        };
        pace.take(now)
    }

    /// Whether the platform wants to be asked.
    ///
    /// # Errors
    /// Not yet: for how long.
    pub(super) fn open(&self, asking: Asking, now: Instant) -> Result<(), Duration> {
        let until = match asking {
            Asking::Look | Asking::Watch => self.looks_paused_until,
            Asking::Start | Asking::Rejoin => self.joins_paused_until,
        };
        match until.saturating_duration_since(now) {
            Duration::ZERO => Ok(()),
            left => Err(left),
        }
    }

    /// The platform asked to wait until then; with `joins`, where rooms are opened.
    pub(super) fn pause(&mut self, until: Instant, joins: bool) {
        self.looks_paused_until = self.looks_paused_until.max(until);
        if joins {
            self.joins_paused_until = self.joins_paused_until.max(until);
        }
    }
}

/// So many requests at once, and over a longer time one in each interval.
#[derive(Debug)]
struct Pace {
    interval: Duration,
    burst: u32,
    /// When the requests so far would be through if they came evenly.
    through_at: Instant,
}

impl Pace {
    fn new((interval, burst): (Duration, u32), now: Instant) -> Self {
        Self {
            interval,
            burst,
            through_at: now,
        }
    }

    fn take(&mut self, now: Instant) -> Result<Duration, Duration> {
        let through_at = self.through_at.max(now) + self.interval;
        let wait = through_at.saturating_duration_since(now + self.interval * self.burst);
        if wait > LONGEST_WAIT {
            return Err(wait - LONGEST_WAIT);
        }
        self.through_at = through_at;
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_evenly() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        let mut take = |asking, at| limits.take(asking, at);
        let waits: Vec<_> = (0..40).map(|_| take(Asking::Look, start)).collect();
        assert!(waits[..20].iter().all(|wait| *wait == Ok(Duration::ZERO)));
        assert_eq!(waits[20], Ok(Duration::from_millis(500)));
        assert_eq!(waits[29], Ok(LONGEST_WAIT));
        assert_eq!(waits[30], Err(Duration::from_millis(500)));
        let later = start + Duration::from_secs(60);
        assert_eq!(take(Asking::Look, later), Ok(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn who_starts_a_session_waits_for_nobody_who_rejoins() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        let rejoins = (0..100).filter(|_| limits.take(Asking::Rejoin, start).is_ok());
        assert_eq!(rejoins.count(), 25);
        assert_eq!(limits.take(Asking::Start, start), Ok(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn watch_rules_wait_for_no_client() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        let looks = (0..100).filter(|_| limits.take(Asking::Look, start).is_ok());
        assert_eq!(looks.count(), 30);
        assert_eq!(limits.take(Asking::Watch, start), Ok(Duration::ZERO));
        limits.pause(start + Duration::from_secs(9), false);
        let left = Err(Duration::from_secs(9));
        assert_eq!(limits.take(Asking::Watch, start), left);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_for_what_it_is_about() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        limits.pause(start + Duration::from_secs(9), false);
        let left = Err(Duration::from_secs(9));
        assert_eq!(limits.take(Asking::Look, start), left);
        assert!(limits.take(Asking::Start, start).is_ok());
        limits.pause(start + Duration::from_secs(4), true);
        assert_eq!(limits.take(Asking::Look, start), left);
        let left = Err(Duration::from_secs(4));
        assert_eq!(limits.take(Asking::Rejoin, start), left);
    }
}
