use crate::{
    catch_up::CatchUp,
    decode::{Decoder, Lease, describe, watch_errors},
    feed::{Feed, Overflow, live_appsrc, take_everything},
    inbox::{Event, Inbox},
    tap::{Attachment, Tap},
    timebase::Timebase,
};
use gst::prelude::*;
use haven_wire::{SessionConfig, rendition_socket};
use parking_lot::Mutex;
use std::sync::Arc;

/// Pictures and sound leave this long after they were captured here, so that both leave together:
/// more than it takes to put packets in order, decode, and encode a picture. What is later leaves
/// at once.
const LATENCY: gst::ClockTime = gst::ClockTime::from_mseconds(200);
/// Decoded pictures that wait for the JPEG encoder: most of a second of 720p30, for a machine that
/// is held up. An encoder that is merely slow doesn't fill it, see [`CatchUp`].
const MAX_WAITING_VIDEO_BYTES: u64 = 32 << 20;
/// Sound that waits: two seconds.
const MAX_WAITING_AUDIO_BYTES: u64 = 2 * 192_000;
/// What existing clients hard-code.
const VIEWER_SAMPLE_RATE: i32 = 44_100;
/// JPEG quality of the API's contract.
const JPEG_QUALITY: i32 = 85;

/// Why viewers can't be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreviewError {
    #[error("an element is missing or refuses its settings: {0}")]
    Build(#[from] gst::glib::BoolError),
    #[error("cannot listen on {path}: {problem}")]
    Listen { path: String, problem: String },
    #[error("it does not start: {0}")]
    Start(#[from] gst::StateChangeError),
}

/// The pipeline that serves viewers: always there, and idle while nobody watches.
#[derive(Debug)]
pub(crate) struct Preview {
    pipeline: gst::Pipeline,
    sink: gst::Element,
    video: Arc<Feed>,
    audio: Arc<Feed>,
    run: u64,
    watching: Option<Watching>,
}

/// What flows while somebody watches.
#[derive(Debug)]
struct Watching {
    _attachments: [Attachment; 2],
    _leases: [Lease; 2],
}

impl Preview {
    /// Listens on the session's media socket, or on the one of its pictures of at most this width;
    /// `run` tells this pipeline's events from those of others.
    ///
    /// # Errors
    /// When an element is missing, or the socket can't be had.
    pub(crate) fn start(
        config: &SessionConfig,
        width: Option<u32>,
        timebase: &Timebase,
        inbox: &Inbox,
        run: u64,
    ) -> Result<Self, PreviewError> {
        let pipeline = gst::Pipeline::new();
        let socket = match width {
            None => config.media_socket.clone(),
            Some(width) => rendition_socket(&config.media_socket, width),
        };
        let socket = socket.display().to_string();
        let sink = gst::ElementFactory::make("wsjpegsink")
            .property("socket-path", &socket)
            .property("stream-name", &config.key)
            .property("sync", true)
            .property("async", false)
            // What is too late was passed over before it was encoded.
            .property("max-lateness", -1_i64)
            .property("qos", false)
            .build()?;
        pipeline.add(&sink)?;
        let video = live_appsrc("pictures");
        add_chain(&pipeline, &video, &video_elements(width)?, &sink, "sink")?;
        pass_over_late_pictures(&video, timebase);
        let audio = live_appsrc("sound");
        add_chain(&pipeline, &audio, &audio_elements()?, &sink, "audio")?;
        timebase.adopt(&pipeline);
        pipeline.set_latency(LATENCY);
        watch_viewers(&sink, inbox);
        start_listening(&pipeline, &socket)?;
        let errors = inbox.clone();
        watch_errors(&pipeline, move |error| {
            errors.notify(Event::PreviewFailed { run, error });
        });
        Ok(Self {
            pipeline,
            sink,
            video: Arc::new(Feed::new(
                video,
                MAX_WAITING_VIDEO_BYTES,
                Overflow::DropBuffer,
            )),
            audio: Arc::new(Feed::new(
                audio,
                MAX_WAITING_AUDIO_BYTES,
                Overflow::DropBuffer,
            )),
            run,
            watching: None,
        })
    }

    /// Which run this is.
    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    /// Has media decoded and encoded while there are viewers, and only then.
    pub(crate) fn update(&mut self, video: &mut Decoder, audio: &mut Decoder) {
        let viewers: u32 = self.sink.property("clients");
        match (viewers, &self.watching) {
            (0, Some(_)) => {
                self.watching = None;
                tracing::info!("nobody watches any more");
            }
            (1.., None) => {
                tracing::info!("somebody watches");
                // Attached before decoding starts: the first picture isn't missed.
                let attachments = [
                    video.decoded().attach(self.video.clone()),
                    audio.decoded().attach(self.audio.clone()),
                ];
                self.watching = Some(Watching {
                    _attachments: attachments,
                    _leases: [video.lease(), audio.lease()],
                });
            }
            _ => {}
        }
    }
}

impl Drop for Preview {
    fn drop(&mut self) {
        self.watching = None;
        if let Err(error) = self.pipeline.set_state(gst::State::Null) {
            tracing::warn!(%error, "the preview does not stop");
        }
        self.pipeline.bus().inspect(|bus| bus.unset_sync_handler());
    }
}

/// What is encoded for viewers, for nobody, to see what that costs: it takes all it is given, and
/// whoever pushes waits for it.
pub(crate) struct Rehearsal {
    pipeline: gst::Pipeline,
    _attachments: [Attachment; 2],
}

impl Rehearsal {
    /// Begins to encode what comes decoded.
    ///
    /// # Errors
    /// When an element is missing.
    pub(crate) fn start(video: &Arc<Tap>, audio: &Arc<Tap>) -> Result<Self, PreviewError> {
        let pipeline = gst::Pipeline::new();
        let encode = |source: &gst_app::AppSrc, elements: &[gst::Element], tap: &Arc<Tap>| {
            let sink = gst::ElementFactory::make("fakesink")
                .property("sync", false)
                .property("async", false)
                .build()?;
            pipeline.add(&sink)?;
            add_chain(&pipeline, source, elements, &sink, "sink")?;
            let feed = Feed::new(
                source.clone(),
                MAX_WAITING_VIDEO_BYTES,
                Overflow::DropBuffer,
            );
            Ok::<_, PreviewError>(tap.attach(Arc::new(feed)))
        };
        let sources = ["pictures", "sound"].map(live_appsrc);
        take_everything(&pipeline, &sources);
        let attachments = [
            encode(&sources[0], &video_elements(None)?, video)?,
            encode(&sources[1], &audio_elements()?, audio)?,
        ];
        let rehearsal = Self {
            pipeline,
            _attachments: attachments,
        };
        rehearsal.pipeline.set_state(gst::State::Playing)?;
        Ok(rehearsal)
    }

    /// Whether all is well; else what the pipeline complains of.
    pub(crate) fn check(&self) -> Result<(), String> {
        let bus = self.pipeline.bus();
        let message = bus.and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => Err(describe(error)),
            _ => Ok(()),
        }
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
        self.pipeline.bus().inspect(|bus| bus.unset_sync_handler());
    }
}

