mod graph;

use crate::{
    decode::{Lease, describe},
    feed::{Feed, Overflow},
    formats::Recipe,
    inbox::{Event, Inbox, Outbox},
    measure,
    output::{Output, OutputError},
    tap::{Attachment, Tap},
    timebase::Timebase,
    tracks::{AudioTrack, VideoTrack},
};
use gst::prelude::*;
use haven_wire::{RecordingConfig, RecordingProgress, WorkerMessage};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often a recording looks after itself.
const TICK: Duration = Duration::from_millis(50);
/// Key frames come at least this often: what is after the last one is lost on a crash.
const KEY_FRAME_INTERVAL: gst::ClockTime = gst::ClockTime::SECOND;
/// How often progress is reported.
const PROGRESS_INTERVAL: gst::ClockTime = gst::ClockTime::SECOND;
/// How long to wait for a first picture before a recording begins with a black one.
const PICTURE_TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(3);
/// How long to wait, at the end, for pictures and sound that are still being decoded.
const TAIL_TIMEOUT: gst::ClockTime = gst::ClockTime::from_mseconds(1_000);
/// How long finalising a file may take.
const EOS_TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(15);
/// Decoded pictures that wait for a slow encoder, in bytes: two seconds of 720p30.
const MAX_WAITING_VIDEO_BYTES: u64 = 80 << 20;
/// Sound that waits for a slow encoder: a minute. It is never what is slow.
const MAX_WAITING_AUDIO_BYTES: u64 = 60 * 192_000;

/// Why a recording ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordingError {
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("the recording pipeline of {origin} cannot be built: {problem}")]
    Build { origin: String, problem: String },
    #[error("the recording stopped: {0}")]
    Pipeline(String),
    #[error("the file was not finalised within {} s; what was written plays", EOS_TIMEOUT.seconds())]
    NotFinalised,
    #[error("a thread for the recording cannot be started: {0}")]
    Thread(#[from] io::Error),
}

/// What a recording takes its media from.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) video: Arc<Tap>,
    pub(crate) audio: Arc<Tap>,
    /// What keeps both decoded.
    pub(crate) _leases: [Lease; 2],
    pub(crate) timebase: Timebase,
    /// When it was asked for: the file begins with this instant.
    pub(crate) origin: gst::ClockTime,
}

/// A recording that runs on a thread of its own, and reports to the server by itself.
#[derive(Debug)]
pub(crate) struct Recording {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Recording {
    /// Starts a recording.
    ///
    /// # Errors
    /// When there is no thread to be had. All else is reported by the recording itself.
    pub(crate) fn start(
        config: RecordingConfig,
        recipe: Recipe,
        inputs: Inputs,
        inbox: Inbox,
        outbox: Outbox,
    ) -> Result<Self, RecordingError> {
        let (stop, stopped) = sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("rec-{}", config.recording_id))
            .spawn(move || {
                let id = config.recording_id;
                let span = tracing::info_span!("recording", recording_id = id);
                let _entered = span.enter();
                let finished = record(&config, &recipe, inputs, &stopped, &outbox);
                outbox.send(finished);
                inbox.notify(Event::RecordingOver(id));
            })?;
        Ok(Self { stop, thread })
    }

    /// Has the file finalised; the recording reports when that is done.
    pub(crate) fn stop(&self) {
        let _ = self.stop.try_send(());
    }

    /// Waits for its end. [`Recording::stop`] comes first.
    pub(crate) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a recording's thread panicked");
        }
    }
}

