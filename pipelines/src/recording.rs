mod copy;
mod finishers;
mod fragments;
mod gaps;
mod graph;
mod job;
mod part;
mod plan;
mod recorder;
mod rehearsal;
mod signature;
mod span;

pub(crate) use copy::SILENT_PACKET;
pub(crate) use gaps::Gaps;
pub(crate) use job::Track;
pub(crate) use plan::{BUILT_IN, Plan, probe};
pub(crate) use rehearsal::Rehearsal;
pub(crate) use signature::Signature;
pub(crate) use span::Span;

use crate::{
    decode::{Lease, describe},
    inbox::{Event, Inbox, Outbox},
    output::OutputError,
    tap::Tap,
    timebase::Timebase,
};
use finishers::Finishers;
use haven_wire::{RecordingConfig, RecordingProgress, WorkerMessage};
use job::EOS_TIMEOUT;
use recorder::Recorder;
use rustix::io::Errno;
use std::{
    io,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

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
    #[error("a fault of the worker ended it; what was written plays")]
    Panic,
}

impl RecordingError {
    /// What a pipeline complained of.
    fn of(error: &gst::message::Error) -> Self {
        let said = describe(error);
        let kind = error.error();
        let full = kind.matches(gst::ResourceError::NoSpaceLeft)
            || (kind.matches(gst::ResourceError::Write) && is_quota(error));
        match full {
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

/// Whether a file can't grow since its owner may have no more space. A filesink has no kind of error
/// for that, but gives the system's words for it.
fn is_quota(error: &gst::message::Error) -> bool {
    let words = io::Error::from(Errno::DQUOT).to_string();
    // What follows them is Rust's.
    let words = words.split(" (os error").next().unwrap_or_default();
    error.debug().is_some_and(|debug| debug.contains(words))
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
    /// Running time from which on is recorded.
    pub(crate) asked: gst::ClockTime,
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
        plan: Plan,
        inputs: Inputs,
        inbox: Inbox,
        outbox: Outbox,
    ) -> Result<Self, RecordingError> {
        let (stop, stopped) = sync_channel(1);
        let asked = inputs.asked;
        let thread = thread::Builder::new()
            .name(format!("rec-{}", config.recording_id))
            .spawn(move || {
                let id = config.recording_id;
                let span = tracing::info_span!("recording", recording_id = id);
                let _entered = span.enter();
                reporting(id, &outbox.clone(), |finishers| {
                    Recorder::new(config, plan, inputs, outbox, finishers).record(asked, &stopped)
                });
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

/// Whatever happens in `record`, the server hears of the recording's end, once all files before its
/// last one are finalised.
fn reporting(
    id: i64,
    outbox: &Outbox,
    record: impl FnOnce(&mut Finishers) -> (RecordingProgress, Option<RecordingError>),
) {
    let mut finishers = Finishers::default();
    let recorded = panic::catch_unwind(AssertUnwindSafe(|| record(&mut finishers)));
    finishers.join();
    let (progress, error) =
        recorded.unwrap_or_else(|_| (RecordingProgress::default(), Some(RecordingError::Panic)));
    if let Some(error) = &error {
        tracing::error!(%error, "recording failed");
    }
    outbox.send(WorkerMessage::RecordingFinished {
        disk_full: error.as_ref().is_some_and(RecordingError::is_disk_full),
        progress: RecordingProgress {
            recording_id: id,
            ..progress
        },
        error: error.map(|error| error.to_string()),
    });
}

#[cfg(test)]
mod tests;
