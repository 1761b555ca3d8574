//! What a tap keeps of a stream for those who attach later.

use super::Unit;
use std::collections::VecDeque;

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
    /// From when on buffers are kept though newer key frames came, once for each consumer that will
    /// attach from there.
    pinned: Vec<gst::ClockTime>,
}

impl Kept {
    /// Nothing yet.
    pub(super) fn new(memory: Memory) -> Self {
        Self {
            memory,
            units: VecDeque::new(),
            bytes: 0,
            pinned: Vec::new(),
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

    /// Someone will attach from there.
    pub(super) fn pin(&mut self, from: gst::ClockTime) {
        self.pinned.push(from);
    }

    /// One who would attach from there did, or won't.
    pub(super) fn unpin(&mut self, from: gst::ClockTime) {
        if let Some(index) = self.pinned.iter().position(|pinned| *pinned == from) {
            self.pinned.swap_remove(index);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.units.clear();
        self.bytes = 0;
        self.pinned.clear();
    }

    /// Keeps a buffer, and gives up what is no longer needed.
    pub(super) fn keep(&mut self, unit: &Unit) {
        let restart = match self.memory {
            Memory::Nothing => return,
            Memory::Recent => return self.keep_recent(unit),
            Memory::Last => true,
            Memory::Gop => unit.key && self.pinned.is_empty(),
        };
        if restart {
            self.units.clear();
            self.bytes = 0;
        } else if self.units.is_empty() {
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