/// Records until stopped, and says how it went.
fn record(
    config: &RecordingConfig,
    recipe: &Recipe,
    inputs: Inputs,
    stopped: &Receiver<()>,
    outbox: &Outbox,
) -> WorkerMessage {
    let id = config.recording_id;
    let finished = |progress, error: Option<RecordingError>| {
        if let Some(error) = &error {
            tracing::error!(%error, "recording failed");
        }
        WorkerMessage::RecordingFinished {
            progress,
            error: error.map(|error| error.to_string()),
        }
    };
    let nothing = RecordingProgress {
        recording_id: id,
        ..RecordingProgress::default()
    };
    let output = match Output::create(&config.path) {
        Ok(output) => output,
        Err(error) => return finished(nothing, Some(error.into())),
    };
    let job = match Job::build(recipe, &output, inputs) {
        Ok(job) => job,
        Err(error) => {
            output.close();
            return finished(nothing, Some(error));
        }
    };
    let error = job.run(id, &output, recipe, stopped, outbox).err();
    let mut progress = job.progress(id, &output);
    drop(job);
    if let Ok(measured) = measure::measure(output.path()) {
        progress.duration_ms = measured.duration_ms;
        progress.bytes = measured.bytes;
    }
    tracing::info!(path = %output.path().display(), ?progress, "recording over");
    output.close();
    finished(progress, error)
}

/// One recording's pipeline.
struct Job {
    pipeline: gst::Pipeline,
    encoder: gst::Element,
    video: Arc<VideoTrack>,
    audio: Arc<AudioTrack>,
    inputs: Inputs,
    /// Where in the file the muxer is, in nanoseconds.
    position: Arc<AtomicU64>,
    /// Whether a picture was encoded.
    encoding: Arc<AtomicBool>,
}

impl Job {
    fn build(recipe: &Recipe, output: &Output, inputs: Inputs) -> Result<Self, RecordingError> {
        let origin = inputs.origin;
        let build = || -> Result<Self, String> {
            let pipeline = gst::parse::launch(&graph::launch_text(recipe))
                .map_err(|error| error.to_string())?
                .downcast::<gst::Pipeline>()
                .map_err(|_| "not a pipeline".to_owned())?;
            let element = |name: &str| {
                pipeline
                    .by_name(name)
                    .ok_or_else(|| format!("{name} is missing"))
            };
            let appsrc = |name: &str| {
                let appsrc = element(name)?.downcast::<gst_app::AppSrc>();
                appsrc.map_err(|_| format!("{name} is no appsrc"))
            };
            element("file")?.set_property("location", output.path().display().to_string());
            let feed = |name: &str, max_bytes| {
                appsrc(name).map(|appsrc| Feed::new(appsrc, max_bytes, Overflow::DropBuffer))
            };
            let video = feed("pictures", MAX_WAITING_VIDEO_BYTES)?;
            let audio = feed("sound", MAX_WAITING_AUDIO_BYTES)?;
            let timebase = inputs.timebase.clone();
            let position = Arc::default();
            let encoding = Arc::default();
            let encoder = element("encoder")?;
            graph::follow(&element("mux")?, &position);
            graph::notice_first_buffer(&encoder, &encoding);
            Ok(Self {
                video: Arc::new(VideoTrack::new(
                    video,
                    element("geometry")?,
                    origin,
                    timebase.clone(),
                )),
                audio: Arc::new(AudioTrack::new(audio, origin, recipe.audio_delay, timebase)),
                pipeline,
                encoder,
                inputs,
                position,
                encoding,
            })
        };
        build().map_err(|problem| RecordingError::Build {
            origin: recipe.origin.clone(),
            problem,
        })
    }

