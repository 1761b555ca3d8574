use crate::{
    feed::{Feed, Overflow, live_appsrc},
    inbox::{Decoded, Event, Inbox, Media},
    source::Guests,
    tap::{Attachment, Memory, Tap, tap_sink},
    timebase::Timebase,
};
use gst::prelude::*;
use gstlivekitsrc::mixer::{self, Mixer, MixerError};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A decoder nobody uses goes on for this long, for the next viewer.
const LINGER: gst::ClockTime = gst::ClockTime::from_seconds(2);
/// A decoder that failed is tried again after this long.
const RETRY: gst::ClockTime = gst::ClockTime::from_mseconds(500);
/// Encoded media that waits for the decoder: more than a whole remembered group of pictures.
const MAX_WAITING_BYTES: u64 = 24 << 20;
/// How long the mixer waits for sound that is late before it puts silence in its place, for good:
/// five times what the room holds a packet back to put it in order, so that a machine which is held
/// up for a moment loses none. Sound that is there leaves at once, whatever this says.
const MIXER_LATENCY: gst::ClockTime = gst::ClockTime::from_mseconds(400);
/// Why a decoding pipeline can't be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("no decoder for {0} is installed")]
    NoDecoder(String),
    #[error("an element is missing or refuses its settings: {0}")]
    Build(#[from] gst::glib::BoolError),
    #[error(transparent)]
    Mixer(#[from] MixerError),
    #[error("the decoder does not start: {0}")]
    Start(#[from] gst::StateChangeError),
}

/// Turns one encoded stream into a decoded one while somebody needs it.
#[derive(Debug)]
pub(crate) struct Decoder {
    what: Decoded,
    media: Media,
    encoded: Arc<Tap>,
    /// Voices that are heard beside `encoded`.
    guests: Guests,
    decoded: Arc<Tap>,
    timebase: Timebase,
    inbox: Inbox,
    users: Arc<AtomicUsize>,
    running: Option<Running>,
    idle_since: Option<gst::ClockTime>,
    retry_at: Option<gst::ClockTime>,
    run: u64,
}

#[derive(Debug)]
struct Running {
    pipeline: gst::Pipeline,
    codec: String,
    attachment: Option<Attachment>,
    /// What mixes the voices, where this is sound.
    voices: Option<Voices>,
}

/// The mixer, and the guests that are in it.
#[derive(Debug)]
struct Voices {
    mixer: Mixer,
    guests: BTreeMap<String, Attachment>,
}

impl Voices {
    /// Takes in who has come, and takes out who has left.
    fn update(&mut self, present: &[(String, Arc<Tap>)]) {
        let Self { mixer, guests } = self;
        guests.retain(|name, _| {
            let stays = present.iter().any(|(other, _)| other == name);
            if !stays {
                mixer.remove_voice(name);
            }
            stays
        });
        for (name, tap) in present {
            if guests.contains_key(name) {
                continue;
            }
            match mixer.voice(name) {
                Ok(appsrc) => {
                    let feed = Feed::new(appsrc, MAX_WAITING_BYTES, Overflow::DropBuffer);
                    guests.insert(name.clone(), tap.attach(Arc::new(feed)));
                }
                Err(error) => tracing::warn!(guest = name, %error, "not heard"),
            }
        }
    }
}

/// Keeps a decoder running for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lease(Arc<AtomicUsize>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Decoder {
    /// A decoder for what flows through `encoded`, and for sound the guests' voices beside it;
    /// nothing runs yet.
    pub(crate) fn new(
        what: Decoded,
        encoded: Arc<Tap>,
        guests: Guests,
        timebase: Timebase,
        inbox: Inbox,
    ) -> Self {
        let caps_inbox = inbox.clone();
        let media = what.media();
        let (name, memory) = match media {
            Media::Video => ("decoded video", Memory::Last),
            // A file that begins at a key frame begins a moment ago.
            Media::Audio => ("decoded audio", Memory::Recent),
        };
        Self {
            what,
            media,
            encoded,
            guests,
            decoded: Tap::new(name, memory, move || caps_inbox.notify(Event::CapsChanged)),
            timebase,
            inbox,
            users: Arc::default(),
            running: None,
            idle_since: None,
            retry_at: None,
            run: 0,
        }
    }

    /// Where the decoded stream can be had.
    pub(crate) fn decoded(&self) -> &Arc<Tap> {
        &self.decoded
    }

    /// Has the stream decoded until the lease is dropped.
    pub(crate) fn lease(&mut self) -> Lease {
        self.users.fetch_add(1, Ordering::Relaxed);
        let lease = Lease(self.users.clone());
        self.update();
        lease
    }

    /// Starts, replaces or stops the pipeline as need and codec have it. Cheap where nothing is
    /// to be done.
    pub(crate) fn update(&mut self) {
        let now = self.timebase.now();
        if self.users.load(Ordering::Relaxed) > 0 {
            self.idle_since = None;
            let codec = self.codec();
            if let Some(running) = &self.running
                && codec.as_ref().is_some_and(|codec| *codec != running.codec)
            {
                tracing::info!(media = ?self.media, from = running.codec, "the codec changed");
                self.stop();
            }
            let may_start = self.retry_at.is_none_or(|at| now >= at);
            if let (None, Some(codec), true) = (&self.running, codec, may_start) {
                self.start(codec);
            }
            if let Some(voices) = self.running.as_mut().and_then(|one| one.voices.as_mut()) {
                voices.update(&self.guests.all());
            }
        } else if self.running.is_some() {
            let idle_since = *self.idle_since.get_or_insert(now);
            if now.saturating_sub(idle_since) >= LINGER {
                self.stop();
                // The picture of a stream that nobody decodes any more is a stale one.
                self.decoded.forget();
            }
        }
    }

    /// A pipeline reported an error: it is replaced after a moment.
    pub(crate) fn failed(&mut self, run: u64, error: &str) {
        if run == self.run && self.running.is_some() {
            tracing::warn!(media = ?self.media, error, "decoding failed, starting anew");
            self.stop();
            self.retry_at = Some(self.timebase.now() + RETRY);
        }
    }

    /// Stops decoding.
    pub(crate) fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.attachment = None;
            if let Some(voices) = &mut running.voices {
                voices.guests.clear();
            }
            if let Err(error) = running.pipeline.set_state(gst::State::Null) {
                tracing::warn!(media = ?self.media, %error, "the decoder does not stop");
            }
            running
                .pipeline
                .bus()
                .inspect(|bus| bus.unset_sync_handler());
            tracing::info!(media = ?self.media, "decoding stopped");
        }
    }

    /// What there is to decode. Sound is mixed whether any is published or not, so its pipeline
    /// doesn't wait for any.
    fn codec(&self) -> Option<String> {
        match self.media {
            Media::Audio => Some("audio/x-opus".into()),
            Media::Video => Some(self.encoded.caps()?.structure(0)?.name().to_string()),
        }
    }

    fn start(&mut self, codec: String) {
        self.run += 1;
        match self.build(&codec) {
            Ok(running) => {
                tracing::info!(media = ?self.media, codec, "decoding");
                self.retry_at = None;
                self.running = Some(running);
            }
            Err(error) => {
                tracing::error!(media = ?self.media, codec, %error, "cannot decode");
                self.retry_at = Some(self.timebase.now() + RETRY * 10);
            }
        }
    }

    fn build(&self, codec: &str) -> Result<Running, DecodeError> {
        let pipeline = gst::Pipeline::new();
        let mut voices = None;
        let (appsrc, mut chain, caps) = match self.media {
            Media::Video => {
                let appsrc = live_appsrc("encoded");
                let mut chain = vec![appsrc.clone().upcast::<gst::Element>()];
                chain.extend(video_elements(codec)?);
                (appsrc, chain, gst::Caps::new_empty_simple("video/x-raw"))
            }
            Media::Audio => {
                let mut mixer = Mixer::new(MIXER_LATENCY)?;
                let appsrc = mixer.voice("streamer")?;
                let chain = vec![mixer.bin().clone().upcast()];
                voices = Some(Voices {
                    mixer,
                    guests: BTreeMap::new(),
                });
                (appsrc, chain, mixer::caps())
            }
        };
        let sink = tap_sink("decoded", &caps);
        chain.push(sink.clone().upcast());
        pipeline.add_many(&chain)?;
        gst::Element::link_many(&chain)?;
        self.timebase.adopt(&pipeline);
        self.watch(&pipeline);
        self.decoded.feed_from(&sink);
        pipeline.set_state(gst::State::Playing).inspect_err(|_| {
            let _ = pipeline.set_state(gst::State::Null);
        })?;
        if self.media == Media::Video {
            forward_key_frame_requests(&appsrc, &self.encoded);
            if !self.encoded.remembers() {
                self.encoded.request_key_frame();
            }
        }
        let overflow = match self.media {
            Media::Video => Overflow::DropToKeyFrame,
            Media::Audio => Overflow::DropBuffer,
        };
        let feed = Feed::new(appsrc, MAX_WAITING_BYTES, overflow);
        Ok(Running {
            pipeline,
            codec: codec.into(),
            attachment: Some(self.encoded.attach(Arc::new(feed))),
            voices,
        })
    }

    fn watch(&self, pipeline: &gst::Pipeline) {
        let (inbox, decoded, run) = (self.inbox.clone(), self.what, self.run);
        watch_errors(pipeline, move |error| {
            let event = Event::DecoderFailed {
                decoded,
                run,
                error,
            };
            inbox.notify(event);
        });
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Calls back on the first error or end of stream of a pipeline; the bus keeps no messages, since
/// each would hold on to its element.
pub(crate) fn watch_errors(
    pipeline: &gst::Pipeline,
    on_error: impl Fn(String) + Send + Sync + 'static,
) {
    let Some(bus) = pipeline.bus() else { return };
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::Error(error) => on_error(describe(error)),
            gst::MessageView::Eos(_) => on_error("the stream ended".into()),
            gst::MessageView::Warning(warning) => {
                tracing::debug!(warning = %warning.error(), details = ?warning.debug(), "pipeline");
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}

/// An error message in a sentence, with the element it comes from.
pub(crate) fn describe(error: &gst::message::Error) -> String {
    let element = error.src().map(|src| src.name().to_string());
    let details = error.debug().map(|details| details.to_string());
    tracing::debug!(?element, ?details, error = %error.error(), "pipeline error");
    match element {
        Some(element) => format!("{} ({element})", error.error()),
        None => error.error().to_string(),
    }
}

fn video_elements(codec: &str) -> Result<Vec<gst::Element>, DecodeError> {
    let (parser, decoders): (Option<&str>, &[&str]) = match codec {
        "video/x-h264" => (Some("h264parse"), &["avdec_h264", "openh264dec"]),
        "video/x-vp8" => (None, &["vp8dec", "avdec_vp8"]),
        "video/x-vp9" => (Some("vp9parse"), &["vp9dec", "avdec_vp9"]),
        "video/x-av1" => (Some("av1parse"), &["dav1ddec", "av1dec", "avdec_av1"]),
        _ => return Err(DecodeError::NoDecoder(codec.into())),
    };
    let decoder = decoders
        .iter()
        .find(|name| gst::ElementFactory::find(name).is_some())
        .ok_or_else(|| DecodeError::NoDecoder(codec.into()))?;
    let mut elements = Vec::new();
    if let Some(parser) = parser {
        elements.push(gst::ElementFactory::make(parser).build()?);
    }
    elements.push(gst::ElementFactory::make(decoder).build()?);
    Ok(elements)
}

/// A decoder that lost its reference pictures asks its source; the source is beyond the tap.
fn forward_key_frame_requests(appsrc: &gst_app::AppSrc, encoded: &Arc<Tap>) {
    let Some(pad) = appsrc.static_pad("src") else {
        return;
    };
    let encoded = Arc::downgrade(encoded);
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, probe| {
        if let Some(event) = probe.event()
            && gst_video::ForceKeyUnitEvent::is(event)
            && let Some(encoded) = encoded.upgrade()
        {
            encoded.request_key_frame();
        }
        gst::PadProbeReturn::Ok
    });
}
