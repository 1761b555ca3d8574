//! Streams that go into a file as they were published.

use super::{gaps::Gaps, job::Track, signature::Signature, span::Span};
use crate::{
    feed::Feed,
    tap::{Consumer, Taken, Unit},
};
use haven_wire::{Gap, PartReason};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A muxer waits for the stream that is behind: it is told after this long that nothing comes.
const QUIET: gst::ClockTime = gst::ClockTime::from_mseconds(500);
/// How far behind the present that is told, so that what is on its way isn't overtaken.
const MARGIN: gst::ClockTime = gst::ClockTime::from_mseconds(300);
/// Shortest time between two buffers: WebM counts in milliseconds.
const STEP: gst::ClockTime = gst::ClockTime::from_mseconds(1);

/// A packet of silence, as WebRTC sends it: one frame of 20 ms (RFC 6716, 3.1).
pub(crate) const SILENT_PACKET: [u8; 3] = [0xf8, 0xff, 0xfe];

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
    kind: Kind,
    span: Span,
    state: Mutex<State>,
    /// Packets that came after silence had taken their place.
    late: AtomicU64,
}

#[derive(Debug)]
enum Kind {
    /// Pictures, which can begin only at a key frame of these parameters; none are in the file
    /// where there are none.
    Video(Option<Signature>),
    /// Sound of these caps.
    Audio(gst::Caps),
}

#[derive(Debug, Default)]
struct State {
    /// The last buffer's time in the file.
    last: Option<gst::ClockTime>,
    /// Up to where it was said that nothing comes.
    filled: gst::ClockTime,
    /// Something that was published is in the file.
    taken: bool,
    /// Nothing more belongs into the file.
    complete: bool,
    /// When it was last looked whether something comes.
    looked: Option<gst::ClockTime>,
    /// Not before this it is said that nothing comes.
    patient_until: gst::ClockTime,
    /// The next key frame belongs into another file.
    split: bool,
    cut: Option<Cut>,
    gaps: Gaps,
}

impl CopyTrack {
    /// A video of these parameters.
    pub(crate) fn video(feed: Feed, signature: Signature, span: Span) -> Self {
        Self::new(Some(feed), Kind::Video(Some(signature)), span)
    }

    /// Sound of these caps.
    pub(crate) fn audio(feed: Feed, caps: gst::Caps, span: Span) -> Self {
        Self::new(Some(feed), Kind::Audio(caps), span)
    }

    /// Looks out for a video, for which another file must begin.
    pub(crate) fn absent_video(span: Span) -> Self {
        Self::new(None, Kind::Video(None), span)
    }

    fn new(feed: Option<Feed>, kind: Kind, span: Span) -> Self {
        Self {
            feed,
            kind,
            span,
            state: Mutex::default(),
            late: AtomicU64::new(0),
        }
    }

    fn is_video(&self) -> bool {
        matches!(self.kind, Kind::Video(_))
    }

    /// Where this buffer belongs into another file, and why.
    fn must_cut(&self, unit: &Unit, state: &State) -> Option<PartReason> {
        let Kind::Video(wanted) = &self.kind else {
            return None;
        };
        let signature = Signature::of(unit)?;
        if wanted.as_ref() != Some(&signature) {
            return Some(PartReason::SourceChanged);
        }
        // The first key frame of a file is what the file was begun for.
        (state.split && state.last.is_some()).then_some(PartReason::Split)
    }

    /// Sound of which nothing comes is silence: a muxer writes nothing before each of its streams has
    /// begun, and Matroska's waits for the one that is behind whatever it is told of gaps.
    fn be_silent(&self, state: &mut State, at: gst::ClockTime) {
        if let (Kind::Audio(caps), Some(feed)) = (&self.kind, &self.feed) {
            let mut packet = gst::Buffer::from_slice(SILENT_PACKET);
            packet.make_mut().set_pts(at);
            state.last = Some(at);
            state.filled = at;
            let _ = feed.push(packet, caps, true);
        }
    }
}

