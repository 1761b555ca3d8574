//! The newest few of something that many take at their own pace.

use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How much a ring keeps. The newest item stays whatever they say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) items: usize,
    /// Of all items together.
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
}

/// What takes memory for as long as it is kept.
pub(crate) trait Weight {
    /// How much now: what is made of it while it is kept counts, too.
    fn bytes(&self) -> usize;
}

/// The last few of something, numbered from the first one ever.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    pub(crate) items: VecDeque<Kept<T>>,
    /// Number of the item that comes next.
    next: u64,
}

/// One of a ring's items.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    pub(crate) item: Arc<T>,
    /// When it came.
    at: Instant,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            next: 0,
        }
    }
}

impl<T: Weight> Ring<T> {
    /// Adds the newest item; those before it stay as far as `keep` allows.
    pub(crate) fn push(&mut self, item: T, keep: Bounds) {
        let at = Instant::now();
        let mut bytes = self.bytes() + item.bytes();
        while let Some(oldest) = self.items.front() {
            let fits = self.items.len() < keep.items
                && bytes <= keep.bytes
                && at.saturating_duration_since(oldest.at) <= keep.age;
            if fits {
                break;
            }
            // It may have grown meanwhile.
            bytes = bytes.saturating_sub(oldest.item.bytes());
            self.items.pop_front();
        }
        let item = Arc::new(item);
        self.items.push_back(Kept { item, at });
        self.next += 1;
    }

    /// Of all items together. There are few.
    fn bytes(&self) -> usize {
        self.items.iter().map(|kept| kept.item.bytes()).sum()
    }
}

impl<T> Ring<T> {
    /// Forgets all items.
    pub(crate) fn clear(&mut self) {
        self.items.clear();
    }

    /// Number of the newest item, or of the next where none is kept: where somebody starts who
    /// shall get it at once.
    pub(crate) fn newest(&self) -> u64 {
        match self.items.is_empty() {
            true => self.next,
            false => self.next - 1,
        }
    }

    /// As [`Self::newest`], but an item older than `age` isn't gone back to.
    pub(crate) fn newest_within(&self, age: Duration) -> u64 {
        let young = |kept: &Kept<T>| kept.at.elapsed() <= age;
        match self.items.back().is_some_and(young) {
            true => self.newest(),
            false => self.next,
        }
    }

    /// For how long the item at `cursor`, or the oldest after it, has been there to be taken.
    pub(crate) fn waited(&self, cursor: u64) -> Duration {
        if cursor >= self.next {
            return Duration::ZERO;
        }
        let oldest = self.next - self.items.len() as u64;
        let index = cursor.saturating_sub(oldest) as usize;
        self.items
            .get(index)
            .map_or(Duration::ZERO, |kept| kept.at.elapsed())
    }

    /// Number of the item that comes next: where somebody starts who wants nothing old.
    pub(crate) fn end(&self) -> u64 {
        self.next
    }

    /// The item at `cursor`, or the newest where `skip` is set or that one is gone already, and
    /// how many were passed over. The cursor moves behind it.
    pub(crate) fn take(&self, cursor: &mut u64, skip: bool) -> Option<(Arc<T>, u64)> {
        let kept = self.items.len() as u64;
        let oldest = self.next - kept;
        if *cursor >= self.next || kept == 0 {
            return None;
        }
        let at = if skip || *cursor < oldest {
            self.next - 1
        } else {
            *cursor
        };
        let skipped = at - *cursor;
        *cursor = at + 1;
        let item = self.items.get((at - oldest) as usize)?;
        Some((Arc::clone(&item.item), skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    impl Weight for usize {
        fn bytes(&self) -> usize {
            1
        }
    }

    /// Something of this number, and of so many bytes that may become more.
    struct Large(usize, AtomicUsize);

    impl Weight for Large {
        fn bytes(&self) -> usize {
            self.1.load(Ordering::Relaxed)
        }
    }

    fn bounds(items: usize) -> Bounds {
        Bounds {
            items,
            bytes: 100,
            age: Duration::from_secs(1),
        }
    }

    fn ring(pushed: usize, keep: usize) -> Ring<usize> {
        let mut ring = Ring::default();
        for item in 0..pushed {
            ring.push(item, bounds(keep));
        }
        ring
    }

    #[test]
    fn large_items_are_kept_up_to_a_number_of_bytes_and_the_newest_always() {
        let mut ring = Ring::default();
        for (item, bytes) in [30, 30, 30, 30, 1_000, 60, 50].into_iter().enumerate() {
            ring.push(Large(item, bytes.into()), bounds(8));
            assert!(ring.bytes() <= 100 || ring.items.len() == 1, "{item}");
            assert_eq!(ring.items.back().unwrap().item.0, item);
        }
        assert_eq!((ring.items.len(), ring.bytes()), (1, 50));
        ring.push(Large(7, 50.into()), bounds(8));
        assert_eq!((ring.items.len(), ring.bytes()), (2, 100));
    }

    #[test]
    fn what_is_made_of_items_while_they_are_kept_counts_with_them() {
        let mut ring = Ring::default();
        for item in 0..3 {
            ring.push(Large(item, 20.into()), bounds(8));
        }
        for kept in &ring.items {
            kept.item.1.store(45, Ordering::Relaxed);
        }
        ring.push(Large(3, 20.into()), bounds(8));
        assert_eq!((ring.items.len(), ring.bytes()), (2, 65));
    }

    #[tokio::test(start_paused = true)]
    async fn old_items_go_when_a_new_one_comes() {
        let mut ring = ring(3, 8);
        tokio::time::advance(Duration::from_millis(600)).await;
        ring.push(3, bounds(8));
        assert_eq!(ring.waited(1), Duration::from_millis(600));
        assert_eq!(ring.waited(3), Duration::ZERO);
        tokio::time::advance(Duration::from_millis(600)).await;
        assert_eq!(ring.newest_within(Duration::from_secs(1)), 3);
        ring.push(4, bounds(8));
        assert_eq!(ring.take(&mut 0, false), Some((Arc::new(4), 4)));
        assert_eq!(ring.items.len(), 2);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(ring.items.len(), 2, "the newest waits for whoever comes");
        assert_eq!(ring.newest_within(Duration::from_secs(1)), 5);
    }

    #[test]
    fn what_is_forgotten_is_not_taken_and_not_counted_as_skipped() {
        let mut ring = ring(3, 8);
        ring.clear();
        let mut cursor = ring.newest();
        assert_eq!(ring.take(&mut cursor, false), None);
        ring.push(3, bounds(8));
        assert_eq!(ring.take(&mut cursor, false), Some((Arc::new(3), 0)));
    }

    #[test]
    fn who_keeps_up_gets_every_item_in_order() {
        let (ring, mut cursor) = (ring(5, 8), 0);
        let taken: Vec<_> =
            std::iter::from_fn(|| ring.take(&mut cursor, false).map(|(item, _)| *item)).collect();
        assert_eq!(taken, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn who_is_slow_skips_to_the_newest() {
        let mut cursor = 1;
        assert_eq!(ring(5, 8).take(&mut cursor, true), Some((Arc::new(4), 3)));
        assert_eq!(cursor, 5);
        assert_eq!(ring(5, 8).take(&mut cursor, true), None);
    }

    #[test]
    fn who_lags_behind_the_ring_skips_to_the_newest() {
        let mut cursor = 3;
        assert_eq!(
            ring(20, 8).take(&mut cursor, false),
            Some((Arc::new(19), 16))
        );
    }
}
