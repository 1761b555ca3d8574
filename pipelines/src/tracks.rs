use crate::{
    feed::Feed,
    filler::Filler,
    recording::{Gaps, Span, Track},
    tap::{Consumer, Taken, Unit},
};
use gst::prelude::*;
use gstlivekitsrc::mixer::{self, FRAME_BYTES, SAMPLE_RATE};
use haven_wire::Gap;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Pictures per second where the stream doesn't say: encoders plan with it, times don't depend
/// on it.
const NOMINAL_FPS: gst::Fraction = gst::Fraction::new_raw(30, 1);
/// Size of the black picture of a recording without video.
const BLACK_SIZE: (i32, i32) = (1280, 720);
/// How long to wait for a first picture before a recording begins with a black one.
const PICTURE_TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(3);
/// Smaller pictures aren't video: LiveKit fills gaps with 2 × 2 pixels.
const MIN_SIDE: i32 = 16;
/// Sound this far beside its place is in its place: 1 ms.
const JITTER_FRAMES: u64 = SAMPLE_RATE as u64 / 1000;
/// Silence is written in pieces of this length.
const SILENCE_FRAMES: u64 = SAMPLE_RATE as u64 / 2;
/// Sound that is missing for longer than this is made up for by silence.
const QUIET: gst::ClockTime = gst::ClockTime::from_seconds(1);

/// The pictures of one recording: of constant size, from the first instant to the last.
#[derive(Debug)]
pub(crate) struct VideoTrack {
    feed: Feed,
    geometry: gst::Element,
    span: Span,
    state: Mutex<VideoState>,
    late: AtomicU64,
}

#[derive(Debug, Default)]
struct VideoState {
    filler: Filler,
    /// The last picture from before the recording began.
    early: Option<Unit>,
    /// The last picture that was shown.
    shown: Option<Unit>,
    fps: Option<gst::Fraction>,
    complete: bool,
    gaps: Gaps,
}

impl VideoTrack {
    /// The pictures of a file; `geometry` is the capsfilter that fixes the size once the first
    /// picture is there.
    pub(crate) fn new(feed: Feed, geometry: gst::Element, span: Span) -> Self {
        Self {
            feed,
            geometry,
            span,
            state: Mutex::default(),
            late: AtomicU64::new(0),
        }
    }

    /// Begins with the last picture from before if there is none since, a muted camera's, or with a
    /// black one: the room may have sound alone.
    fn begin_without_picture(&self, state: &mut VideoState) {
        if state.shown.is_none()
            && let Some(picture) = state.early.take().or_else(black)
        {
            self.show(state, &picture, gst::ClockTime::ZERO, self.span.now());
        }
    }

