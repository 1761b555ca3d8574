//! The newest few of something that many take at their own pace.

use std::{collections::VecDeque, sync::Arc};

/// The last few of something, numbered from the first one ever.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    pub(crate) items: VecDeque<Arc<T>>,
    /// Number of the item that comes next.
    next: u64,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            next: 0,
        }
    }
}

impl<T> Ring<T> {
    /// Adds the newest item; of all of them, `keep` stay.
    pub(crate) fn push(&mut self, item: T, keep: usize) {
        while self.items.len() >= keep.max(1) {
            self.items.pop_front();
        }
        self.items.push_back(Arc::new(item));
        self.next += 1;
    }

    /// Number of the newest item: where somebody starts who shall get it at once.
    pub(crate) fn newest(&self) -> u64 {
        self.next.saturating_sub(1)
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
        Some((Arc::clone(item), skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(pushed: usize, keep: usize) -> Ring<usize> {
        let mut ring = Ring::default();
        for item in 0..pushed {
            ring.push(item, keep);
        }
        ring
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