impl State {
    /// Whether nothing can be said yet, since this machine stood still: what came meanwhile is still
    /// on its way.
    fn stood_still(&mut self, now: gst::ClockTime) -> bool {
        let looked = self.looked.replace(now);
        if looked.is_some_and(|looked| now > looked + MARGIN) {
            self.patient_until = now + MARGIN;
        }
        now < self.patient_until
    }
}

impl Track for CopyTrack {
    fn cut(&self) -> Option<Cut> {
        self.state.lock().cut
    }

    fn split(&self) -> bool {
        self.state.lock().split = self.is_video();
        self.is_video()
    }

    fn tick(&self) {
        let now = self.span.now();
        let mut state = self.state.lock();
        let stood_still = state.stood_still(now);
        let from = state.last.unwrap_or_default().max(state.filled);
        if stood_still || state.cut.is_some() || now < from + QUIET + MARGIN {
            return;
        }
        match (&self.kind, &self.feed, state.last) {
            (Kind::Audio(_), _, None) => self.be_silent(&mut state, gst::ClockTime::ZERO),
            (Kind::Audio(_), _, Some(_)) => self.be_silent(&mut state, now - MARGIN),
            (Kind::Video(_), Some(feed), Some(_)) => {
                state.filled = now - MARGIN;
                feed.gap(from, now - MARGIN - from);
            }
            (Kind::Video(_), _, _) => {}
        }
    }

    fn has_taken(&self) -> bool {
        self.state.lock().taken
    }

    fn is_complete(&self) -> bool {
        let state = self.state.lock();
        self.feed.is_none() || state.complete || state.cut.is_some()
    }

    fn finish(&self) {
        let mut state = self.state.lock();
        if state.last.is_none() {
            self.be_silent(&mut state, gst::ClockTime::ZERO);
        }
        if let Some(end) = self.span.end() {
            state.gaps.close(end);
        }
        drop(state);
        if let Some(feed) = &self.feed {
            feed.end();
        }
    }

    fn dropped(&self) -> u64 {
        let overflown = self.feed.as_ref().map_or(0, Feed::dropped);
        overflown + self.late.load(Ordering::Relaxed)
    }

    fn gaps(&self) -> Vec<Gap> {
        self.state.lock().gaps.list()
    }
}

impl Consumer for CopyTrack {
    fn take(&self, unit: &Unit) -> Taken {
        let mut state = self.state.lock();
        if state.cut.is_some() || state.complete {
            return Taken::Done;
        }
        let origin = self.span.origin();
        let pts = unit.pts.saturating_sub(origin);
        if self.span.end().is_some_and(|end| pts >= end) {
            state.complete = true;
            return Taken::Done;
        }
        if self.feed.is_none() && unit.pts < origin {
            return Taken::NeedsKeyFrame;
        }
        if unit.key
            && let Some(reason) = self.must_cut(unit, &state)
        {
            if self.span.end().is_none() {
                let at = unit.pts;
                state.cut = Some(Cut { at, reason });
                // Sound that comes from now on is the next file's, whoever looks at this one when.
                self.span.end_at(pts);
                return Taken::Keep;
            }
            // The end was set already: nobody goes on from here.
            if reason == PartReason::SourceChanged {
                state.complete = true;
                return Taken::Done;
            }
        }
        let Some(feed) = &self.feed else {
            return Taken::NeedsKeyFrame;
        };
        if state.last.is_none() && !unit.key {
            return Taken::NeedsKeyFrame;
        }
        if !self.is_video() && unit.pts < origin {
            return Taken::Done;
        }
        if !self.is_video() && pts < state.filled {
            self.late.fetch_add(1, Ordering::Relaxed);
            return Taken::Done;
        }
        // What a video needs from before the file's begin is decoded in its first moment.
        let time = match state.last {
            Some(last) => pts.max(last + STEP),
            None => pts,
        };
        state.last = Some(time);
        state.taken = true;
        state.gaps.on_media(time);
        let mut buffer = unit.buffer.clone();
        {
            let buffer = buffer.make_mut();
            buffer.set_pts(time);
            buffer.set_dts(if self.is_video() { Some(time) } else { None });
        }
        feed.push(buffer, &unit.caps, unit.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        feed::{Overflow, live_appsrc},
        recording::graph,
        timebase::Timebase,
    };

    fn unit(ms: u64, caps: gst::Caps, bytes: &[u8]) -> Unit {
        Unit {
            buffer: gst::Buffer::from_slice(bytes.to_vec()),
            caps,
            pts: gst::ClockTime::from_mseconds(ms),
            key: true,
        }
    }

    fn packet(ms: u64) -> Unit {
        unit(ms, graph::opus_caps(), &SILENT_PACKET)
    }

    fn key_frame(ms: u64, side: u8) -> Unit {
        let caps = gst::Caps::new_empty_simple("video/x-vp8");
        unit(ms, caps, &[0x10, 0, 0, 0x9d, 1, 0x2a, side, 0, side, 0])
    }

    fn feed() -> Feed {
        Feed::new(live_appsrc("in"), 1000, Overflow::DropBuffer)
    }

    fn ms(ms: u64) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(ms)
    }

