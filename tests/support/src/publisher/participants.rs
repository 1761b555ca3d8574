use serde::Deserialize;
use std::path::PathBuf;

/// Which of a participant's tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackKind {
    /// Camera.
    Video,
    /// Microphone.
    Audio,
}

impl TrackKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }
}

/// Something a publisher reported.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PublisherEvent {
    /// `published`, `started`, `progress`, `muted`, `unmuted`, `unpublished`, `changed`, `reconnecting`,
    /// `reconnected`, `disconnected`, `finished`, `failed` or `error`.
    pub event: String,
    /// Who.
    pub identity: String,
    /// `video` or `audio`, where it concerns one of them.
    pub kind: String,
    /// `TR_…`, with `published`.
    pub track_sid: String,
    /// Details of failures.
    pub message: String,
    /// Frames handed to the network since the start (with `progress` and `finished`).
    pub video_frames: u64,
    /// Packets of sound handed to the network (pre-encoded publisher only).
    pub audio_packets: u64,
    /// Number of the newest frame since the start, sent or not; the counter in the picture of a clip is
    /// this modulo the clip's frames.
    pub frame_number: i64,
    /// How late a frame left at worst, in milliseconds (pre-encoded publisher only).
    pub max_late_ms: f64,
    /// Frames that were due more than a frame ago and weren't drawn (live publisher only).
    pub skipped_frames: u64,
}

/// Who publishes a clip, with which token.
#[derive(Clone, Debug)]
pub struct ClipParticipant {
    /// Identity, for events and commands.
    pub identity: String,
    /// Token for the room.
    pub token: String,
    /// Publish the picture.
    pub video: bool,
    /// Publish the sound.
    pub audio: bool,
    /// This sound (Opus in Ogg, packets of 20 ms) in place of the clip's.
    pub voice: Option<PathBuf>,
}

impl ClipParticipant {
    /// A participant with picture and sound.
    pub fn new(identity: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            identity: identity.into(),
            token: token.into(),
            video: true,
            audio: true,
            voice: None,
        }
    }

    /// A participant that only speaks.
    pub fn voice(identity: impl Into<String>, token: impl Into<String>, voice: PathBuf) -> Self {
        Self {
            video: false,
            voice: Some(voice),
            ..Self::new(identity, token)
        }
    }
}

/// What the live publisher does. It draws and encodes while it sends: up to a core at 720p30.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// `h264`, `vp8`, `vp9` or `av1`.
    pub codec: &'static str,
    /// Send several sizes, those that somebody wants.
    pub simulcast: bool,
    /// Layers of one scalable stream, for example `L3T3_KEY` (VP9 and AV1 only); empty: one layer.
    pub scalability: &'static str,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second.
    pub fps: u32,
    /// Bit rate of the video in kbit/s, of the largest size.
    pub video_kbps: u32,
    /// Publish the picture.
    pub video: bool,
    /// Publish the sound.
    pub audio: bool,
}

impl Default for LiveOptions {
    /// 720p30 H.264 with sound.
    fn default() -> Self {
        Self {
            codec: "h264",
            simulcast: false,
            scalability: "",
            width: 1280,
            height: 720,
            fps: 30,
            video_kbps: 1500,
            video: true,
            audio: true,
        }
    }
}