    fn run(
        &self,
        id: i64,
        output: &Output,
        recipe: &Recipe,
        stopped: &Receiver<()>,
        outbox: &Outbox,
    ) -> Result<(), RecordingError> {
        if self.pipeline.set_state(gst::State::Playing).is_err() {
            self.check_bus()?;
            return Err(RecordingError::Pipeline("it does not start".into()));
        }
        let attachments = [
            self.inputs.video.attach(self.video.clone()),
            self.inputs.audio.attach(self.audio.clone()),
        ];
        let mut started = false;
        let mut key_frame_at = KEY_FRAME_INTERVAL;
        let mut progress_at = PROGRESS_INTERVAL;
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
            let now = self.tick();
            self.check_bus()?;
            if !started && self.encoding.load(Ordering::Relaxed) {
                started = true;
                outbox.send(started_message(id, recipe, output));
            }
            if now >= key_frame_at {
                key_frame_at = now + KEY_FRAME_INTERVAL;
                self.force_key_frame();
            }
            if now >= progress_at {
                progress_at = now + PROGRESS_INTERVAL;
                let progress = self.progress(id, output);
                outbox.offer(WorkerMessage::RecordingProgress(progress));
            }
        }
        if !started {
            outbox.send(started_message(id, recipe, output));
        }
        self.finish(attachments)
    }

    /// One round of looking after the recording; its age.
    fn tick(&self) -> gst::ClockTime {
        let now = self.now();
        if now >= PICTURE_TIMEOUT && !self.video.has_begun() {
            tracing::info!("no picture yet, beginning with a black one");
            self.video.begin_without_picture();
        }
        self.video.tick();
        self.audio.tick();
        now
    }

    fn finish(&self, attachments: [Attachment; 2]) -> Result<(), RecordingError> {
        let end = self.now();
        self.video.end_at(end);
        self.audio.end_at(end);
        let bus = self.pipeline.bus();
        while self.now() < end + TAIL_TIMEOUT
            && !(self.video.is_complete() && self.audio.is_complete())
        {
            // The wait between two looks; an error ends it.
            let error = bus.as_ref().and_then(|bus| {
                bus.timed_pop_filtered(
                    gst::ClockTime::from_mseconds(20),
                    &[gst::MessageType::Error],
                )
            });
            if let Some(gst::MessageView::Error(error)) = error.as_ref().map(|m| m.view()) {
                return Err(RecordingError::Pipeline(describe(error)));
            }
        }
        drop(attachments);
        self.video.finish();
        self.audio.finish();
        let types = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = bus.and_then(|bus| bus.timed_pop_filtered(EOS_TIMEOUT, &types));
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Eos(_)) => Ok(()),
            Some(gst::MessageView::Error(error)) => Err(RecordingError::Pipeline(describe(error))),
            _ => Err(RecordingError::NotFinalised),
        }
    }

    fn check_bus(&self) -> Result<(), RecordingError> {
        let types = [gst::MessageType::Error, gst::MessageType::Eos];
        let message = self.pipeline.bus().and_then(|bus| bus.pop_filtered(&types));
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => Err(RecordingError::Pipeline(describe(error))),
            Some(_) => Err(RecordingError::Pipeline("the stream ended".into())),
            None => Ok(()),
        }
    }

    fn now(&self) -> gst::ClockTime {
        self.inputs
            .timebase
            .now()
            .saturating_sub(self.inputs.origin)
    }

    fn force_key_frame(&self) {
        if let Some(pad) = self.encoder.static_pad("src") {
            pad.send_event(
                gst_video::UpstreamForceKeyUnitEvent::builder()
                    .all_headers(true)
                    .build(),
            );
        }
    }

    fn progress(&self, id: i64, output: &Output) -> RecordingProgress {
        RecordingProgress {
            recording_id: id,
            duration_ms: self.position.load(Ordering::Relaxed) / 1_000_000,
            bytes: output.bytes(),
            dropped_frames: self.video.dropped(),
            path: output.path().to_owned(),
            gaps: Vec::new(),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Err(error) = self.pipeline.set_state(gst::State::Null) {
            tracing::warn!(%error, "the recording pipeline does not stop");
        }
    }
}

fn started_message(id: i64, recipe: &Recipe, output: &Output) -> WorkerMessage {
    WorkerMessage::RecordingStarted {
        recording_id: id,
        encoder: Some(recipe.video_encoder.clone()),
        path: output.path().to_owned(),
    }
}

#[cfg(test)]
mod tests;