    #[test]
    fn sound_from_beyond_the_cut_is_not_taken_though_nobody_has_looked_yet() {
        gst::init().unwrap();
        let span = Span::new(ms(100), Timebase::start());
        let sound = CopyTrack::audio(feed(), graph::opus_caps(), span.clone());
        let video = CopyTrack::absent_video(span.clone());
        sound.take(&packet(220));
        assert!(!sound.is_complete());
        assert_eq!(video.take(&key_frame(240, 64)), Taken::Keep);
        assert_eq!(span.end(), Some(ms(140)));
        sound.take(&packet(240));
        assert!(sound.is_complete());
    }

    #[test]
    fn sound_that_comes_after_silence_took_its_place_is_left_out_and_counted() {
        gst::init().unwrap();
        let span = Span::new(ms(0), Timebase::started_ago(ms(60_000)));
        let sound = CopyTrack::audio(feed(), graph::opus_caps(), span);
        sound.take(&packet(100));
        sound.tick();
        let silent = sound.state.lock().last.unwrap();
        assert!(silent >= ms(59_000), "{silent}");
        for late in [1000, 2000] {
            assert_eq!(sound.take(&packet(late)), Taken::Done);
        }
        assert_eq!(sound.state.lock().last, Some(silent));
        assert_eq!(sound.dropped(), 2);
        sound.take(&packet(silent.mseconds() + 20));
        assert_eq!(
            sound.state.lock().last.unwrap().mseconds(),
            silent.mseconds() + 20
        );
        assert_eq!(sound.dropped(), 2);
    }

    #[test]
    fn a_machine_that_stood_still_waits_for_what_is_on_its_way() {
        let mut state = State::default();
        for (now, waits) in [
            (0, false),
            (50, false),
            (1500, true),
            (1700, true),
            (1800, false),
        ] {
            assert_eq!(state.stood_still(ms(now)), waits, "{now}");
        }
    }

    #[test]
    fn who_was_told_where_to_end_makes_no_cut_before() {
        gst::init().unwrap();
        let first = key_frame(0, 64);
        let video = |span: &Span| {
            let signature = Signature::of(&first).unwrap();
            let track = CopyTrack::video(feed(), signature, span.clone());
            assert_eq!(track.take(&first), Taken::Done);
            track
        };
        let span = Span::new(ms(0), Timebase::start());
        let (changed, split) = (video(&span), video(&span));
        split.split();
        span.end_at(ms(500));
        assert_eq!(changed.take(&key_frame(300, 80)), Taken::Done);
        assert!(changed.is_complete());
        // What can go on does so up to the end.
        assert_eq!(split.take(&key_frame(300, 64)), Taken::Done);
        assert_eq!(split.state.lock().last, Some(ms(300)));
        for track in [changed, split] {
            assert_eq!(track.cut(), None);
        }
        assert_eq!(span.end(), Some(ms(500)));
    }
}
