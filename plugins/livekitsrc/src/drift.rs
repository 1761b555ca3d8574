//! Keeps decoded sound continuous while its time stamps wander.
//!
//! The time line moves sound by milliseconds where it is (another way through the network, a clock
//! that runs 100 ppm faster than ours, the first sender report). A mixer that keeps to time stamps
//! would cut or insert silence each time, which is heard. So the sound is stretched instead, by so
//! little that nobody hears it, until it is where it belongs. Sound that is in its place passes
//! unchanged.

use crate::mixer::{FRAME_BYTES, SAMPLE_RATE};
use gst::{ClockTime, prelude::*};
use parking_lot::Mutex;

/// Sound further from its place than this is stretched.
const TOO_FAR: i64 = 4_000_000;
/// Sound nearer to its place than this isn't any more.
const NEAR: i64 = 500_000;
/// Sound further away than this is no wanderer but a gap, or another stream: it is put where it
/// says at once. Lip sync is lost at 40 to 60 ms.
const JUMP: i64 = 60_000_000;
/// One sample in so many is added or left out: 0.21 %, 4 cents, which is below what a musician
/// hears; 20 ms are gone after 10 s.
const STRETCH: usize = 480;

type Frame = [i16; FRAME_BYTES / 2];

/// Where the sound is, and where it should be.
#[derive(Debug, Default)]
struct Drift {
    anchor: Option<Anchor>,
    stretching: bool,
    last: Frame,
}

#[derive(Clone, Copy, Debug)]
struct Anchor {
    pts: ClockTime,
    frames: u64,
}

impl Anchor {
    fn next(&self) -> ClockTime {
        let frames = ClockTime::SECOND.mul_div_floor(self.frames, u64::from(SAMPLE_RATE));
        self.pts + frames.unwrap_or_default()
    }
}

/// What becomes of a piece of sound.
#[derive(Debug, PartialEq, Eq)]
struct Placed {
    pts: ClockTime,
    /// How many frames it shall have.
    frames: usize,
    /// It doesn't follow what came before.
    jumped: bool,
}

impl Drift {
    /// Where a piece of `frames` frames goes that says it is at `pts`; `cut` when something before
    /// it is missing.
    fn place(&mut self, pts: ClockTime, frames: usize, cut: bool) -> Placed {
        let ahead = self
            .anchor
            .map(|anchor| pts.nseconds() as i64 - anchor.next().nseconds() as i64);
        let far = ahead.is_none_or(|ahead| ahead.abs() >= JUMP || (cut && ahead.abs() >= TOO_FAR));
        let (anchor, frames) = if far {
            self.stretching = false;
            (Anchor { pts, frames: 0 }, frames)
        } else {
            let ahead = ahead.unwrap_or_default();
            self.stretching = ahead.abs() >= if self.stretching { NEAR } else { TOO_FAR };
            let step = match self.stretching {
                true => (frames / STRETCH).max(1),
                false => 0,
            };
            let frames = match ahead >= 0 {
                true => frames + step,
                false => frames.saturating_sub(step).max(1),
            };
            (self.anchor.unwrap_or(Anchor { pts, frames: 0 }), frames)
        };
        self.anchor = Some(Anchor {
            frames: anchor.frames + frames as u64,
            ..anchor
        });
        Placed {
            pts: anchor.next(),
            frames,
            jumped: far,
        }
    }

    /// The sound in so many frames, by linear interpolation that goes on from the piece before.
    fn stretch(&self, sound: &[Frame], frames: usize) -> Vec<u8> {
        let before = |index: usize| match index {
            0 => self.last,
            index => sound[index - 1],
        };
        let mut stretched = Vec::with_capacity(frames * FRAME_BYTES);
        for index in 1..=frames {
            // In units of a frame, from the last frame of the piece before.
            let position = index * sound.len();
            let (whole, part) = (position / frames, position % frames);
            let (left, right) = (before(whole), before((whole + 1).min(sound.len())));
            for (left, right) in left.into_iter().zip(right) {
                let step = (i64::from(right) - i64::from(left)) * part as i64 / frames as i64;
                let sample = (i64::from(left) + step) as i16;
                stretched.extend_from_slice(&sample.to_le_bytes());
            }
        }
        stretched
    }

    fn pass(&mut self, buffer: gst::Buffer) -> gst::Buffer {
        let cut = buffer.flags().contains(gst::BufferFlags::DISCONT);
        let (Some(pts), count) = (buffer.pts(), buffer.size() / FRAME_BYTES) else {
            return buffer;
        };
        if count == 0 {
            return buffer;
        }
        let placed = self.place(pts, count, cut);
        let Ok(map) = buffer.map_readable() else {
            return buffer;
        };
        let stretched = (placed.frames != count).then(|| {
            let sound: Vec<Frame> = map.chunks_exact(FRAME_BYTES).map(frame).collect();
            self.stretch(&sound, placed.frames)
        });
        if let Some(last) = map.chunks_exact(FRAME_BYTES).last() {
            self.last = frame(last);
        }
        drop(map);
        let mut buffer = match stretched {
            Some(stretched) => gst::Buffer::from_mut_slice(stretched),
            None => buffer,
        };
        let place = buffer.make_mut();
        place.set_pts(placed.pts);
        let frames = placed.frames as u64;
        place.set_duration(ClockTime::SECOND.mul_div_floor(frames, u64::from(SAMPLE_RATE)));
        match placed.jumped {
            true => place.set_flags(gst::BufferFlags::DISCONT),
            false => place.unset_flags(gst::BufferFlags::DISCONT),
        }
        buffer
    }
}

