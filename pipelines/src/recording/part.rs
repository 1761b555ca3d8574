//! One file of a recording, from its first byte to its last.

use super::{Inputs, Plan, RecordingError, copy::Cut, job::Job, signature::Signature};
use crate::{measure, output::Output};
use haven_wire::{PartReason, RecordingProgress};
use std::sync::Arc;

/// Key frames come at least this often from encoders: what is after the last one is lost on a crash.
/// A publisher is asked as often while one is waited for.
pub(super) const KEY_FRAME_INTERVAL: gst::ClockTime = gst::ClockTime::SECOND;
/// How often progress is reported.
pub(super) const PROGRESS_INTERVAL: gst::ClockTime = gst::ClockTime::SECOND;

/// The file that is being written.
pub(super) struct Part {
    // The pipeline goes before the file, which is removed where nothing was written.
    pub(super) job: Job,
    pub(super) output: Output,
    /// When the next key frame is asked for, of an encoder or of the publisher, in the file's time.
    pub(super) key_frame_at: gst::ClockTime,
    /// When progress is told next, in the file's time.
    pub(super) progress_at: gst::ClockTime,
    /// Not before this, in the file's time, it is split.
    pub(super) whole_until: gst::ClockTime,
    /// Its end was asked for; it comes with the next key frame.
    pub(super) ending: Option<PartReason>,
}

impl Part {
    /// Makes a file ready that is to begin at the running time `origin`. [`Job::let_in`] begins it.
    ///
    /// # Errors
    /// When its pipeline can't be built, or doesn't start.
    pub(super) fn begin(
        plan: &Plan,
        signature: Option<Signature>,
        output: Output,
        inputs: &Arc<Inputs>,
        origin: gst::ClockTime,
    ) -> Result<Self, RecordingError> {
        let job = Job::build(plan, signature, &output, inputs, origin)?;
        job.start()?;
        Ok(Self {
            job,
            output,
            key_frame_at: KEY_FRAME_INTERVAL,
            progress_at: PROGRESS_INTERVAL,
            whole_until: gst::ClockTime::ZERO,
            ending: None,
        })
    }

    /// Where a stream can't go on in it, and why it then ends.
    pub(super) fn cut(&self) -> Option<Cut> {
        let cut = self.job.cut()?;
        let reason = match self.ending {
            Some(PartReason::SourceChanged) => PartReason::SourceChanged,
            Some(PartReason::Split) | None => cut.reason,
        };
        Some(Cut { reason, ..cut })
    }

    /// Finalises the file, which ends at this running time; its progress then, and what went wrong.
    pub(super) fn finish(
        mut self,
        id: i64,
        end: gst::ClockTime,
    ) -> (RecordingProgress, Option<RecordingError>) {
        let error = self.job.finish(end).err();
        (self.close(id, error.is_some()), error)
    }

    /// Leaves the file as it is, since it can't be finalised; its progress then.
    pub(super) fn give_up(self, id: i64) -> RecordingProgress {
        self.close(id, true)
    }

    fn close(self, id: i64, is_broken: bool) -> RecordingProgress {
        let mut progress = self.job.progress(id, &self.output);
        drop(self.job);
        if is_broken && let Err(problem) = measure::cut_off_incomplete(self.output.path()) {
            tracing::warn!(%problem, "the end of a file can't be cut off");
        }
        if let Ok(measured) = measure::measure(self.output.path()) {
            progress.duration_ms = measured.duration_ms;
            progress.bytes = measured.bytes;
        }
        tracing::info!(?progress, "file complete");
        progress
    }
}
