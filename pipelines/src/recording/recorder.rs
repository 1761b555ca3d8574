//! One recording, file after file.

use super::{
    Inputs, Plan, RecordingError,
    copy::Cut,
    finishers::Finishers,
    graph,
    part::{KEY_FRAME_INTERVAL, PROGRESS_INTERVAL, Part},
    plan,
    signature::Signature,
};
use crate::{
    inbox::Outbox,
    output::{Output, OutputError},
};
use haven_wire::{PartReason, RecordingConfig, RecordingProgress, Split, WorkerMessage};
use std::{
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

/// How often a recording looks after itself.
const TICK: Duration = Duration::from_millis(50);
/// How long a recording that keeps pictures as they are waits for some before it begins without.
const PICTURE_TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(3);
/// A file that can end anywhere ends so much later than now, so that the next one is ready by then. If
/// it isn't, since many are made at a time, it ends once that one is.
const CUT_LEAD: gst::ClockTime = gst::ClockTime::from_mseconds(300);
/// Where there can be no further file now, that is tried again after this long.
const SPLIT_RETRY: gst::ClockTime = gst::ClockTime::from_seconds(10);

/// One recording, file after file.
pub(super) struct Recorder<'a> {
    config: RecordingConfig,
    plan: Plan,
    inputs: Arc<Inputs>,
    outbox: Outbox,
    /// The number in the next file's name.
    number: u32,
    /// The server knows that something is being written.
    started: bool,
    /// Files that are being finalised while the recording goes on.
    finishers: &'a mut Finishers,
}

/// Why no more is written to a file.
enum Halt {
    /// Its pipeline is broken: the file stays as it is.
    Broken(RecordingError),
    /// It ends here, and there can be no further one.
    NoFurther(RecordingError, Cut),
}

impl<'a> Recorder<'a> {
    pub(super) fn new(
        config: RecordingConfig,
        plan: Plan,
        inputs: Inputs,
        outbox: Outbox,
        finishers: &'a mut Finishers,
    ) -> Self {
        Self {
            config,
            plan,
            inputs: Arc::new(inputs),
            outbox,
            number: 1,
            started: false,
            finishers,
        }
    }

    /// Records until stopped, from the running time `asked` on: how it went, and what ended it before.
    pub(super) fn record(
        mut self,
        asked: gst::ClockTime,
        stopped: &Receiver<()>,
    ) -> (RecordingProgress, Option<RecordingError>) {
        let (begin, was_stopped) = self.wait_for_media(asked, stopped);
        let Some(begin) = begin else {
            tracing::warn!("nothing came to be recorded: there is no file");
            return (RecordingProgress::default(), None);
        };
        match self.open(begin) {
            Ok(mut part) => {
                part.job.let_in(begin);
                self.run(part, stopped, was_stopped)
            }
            Err(error) => (RecordingProgress::default(), Some(error)),
        }
    }

