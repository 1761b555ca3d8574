//! How fast each address sends requests: a bucket that leaks, written as the time at which it is
//! empty (the generic cell rate algorithm, ITU-T I.371). That time is all that is kept of an
//! address, and not for longer than until it has passed.

use std::{collections::HashMap, net::IpAddr, num::NonZeroU32, time::Duration};
use tokio::time::Instant;

/// Addresses at once, a few MB. Who sends from more isn't kept away by limits per address.
const MOST_ADDRESSES: usize = 1 << 16;
/// So few aren't looked through for those that can be forgotten.
const FEW_ADDRESSES: usize = 1 << 10;
/// At least so many requests may come at once, where as many may in a minute: a page and its parts.
const LEAST_BURST: u32 = 10;

/// How many requests one address may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(NonZeroU32);

impl Rate {
    pub(crate) fn new(per_minute: NonZeroU32) -> Self {
        Self(per_minute)
    }

    pub(crate) fn per_minute(self) -> u32 {
        self.0.get()
    }

    /// A quarter of a minute's may come at once.
    fn burst(self) -> u32 {
        let per_minute = self.per_minute();
        (per_minute / 4).max(LEAST_BURST.min(per_minute))
    }

    fn interval(self) -> Duration {
        Duration::from_secs(60) / self.per_minute()
    }
}

/// When each address's bucket is empty.
#[derive(Debug, Default)]
pub(super) struct Rates {
    empty_at: HashMap<IpAddr, Instant>,
    /// With so many addresses those are forgotten whose buckets are empty.
    look_at: usize,
}

impl Rates {
    /// Counts a request.
    ///
    /// # Errors
    /// After how long it would be let through.
    pub(super) fn take(
        &mut self,
        source: IpAddr,
        rate: Rate,
        now: Instant,
    ) -> Result<(), Duration> {
        let empty_at = self.empty_at.get(&source).copied();
        let empty_at = empty_at.map_or(now, |at| at.max(now));
        let slack = rate.interval() * (rate.burst() - 1);
        let ahead = empty_at.duration_since(now);
        if ahead > slack {
            return Err(ahead - slack);
        }
        if self.empty_at.len() >= self.look_at.max(FEW_ADDRESSES) {
            self.forget(now);
        }
        self.empty_at.insert(source, empty_at + rate.interval());
        Ok(())
    }

    /// Forgets the addresses that have been quiet; all of them, where that isn't enough.
    fn forget(&mut self, now: Instant) {
        self.empty_at.retain(|_, at| *at > now);
        if self.empty_at.len() > MOST_ADDRESSES / 2 {
            tracing::warn!("requests come from too many addresses to be counted: counting anew");
            self.empty_at.clear();
        }
        self.look_at = self.empty_at.len() * 2;
        self.empty_at.shrink_to(self.look_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(per_minute: u32) -> Rate {
        Rate::new(NonZeroU32::new(per_minute).unwrap())
    }

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        for (per_minute, burst, pause) in [
            (60, 15, SECOND),
            (1200, 300, SECOND / 20),
            (1, 1, 60 * SECOND),
        ] {
            let (mut rates, rate, now) = (Rates::default(), rate(per_minute), Instant::now());
            let mut take = |at| rates.take(address(1), rate, at);
            for request in 0..burst {
                assert!(take(now).is_ok(), "{per_minute}: {request}");
            }
            assert_eq!(take(now), Err(pause), "{per_minute}");
            assert_eq!(take(now + pause / 2), Err(pause / 2), "{per_minute}");
            assert!(take(now + pause).is_ok(), "{per_minute}");
            assert!(take(now + pause).is_err(), "{per_minute}");
            let later = now + 60 * SECOND + pause;
            assert_eq!(
                (0..burst).filter(|_| take(later).is_ok()).count(),
                burst as usize
            );
        }
    }

    #[test]
    fn one_address_takes_nothing_from_another() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        assert!(rates.take(address(1), rate(1), now).is_ok());
        assert!(rates.take(address(1), rate(1), now).is_err());
        assert!(rates.take(address(2), rate(1), now).is_ok());
    }

    #[test]
    fn addresses_that_have_been_quiet_are_forgotten() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        for number in 0..100_000 {
            let now = start + number * (SECOND / 10);
            assert!(rates.take(address(number), rate(60), now).is_ok());
            assert!(rates.empty_at.len() <= FEW_ADDRESSES, "{number}");
        }
    }

    #[test]
    fn however_many_addresses_there_are_memory_is_bounded() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        for number in 0..200_000 {
            assert!(rates.take(address(number), rate(60), now).is_ok());
            assert!(rates.empty_at.len() <= MOST_ADDRESSES, "{number}");
        }
        assert!(rates.empty_at.capacity() <= 2 * MOST_ADDRESSES);
    }
}
