//! One pad of the element: frames in, encoded or raw buffers out, as downstream accepts.

use crate::decoder::decoder_chain;
use crate::media;
use gst::prelude::*;
use livekit_room::{Codec, Frame, Kind, Stopper};

/// Bytes that may wait for downstream. A second of a very good video; more means that downstream
/// stands still.
const MAX_QUEUED_BYTES: u64 = 8 << 20;
/// Time that may wait for downstream.
const MAX_QUEUED_TIME: gst::ClockTime = gst::ClockTime::from_seconds(2);

/// Beyond the latency, a frame may be this late before its place is given away.
const LATE: gst::ClockTime = gst::ClockTime::from_mseconds(100);
/// Gaps are told in pieces of this length at least.
const MIN_GAP: gst::ClockTime = gst::ClockTime::from_mseconds(100);

const FORCE_KEY_UNIT: &str = "GstForceKeyUnit";

/// Why a stream can't go on; the sentence is for people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// Downstream takes neither the codec nor raw.
    #[error("{0}")]
    NotAccepted(String),
    /// An element is missing.
    #[error("{0}")]
    NoDecoder(String),
    /// GStreamer refused something that should always work.
    #[error(transparent)]
    Internal(#[from] gst::glib::BoolError),
}

/// How a stream's frames leave.
struct Route {
    source: gst_app::AppSrc,
    codec: Codec,
    /// The elements behind the source; none where frames leave as they came.
    decoder: Vec<gst::Element>,
}

/// What a pad is called, inside the element and beyond.
#[derive(Clone, Debug)]
pub(crate) struct PadIdentity {
    /// `video_0`.
    pub(crate) name: String,
    /// The stream's ID downstream: the same for as long as the pad is there.
    pub(crate) stream_id: String,
    /// All pads of one session belong together.
    pub(crate) group: gst::GroupId,
}

/// A pad and what stands behind it.
pub(crate) struct Stream {
    bin: gst::Bin,
    pad: gst::GhostPad,
    kind: Kind,
    latency: gst::ClockTime,
    stopper: Stopper,
    /// None while nobody is linked, or nothing has come yet.
    route: Option<Route>,
    /// Frames were left out: the next one must be a key frame.
    needs_key: bool,
    /// The last buffer's time.
    last: Option<gst::ClockTime>,
    /// Up to where it was said that nothing comes.
    filled: Option<gst::ClockTime>,
    /// Told behind the next buffer.
    tags: Option<gst::TagList>,
}

impl Stream {
    /// Makes the pad and shows it, so that the application links it.
    pub(crate) fn new(
        element: &gst::Bin,
        kind: Kind,
        identity: &PadIdentity,
        latency: gst::ClockTime,
        stopper: &Stopper,
    ) -> Result<Self, StreamError> {
        let pad = make_pad(element, kind, identity)?;
        forward_keyframe_requests(&pad, stopper.clone());
        element.add_pad(&pad)?;
        Ok(Self {
            bin: element.clone(),
            pad,
            kind,
            latency,
            stopper: stopper.clone(),
            route: None,
            needs_key: true,
            last: None,
            filled: None,
            tags: None,
        })
    }

    /// Tags for whoever is downstream, told once something flows.
    pub(crate) fn set_tags(&mut self, tags: gst::TagList) {
        self.tags = Some(tags);
    }