fn frame(bytes: &[u8]) -> Frame {
    let mut frame = Frame::default();
    for (sample, bytes) in frame.iter_mut().zip(bytes.chunks_exact(2)) {
        *sample = i16::from_le_bytes([bytes[0], bytes[1]]);
    }
    frame
}

/// Has all sound that leaves through this pad, which is [`crate::mixer::caps`], put in its
/// place.
pub(crate) fn follow(pad: &gst::Pad) {
    let drift = Mutex::new(Drift::default());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, probe| {
        if let Some(gst::PadProbeData::Buffer(buffer)) = probe.data.take() {
            probe.data = Some(gst::PadProbeData::Buffer(drift.lock().pass(buffer)));
        }
        gst::PadProbeReturn::Ok
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn ns(ns: u64) -> ClockTime {
        ClockTime::from_nseconds(ns)
    }

    /// Pieces of 20 ms, `off` ns from where they would be: how far each is from where it says.
    fn run(drift: &mut Drift, from: u64, pieces: u64, off: impl Fn(u64) -> i64) -> Vec<i64> {
        (from..from + pieces)
            .map(|n| {
                let pts = (1_000 * MS + n * 20 * MS)
                    .checked_add_signed(off(n))
                    .unwrap();
                let placed = drift.place(ns(pts), 960, false);
                pts as i64 - placed.pts.nseconds() as i64
            })
            .collect()
    }

    #[test]
    fn sound_in_its_place_passes_unchanged() {
        let mut drift = Drift::default();
        // Jitter of a millisecond, and no drift.
        let off = run(&mut drift, 0, 1_000, |n| {
            [0, 1, -1][n as usize % 3] * 1_000_000
        });
        assert!(off.iter().all(|off| off.abs() <= 1_000_000));
        assert_eq!(drift.anchor.unwrap().frames, 960_000);
    }

    #[test]
    fn a_step_of_twenty_milliseconds_is_walked_without_a_jump() {
        for step in [20_000_000, -20_000_000] {
            let mut drift = Drift::default();
            run(&mut drift, 0, 50, |_| 0);
            let off = run(&mut drift, 50, 600, |_| step);
            assert_eq!(off[0], step);
            assert!(off.last().unwrap().abs() < TOO_FAR, "{off:?}");
            assert!(
                off.windows(2)
                    .all(|pair| (pair[1] - pair[0]).abs() < 50_000)
            );
        }
    }

    #[test]
    fn a_clock_that_runs_faster_is_followed_for_hours() {
        let mut drift = Drift::default();
        // 100 ppm for four hours.
        let off = run(&mut drift, 0, 720_000, |n| n as i64 * 2_000);
        assert!(off.iter().all(|off| off.abs() < TOO_FAR + 100_000));
    }

    #[test]
    fn a_gap_is_left_a_gap() {
        let mut drift = Drift::default();
        run(&mut drift, 0, 50, |_| 0);
        let placed = drift.place(ns(1_000 * MS + 1_400 * MS), 960, false);
        assert!(placed.jumped);
        assert_eq!(placed.pts, ns(2_400 * MS));
        // A lost packet, which the source told.
        let placed = drift.place(ns(2_440 * MS), 960, true);
        assert!(placed.jumped);
        assert_eq!(placed.pts, ns(2_440 * MS));
    }

    #[test]
    fn stretched_sound_is_continuous() {
        let tone = |n: usize| (10_000.0 * (n as f64 * 0.0576).sin()) as i16;
        let sound: Vec<Frame> = (1..=960).map(|n| [tone(n); 2]).collect();
        let drift = Drift {
            last: [tone(0); 2],
            ..Drift::default()
        };
        for frames in [958, 960, 962] {
            let stretched = drift.stretch(&sound, frames);
            assert_eq!(stretched.len(), frames * FRAME_BYTES);
            let stretched: Vec<Frame> = stretched.chunks_exact(FRAME_BYTES).map(frame).collect();
            assert_eq!(stretched.last(), sound.last());
            let all = [vec![drift.last], stretched].concat();
            let steps = all.windows(2).map(|pair| (pair[1][0] - pair[0][0]).abs());
            assert!(steps.max().unwrap() <= 580);
        }
    }

    #[test]
    fn the_probe_keeps_every_sample_of_sound_in_its_place() {
        gst::init().unwrap();
        let mut drift = Drift::default();
        let content: Vec<u8> = (0..3840u32).map(|n| n as u8).collect();
        let mut buffer = gst::Buffer::from_slice(content.clone());
        buffer.get_mut().unwrap().set_pts(ns(5 * MS));
        let passed = drift.pass(buffer);
        assert_eq!(passed.map_readable().unwrap().as_slice(), content);
        assert_eq!(passed.pts(), Some(ns(5 * MS)));
        let mut late = gst::Buffer::from_slice(content);
        late.get_mut().unwrap().set_pts(ns(35 * MS));
        let passed = drift.pass(late);
        assert_eq!(passed.size(), 962 * FRAME_BYTES);
        assert_eq!(passed.pts(), Some(ns(25 * MS)));
    }
}
