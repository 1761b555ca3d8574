//! One pad of the element: frames in, encoded or raw buffers out, as downstream accepts.

use crate::decoder::decoder_chain;
use crate::flow::{Flow, Pushed, SharedFlow};
use crate::media;
use gst::prelude::*;
use livekit_room::{Codec, Frame, Kind, Stopper};
use parking_lot::Mutex;
use std::sync::Arc;

const FORCE_KEY_UNIT: &str = "GstForceKeyUnit";
/// Says which coin a stream is about, to `pumpfunmeta` and whoever else wants to know.
const MINT_EVENT: &str = "pumpfun-mint";

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
    /// The coin whose livestream it is.
    pub(crate) mint: Option<Arc<str>>,
}

/// A pad and what stands behind it.
pub(crate) struct Stream {
    bin: gst::Bin,
    pad: gst::GhostPad,
    latency: gst::ClockTime,
    /// None while nobody is linked, or nothing has come yet.
    route: Option<Route>,
    flow: SharedFlow,
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
        let flow = Flow::new(pad.clone(), kind, latency, stopper.clone());
        Ok(Self {
            bin: element.clone(),
            pad,
            latency,
            route: None,
            flow: Arc::new(Mutex::new(flow)),
        })
    }

    /// Where its frames can be given out without any of the rest.
    pub(crate) fn flow(&self) -> &SharedFlow {
        &self.flow
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
        if self.flow.lock().waits_for_key(frame) {
            return Ok(false);
        }
        self.route_for(frame.codec)?;
        Ok(self.flow.lock().push(frame, running_time) == Pushed::Taken)
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
        self.flow.lock().leave_out();
        if !self.pad.is_linked() {
            self.close_route();
        }
    }

    /// Makes sure that frames of this codec have a way out.
    fn route_for(&mut self, codec: Codec) -> Result<(), StreamError> {
        if self
            .route
            .as_ref()
            .is_some_and(|route| route.codec == codec)
        {
            return Ok(());
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
            let source = (route.source.clone(), codec);
            self.flow.lock().set_source(Some(source));
            return Ok(());
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

    fn open_route(&mut self, codec: Codec, decoder: Vec<gst::Element>) -> Result<(), StreamError> {
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
        self.flow.lock().set_source(Some((source, codec)));
        Ok(())
    }

    /// Takes out what stands behind the pad. The source stops first: a buffer that is on its way
    /// would find nothing linked, and that is an error.
    fn close_route(&mut self) {
        self.flow.lock().set_source(None);
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
    if let Some(mint) = &identity.mint {
        // It goes out behind the stream's start, before the first buffer, to whoever is linked.
        let said = gst::Structure::builder(MINT_EVENT)
            .field("mint-id", &**mint)
            .build();
        let event = gst::event::CustomDownstreamSticky::new(said);
        // Only a pad that isn't active takes none.
        let _ = pad.store_sticky_event(&event);
    }
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
