//! One file of a recording: its pipeline, and the tracks that feed it.

use super::{
    Inputs, RecordingError,
    copy::{CopyTrack, Cut},
    fragments,
    graph::{self, CopiedSound, Position},
    plan::Plan,
    signature::Signature,
    span::Span,
};
use crate::{
    feed::{Feed, Overflow, take_everything},
    output::Output,
    tap::{Attachment, Consumer, Tap},
    tracks::{AudioTrack, VideoTrack},
};
use gst::prelude::*;
use haven_wire::{Gap, RecordingProgress};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// How long to wait, at the end, for pictures and sound that are still being decoded.
const TAIL_TIMEOUT: gst::ClockTime = gst::ClockTime::from_mseconds(1_000);
/// How long finalising a file may take.
pub(super) const EOS_TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(15);
/// Decoded pictures that wait for a slow encoder, in bytes: two seconds of 720p30.
const MAX_WAITING_VIDEO_BYTES: u64 = 80 << 20;
/// Published pictures that wait for a slow disk, in bytes.
const MAX_WAITING_COPY_BYTES: u64 = 32 << 20;
/// Sound that waits for a slow encoder: a minute. It is never what is slow.
const MAX_WAITING_AUDIO_BYTES: u64 = 60 * 192_000;

/// What the pipelines call the appsrcs of their streams.
const PICTURES: &str = "pictures";
const SOUND: &str = "sound";

/// One stream of a file.
pub(crate) trait Track: Consumer {
    /// To be called several times a second: says or shows something while nothing comes.
    fn tick(&self);
    /// Whether anything was put into the file.
    fn has_taken(&self) -> bool;
    /// Whether all that belongs before the end has arrived.
    fn is_complete(&self) -> bool;
    /// Fills up to the end, and ends the stream.
    fn finish(&self);
    /// Buffers that arrived and aren't in the file.
    fn dropped(&self) -> u64 {
        0
    }
    /// When nothing came.
    fn gaps(&self) -> Vec<Gap> {
        Vec::new()
    }
    /// Where the file must end, once that is known.
    fn cut(&self) -> Option<Cut> {
        None
    }
    /// Has the file end before the next key frame; false where that can be anywhere.
    fn split(&self) -> bool {
        false
    }
}

/// One file's pipeline.
pub(super) struct Job {
    pipeline: gst::Pipeline,
    /// What encodes the pictures, if anything does.
    encoder: Option<gst::Element>,
    tracks: Vec<(Arc<Tap>, Arc<dyn Track>)>,
    attachments: Vec<Attachment>,
    /// Which of them tells when nothing came: the pictures, or the sound where there are none.
    telling: usize,
    inputs: Arc<Inputs>,
    span: Span,
    /// Where in the file the muxer is.
    position: Position,
    /// Whether something was encoded, or taken over.
    begun: Arc<AtomicBool>,
    /// Nobody's sound is in it.
    silent: bool,
}

/// The parts of a pipeline that is being built.
struct Parts {
    pipeline: gst::Pipeline,
}

impl Parts {
    fn launch(text: &str, output: &Output) -> Result<Self, String> {
        let pipeline = gst::parse::launch(text)
            .map_err(|error| error.to_string())?
            .downcast::<gst::Pipeline>()
            .map_err(|_| "not a pipeline".to_owned())?;
        let parts = Self { pipeline };
        let location = output.path().display().to_string();
        parts.element("file")?.set_property("location", location);
        Ok(parts)
    }

    fn element(&self, name: &str) -> Result<gst::Element, String> {
        let element = self.pipeline.by_name(name);
        element.ok_or_else(|| format!("{name} is missing"))
    }

    fn feed(&self, name: &str, max_bytes: u64, overflow: Overflow) -> Result<Feed, String> {
        let appsrc = self.element(name)?.downcast::<gst_app::AppSrc>();
        let appsrc = appsrc.map_err(|_| format!("{name} is no appsrc"))?;
        Ok(Feed::new(appsrc, max_bytes, overflow))
    }

    fn sound(&self) -> Result<Feed, String> {
        self.feed(SOUND, MAX_WAITING_AUDIO_BYTES, Overflow::DropBuffer)
    }
}

