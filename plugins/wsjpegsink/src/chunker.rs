//! Sound of any buffer size, in chunks of 20 ms.

use std::time::Duration;

const CHUNKS_PER_SECOND: usize = 50;
/// A time stamp further off than this from where the sound was begins anew.
const GAP: Duration = Duration::from_millis(40);

/// A stretch of sound and the time of its first sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) pcm: Vec<u8>,
    pub(crate) pts: Duration,
}

/// Cuts sound of one format. Keeps less than one chunk.
#[derive(Debug)]
pub(crate) struct Chunker {
    sample_rate: u32,
    channels: u32,
    waiting: Vec<u8>,
    /// Where the sound that came last ended.
    end: Option<Duration>,
}

impl Chunker {
    pub(crate) fn new(sample_rate: u32, channels: u32) -> Self {
        Self {
            sample_rate,
            channels,
            waiting: Vec::new(),
            end: None,
        }
    }

    pub(crate) fn is_for(&self, sample_rate: u32, channels: u32) -> bool {
        (self.sample_rate, self.channels) == (sample_rate, channels)
    }

    /// Takes sound in, and gives out what is whole. After a gap, or where `discont` says so, what
    /// waited from before is dropped: it has no neighbour any more.
    pub(crate) fn push(&mut self, pcm: &[u8], pts: Duration, discont: bool) -> Vec<Chunk> {
        let gap = self.end.is_none_or(|end| end.abs_diff(pts) > GAP);
        if gap || discont {
            self.waiting.clear();
        }
        let mut next_pts = pts.saturating_sub(self.duration(self.waiting.len()));
        self.end = Some(pts + self.duration(pcm.len()));
        self.waiting.extend_from_slice(pcm);
        let size = (self.sample_rate as usize / CHUNKS_PER_SECOND).max(1) * self.bytes_per_frame();
        let whole = self.waiting.len() / size * size;
        let rest = self.waiting.split_off(whole);
        let chunks = self.waiting.chunks_exact(size).map(|pcm| {
            let chunk = Chunk {
                pcm: pcm.to_vec(),
                pts: next_pts,
            };
            next_pts += self.duration(size);
            chunk
        });
        let chunks = chunks.collect();
        self.waiting = rest;
        chunks
    }

    fn bytes_per_frame(&self) -> usize {
        2 * self.channels as usize
    }

    fn duration(&self, bytes: usize) -> Duration {
        let frames = (bytes / self.bytes_per_frame()) as u64;
        Duration::from_nanos(frames * 1_000_000_000 / u64::from(self.sample_rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(frames: usize) -> Vec<u8> {
        (0..frames * 2).map(|n| n as u8).collect()
    }

    #[test]
    fn buffers_of_any_size_become_chunks_of_20_ms_in_order() {
        for size in [1, 100, 441, 882, 1_000, 44_100] {
            let mut chunker = Chunker::new(44_100, 1);
            let all = sound(88_200);
            let mut chunks = Vec::new();
            for (number, pcm) in all.chunks(size * 2).enumerate() {
                let pts = Duration::from_nanos((number * size) as u64 * 1_000_000_000 / 44_100);
                chunks.extend(chunker.push(pcm, pts, false));
                assert!(chunker.waiting.len() < 1764);
            }
            assert_eq!(chunks.len(), 100, "from buffers of {size}");
            let joined: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.pcm.clone()).collect();
            assert_eq!(joined, all);
            for (number, chunk) in chunks.iter().enumerate() {
                let off = chunk
                    .pts
                    .abs_diff(Duration::from_millis(20 * number as u64));
                assert!(off < Duration::from_micros(1), "{off:?}");
            }
        }
    }

    #[test]
    fn after_a_gap_sound_begins_at_its_own_time() {
        let mut chunker = Chunker::new(48_000, 1);
        assert_eq!(chunker.push(&sound(1_000), Duration::ZERO, false).len(), 1);
        let later = Duration::from_secs(5);
        let chunks = chunker.push(&sound(960), later, false);
        assert_eq!(chunks.len(), 1);
        assert_eq!(chunks[0].pts, later);
        assert_eq!(chunks[0].pcm, sound(960));
    }

    #[test]
    fn a_discontinuity_drops_what_waited() {
        let mut chunker = Chunker::new(48_000, 2);
        assert!(chunker.push(&[1; 400], Duration::ZERO, false).is_empty());
        let chunks = chunker.push(&[2; 3_840], Duration::from_millis(2), true);
        assert_eq!(
            chunks,
            [Chunk {
                pcm: vec![2; 3_840],
                pts: Duration::from_millis(2)
            }]
        );
    }
}
