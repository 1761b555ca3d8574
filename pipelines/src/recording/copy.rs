//! Streams that go into a file as they were published.

use super::{gaps::Gaps, job::Track, signature::Signature};
use crate::{
    feed::Feed,
    tap::{Consumer, Taken, Unit},
    timebase::Timebase,
};
use haven_wire::{Gap, PartReason};
use parking_lot::Mutex;

/// A muxer waits for the stream that is behind: it is told after this long that nothing comes.
const QUIET: gst::ClockTime = gst::ClockTime::from_mseconds(500);
/// How far behind the present that is told, so that what is on its way isn't overtaken.
const MARGIN: gst::ClockTime = gst::ClockTime::from_mseconds(300);
/// Shortest time between two buffers: WebM counts in milliseconds.
const STEP: gst::ClockTime = gst::ClockTime::from_mseconds(1);

/// Where a file ends because the stream can't go on in it, in running time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) at: gst::ClockTime,
    pub(crate) reason: PartReason,
}

/// One stream of one file.
#[derive(Debug)]
pub(crate) struct CopyTrack {
    /// None while the file has no such stream: then it is only looked out for.
    feed: Option<Feed>,
    /// Of a video that can begin only at a key frame.
    signature: Option<Signature>,
    video: bool,
    origin: gst::ClockTime,
    timebase: Timebase,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last buffer's time in the file.
    last: Option<gst::ClockTime>,
    /// Up to where it was said that nothing comes.
    filled: gst::ClockTime,
    end: Option<gst::ClockTime>,
    complete: bool,
    /// The next key frame belongs into another file.
    split: bool,
    cut: Option<Cut>,
    gaps: Gaps,
}

impl CopyTrack {
    /// A video of these parameters.
    pub(crate) fn video(
        feed: Feed,
        signature: Signature,
        origin: gst::ClockTime,
        timebase: Timebase,
    ) -> Self {
        Self::new(Some(feed), Some(signature), true, origin, timebase)
    }

    /// Sound.
    pub(crate) fn audio(feed: Feed, origin: gst::ClockTime, timebase: Timebase) -> Self {
        Self::new(Some(feed), None, false, origin, timebase)
    }

    /// Looks out for a video, for which another file must begin.
    pub(crate) fn absent_video(origin: gst::ClockTime, timebase: Timebase) -> Self {
        Self::new(None, None, true, origin, timebase)
    }

    fn new(
        feed: Option<Feed>,
        signature: Option<Signature>,
        video: bool,
        origin: gst::ClockTime,
        timebase: Timebase,
    ) -> Self {
        Self {
            feed,
            signature,
            video,
            origin,
            timebase,
            state: Mutex::default(),
        }
    }

    /// Whether this key frame belongs into another file, and why.
    fn must_cut(&self, unit: &Unit, split: bool) -> Option<PartReason> {
        let signature = Signature::of(unit)?;
        if self.signature.as_ref() != Some(&signature) {
            return Some(PartReason::SourceChanged);
        }
        split.then_some(PartReason::Split)
    }
}

impl Track for CopyTrack {
    fn cut(&self) -> Option<Cut> {
        self.state.lock().cut
    }

    fn split(&self) -> bool {
        self.state.lock().split = self.video;
        self.video
    }

    fn tick(&self) {
        let now = self.timebase.now().saturating_sub(self.origin);
        let mut state = self.state.lock();
        let (Some(feed), Some(last)) = (&self.feed, state.last) else {
            return;
        };
        let from = last.max(state.filled);
        if state.cut.is_some() || now < from + QUIET + MARGIN {
            return;
        }
        state.filled = now - MARGIN;
        feed.gap(from, now - MARGIN - from);
    }

    fn end_at(&self, end: gst::ClockTime) {
        self.state.lock().end = Some(end);
    }

    fn is_complete(&self) -> bool {
        let state = self.state.lock();
        self.feed.is_none() || state.complete || state.cut.is_some()
    }

    fn finish(&self) {
        let mut state = self.state.lock();
        if let Some(end) = state.end {
            state.gaps.close(end);
        }
        drop(state);
        if let Some(feed) = &self.feed {
            feed.end();
        }
    }

    fn dropped(&self) -> u64 {
        self.feed.as_ref().map_or(0, Feed::dropped)
    }

    fn gaps(&self) -> Vec<Gap> {
        self.state.lock().gaps.list()
    }
}

impl Consumer for CopyTrack {
    fn take(&self, unit: &Unit) -> Taken {
        let mut state = self.state.lock();
        if state.cut.is_some() {
            return Taken::Done;
        }
        let pts = unit.pts.saturating_sub(self.origin);
        if state.end.is_some_and(|end| pts >= end) {
            state.complete = true;
            return Taken::Done;
        }
        if self.feed.is_none() && unit.pts < self.origin {
            return Taken::NeedsKeyFrame;
        }
        let begins = state.last.is_none();
        // The first key frame of a file is what the file was begun for.
        if self.video
            && unit.key
            && !(begins && self.signature.is_some() && Signature::of(unit) == self.signature)
            && let Some(reason) = self.must_cut(unit, state.split)
        {
            let at = unit.pts;
            state.cut = Some(Cut { at, reason });
            return Taken::Keep;
        }
        let Some(feed) = &self.feed else {
            return Taken::NeedsKeyFrame;
        };
        if begins && !unit.key {
            return Taken::NeedsKeyFrame;
        }
        if !self.video && unit.pts < self.origin {
            return Taken::Done;
        }
        // What a video needs from before the file's begin is decoded in its first moment.
        let time = match state.last {
            Some(last) => pts.max(last + STEP),
            None => pts,
        };
        state.last = Some(time);
        state.gaps.on_media(time);
        let mut buffer = unit.buffer.clone();
        {
            let buffer = buffer.make_mut();
            buffer.set_pts(time);
            buffer.set_dts(if self.video { Some(time) } else { None });
        }
        feed.push(buffer, &unit.caps, unit.key)
    }
}
