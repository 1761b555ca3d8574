//! Writing a file to see what that costs.

use super::{Inputs, Plan, RecordingError, part::Part, signature::Signature};
use crate::output::Output;
use std::{path::Path, sync::Arc};

/// One file of a recording that takes all it is given: whoever pushes waits for it.
pub(crate) struct Rehearsal(Part);

impl Rehearsal {
    /// Begins a file with what its inputs remember.
    ///
    /// # Errors
    /// When the file can't be made, or its pipeline can't be built or doesn't start.
    pub(crate) fn begin(plan: &Plan, inputs: Inputs, path: &Path) -> Result<Self, RecordingError> {
        let origin = inputs.asked;
        let signature = match plan {
            Plan::Copy => inputs.video.key_frame(origin),
            Plan::Encode(_) | Plan::Wave => None,
        };
        let signature = signature.and_then(|first| Signature::of(&first));
        let output = Output::create(path)?;
        let mut part = Part::begin(plan, signature, output, &Arc::new(inputs), origin)?;
        part.job.take_everything();
        part.job.let_in(origin);
        Ok(Self(part))
    }

    /// Has the encoder make a key frame, as a recording does each second.
    pub(crate) fn force_key_frame(&self) {
        self.0.job.force_key_frame();
    }

    /// Whether all is well.
    ///
    /// # Errors
    /// When the pipeline complains.
    pub(crate) fn check(&self) -> Result<(), RecordingError> {
        self.0.job.check_bus()
    }

    /// Nothing from this running time on belongs into the file.
    pub(crate) fn end_at(&self, end: gst::ClockTime) {
        self.0.job.end_at(end);
    }

    /// Finalises the file, whose end is known; its size in bytes.
    ///
    /// # Errors
    /// When it can't be finalised.
    pub(crate) fn finish(self, end: gst::ClockTime) -> Result<u64, RecordingError> {
        match self.0.finish(0, end) {
            (_, Some(error)) => Err(error),
            (progress, None) => Ok(progress.bytes),
        }
    }
}
