//! What the element was asked for.

use gst::glib;
use livekit_room::{
    AudioMode, Choice, Network, RoomConfig, TransportPolicy, TurnServer, VideoLimits, VideoSource,
};
use std::net::IpAddr;
use std::time::Duration;

pub(crate) const DEFAULT_LATENCY_MS: u32 = 200;
pub(crate) const DEFAULT_WAITING_TIMEOUT_MS: u32 = 600_000;
pub(crate) const DEFAULT_RECONNECT_TIMEOUT_MS: u32 = 0;
pub(crate) const DEFAULT_VIDEO_SOURCE: VideoChoice = VideoChoice::Any;
pub(crate) const DEFAULT_AUDIO_MODE: AudioChoice = AudioChoice::Streamer;
pub(crate) const DEFAULT_TRANSPORT_POLICY: TransportChoice = TransportChoice::All;

/// Addresses to receive media on where the property is empty, as for the server.
const ICE_ADDRESSES_ENV: &str = "HAVEN_ICE_ADDRESSES";

/// Which of the streamer's videos is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstLiveKitSrcVideoSource")]
#[repr(i32)]
pub enum VideoChoice {
    /// The camera if there is one, else a screen share.
    #[default]
    #[enum_value(name = "The camera if there is one, else a screen share", nick = "any")]
    Any = 0,
    /// Only a camera.
    #[enum_value(name = "Only a camera", nick = "camera")]
    Camera = 1,
    /// Only a screen share.
    #[enum_value(name = "Only a screen share", nick = "screen-share")]
    ScreenShare = 2,
    /// A screen share if there is one, else the camera.
    #[enum_value(
        name = "A screen share if there is one, else the camera",
        nick = "screen-share-first"
    )]
    ScreenShareFirst = 3,
}

/// Whose sound is given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstLiveKitSrcAudioMode")]
#[repr(i32)]
pub enum AudioChoice {
    /// The streamer's, encoded or raw.
    #[default]
    #[enum_value(name = "The streamer's, encoded or raw", nick = "streamer")]
    Streamer = 0,
    /// Everybody's, mixed into one continuous raw stream.
    #[enum_value(
        name = "Everybody's, mixed into one continuous raw stream",
        nick = "mix"
    )]
    Mix = 1,
}

/// What becomes of a published track; the answer of `select-track`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstLiveKitSrcTrackChoice")]
#[repr(i32)]
pub enum TrackChoice {
    /// What would become of it without the signal.
    #[default]
    #[enum_value(name = "What would become of it without the signal", nick = "usual")]
    Usual = 0,
    /// It gets a pad.
    #[enum_value(name = "It gets a pad", nick = "take")]
    Take = 1,
    /// It is left alone.
    #[enum_value(name = "It is left alone", nick = "leave")]
    Leave = 2,
}

impl From<TrackChoice> for Choice {
    fn from(choice: TrackChoice) -> Self {
        match choice {
            TrackChoice::Usual => Self::Usual,
            TrackChoice::Take => Self::Take,
            TrackChoice::Leave => Self::Leave,
        }
    }
}

/// Which ways media may take to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstLiveKitSrcTransportPolicy")]
#[repr(i32)]
pub enum TransportChoice {
    /// UDP, and TCP and TURN if it doesn't connect.
    #[default]
    #[enum_value(name = "UDP, and TCP and TURN if it doesn't connect", nick = "all")]
    All = 0,
    /// Only UDP, directly.
    #[enum_value(name = "Only UDP, directly", nick = "udp")]
    Udp = 1,
    /// Only TCP, directly.
    #[enum_value(name = "Only TCP, directly", nick = "tcp")]
    Tcp = 2,
    /// Only by a TURN server.
    #[enum_value(name = "Only by a TURN server", nick = "relay")]
    Relay = 3,
}

/// Properties as they were set.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) mint_id: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) api_key: Option<String>,
    pub(crate) api_secret: Option<String>,
    pub(crate) room: Option<String>,
    pub(crate) identity: Option<String>,
    pub(crate) participant: Option<String>,
    pub(crate) video_source: VideoChoice,
    pub(crate) audio_mode: AudioChoice,
    pub(crate) video_limits: VideoLimits,
    pub(crate) ice_addresses: Option<String>,
    pub(crate) transport_policy: TransportChoice,
    pub(crate) turn_servers: Option<String>,
    pub(crate) latency_ms: u32,
    pub(crate) waiting_timeout_ms: u32,
    pub(crate) reconnect_timeout_ms: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mint_id: None,
            url: None,
            token: None,
            api_key: None,
            api_secret: None,
            room: None,
            identity: None,
            participant: None,
            video_source: DEFAULT_VIDEO_SOURCE,
            audio_mode: DEFAULT_AUDIO_MODE,
            video_limits: VideoLimits::default(),
            ice_addresses: None,
            transport_policy: DEFAULT_TRANSPORT_POLICY,
            turn_servers: None,
            latency_ms: DEFAULT_LATENCY_MS,
            waiting_timeout_ms: DEFAULT_WAITING_TIMEOUT_MS,
            reconnect_timeout_ms: DEFAULT_RECONNECT_TIMEOUT_MS,
        }
    }
}