    /// Gives a frame out. Returns whether it was taken; it isn't while nobody is linked, while a
    /// key frame is missing, or while downstream stands still.
    pub(crate) fn push(
        &mut self,
        frame: &Frame,
        running_time: gst::ClockTime,
    ) -> Result<bool, StreamError> {
        if !self.pad.is_linked() {
            self.leave_out();
            return Ok(false);
        }
        if self.needs_key && !frame.key {
            // Publishers make key frames on demand only, so waiting alone may take for ever.
            self.stopper.request_keyframe();
            return Ok(false);
        }
        let source = self.source_for(frame.codec)?;
        if is_full(&source) {
            self.needs_key = true;
            return Ok(false);
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
        let buffer = media::buffer(frame, pts, discontinuity);
        let taken = source.push_buffer(buffer).is_ok();
        if let Some(tags) = self.tags.take() {
            // The source sends it in its place, behind this buffer.
            source.send_event(gst::event::Tag::new(tags));
        }
        Ok(taken)
    }

    /// Says that nothing comes, up to a moment before `now`: muxers and mixers don't wait then.
    /// What comes after it begins with a key frame.
    pub(crate) fn fill(&mut self, now: gst::ClockTime) {
        let (Some(route), Some(last)) = (&self.route, self.last) else {
            return;
        };
        if !self.pad.is_linked() || route.source.current_level_buffers() > 0 {
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
        if route.source.send_event(gap) {
            self.filled = Some(until);
            // A decoder may have let go of its reference pictures.
            self.needs_key |= self.kind == Kind::Video;
        }
    }

    /// No more frames will come.
    pub(crate) fn end(&self) {
        match &self.route {
            Some(route) => {
                let _ = route.source.end_of_stream();
            }
            // Linked, and nothing came since.
            None => {
                self.pad
                    .push_event(gst::event::StreamStart::new(&self.pad.name()));
                self.pad.push_event(gst::event::Eos::new());
            }
        }
    }

    /// Ends the stream and takes its pad away.
    pub(crate) fn remove(mut self) {
        if let Some(route) = &self.route {
            // Nothing follows on its thread, so the end can be told from this one.
            let _ = route.source.set_state(gst::State::Null);
        }
        self.pad.push_event(gst::event::Eos::new());
        self.close_route();
        let _ = self.pad.set_active(false);
        let _ = self.bin.remove_pad(&self.pad);
    }

    /// Frames can't be given out now; what comes later must begin anew.
    pub(crate) fn leave_out(&mut self) {
        self.needs_key = true;
        if !self.pad.is_linked() {
            self.close_route();
        }
    }

    /// The source of a route for frames of this codec.
    fn source_for(&mut self, codec: Codec) -> Result<gst_app::AppSrc, StreamError> {
        if let Some(route) = &self.route
            && route.codec == codec
        {
            return Ok(route.source.clone());
        }
        let encoded = media::caps(codec);
        let accepted = self.pad.peer_query_caps(None);
        let passes = accepted.can_intersect(&encoded);
        if let Some(route) = &mut self.route
            && route.decoder.is_empty()
            && passes
        {
            // Nothing but the caps changes, behind the last buffer of the old codec.
            route.source.set_caps(Some(&encoded));
            route.codec = codec;
            return Ok(route.source.clone());
        }
        self.close_route();
        if !passes && !accepted.can_intersect(&media::raw_caps(codec.kind())) {
            return Err(StreamError::NotAccepted(format!(
                "the publisher sends {}, and what is linked to {} takes neither that nor raw: {accepted}",
                codec.name(),
                self.pad.name(),
            )));
        }
        let decoder = match passes {
            true => Vec::new(),
            false => decoder_chain(&encoded).map_err(StreamError::NoDecoder)?,
        };
        self.open_route(codec, decoder)
    }

    fn open_route(
        &mut self,
        codec: Codec,
        decoder: Vec<gst::Element>,
    ) -> Result<gst_app::AppSrc, StreamError> {
        let source = gst_app::AppSrc::builder()
            .name(format!("{}-source", self.pad.name()))
            .caps(&media::caps(codec))
            .format(gst::Format::Time)
            .is_live(true)
            .build();
        source.set_latency(self.latency, gst::ClockTime::NONE);
        let mut all = vec![source.clone().upcast::<gst::Element>()];
        all.extend(decoder.iter().cloned());
        self.route = Some(Route {
            source: source.clone(),
            codec,
            decoder,
        });
        self.bin.add_many(&all)?;
        gst::Element::link_many(&all)?;
        let last = all.last().and_then(|last| last.static_pad("src"));
        self.pad.set_target(last.as_ref())?;
        for element in all.iter().rev() {
            element.sync_state_with_parent()?;
        }
        Ok(source)
    }

    /// Takes out what stands behind the pad. The source stops first: a buffer that is on its way
    /// would find nothing linked, and that is an error.
    fn close_route(&mut self) {
        let Some(route) = self.route.take() else {
            return;
        };
        let _ = route.source.set_state(gst::State::Null);
        let _ = self.pad.set_target(None::<&gst::Pad>);
        let source = route.source.upcast::<gst::Element>();
        for element in [source].into_iter().chain(route.decoder) {
            let _ = element.set_state(gst::State::Null);
            let _ = self.bin.remove(&element);
        }
    }
}

/// A pad that isn't shown yet.
pub(crate) fn make_pad(
    element: &gst::Bin,
    kind: Kind,
    identity: &PadIdentity,
) -> Result<gst::GhostPad, StreamError> {
    let template = match kind {
        Kind::Video => "video_%u",
        Kind::Audio => "audio_%u",
    };
    let template = element
        .pad_template(template)
        .ok_or_else(|| gst::glib::bool_error!("no pad template {template}"))?;
    let pad = gst::GhostPad::builder_from_template(&template)
        .name(&identity.name)
        .proxy_pad_chain_function(|proxy, parent, buffer| {
            // Nobody wants it now, as when a player has chosen another stream. That is no error:
            // the other pads go on, and so does this one when it is linked again.
            match gst::ProxyPad::chain_default(proxy, parent, buffer) {
                Err(gst::FlowError::NotLinked) => Ok(gst::FlowSuccess::Ok),
                flow => flow,
            }
        })
        .build();
    name_stream(&pad, identity);
    survive_unlinking(&pad);
    pad.set_active(true)?;
    Ok(pad)
}

/// What stands behind the pad may be replaced; downstream sees one stream all the time.
///
/// The event carries no `GstStream`: players that find one there wait for a collection, and a
/// source whose pads come and go can't say all of it before the first caps. Without one they make
/// their own, as for every other source (decodebin3 and parsebin 1.22: seen by playing).
fn name_stream(pad: &gst::GhostPad, identity: &PadIdentity) {
    let identity = identity.clone();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::PadProbeData::Event(event)) = &mut info.data
            && event.type_() == gst::EventType::StreamStart
        {
            *event = gst::event::StreamStart::builder(&identity.stream_id)
                .group_id(identity.group)
                .seqnum(event.seqnum())
                .build();
        }
        gst::PadProbeReturn::Ok
    });
}

pub(crate) fn is_full(source: &gst_app::AppSrc) -> bool {
    source.current_level_bytes() > MAX_QUEUED_BYTES || source.current_level_time() > MAX_QUEUED_TIME
}

/// Requests for a key frame travel upstream as events; the publisher hears them as PLI.
fn forward_keyframe_requests(pad: &gst::GhostPad, stopper: Stopper) {
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        let asks = info
            .event()
            .and_then(|event| event.structure())
            .is_some_and(|structure| structure.name() == FORCE_KEY_UNIT);
        if asks {
            stopper.request_keyframe();
            return gst::PadProbeReturn::Handled;
        }
        gst::PadProbeReturn::Ok
    });
}

/// What comes while the application has unlinked the pad is left out. Without this it would be an
/// error that ends the other pad's stream too.
fn survive_unlinking(pad: &gst::GhostPad) {
    pad.add_probe(gst::PadProbeType::BUFFER, |pad, _| {
        if pad.is_linked() {
            gst::PadProbeReturn::Ok
        } else {
            gst::PadProbeReturn::Drop
        }
    });
}