    fn show(&self, state: &mut VideoState, unit: &Unit, pts: gst::ClockTime, now: gst::ClockTime) {
        if state.fps.is_none() {
            let Some((caps, fps)) = fixed_caps(&unit.caps) else {
                return;
            };
            tracing::info!(%caps, "geometry of the recording");
            self.geometry.set_property("caps", caps);
            state.fps = Some(fps);
        }
        match state.filler.picture(pts, now) {
            Some(pts) => {
                state.shown = Some(unit.clone());
                self.repeat(state, pts);
            }
            None => {
                self.late.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn repeat(&self, state: &VideoState, pts: gst::ClockTime) {
        let (Some(unit), Some(fps)) = (&state.shown, state.fps) else {
            return;
        };
        let mut caps = unit.caps.clone();
        caps.make_mut().set("framerate", fps);
        let mut buffer = unit.buffer.clone();
        {
            let buffer = buffer.make_mut();
            buffer.set_pts(pts);
            buffer.set_dts(gst::ClockTime::NONE);
            buffer.set_duration(gst::ClockTime::NONE);
        }
        let _ = self.feed.push(buffer, &caps, true);
    }
}

impl Track for VideoTrack {
    fn tick(&self) {
        let now = self.span.now();
        let mut state = self.state.lock();
        if state.shown.is_none() {
            let patience = match state.early {
                Some(_) => crate::filler::QUIET,
                None => PICTURE_TIMEOUT,
            };
            if now >= patience {
                tracing::info!("no picture since the beginning");
                self.begin_without_picture(&mut state);
            }
            return;
        }
        if let Some(pts) = state.filler.repeat(now) {
            self.repeat(&state, pts);
        }
    }

    fn has_taken(&self) -> bool {
        self.state.lock().shown.is_some()
    }

    fn is_complete(&self) -> bool {
        self.state.lock().complete
    }

    fn finish(&self) {
        let mut state = self.state.lock();
        self.begin_without_picture(&mut state);
        if let Some(end) = self.span.end() {
            if let Some(pts) = state.filler.close(end) {
                self.repeat(&state, pts);
            }
            state.gaps.close(end);
        }
        drop(state);
        self.feed.end();
    }

    fn dropped(&self) -> u64 {
        self.feed.dropped() + self.late.load(Ordering::Relaxed)
    }

    fn gaps(&self) -> Vec<Gap> {
        self.state.lock().gaps.list()
    }
}

impl Consumer for VideoTrack {
    fn take(&self, unit: &Unit) -> Taken {
        let now = self.span.now();
        let mut state = self.state.lock();
        let Some(pts) = unit.pts.checked_sub(self.span.origin()) else {
            if state.shown.is_none() && !is_tiny(&unit.caps) {
                state.early = Some(unit.clone());
            }
            return Taken::Done;
        };
        if self.span.end().is_some_and(|end| pts >= end) {
            state.complete = true;
            return Taken::Done;
        }
        if state.shown.is_none() && is_tiny(&unit.caps) {
            return Taken::Done;
        }
        if let Some(early) = state.early.take() {
            self.show(&mut state, &early, gst::ClockTime::ZERO, now);
        }
        state.gaps.on_media(pts);
        self.show(&mut state, unit, pts, now);
        Taken::Done
    }
}

/// The sound of one recording: every sample from the first instant to the last, with silence for
/// what is missing.
#[derive(Debug)]
pub(crate) struct AudioTrack {
    feed: Feed,
    span: Span,
    delay: gst::ClockTime,
    caps: gst::Caps,
    state: Mutex<AudioState>,
}

#[derive(Debug, Default)]
struct AudioState {
    /// Sample frames in the file so far.
    next: u64,
    gaps: Gaps,
}

impl AudioTrack {
    /// The sound of a file, for an encoder that puts `delay` of silence before all it is given: as
    /// much is left out here, so that sound stays in its place.
    pub(crate) fn new(feed: Feed, delay: gst::ClockTime, span: Span) -> Self {
        Self {
            feed,
            span,
            delay,
            caps: mixer::caps(),
            state: Mutex::default(),
        }
    }

    /// Sample frames the file will have, once that is known.
    fn end(&self) -> Option<u64> {
        let end = self.span.end()?;
        Some(frames(end.saturating_sub(self.delay)))
    }

    fn fill(&self, state: &mut AudioState, until: u64) {
        let until = self.end().map_or(until, |end| until.min(end));
        while state.next < until {
            let count = (until - state.next).min(SILENCE_FRAMES);
            let silence = vec![0; count as usize * FRAME_BYTES];
            self.write(state, gst::Buffer::from_mut_slice(silence), count);
        }
    }

    fn write(&self, state: &mut AudioState, mut buffer: gst::Buffer, count: u64) {
        let pts = time(state.next);
        state.next += count;
        {
            let buffer = buffer.make_mut();
            buffer.set_pts(pts);
            buffer.set_duration(time(state.next) - pts);
            buffer.unset_flags(gst::BufferFlags::DISCONT | gst::BufferFlags::RESYNC);
        }
        let _ = self.feed.push(buffer, &self.caps, true);
    }
}

impl Track for AudioTrack {
    fn tick(&self) {
        if let Some(until) = self.span.now().checked_sub(self.delay + QUIET) {
            let until = frames(until);
            self.fill(&mut self.state.lock(), until);
        }
    }

    fn has_taken(&self) -> bool {
        self.state.lock().next > 0
    }

    fn is_complete(&self) -> bool {
        let next = self.state.lock().next;
        self.end().is_some_and(|end| next >= end)
    }

    fn finish(&self) {
        let mut state = self.state.lock();
        if let Some(end) = self.end() {
            self.fill(&mut state, end);
            state.gaps.close(time(end));
        }
        drop(state);
        self.feed.end();
    }

    fn gaps(&self) -> Vec<Gap> {
        self.state.lock().gaps.list()
    }
}

impl Consumer for AudioTrack {
    fn take(&self, unit: &Unit) -> Taken {
        let mut state = self.state.lock();
        let count = (unit.buffer.size() / FRAME_BYTES) as u64;
        let origin = self.span.origin() + self.delay;
        let before = frames(origin.saturating_sub(unit.pts));
        let place = frames(unit.pts.saturating_sub(origin));
        if before == 0 && place > state.next + JITTER_FRAMES {
            self.fill(&mut state, place);
        }
        let overlap = state.next.saturating_sub(place);
        let skip = before + if overlap > JITTER_FRAMES { overlap } else { 0 };
        let room = self
            .end()
            .map_or(u64::MAX, |end| end.saturating_sub(state.next));
        let count = count.saturating_sub(skip).min(room);
        if count == 0 {
            return Taken::Done;
        }
        state.gaps.on_media(unit.pts.saturating_sub(origin));
        let from = skip as usize * FRAME_BYTES;
        let piece = unit.buffer.copy_region(
            gst::BufferCopyFlags::MEMORY,
            from..from + count as usize * FRAME_BYTES,
        );
        match piece {
            Ok(piece) => self.write(&mut state, piece, count),
            Err(error) => tracing::warn!(%error, "sound left out"),
        }
        Taken::Done
    }
}

fn frames(time: gst::ClockTime) -> u64 {
    // Rounded to the nearest sample.
    let second = u128::from(gst::ClockTime::SECOND.nseconds());
    ((u128::from(time.nseconds()) * u128::from(SAMPLE_RATE) + second / 2) / second) as u64
}

fn time(frames: u64) -> gst::ClockTime {
    let second = u128::from(gst::ClockTime::SECOND.nseconds());
    gst::ClockTime::from_nseconds((u128::from(frames) * second / u128::from(SAMPLE_RATE)) as u64)
}

fn size(caps: &gst::Caps) -> Option<(i32, i32)> {
    let structure = caps.structure(0)?;
    Some((structure.get("width").ok()?, structure.get("height").ok()?))
}

fn is_tiny(caps: &gst::Caps) -> bool {
    size(caps).is_none_or(|(width, height)| width < MIN_SIDE || height < MIN_SIDE)
}

/// What the encoder gets for as long as the recording lasts, by the first picture: a muxer can't
/// take a change. Both sides even, as I420 wants them.
fn fixed_caps(first: &gst::Caps) -> Option<(gst::Caps, gst::Fraction)> {
    let structure = first.structure(0)?;
    let (width, height) = size(first)?;
    let fps = match structure.get::<gst::Fraction>("framerate") {
        Ok(fps) if (1..=120).contains(&(fps.numer() / fps.denom())) => fps,
        _ => NOMINAL_FPS,
    };
    let mut caps = gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", width & !1)
        .field("height", height & !1)
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .field("framerate", fps);
    if let Ok(colorimetry) = structure.get::<&str>("colorimetry") {
        caps = caps.field("colorimetry", colorimetry);
    }
    Some((caps.build(), fps))
}

fn black() -> Option<Unit> {
    let (width, height) = BLACK_SIZE;
    let luma = (width * height) as usize;
    let mut pixels = vec![16; luma];
    pixels.resize(luma * 3 / 2, 128);
    Some(Unit {
        buffer: gst::Buffer::from_mut_slice(pixels),
        caps: gst::Caps::builder("video/x-raw")
            .field("format", "I420")
            .field("width", width)
            .field("height", height)
            .field("framerate", NOMINAL_FPS)
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
            .build(),
        pts: gst::ClockTime::ZERO,
        key: true,
    })
}

#[cfg(test)]
mod tests;
