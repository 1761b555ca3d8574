//! What a tap keeps of a stream for those who attach later.

use super::Unit;
use std::collections::{BTreeSet, VecDeque};

/// Longest group of pictures that is kept for consumers who come later.
const MAX_GOP_TIME: gst::ClockTime = gst::ClockTime::from_seconds(10);
/// Largest group of pictures that is kept.
const MAX_GOP_BYTES: usize = 16 << 20;
/// How much of a stream without key frames is kept for consumers that begin in the past: a recording
/// waits three seconds for a picture, and then begins with the sound of that time.
const MAX_RECENT_TIME: gst::ClockTime = gst::ClockTime::from_seconds(4);

/// What a tap remembers for consumers that attach later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Nothing: any buffer is as good a start as another.
    Nothing,
    /// What came in the last moments, for consumers that attach from there on.
    Recent,
    /// The last buffer.
    Last,
    /// The last key frame and what followed it.
    Gop,
}

/// What is kept of one stream.
pub(super) struct Kept {
    memory: Memory,
    units: VecDeque<Unit>,
    bytes: usize,
    /// The consumers for whose sake buffers are kept though newer key frames came.
    holders: BTreeSet<u64>,
}

impl Kept {
    /// Nothing yet.
    pub(super) fn new(memory: Memory) -> Self {
        Self {
            memory,
            units: VecDeque::new(),
            bytes: 0,
            holders: BTreeSet::new(),
        }
    }

    /// What a consumer is given first that begins at this running time, or now.
    pub(super) fn from(&self, from: Option<gst::ClockTime>) -> impl Iterator<Item = &Unit> {
        self.units.range(self.begin(from)..)
    }

    fn begin(&self, from: Option<gst::ClockTime>) -> usize {
        let units = &self.units;
        match (self.memory, from) {
            // Between two key frames it needs what is before.
            (Memory::Gop, from) => units
                .iter()
                .rposition(|unit| unit.key && from.is_none_or(|from| unit.pts <= from))
                .unwrap_or(0),
            (Memory::Recent, None) => units.len(),
            // What begins before it may end after it.
            (Memory::Recent, Some(from)) => units.partition_point(|unit| {
                let length = unit.buffer.duration().unwrap_or_default();
                unit.pts < from && unit.pts + length <= from
            }),
            (Memory::Nothing | Memory::Last, _) => 0,
        }
    }

    /// What is kept now, and what comes, stays until this consumer lets go of it.
    pub(super) fn hold(&mut self, consumer: u64) {
        self.holders.insert(consumer);
    }

    /// This consumer keeps nothing for anybody any more.
    pub(super) fn release(&mut self, consumer: u64) {
        self.holders.remove(&consumer);
    }

    /// Forgets everything that was kept. Who wants something kept still does.
    pub(super) fn clear(&mut self) {
        self.units.clear();
        self.bytes = 0;
    }

    /// Keeps a buffer, and gives up what is no longer needed.
    pub(super) fn keep(&mut self, unit: &Unit) {
        let restart = match self.memory {
            Memory::Nothing => return,
            Memory::Recent => return self.keep_recent(unit),
            Memory::Last => true,
            Memory::Gop => unit.key && self.holders.is_empty(),
        };
        if restart {
            self.clear();
        } else if self.units.is_empty() && !unit.key {
            return;
        }
        self.bytes += unit.buffer.size();
        self.units.push_back(unit.clone());
        let first = self.units.front().map_or(unit.pts, |first| first.pts);
        // Without its beginning a group of pictures is worth nothing: all or none.
        if self.memory == Memory::Gop
            && (self.bytes > MAX_GOP_BYTES || unit.pts.saturating_sub(first) > MAX_GOP_TIME)
        {
            self.clear();
        }
    }

    fn keep_recent(&mut self, unit: &Unit) {
        self.units.push_back(unit.clone());
        let is_old = |kept: &Unit| unit.pts.saturating_sub(kept.pts) >= MAX_RECENT_TIME;
        while self.units.front().is_some_and(is_old) {
            self.units.pop_front();
        }
    }
}
