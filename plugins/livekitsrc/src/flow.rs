//! A frame into the source behind its pad: what each frame costs, and nothing that could wait.

use crate::media;
use gst::prelude::*;
use livekit_room::{Codec, Frame, Kind, Stopper};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes that may wait for downstream. A second of a very good video; more means that downstream
/// stands still.
const MAX_QUEUED_BYTES: u64 = 8 << 20;
/// Time that may wait for downstream.
const MAX_QUEUED_TIME: gst::ClockTime = gst::ClockTime::from_seconds(2);

/// Beyond the latency, a frame may be this late before its place is given away.
const LATE: gst::ClockTime = gst::ClockTime::from_mseconds(100);
/// Gaps are told in pieces of this length at least.
const MIN_GAP: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Taken,
    /// A key frame is missing, or downstream stands still.
    LeftOut,
    /// Nobody is linked, or there is no source for its codec (yet).
    NoRoute,
}

/// The flow of frames through one pad. It outlives the elements behind the pad.
pub(crate) struct Flow {
    pad: gst::GhostPad,
    kind: Kind,
    latency: gst::ClockTime,
    stopper: Stopper,
    source: Option<(gst_app::AppSrc, Codec)>,
    /// Frames were left out: the next one must be a key frame.
    needs_key: bool,
    /// The last buffer's time.
    last: Option<gst::ClockTime>,
    /// Up to where it was said that nothing comes.
    filled: Option<gst::ClockTime>,
    /// Told behind the next buffer.
    tags: Option<gst::TagList>,
}

impl Flow {
    pub(crate) fn new(
        pad: gst::GhostPad,
        kind: Kind,
        latency: gst::ClockTime,
        stopper: Stopper,
    ) -> Self {
        Self {
            pad,
            kind,
            latency,
            stopper,
            source: None,
            needs_key: true,
            last: None,
            filled: None,
            tags: None,
        }
    }

    /// Frames of this codec go into this source from now on; None: there is no source any more.
    pub(crate) fn set_source(&mut self, source: Option<(gst_app::AppSrc, Codec)>) {
        self.source = source;
    }

    /// Tags for whoever is downstream, told once something flows.
    pub(crate) fn set_tags(&mut self, tags: gst::TagList) {
        self.tags = Some(tags);
    }

    /// Frames are left out: what comes later must begin anew.
    pub(crate) fn leave_out(&mut self) {
        self.needs_key = true;
    }

    /// Whether this frame is of no use, since a key frame must come first. Asks for one then.
    pub(crate) fn waits_for_key(&self, frame: &Frame) -> bool {
        let waits = self.needs_key && !frame.key;
        if waits {
            // Publishers make key frames on demand only, so waiting alone may take for ever.
            self.stopper.request_keyframe();
        }
        waits
    }

    /// Gives a frame out.
    pub(crate) fn push(&mut self, frame: &Frame, running_time: gst::ClockTime) -> Pushed {
        let Some((source, codec)) = &self.source else {
            return Pushed::NoRoute;
        };
        if *codec != frame.codec || !self.pad.is_linked() {
            return Pushed::NoRoute;
        }
        if self.waits_for_key(frame) {
            return Pushed::LeftOut;
        }
        if is_full(source) {
            self.needs_key = true;
            return Pushed::LeftOut;
        }
        let discontinuity = frame.discontinuity || self.needs_key;
        self.needs_key = false;
        // The time line starts anew with each connection, and the pad goes on: never backwards.
        let pts = self.last.map_or(running_time, |last| {
            running_time.max(last + gst::ClockTime::NSECOND)
        });
        self.last = Some(pts);
        self.filled = None;
        if let Some(caps) = media::key_frame_caps(frame)
            && source.caps().as_ref() != Some(&caps)
        {
            source.set_caps(Some(&caps));
        }
        let taken = source.push_buffer(media::buffer(frame, pts, discontinuity));
        if let Some(tags) = self.tags.take() {
            // The source sends it in its place, behind this buffer.
            source.send_event(gst::event::Tag::new(tags));
        }
        match taken {
            Ok(_) => Pushed::Taken,
            Err(_) => Pushed::LeftOut,
        }
    }

    /// Says that nothing comes, up to a moment before `now`: muxers and mixers don't wait then.
    /// What comes after it begins with a key frame.
    pub(crate) fn fill(&mut self, now: gst::ClockTime) {
        let (Some((source, _)), Some(last)) = (&self.source, self.last) else {
            return;
        };
        if !self.pad.is_linked() || source.current_level_buffers() > 0 {
            return;
        }
        // What is on its way may still come in its place.
        let until = now.saturating_sub(self.latency + LATE);
        let from = self.filled.unwrap_or(last);
        if until < from + MIN_GAP {
            return;
        }
        let gap = gst::event::Gap::builder(from)
            .duration(until - from)
            .build();
        if source.send_event(gap) {
            self.filled = Some(until);
            // A decoder may have let go of its reference pictures.
            self.needs_key |= self.kind == Kind::Video;
        }
    }
}

pub(crate) fn is_full(source: &gst_app::AppSrc) -> bool {
    source.current_level_bytes() > MAX_QUEUED_BYTES || source.current_level_time() > MAX_QUEUED_TIME
}

/// A flow that the driver's and the media thread push into.
pub(crate) type SharedFlow = Arc<Mutex<Flow>>;

/// The flows of the tracks whose pads are there, for the driver's own thread: a frame that needs
/// nothing but a push is spared the way through the media thread.
#[derive(Clone, Default)]
pub(crate) struct Flows(Arc<Mutex<HashMap<Arc<str>, SharedFlow>>>);

impl Flows {
    /// Frames of this track go here.
    pub(crate) fn open(&self, track: &Arc<str>, flow: &SharedFlow) {
        self.0.lock().insert(track.clone(), flow.clone());
    }

    /// Frames of this track go through the media thread.
    pub(crate) fn close(&self, track: &str) {
        self.0.lock().remove(track);
    }

    pub(crate) fn of(&self, track: &str) -> Option<SharedFlow> {
        self.0.lock().get(track).cloned()
    }
}
