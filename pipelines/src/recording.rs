mod copy;
mod gaps;
mod graph;
mod job;
mod plan;
mod signature;

pub(crate) use gaps::Gaps;
pub(crate) use job::Track;
pub(crate) use plan::{Plan, probe};

use crate::{
    decode::{Lease, describe},
    inbox::{Event, Inbox, Outbox},
    measure,
    output::{Output, OutputError},
    tap::Tap,
    timebase::Timebase,
};
use copy::Cut;
use haven_wire::{PartReason, RecordingConfig, RecordingProgress, Split, WorkerMessage};
use job::{EOS_TIMEOUT, Job};
use signature::Signature;
use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
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
/// How long a recording that keeps pictures as they are waits for some before it begins without.
const PICTURE_TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(3);
/// A file that can end anywhere ends so much later than now, so that the next one is ready by then.
const CUT_LEAD: gst::ClockTime = gst::ClockTime::from_mseconds(300);

/// Why a recording ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordingError {
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("the recording pipeline of {origin} cannot be built: {problem}")]
    Build { origin: String, problem: String },
    #[error("the recording stopped: {0}")]
    Pipeline(String),
    #[error("the recording stopped, since the disk is full: {0}")]
    DiskFull(String),
    #[error("the file was not finalised within {} s; what was written plays", EOS_TIMEOUT.seconds())]
    NotFinalised,
    #[error("a thread for the recording cannot be started: {0}")]
    Thread(#[from] io::Error),
}

impl RecordingError {
    /// What a pipeline complained of.
    fn of(error: &gst::message::Error) -> Self {
        let said = describe(error);
        match error.error().matches(gst::ResourceError::NoSpaceLeft) {
            true => Self::DiskFull(said),
            false => Self::Pipeline(said),
        }
    }

    fn is_disk_full(&self) -> bool {
        match self {
            Self::DiskFull(_) => true,
            Self::Output(error) => error.is_disk_full(),
            _ => false,
        }
    }
}

/// What a recording takes its media from.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// Pictures: as they were published for a [`Plan::Copy`], else decoded.
    pub(crate) video: Arc<Tap>,
    /// Sound: as it was published for a [`Plan::Copy`] that doesn't mix, else decoded.
    pub(crate) audio: Arc<Tap>,
    /// The sound is decoded.
    pub(crate) mixes: bool,
    /// What keeps decoded what has to be.
    pub(crate) _leases: Vec<Lease>,
    pub(crate) timebase: Timebase,
}

