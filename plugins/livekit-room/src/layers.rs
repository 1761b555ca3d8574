//! Which of a video's sizes and rates to ask the server for; pure.

use crate::tracks::publications::Layer;
use livekit_protocol as proto;
use std::collections::{HashMap, HashSet};

/// A rate above every publisher's. The server leaves a limit in force when the next request has
/// none, so lifting one needs a number (livekit-server 1.13.5, `SubscribedTrack.applySettings`).
const EVERY_FRAME: u32 = 1000;

/// What video may have at most, where the publisher sends it in several sizes or rates. 0 stands
/// for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VideoLimits {
    /// Width in pixels. If every size is wider, the smallest one is taken.
    pub max_width: u32,
    /// Height in pixels. If every size is higher, the smallest one is taken.
    pub max_height: u32,
    /// Frames per second. The server knows a few rates of each stream (a half, a quarter) and
    /// takes the slowest that isn't slower than this.
    pub max_fps: u32,
}

/// What the server was asked for.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    limits: VideoLimits,
    /// By the track's SID; quality and rate.
    asked: HashMap<String, (proto::VideoQuality, u32)>,
    /// Tracks whose newest request may not have arrived.
    doubtful: HashSet<String>,
}

impl Layers {
    pub(crate) fn new(limits: VideoLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// A new session, whose server has been asked for nothing.
    pub(crate) fn reset(&mut self) {
        self.asked.clear();
        self.doubtful.clear();
    }

    /// What was asked for may not have arrived: it is to be said again.
    pub(crate) fn doubt(&mut self) {
        self.doubtful = self.asked.keys().cloned().collect();
    }

    pub(crate) fn set_limits(&mut self, limits: VideoLimits) {
        self.limits = limits;
    }

    /// What has to be said to the server about a video that comes in these sizes, if that is news
    /// for it.
    pub(crate) fn request(
        &mut self,
        track: &str,
        layers: &[Layer],
    ) -> Option<proto::UpdateTrackSettings> {
        let before = self.asked.get(track).copied();
        let max_fps = match (self.limits.max_fps, before) {
            (0, Some((_, asked))) if asked > 0 => EVERY_FRAME,
            (max_fps, _) => max_fps,
        };
        let wanted = (self.quality(layers), max_fps);
        // The server sends the best by itself.
        let doubtful = self.doubtful.remove(track);
        if !doubtful && wanted == before.unwrap_or((proto::VideoQuality::High, 0)) {
            return None;
        }
        self.asked.insert(track.to_owned(), wanted);
        Some(proto::UpdateTrackSettings {
            track_sids: vec![track.to_owned()],
            quality: wanted.0 as i32,
            fps: wanted.1,
            ..Default::default()
        })
    }

    /// A track that is no longer taken.
    pub(crate) fn remove(&mut self, track: &str) {
        self.asked.remove(track);
        self.doubtful.remove(track);
    }

    /// The best size within the limits, or the smallest one. The server's own choice by width and
    /// height would be the smallest that is *not below* them.
    fn quality(&self, layers: &[Layer]) -> proto::VideoQuality {
        let within = |value: u32, limit: u32| limit == 0 || value <= limit;
        let fits = |layer: &&Layer| {
            within(layer.width, self.limits.max_width)
                && within(layer.height, self.limits.max_height)
        };
        layers
            .iter()
            .filter(fits)
            .max_by_key(|layer| layer.quality as i32)
            .or(layers.iter().min_by_key(|layer| layer.quality as i32))
            .map_or(proto::VideoQuality::High, |layer| layer.quality)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::VideoQuality::{High, Low, Medium};

    fn simulcast() -> [Layer; 3] {
        let sizes = [(Low, 320, 180), (Medium, 640, 360), (High, 1280, 720)];
        sizes.map(|(quality, width, height)| Layer {
            quality,
            width,
            height,
        })
    }

    fn asked(max_width: u32, max_height: u32, max_fps: u32) -> Option<(proto::VideoQuality, u32)> {
        let mut layers = Layers::new(VideoLimits {
            max_width,
            max_height,
            max_fps,
        });
        let request = layers.request("TR_1", &simulcast())?;
        assert_eq!(request.track_sids, ["TR_1"]);
        Some((request.quality(), request.fps))
    }

    #[test]
    fn the_best_size_within_the_limits_is_asked_for() {
        assert_eq!(asked(640, 0, 0), Some((Medium, 0)));
        assert_eq!(asked(0, 719, 0), Some((Medium, 0)));
        assert_eq!(asked(1279, 200, 0), Some((Low, 0)));
        assert_eq!(asked(0, 0, 15), Some((High, 15)));
    }

    #[test]
    fn without_a_limit_that_matters_nothing_is_asked_for() {
        assert_eq!(asked(0, 0, 0), None);
        assert_eq!(asked(1280, 720, 0), None);
    }

    #[test]
    fn limits_below_every_size_give_the_smallest() {
        assert_eq!(asked(16, 16, 0), Some((Low, 0)));
    }

    #[test]
    fn a_lifted_limit_is_said_and_said_once() {
        let mut layers = Layers::new(VideoLimits {
            max_height: 180,
            max_fps: 10,
            ..VideoLimits::default()
        });
        assert!(layers.request("TR_1", &simulcast()).is_some());
        assert_eq!(layers.request("TR_1", &simulcast()), None);
        layers.set_limits(VideoLimits::default());
        let lifted = layers.request("TR_1", &simulcast()).unwrap();
        assert_eq!((lifted.quality(), lifted.fps), (High, EVERY_FRAME));
        assert_eq!(layers.request("TR_1", &simulcast()), None);
    }

    #[test]
    fn what_may_not_have_arrived_is_said_again() {
        let mut layers = Layers::new(VideoLimits {
            max_height: 180,
            ..VideoLimits::default()
        });
        layers.doubt();
        assert!(layers.request("TR_1", &simulcast()).is_some());
        layers.doubt();
        layers.set_limits(VideoLimits::default());
        assert_eq!(
            layers.request("TR_1", &simulcast()).unwrap().quality(),
            High
        );
        assert_eq!(layers.request("TR_1", &simulcast()), None);
    }

    #[test]
    fn a_track_without_named_sizes_is_left_alone() {
        let mut layers = Layers::new(VideoLimits {
            max_width: 100,
            ..VideoLimits::default()
        });
        assert_eq!(layers.request("TR_1", &[]), None);
    }
}
