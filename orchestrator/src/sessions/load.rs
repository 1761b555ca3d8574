//! What a session takes of the machine, in the words of [`admission`](crate::admission).

use super::{actor::Actor, recording::Active};
use crate::{
    admission::{Doing, Planned},
    recordings::{Config, Settings},
    worker::Worker,
};
use haven_wire::{COPIED, SessionState, VideoStatus};

impl Actor {
    /// What it does, as far as that costs anything.
    pub(super) fn doing(&self) -> Doing {
        let status = &self.view.status;
        let rate = |video: &VideoStatus| {
            let pixels = f64::from(video.width) * f64::from(video.height);
            pixels * video.fps
        };
        Doing {
            pid: self.worker.as_ref().and_then(Worker::pid),
            live: status.state == SessionState::Live,
            pixel_rate: status.video.as_ref().map(rate).filter(|rate| *rate > 0.0),
            recordings: self.recordings.iter().map(Active::planned).collect(),
        }
    }
}

impl Active {
    /// What it is, as far as that costs anything.
    pub(super) fn planned(&self) -> Planned {
        let recording = &self.recording;
        planned(&recording.format, &recording.settings, &recording.config)
    }
}

/// A recording that is to be.
pub(super) fn planned(format: &str, settings: &Settings, config: &Config) -> Planned {
    let codec = config.video_codec.as_deref();
    Planned {
        format: format.to_owned(),
        quality: settings.quality.clone(),
        decodes: codec.is_some_and(|codec| codec != COPIED),
    }
}