/// Settings that don't make sense together; the sentence is for the person who made them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SettingsError(pub(crate) String);

impl Settings {
    /// What the room's driver is to do.
    ///
    /// # Errors
    /// When the addresses or the TURN servers can't be read.
    pub(crate) fn room_config(&self) -> Result<RoomConfig, SettingsError> {
        Ok(RoomConfig {
            participant: self.participant.clone(),
            video_source: match self.video_source {
                VideoChoice::Any => VideoSource::Any,
                VideoChoice::Camera => VideoSource::Camera,
                VideoChoice::ScreenShare => VideoSource::ScreenShare,
                VideoChoice::ScreenShareFirst => VideoSource::ScreenShareFirst,
            },
            audio: match self.audio_mode {
                AudioChoice::Streamer => AudioMode::Streamer,
                AudioChoice::Mix => AudioMode::Everyone,
            },
            ask: false,
            video_limits: self.video_limits,
            waiting_timeout: timeout(self.waiting_timeout_ms),
            reconnect_timeout: timeout(self.reconnect_timeout_ms),
            ice_addresses: self.addresses()?,
            network: Network {
                policy: match self.transport_policy {
                    TransportChoice::All => TransportPolicy::All,
                    TransportChoice::Udp => TransportPolicy::Udp,
                    TransportChoice::Tcp => TransportPolicy::Tcp,
                    TransportChoice::Relay => TransportPolicy::Relay,
                },
                turn_servers: parse_turn_servers(self.turn_servers.as_deref().unwrap_or(""))?,
            },
        })
    }

    fn addresses(&self) -> Result<Vec<IpAddr>, SettingsError> {
        let text = match &self.ice_addresses {
            Some(text) => text.clone(),
            None => std::env::var(ICE_ADDRESSES_ENV).unwrap_or_default(),
        };
        parse_addresses(&text)
    }
}

/// Addresses separated by commas; none in an empty text.
fn parse_addresses(text: &str) -> Result<Vec<IpAddr>, SettingsError> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            part.parse().map_err(|_| {
                SettingsError(format!(
                    "ice-addresses has '{part}', which is no IP address; write them like 127.0.0.1,::1"
                ))
            })
        })
        .collect()
}

/// URLs separated by commas. An error says which one it is by its place: it has a password.
fn parse_turn_servers(text: &str) -> Result<Vec<TurnServer>, SettingsError> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .enumerate()
        .map(|(index, url)| {
            url.parse().map_err(|error| {
                SettingsError(format!(
                    "number {} of turn-servers can't be used: {error}; write them like \
                     turn://user:password@host:3478?transport=udp",
                    index + 1
                ))
            })
        })
        .collect()
}

/// 0 stands for never.
fn timeout(ms: u32) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_a_wrong_one_is_named() {
        let read = parse_addresses(" 127.0.0.1, ::1,").unwrap();
        assert_eq!(
            read,
            [
                "127.0.0.1".parse::<IpAddr>().unwrap(),
                "::1".parse().unwrap()
            ]
        );
        let error = parse_addresses("127.0.0.1,lo").unwrap_err();
        assert!(error.0.contains("'lo'"));
    }

    #[test]
    fn turn_servers_are_read_and_a_wrong_one_is_told_without_its_password() {
        let read = parse_turn_servers(
            "turn://u:secret@a.example, turns://u:secret@b.example:443?transport=tcp",
        )
        .unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!((read[1].host.as_str(), read[1].port), ("b.example", 443));
        let error = parse_turn_servers("turn://u:p@a.example,http://u:secret@b").unwrap_err();
        assert!(error.0.contains("number 2"), "{error}");
        assert!(!error.0.contains("secret"), "{error}");
    }

    #[test]
    fn zero_waits_for_ever() {
        let settings = Settings {
            waiting_timeout_ms: 0,
            ..Settings::default()
        };
        assert_eq!(settings.room_config().unwrap().waiting_timeout, None);
    }
}
