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
enum Mode {
    /// Nobody is linked, or nothing has come yet.
    Undecided,
    Encoded,
    /// Through these elements.
    Decoded(Vec<gst::Element>),
}

/// A pad and what stands behind it.
pub(crate) struct Stream {
    bin: gst::Bin,
    source: gst_app::AppSrc,
    pad: gst::GhostPad,
    codec: Codec,
    mode: Mode,
    /// Frames were left out: the next one must be a key frame.
    needs_key: bool,
    failed: bool,
}

impl Stream {
    /// Makes the pad and shows it, so that the application links it.
    pub(crate) fn new(
        element: &gst::Bin,
        codec: Codec,
        latency: gst::ClockTime,
        stopper: &Stopper,
    ) -> Result<Self, StreamError> {
        let (name, template) = match codec.kind() {
            Kind::Video => ("video_0", "video_%u"),
            Kind::Audio => ("audio_0", "audio_%u"),
        };
        let source = gst_app::AppSrc::builder()
            .name(format!("{name}-source"))
            .caps(&media::caps(codec))
            .format(gst::Format::Time)
            .is_live(true)
            .build();
        source.set_latency(latency, gst::ClockTime::NONE);
        element.add(&source)?;
        source.sync_state_with_parent()?;
        let pad_template = element
            .pad_template(template)
            .ok_or_else(|| gst::glib::bool_error!("no pad template {template}"))?;
        let pad = gst::GhostPad::builder_from_template(&pad_template)
            .name(name)
            .build();
        forward_keyframe_requests(&pad, stopper.clone());
        pad.set_active(true)?;
        element.add_pad(&pad)?;
        Ok(Self {
            bin: element.clone(),
            source,
            pad,
            codec,
            mode: Mode::Undecided,
            needs_key: true,
            failed: false,
        })
    }

    /// Gives a frame out. Returns whether it was taken; it isn't while nobody is linked, while a
    /// key frame is missing, or while downstream stands still.
    pub(crate) fn push(
        &mut self,
        frame: &Frame,
        running_time: gst::ClockTime,
    ) -> Result<bool, StreamError> {
        if self.failed {
            return Ok(false);
        }
        if !self.pad.is_linked() {
            self.leave_out();
            return Ok(false);
        }
        if self.needs_key && !frame.key {
            return Ok(false);
        }
        let negotiated = self.negotiate(frame.codec);
        if let Err(error) = negotiated {
            self.failed = true;
            return Err(error);
        }
        if self.is_full() {
            self.needs_key = true;
            return Ok(false);
        }
        let discontinuity = frame.discontinuity || self.needs_key;
        self.needs_key = false;
        let buffer = media::buffer(frame, running_time, discontinuity);
        Ok(self.source.push_buffer(buffer).is_ok())
    }

    /// No more frames will come.
    pub(crate) fn end(&self) {
        let _ = self.source.end_of_stream();
    }

    /// Frames can't be given out now; what comes later must begin anew.
    pub(crate) fn leave_out(&mut self) {
        self.needs_key = true;
        if !self.pad.is_linked() {
            self.undecide();
        }
    }

    fn is_full(&self) -> bool {
        self.source.current_level_bytes() > MAX_QUEUED_BYTES
            || self.source.current_level_time() > MAX_QUEUED_TIME
    }

    /// Settles how frames of this codec leave, as far as that isn't settled.
    fn negotiate(&mut self, codec: Codec) -> Result<(), StreamError> {
        let settled = !matches!(self.mode, Mode::Undecided);
        if settled && codec == self.codec {
            return Ok(());
        }
        self.undecide();
        self.codec = codec;
        let encoded = media::caps(codec);
        self.source.set_caps(Some(&encoded));
        let accepted = self.pad.peer_query_caps(None);
        if accepted.can_intersect(&encoded) {
            self.pad
                .set_target(self.source.static_pad("src").as_ref())?;
            self.mode = Mode::Encoded;
        } else if accepted.can_intersect(&media::raw_caps(codec.kind())) {
            self.mode = Mode::Decoded(self.insert_decoder(&encoded)?);
        } else {
            return Err(StreamError::NotAccepted(format!(
                "the publisher sends {}, and what is linked to {} takes neither that nor raw: {accepted}",
                codec.name(),
                self.pad.name(),
            )));
        }
        Ok(())
    }

    fn insert_decoder(&self, encoded: &gst::Caps) -> Result<Vec<gst::Element>, StreamError> {
        let chain = decoder_chain(encoded).map_err(StreamError::NoDecoder)?;
        let mut before: gst::Element = self.source.clone().upcast();
        for element in &chain {
            self.bin.add(element)?;
            before.link(element)?;
            before = element.clone();
        }
        self.pad.set_target(before.static_pad("src").as_ref())?;
        for element in chain.iter().rev() {
            element.sync_state_with_parent()?;
        }
        Ok(chain)
    }

    fn undecide(&mut self) {
        let mode = std::mem::replace(&mut self.mode, Mode::Undecided);
        if let Mode::Encoded | Mode::Decoded(_) = mode {
            let _ = self.pad.set_target(None::<&gst::Pad>);
        }
        if let Mode::Decoded(chain) = mode {
            for element in chain {
                let _ = element.set_state(gst::State::Null);
                let _ = self.bin.remove(&element);
            }
        }
    }
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
