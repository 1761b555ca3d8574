//! What a room is asked for.

use crate::event::{AudioMode, VideoSource};
use crate::layers::VideoLimits;
use crate::network::Network;
use std::time::Duration;

/// What to take from a room, and how long to be patient.
#[derive(Clone, Debug)]
pub struct RoomConfig {
    /// Take this participant's tracks only; none: the streamer's, that is whoever publishes and
    /// isn't called a viewer.
    pub participant: Option<String>,
    /// Which of its videos.
    pub video_source: VideoSource,
    /// Whose sound.
    pub audio: AudioMode,
    /// Take nothing before [`Input::Choices`](super::Input::Choices) has a word on it.
    pub ask: bool,
    /// How large and fast video may be, where the publisher gives a choice.
    pub video_limits: VideoLimits,
    /// End when nobody has published for this long; none: wait for ever.
    pub waiting_timeout: Option<Duration>,
    /// End when a lost connection could not be made again for this long; none: try for ever.
    pub reconnect_timeout: Option<Duration>,
    /// Local addresses to receive media on; empty: the one on the way to the server.
    pub ice_addresses: Vec<std::net::IpAddr>,
    /// Which ways media may take.
    pub network: Network,
}

impl Default for RoomConfig {
    fn default() -> Self {
        Self {
            participant: None,
            video_source: VideoSource::Any,
            audio: AudioMode::Streamer,
            ask: false,
            video_limits: VideoLimits::default(),
            waiting_timeout: Some(Duration::from_secs(600)),
            reconnect_timeout: None,
            ice_addresses: Vec::new(),
            network: Network::default(),
        }
    }
}