    /// What holds the pictures depends on them, and without any stream there is nothing to hold.
    /// When the first file is to begin, if there is to be one, and whether the recording was stopped
    /// meanwhile.
    fn wait_for_media(
        &self,
        asked: gst::ClockTime,
        stopped: &Receiver<()>,
    ) -> (Option<gst::ClockTime>, bool) {
        let mut begin = asked;
        let mut ask_at = asked;
        loop {
            let now = self.inputs.timebase.now();
            if self.has_picture(begin) || (now >= begin + PICTURE_TIMEOUT && self.has_sound()) {
                return (Some(begin), false);
            }
            if now >= ask_at {
                ask_at = now + KEY_FRAME_INTERVAL;
                self.inputs.video.request_key_frame();
            }
            // A file of what comes much later begins then.
            if now >= asked + PICTURE_TIMEOUT && !self.has_sound() {
                begin = now;
            }
            if stopped.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
                let worth = self.has_picture(begin) || self.has_sound();
                return (worth.then_some(begin), true);
            }
        }
    }

    /// Whether there are pictures for a file that begins then, where they are kept as they are.
    fn has_picture(&self, begin: gst::ClockTime) -> bool {
        !matches!(self.plan, Plan::Copy) || self.signature(begin).is_some()
    }

    /// A mix is never silent; it is silence.
    fn has_sound(&self) -> bool {
        self.inputs.mixes || self.inputs.audio.flows(self.inputs.timebase.now())
    }

    /// What flows now, where it is kept as it is.
    fn signature(&self, from: gst::ClockTime) -> Option<Signature> {
        if !matches!(self.plan, Plan::Copy) {
            return None;
        }
        let video = &self.inputs.video;
        let first = video.key_frame(from)?;
        let flows = first.pts >= from || video.flows(self.inputs.timebase.now());
        flows.then(|| Signature::of(&first)).flatten()
    }

    /// Makes the next file ready, to begin at this running time.
    fn open(&mut self, origin: gst::ClockTime) -> Result<Part, RecordingError> {
        let signature = self.signature(origin);
        let (output, number) = self.create(signature.as_ref())?;
        let part = Part::begin(&self.plan, signature, output, &self.inputs, origin)?;
        self.number = number + 1;
        Ok(part)
    }

    /// A new file, and the number in its name: the next one that is free.
    fn create(&self, signature: Option<&Signature>) -> Result<(Output, u32), OutputError> {
        let mut number = self.number;
        loop {
            match Output::create(&self.path(number, signature)) {
                Err(error) if error.is_taken() => number += 1,
                created => return created.map(|output| (output, number)),
            }
        }
    }

    fn path(&self, number: u32, signature: Option<&Signature>) -> PathBuf {
        let first = &self.config.path;
        let extension = match self.plan {
            Plan::Copy => graph::container(signature).into(),
            Plan::Encode(_) | Plan::Wave => first.extension().unwrap_or_default().to_owned(),
        };
        let stem = first.file_stem().unwrap_or_default().to_string_lossy();
        let name = match number {
            1 => stem.into_owned(),
            number => format!("{stem}_part{number}"),
        };
        // A dot in the stem is no extension's.
        let mut name = std::ffi::OsString::from(name);
        name.push(".");
        name.push(extension);
        first.with_file_name(name)
    }

    fn run(
        &mut self,
        mut part: Part,
        stopped: &Receiver<()>,
        was_stopped: bool,
    ) -> (RecordingProgress, Option<RecordingError>) {
        let mut halt = None;
        while !was_stopped && stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            if let Err(why) = self.look_after(&mut part) {
                halt = Some(why);
                break;
            }
        }
        let end = self.inputs.timebase.now();
        if halt.is_none() {
            halt = self.go_on_until(&mut part, end).err();
        }
        let id = self.config.recording_id;
        let (progress, error) = match halt {
            Some(Halt::Broken(error)) => (part.give_up(id), Some(error)),
            Some(Halt::NoFurther(error, cut)) => (part.finish(id, cut.at).0, Some(error)),
            None => part.finish(id, end),
        };
        if !self.started && progress.bytes > 0 {
            self.tell_start(progress.path.clone());
        }
        (progress, error)
    }

    fn look_after(&mut self, part: &mut Part) -> Result<(), Halt> {
        let now = part.job.tick();
        part.job.check_bus().map_err(Halt::Broken)?;
        if !self.started && part.job.has_begun() {
            self.tell_start(part.output.path().to_owned());
        }
        if now >= part.key_frame_at {
            part.key_frame_at = now + KEY_FRAME_INTERVAL;
            part.job.force_key_frame();
            if part.ending.is_some() {
                // Nothing encodes it here, and the publisher may make key frames on demand alone.
                self.inputs.video.request_key_frame();
            }
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
        if let Some(cut) = part.cut() {
            return Some(cut);
        }
        if part.ending.is_none() {
            part.ending = if part.job.misses_sound() {
                Some(PartReason::SourceChanged)
            } else {
                (self.is_to_be_split(part) && self.can_go_on(part)).then_some(PartReason::Split)
            };
            if part.ending.is_some() {
                // At once: the publisher's next key frame by itself may be far.
                part.key_frame_at = part.job.age();
            }
        }
        let reason = part.ending?;
        // While nothing comes there is nothing for a further file: this one has a gap.
        if part.job.split_at_key_frame() || !self.has_sound() {
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
        let age = part.job.age();
        let is_long = after_ms > 0 && age >= gst::ClockTime::from_mseconds(after_ms);
        (is_long || part.output.bytes() >= after_bytes)
            && age >= part.whole_until
            && part.job.has_begun()
    }

    /// Whether a further file can be made. If not, this one just grows larger than wished.
    fn can_go_on(&self, part: &mut Part) -> bool {
        let problem = self
            .create(self.signature(self.inputs.timebase.now()).as_ref())
            .err();
        if let Some(error) = &problem {
            tracing::warn!(%error, "not split: there can be no further file now");
            part.whole_until = part.job.age() + SPLIT_RETRY;
        }
        problem.is_none()
    }

    /// The recording ends at `end`: what a stream has ended before goes on in further files up to there.
    fn go_on_until(&mut self, part: &mut Part, end: gst::ClockTime) -> Result<(), Halt> {
        loop {
            // First: then none ends unseen.
            part.job.end_at(end);
            match part.cut() {
                Some(cut) if cut.at < end => self.go_on(part, cut)?,
                _ => return Ok(()),
            }
        }
    }

    /// Begins the next file; the one before is finalised beside it.
    fn go_on(&mut self, part: &mut Part, cut: Cut) -> Result<(), Halt> {
        let mut next = match self.open(cut.at) {
            Ok(next) => next,
            Err(error) => return Err(Halt::NoFurther(error, cut)),
        };
        // It may have taken longer than there was time for: until then all came into this file.
        let ready = cut.at.max(self.inputs.timebase.now());
        part.job.end_at(ready);
        // Unless a stream has ended before, whose rest is kept for the next one.
        let at = part.job.cut().map_or(ready, |known| known.at);
        let cut = Cut { at, ..cut };
        next.job.let_in(at);
        let old = std::mem::replace(part, next);
        let path = part.output.path().to_owned();
        tracing::info!(path = %path.display(), reason = ?cut.reason, "going on in another file");
        if !self.started {
            // Of a first file that never began, nobody knows.
            if !old.job.has_taken() && old.output.bytes() == 0 {
                return Ok(());
            }
            self.tell_start(old.output.path().to_owned());
        }
        let id = self.config.recording_id;
        let outbox = self.outbox.clone();
        outbox.send(WorkerMessage::RecordingPartStarted {
            recording_id: id,
            path,
        });
        let thread = thread::Builder::new().name(format!("rec-{id}-end"));
        self.finishers
            .run(thread, move || finish_beside(old, id, cut, &outbox));
        Ok(())
    }

    fn tell_start(&mut self, path: PathBuf) {
        self.started = true;
        self.outbox.send(WorkerMessage::RecordingStarted {
            recording_id: self.config.recording_id,
            encoder: self.plan.encoder(),
            path,
        });
    }
}

/// Finalises a file whose recording goes on in another one, and says how that went.
fn finish_beside(old: Part, id: i64, cut: Cut, outbox: &Outbox) {
    let path = old.output.path().to_owned();
    let finish = AssertUnwindSafe(|| old.finish(id, cut.at));
    let (progress, error) = panic::catch_unwind(finish).unwrap_or_else(|_| {
        let progress = RecordingProgress {
            recording_id: id,
            path,
            ..RecordingProgress::default()
        };
        (progress, Some(RecordingError::Panic))
    });
    outbox.send(WorkerMessage::RecordingPartFinished {
        progress,
        reason: cut.reason,
        error: error.map(|error| error.to_string()),
    });
}