impl Job {
    /// The pipeline of a file that begins at the running time `origin`.
    pub(super) fn build(
        plan: &Plan,
        video: Option<Signature>,
        output: &Output,
        inputs: &Arc<Inputs>,
        origin: gst::ClockTime,
    ) -> Result<Self, RecordingError> {
        let span = Span::new(origin, inputs.timebase.clone());
        let built = match plan {
            Plan::Encode(recipe) => Parts::launch(&graph::encoding(recipe), output)
                .and_then(|parts| Self::encode(parts, recipe.audio_delay, inputs, span)),
            Plan::Copy => {
                let flows = inputs.audio.flows(inputs.timebase.now());
                let sound = match (inputs.mixes, flows || video.is_none()) {
                    (true, _) => CopiedSound::Mix,
                    (false, true) => CopiedSound::Packets,
                    (false, false) => CopiedSound::None,
                };
                Parts::launch(&graph::copying(video.as_ref(), sound), output)
                    .and_then(|parts| Self::copy(parts, video, sound, inputs, span))
            }
            Plan::Wave => Parts::launch(&graph::wave(), output)
                .and_then(|parts| Self::wave(parts, inputs, span)),
        };
        built.map_err(|problem| RecordingError::Build {
            origin: match plan {
                Plan::Encode(recipe) => recipe.origin.clone(),
                Plan::Copy | Plan::Wave => "the worker".into(),
            },
            problem,
        })
    }

    fn encode(
        parts: Parts,
        delay: gst::ClockTime,
        inputs: &Arc<Inputs>,
        span: Span,
    ) -> Result<Self, String> {
        let pictures = parts.feed(PICTURES, MAX_WAITING_VIDEO_BYTES, Overflow::DropBuffer)?;
        let video = VideoTrack::new(pictures, parts.element("geometry")?, span.clone());
        let audio = AudioTrack::new(parts.sound()?, delay, span.clone());
        let encoder = parts.element("encoder")?;
        let tracks: [(Arc<Tap>, Arc<dyn Track>); 2] = [
            (inputs.video.clone(), Arc::new(video)),
            (inputs.audio.clone(), Arc::new(audio)),
        ];
        let first = encoder.static_pad("src");
        let mut job = Self::new(parts, tracks.into(), inputs, span, first)?;
        job.encoder = Some(encoder);
        Ok(job)
    }

    fn copy(
        parts: Parts,
        video: Option<Signature>,
        sound: CopiedSound,
        inputs: &Arc<Inputs>,
        span: Span,
    ) -> Result<Self, String> {
        let shows = video.is_some();
        let pictures = match video {
            Some(signature) => {
                let overflow = Overflow::DropToKeyFrame;
                let feed = parts.feed(PICTURES, MAX_WAITING_COPY_BYTES, overflow)?;
                CopyTrack::video(feed, signature, span.clone())
            }
            None => CopyTrack::absent_video(span.clone()),
        };
        let audio: Option<Arc<dyn Track>> = match sound {
            CopiedSound::None => None,
            CopiedSound::Packets => {
                let caps = inputs.audio.caps().unwrap_or_else(graph::opus_caps);
                let track = CopyTrack::audio(parts.sound()?, caps, span.clone());
                Some(Arc::new(track))
            }
            CopiedSound::Mix => {
                let delay = gst::ClockTime::ZERO;
                let track = AudioTrack::new(parts.sound()?, delay, span.clone());
                Some(Arc::new(track))
            }
        };
        let mut tracks: Vec<(Arc<Tap>, Arc<dyn Track>)> =
            vec![(inputs.video.clone(), Arc::new(pictures))];
        tracks.extend(audio.map(|audio| (inputs.audio.clone(), audio)));
        let first = parts.element("mux")?.static_pad("src");
        let mut job = Self::new(parts, tracks, inputs, span, first)?;
        job.silent = sound == CopiedSound::None;
        job.telling = if shows { 0 } else { job.tracks.len() - 1 };
        Ok(job)
    }

    fn wave(parts: Parts, inputs: &Arc<Inputs>, span: Span) -> Result<Self, String> {
        let audio = AudioTrack::new(parts.sound()?, gst::ClockTime::ZERO, span.clone());
        let tracks: [(Arc<Tap>, Arc<dyn Track>); 1] = [(inputs.audio.clone(), Arc::new(audio))];
        let first = parts.element("mux")?.static_pad("src");
        Self::new(parts, tracks.into(), inputs, span, first)
    }

    fn new(
        parts: Parts,
        tracks: Vec<(Arc<Tap>, Arc<dyn Track>)>,
        inputs: &Arc<Inputs>,
        span: Span,
        first: Option<gst::Pad>,
    ) -> Result<Self, String> {
        let muxer = parts.element("mux")?;
        let position = Position::of(&muxer);
        fragments::complete(&muxer);
        let begun = Arc::default();
        graph::notice_first_buffer(first.as_ref(), &begun);
        Ok(Self {
            pipeline: parts.pipeline,
            encoder: None,
            tracks,
            attachments: Vec::new(),
            telling: 0,
            inputs: inputs.clone(),
            span,
            position,
            begun,
            silent: false,
        })
    }

    /// Starts the pipeline; nothing comes into it yet.
    pub(super) fn start(&self) -> Result<(), RecordingError> {
        if self.pipeline.set_state(gst::State::Playing).is_err() {
            self.check_bus()?;
            return Err(RecordingError::Pipeline("it does not start".into()));
        }
        Ok(())
    }