/// A recording that runs on a thread of its own, and reports to the server by itself.
#[derive(Debug)]
pub(crate) struct Recording {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Recording {
    /// Starts a recording that begins now.
    ///
    /// # Errors
    /// When there is no thread to be had. All else is reported by the recording itself.
    pub(crate) fn start(
        config: RecordingConfig,
        plan: Plan,
        inputs: Inputs,
        inbox: Inbox,
        outbox: Outbox,
    ) -> Result<Self, RecordingError> {
        let (stop, stopped) = sync_channel(1);
        let origin = inputs.timebase.now();
        let thread = thread::Builder::new()
            .name(format!("rec-{}", config.recording_id))
            .spawn(move || {
                let id = config.recording_id;
                let span = tracing::info_span!("recording", recording_id = id);
                let _entered = span.enter();
                let recorder = Recorder {
                    config,
                    plan,
                    inputs: Arc::new(inputs),
                    outbox,
                    parts: 0,
                    finishing: Vec::new(),
                };
                recorder.record(origin, &stopped);
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

/// One recording, file after file.
struct Recorder {
    config: RecordingConfig,
    plan: Plan,
    inputs: Arc<Inputs>,
    outbox: Outbox,
    /// Files begun so far.
    parts: u32,
    /// Files that are being finalised while the recording goes on.
    finishing: Vec<JoinHandle<()>>,
}

/// The file that is being written.
struct Part {
    job: Job,
    output: Output,
    key_frame_at: gst::ClockTime,
    progress_at: gst::ClockTime,
    /// Its end was asked for; it comes with the next key frame.
    ending: Option<PartReason>,
}

impl Recorder {
    /// Records until stopped, and says how it went.
    fn record(mut self, origin: gst::ClockTime, stopped: &Receiver<()>) {
        let was_stopped = self.wait_for_picture(origin, stopped);
        let (progress, error) = match self.open(origin) {
            Ok(part) => self.run(part, stopped, was_stopped),
            Err(error) => (RecordingProgress::default(), Some(error)),
        };
        for thread in std::mem::take(&mut self.finishing) {
            if thread.join().is_err() {
                tracing::error!("a thread that finalises a file panicked");
            }
        }
        if let Some(error) = &error {
            tracing::error!(%error, "recording failed");
        }
        let disk_full = error.as_ref().is_some_and(RecordingError::is_disk_full);
        self.outbox.send(WorkerMessage::RecordingFinished {
            disk_full,
            progress: RecordingProgress {
                recording_id: self.config.recording_id,
                ..progress
            },
            error: error.map(|error| error.to_string()),
        });
    }

    /// What holds the pictures depends on them. Whether the recording was stopped meanwhile.
    fn wait_for_picture(&self, origin: gst::ClockTime, stopped: &Receiver<()>) -> bool {
        let begins_by = origin + PICTURE_TIMEOUT;
        while matches!(self.plan, Plan::Copy)
            && self.signature(origin).is_none()
            && self.inputs.timebase.now() < begins_by
        {
            if stopped.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
                return true;
            }
            self.inputs.video.request_key_frame();
        }
        false
    }

    /// What flows now, where it is kept as it is.
    fn signature(&self, from: gst::ClockTime) -> Option<Signature> {
        let video = &self.inputs.video;
        if !matches!(self.plan, Plan::Copy) || !video.flows(self.inputs.timebase.now()) {
            return None;
        }
        video.key_frame(from).as_ref().and_then(Signature::of)
    }

    /// Begins the next file at this running time.
    fn open(&mut self, origin: gst::ClockTime) -> Result<Part, RecordingError> {
        let signature = self.signature(origin);
        let output = Output::create(&self.next_path(signature.as_ref()))?;
        let started = Job::build(&self.plan, signature, &output, &self.inputs, origin)
            .and_then(|mut job| job.start().map(|()| job));
        match started {
            Ok(job) => {
                self.parts += 1;
                Ok(Part {
                    job,
                    output,
                    key_frame_at: KEY_FRAME_INTERVAL,
                    progress_at: PROGRESS_INTERVAL,
                    ending: None,
                })
            }
            Err(error) => {
                output.close();
                Err(error)
            }
        }
    }

    /// Of a further file that isn't there yet.
    fn next_path(&self, signature: Option<&Signature>) -> PathBuf {
        let first = &self.config.path;
        let extension = match self.plan {
            Plan::Copy => graph::container(signature).into(),
            Plan::Encode(_) | Plan::Wave => first.extension().unwrap_or_default().to_owned(),
        };
        if self.parts == 0 {
            return first.with_extension(extension);
        }
        let stem = first.file_stem().unwrap_or_default().to_string_lossy();
        let mut number = self.parts + 1;
        loop {
            let path = first
                .with_file_name(format!("{stem}_part{number}"))
                .with_extension(&extension);
            if path.symlink_metadata().is_err() {
                return path;
            }
            number += 1;
        }
    }

    fn run(
        &mut self,
        mut part: Part,
        stopped: &Receiver<()>,
        was_stopped: bool,
    ) -> (RecordingProgress, Option<RecordingError>) {
        let mut started = false;
        let mut error = None;
        while !was_stopped && stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            if let Err(problem) = self.look_after(&mut part, &mut started) {
                error = Some(problem);
                break;
            }
        }
        if !started && error.is_none() {
            self.outbox.send(self.started(&part));
        }
        let end = self.inputs.timebase.now();
        finish(self.config.recording_id, part, end, error)
    }

    fn look_after(&mut self, part: &mut Part, started: &mut bool) -> Result<(), RecordingError> {
        let now = part.job.tick();
        part.job.check_bus()?;
        if !*started && part.job.has_begun() {
            *started = true;
            self.outbox.send(self.started(part));
        }
        if now >= part.key_frame_at {
            part.key_frame_at = now + KEY_FRAME_INTERVAL;
            part.job.force_key_frame();
        }
        if now >= part.progress_at {
            part.progress_at = now + PROGRESS_INTERVAL;
            let progress = part.job.progress(self.config.recording_id, &part.output);
            self.outbox
                .offer(WorkerMessage::RecordingProgress(progress));
        }
        match self.cut(part) {
            Some(cut) => self.go_on(part, cut),
            None => Ok(()),
        }
    }

    /// Where this file ends and the next one begins, if that is known.
    fn cut(&self, part: &mut Part) -> Option<Cut> {
        if let Some(cut) = part.job.cut() {
            return Some(Cut {
                reason: part.ending.unwrap_or(cut.reason),
                ..cut
            });
        }
        let reason = part.ending.or_else(|| {
            if part.job.misses_sound() {
                Some(PartReason::SourceChanged)
            } else {
                self.is_to_be_split(part).then_some(PartReason::Split)
            }
        })?;
        part.ending = Some(reason);
        if part.job.split_at_key_frame() {
            return None;
        }
        let at = self.inputs.timebase.now() + CUT_LEAD;
        Some(Cut { at, reason })
    }

    fn is_to_be_split(&self, part: &Part) -> bool {
        let Split {
            after_ms,
            after_bytes,
        } = self.config.split;
        let largest = match self.plan {
            Plan::Wave => plan::LARGEST_WAVE_BYTES,
            Plan::Encode(_) | Plan::Copy => u64::MAX,
        };
        let after_bytes = if after_bytes == 0 {
            largest
        } else {
            after_bytes.min(largest)
        };
        let is_long = after_ms > 0 && part.job.age() >= gst::ClockTime::from_mseconds(after_ms);
        is_long || part.output.bytes() >= after_bytes
    }

    /// Begins the next file; the one before is finalised beside it.
    fn go_on(&mut self, part: &mut Part, cut: Cut) -> Result<(), RecordingError> {
        let next = self
            .open(cut.at)
            .inspect_err(|_| self.inputs.video.forget_from(cut.at))?;
        let id = self.config.recording_id;
        tracing::info!(path = %next.output.path().display(), reason = ?cut.reason, "going on in another file");
        self.outbox.send(WorkerMessage::RecordingPartStarted {
            recording_id: id,
            path: next.output.path().to_owned(),
        });
        let old = std::mem::replace(part, next);
        old.job.end_at(cut.at);
        let outbox = self.outbox.clone();
        self.finishing.retain(|thread| !thread.is_finished());
        let finisher = thread::Builder::new().name(format!("rec-{id}-end"));
        let thread = finisher.spawn(move || {
            let (progress, error) = finish(id, old, cut.at, None);
            outbox.send(WorkerMessage::RecordingPartFinished {
                progress,
                reason: cut.reason,
                error: error.map(|error| error.to_string()),
            });
        })?;
        self.finishing.push(thread);
        Ok(())
    }

    fn started(&self, part: &Part) -> WorkerMessage {
        WorkerMessage::RecordingStarted {
            recording_id: self.config.recording_id,
            encoder: self.plan.encoder(),
            path: part.output.path().to_owned(),
        }
    }
}

/// Finalises a file that ends at this running time; unless something failed before, when it stays as
/// it is.
fn finish(
    id: i64,
    part: Part,
    end: gst::ClockTime,
    error: Option<RecordingError>,
) -> (RecordingProgress, Option<RecordingError>) {
    let Part {
        mut job, output, ..
    } = part;
    let error = error.or_else(|| job.finish(end).err());
    let mut progress = job.progress(id, &output);
    drop(job);
    if error.is_some()
        && let Err(problem) = measure::cut_off_incomplete(output.path())
    {
        tracing::warn!(%problem, "the end of a file can't be cut off");
    }
    if let Ok(measured) = measure::measure(output.path()) {
        progress.duration_ms = measured.duration_ms;
        progress.bytes = measured.bytes;
    }
    tracing::info!(?progress, "file complete");
    output.close();
    (progress, error)
}

#[cfg(test)]
mod tests;