/// On the encoder's side of the queue: what waits in it grows late there.
fn pass_over_late_pictures(pictures: &gst_app::AppSrc, timebase: &Timebase) {
    let Some(pad) = pictures.static_pad("src") else {
        return;
    };
    let (timebase, queue) = (timebase.clone(), pictures.downgrade());
    let catch_up = Mutex::new(CatchUp::new(LATENCY));
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, probe| {
        let pts = probe.buffer().and_then(|buffer| buffer.pts());
        let newer_waits = queue
            .upgrade()
            .is_some_and(|queue| queue.current_level_buffers() > 0);
        match pts {
            Some(pts) if !catch_up.lock().judge(pts, timebase.now(), newer_waits) => {
                gst::PadProbeReturn::Drop
            }
            _ => gst::PadProbeReturn::Ok,
        }
    });
}

/// From decoded pictures to JPEGs, of at most this width; smaller ones keep their size.
fn video_elements(width: Option<u32>) -> Result<Vec<gst::Element>, gst::glib::BoolError> {
    let mut elements = Vec::new();
    if let Some(width) = width {
        let widths = gst::IntRange::new(1, i32::try_from(width).unwrap_or(i32::MAX));
        let caps = gst::Caps::builder("video/x-raw")
            .field("width", widths)
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
            .build();
        elements.extend([
            gst::ElementFactory::make("videoscale").build()?,
            gst::ElementFactory::make("capsfilter")
                .property("caps", caps)
                .build()?,
        ]);
    }
    elements.extend([
        // Passes through what jpegenc takes as it is, which is what decoders give.
        gst::ElementFactory::make("videoconvert").build()?,
        gst::ElementFactory::make("jpegenc")
            .property("quality", JPEG_QUALITY)
            .build()?,
    ]);
    Ok(elements)
}

fn audio_elements() -> Result<[gst::Element; 3], gst::glib::BoolError> {
    let caps = gst::Caps::builder("audio/x-raw")
        .field("format", "S16LE")
        .field("layout", "interleaved")
        .field("rate", VIEWER_SAMPLE_RATE)
        .field("channels", 1)
        .build();
    Ok([
        gst::ElementFactory::make("audioconvert").build()?,
        gst::ElementFactory::make("audioresample").build()?,
        gst::ElementFactory::make("capsfilter")
            .property("caps", caps)
            .build()?,
    ])
}

fn add_chain(
    pipeline: &gst::Pipeline,
    source: &gst_app::AppSrc,
    elements: &[gst::Element],
    sink: &gst::Element,
    sink_pad: &str,
) -> Result<(), gst::glib::BoolError> {
    let mut chain = vec![source.clone().upcast::<gst::Element>()];
    chain.extend_from_slice(elements);
    pipeline.add_many(&chain)?;
    gst::Element::link_many(&chain)?;
    if let Some(last) = chain.last() {
        last.link_pads(Some("src"), sink, Some(sink_pad))?;
    }
    Ok(())
}

fn watch_viewers(sink: &gst::Element, inbox: &Inbox) {
    let inbox = inbox.clone();
    sink.connect_notify(Some("clients"), move |_, _| {
        inbox.notify(Event::ViewersChanged);
    });
}

fn start_listening(pipeline: &gst::Pipeline, path: &str) -> Result<(), PreviewError> {
    let Err(error) = pipeline.set_state(gst::State::Playing) else {
        return Ok(());
    };
    // The bus says more than the state change.
    let message = pipeline
        .bus()
        .and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    let problem = match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => error.error().to_string(),
        _ => error.to_string(),
    };
    let _ = pipeline.set_state(gst::State::Null);
    Err(PreviewError::Listen {
        path: path.into(),
        problem,
    })
}