    /// Has whoever lets something in wait for it to be taken: nothing is left out, and no more waits
    /// in here than while the machine keeps up.
    pub(super) fn take_everything(&self) {
        let elements = [PICTURES, SOUND].map(|name| self.pipeline.by_name(name));
        let appsrcs = elements
            .into_iter()
            .flatten()
            .flat_map(|one| one.downcast());
        take_everything(&self.pipeline, &appsrcs.collect::<Vec<_>>());
    }

    /// Lets the streams in, from the running time `origin` on, where the file begins.
    pub(super) fn let_in(&mut self, origin: gst::ClockTime) {
        self.span.begin_at(origin);
        for (tap, track) in &self.tracks {
            let consumer: Arc<dyn Consumer> = track.clone();
            self.attachments.push(tap.attach_from(consumer, origin));
        }
    }

    /// One round of looking after the file; its age.
    pub(super) fn tick(&self) -> gst::ClockTime {
        for (_, track) in &self.tracks {
            track.tick();
        }
        self.age()
    }

    /// How long ago the file began.
    pub(super) fn age(&self) -> gst::ClockTime {
        self.span.now()
    }

    /// Whether something was written or soon will be.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether a stream put something into it, written or not: a muxer may still wait for another one.
    pub(super) fn has_taken(&self) -> bool {
        self.tracks.iter().any(|(_, track)| track.has_taken())
    }

    /// Whether there is sound now for a file that has none.
    pub(super) fn misses_sound(&self) -> bool {
        self.silent && self.inputs.audio.flows(self.inputs.timebase.now())
    }

    /// Where the file must end, where a stream can't go on in it.
    pub(super) fn cut(&self) -> Option<Cut> {
        self.tracks.iter().find_map(|(_, track)| track.cut())
    }

    /// Has the file end as soon as it can: before the next key frame where pictures flow in as they
    /// are. False where it can end anywhere.
    pub(super) fn split_at_key_frame(&self) -> bool {
        let now = self.inputs.timebase.now();
        self.tracks
            .iter()
            .any(|(tap, track)| tap.flows(now) && track.split())
    }

    /// Nothing from the running time `end` on belongs into the file.
    pub(super) fn end_at(&self, end: gst::ClockTime) {
        self.span.end_at(end.saturating_sub(self.span.origin()));
    }

    /// Takes what is still on its way before `end`, and finalises the file.
    pub(super) fn finish(&mut self, end: gst::ClockTime) -> Result<(), RecordingError> {
        self.end_at(end);
        let timebase = self.inputs.timebase.clone();
        let bus = self.pipeline.bus();
        let complete = || self.tracks.iter().all(|(_, track)| track.is_complete());
        while timebase.now() < end + TAIL_TIMEOUT && !complete() {
            // The wait between two looks; an error ends it.
            let error = bus.as_ref().and_then(|bus| {
                bus.timed_pop_filtered(
                    gst::ClockTime::from_mseconds(20),
                    &[gst::MessageType::Error],
                )
            });
            if let Some(gst::MessageView::Error(error)) = error.as_ref().map(|m| m.view()) {
                return Err(RecordingError::of(error));
            }
        }
        self.attachments.clear();
        for (_, track) in &self.tracks {
            track.finish();
        }
        let types = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = bus.and_then(|bus| bus.timed_pop_filtered(EOS_TIMEOUT, &types));
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Eos(_)) => Ok(()),
            Some(gst::MessageView::Error(error)) => Err(RecordingError::of(error)),
            _ => Err(RecordingError::NotFinalised),
        }
    }

    /// What the pipeline complains of.
    pub(super) fn check_bus(&self) -> Result<(), RecordingError> {
        let types = [gst::MessageType::Error, gst::MessageType::Eos];
        let message = self.pipeline.bus().and_then(|bus| bus.pop_filtered(&types));
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => Err(RecordingError::of(error)),
            Some(_) => Err(RecordingError::Pipeline("the stream ended".into())),
            None => Ok(()),
        }
    }

    pub(super) fn force_key_frame(&self) {
        if let Some(pad) = self.encoder.as_ref().and_then(|one| one.static_pad("src")) {
            pad.send_event(
                gst_video::UpstreamForceKeyUnitEvent::builder()
                    .all_headers(true)
                    .build(),
            );
        }
    }

    pub(super) fn progress(&self, id: i64, output: &Output) -> RecordingProgress {
        let tracks = || self.tracks.iter().map(|(_, track)| track);
        RecordingProgress {
            recording_id: id,
            duration_ms: self.position.get().mseconds(),
            bytes: output.bytes(),
            dropped_frames: tracks().map(|track| track.dropped()).sum(),
            path: output.path().to_owned(),
            gaps: tracks()
                .nth(self.telling)
                .map(|track| track.gaps())
                .unwrap_or_default(),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.attachments.clear();
        if let Err(error) = self.pipeline.set_state(gst::State::Null) {
            tracing::warn!(%error, "the recording pipeline does not stop");
        }
    }
}
