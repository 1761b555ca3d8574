//! The element's property table.

use crate::settings::{
    AudioChoice, DEFAULT_AUDIO_MODE, DEFAULT_LATENCY_MS, DEFAULT_RECONNECT_TIMEOUT_MS,
    DEFAULT_TRANSPORT_POLICY, DEFAULT_VIDEO_SOURCE, DEFAULT_WAITING_TIMEOUT_MS, Settings,
    TransportChoice, VideoChoice,
};
use gst::glib;
use gst::prelude::*;
use std::sync::LazyLock;

pub(super) const PROP_CONNECTION_STATE: &str = "connection-state";
pub(super) const PROP_ROOM_NAME: &str = "room-name";
pub(super) const PROP_STREAMER_SID: &str = "streamer-sid";
pub(super) const PROP_STATS: &str = "stats";

const STATS_BLURB: &str = "livekitsrc-stats: counted since the element started (uint64): \
    video-frames, video-bytes, audio-frames, audio-bytes, dropped-frames, reconnects; of the \
    connection, where known: round-trip-time (uint64, ns), protocol, local-address, \
    remote-address (string); tracks: array of livekitsrc-track-stats with sid, identity, kind, \
    codec (string), width, height (uint, pixels), muted (boolean), frames, bytes, bitrate (bit/s), \
    key-frames, dropped-frames, packets, packets-lost (uint64), loss (double, 0 to 1), \
    jitter (uint64, ns), nacks, plis (uint64)";

/// State of the connection to the room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstLiveKitSrcConnectionState")]
#[repr(i32)]
pub enum ConnectionState {
    /// Not started, or over.
    #[default]
    #[enum_value(name = "Not started, or over", nick = "disconnected")]
    Disconnected = 0,
    /// Joining for the first time.
    #[enum_value(name = "Joining for the first time", nick = "connecting")]
    Connecting = 1,
    /// Joined, and nobody publishes.
    #[enum_value(name = "Joined, and nobody publishes", nick = "waiting")]
    Waiting = 2,
    /// Frames arrive.
    #[enum_value(name = "Frames arrive", nick = "live")]
    Live = 3,
    /// The connection was lost and is being made again.
    #[enum_value(
        name = "The connection was lost and is being made again",
        nick = "reconnecting"
    )]
    Reconnecting = 4,
}

impl From<livekit_room::ConnectionState> for ConnectionState {
    fn from(state: livekit_room::ConnectionState) -> Self {
        use livekit_room::ConnectionState as Room;
        match state {
            Room::Connecting => Self::Connecting,
            Room::Waiting => Self::Waiting,
            Room::Live => Self::Live,
            Room::Reconnecting => Self::Reconnecting,
            Room::Ended => Self::Disconnected,
        }
    }
}

pub(crate) static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let mut all = where_to();
    all.extend(what());
    all.extend(by_which_way());
    all.extend(how_patiently());
    all.extend(what_is_true_now());
    all
});

fn text(name: &'static str, nick: &str, blurb: &str) -> glib::ParamSpec {
    glib::ParamSpecString::builder(name)
        .nick(nick)
        .blurb(blurb)
        .mutable_ready()
        .build()
}

fn secret(name: &'static str, nick: &str, blurb: &str) -> glib::ParamSpec {
    glib::ParamSpecString::builder(name)
        .nick(nick)
        .blurb(blurb)
        .mutable_ready()
        .write_only()
        .build()
}

fn limit(name: &'static str, nick: &str, blurb: &str) -> glib::ParamSpec {
    glib::ParamSpecUInt::builder(name)
        .nick(nick)
        .blurb(blurb)
        .mutable_playing()
        .build()
}

fn where_to() -> Vec<glib::ParamSpec> {
    vec![
        text(
            "mint-id",
            "Mint",
            "Mint of a pump.fun coin whose livestream to join (empty = join url instead)",
        ),
        text(
            "url",
            "Server URL",
            "LiveKit server to join, ws:// or wss:// (empty = join mint-id instead)",
        ),
        secret(
            "token",
            "Access token",
            "Token (JWT) for url; later joins ask for a fresh one by request-token (write-only)",
        ),
        text(
            "api-key",
            "API key",
            "Key to make tokens from, with api-secret and room, where there is no token",
        ),
        secret("api-secret", "API secret", "Secret of api-key (write-only)"),
        text(
            "room",
            "Room",
            "Room to make a token for, with api-key and api-secret",
        ),
        text(
            "identity",
            "Identity",
            "Our identity in tokens made from api-key (empty = a unique one)",
        ),
    ]
}

fn what() -> Vec<glib::ParamSpec> {
    vec![
        text(
            "participant",
            "Participant",
            "Identity of the participant to take (empty = the streamer: who publishes and is no viewer)",
        ),
        glib::ParamSpecEnum::builder_with_default("video-source", DEFAULT_VIDEO_SOURCE)
            .nick("Video source")
            .blurb("Which of the participant's videos to take")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("audio-mode", DEFAULT_AUDIO_MODE)
            .nick("Audio mode")
            .blurb("Whose sound to give out")
            .mutable_ready()
            .build(),
        limit(
            "max-width",
            "Largest width",
            "Width in pixels that video may have where the publisher sends several sizes; if all are wider, the smallest is taken (0 = no limit)",
        ),
        limit(
            "max-height",
            "Largest height",
            "Height in pixels that video may have where the publisher sends several sizes; if all are higher, the smallest is taken (0 = no limit)",
        ),
        limit(
            "max-fps",
            "Highest frame rate",
            "Frames per second to ask for where the publisher sends several rates; the server takes the lowest that isn't below this (0 = no limit)",
        ),
    ]
}

fn by_which_way() -> Vec<glib::ParamSpec> {
    vec![
        text(
            "ice-addresses",
            "ICE addresses",
            "Local IP addresses to receive media on, separated by commas (empty = HAVEN_ICE_ADDRESSES, else the address on the way to the server)",
        ),
        glib::ParamSpecEnum::builder_with_default(
            "ice-transport-policy",
            DEFAULT_TRANSPORT_POLICY,
        )
        .nick("ICE transport policy")
        .blurb("Which ways media may take to the server; a server that demands TURN has it whatever this says")
        .mutable_ready()
        .build(),
        secret(
            "turn-servers",
            "TURN servers",
            "TURN servers beside those that the LiveKit server names, turn(s)://user:password@host:port?transport=udp|tcp, separated by commas, special characters percent-encoded (write-only; empty = none)",
        ),
    ]
}

fn how_patiently() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecUInt::builder("latency")
            .nick("Latency")
            .blurb("Time in milliseconds that frames may be late, for jitter and retransmissions; reported to the pipeline (0 = none)")
            .maximum(10_000)
            .default_value(DEFAULT_LATENCY_MS)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("waiting-timeout")
            .nick("Waiting time-out")
            .blurb("Time in milliseconds without a publisher after which the stream ends (0 = never)")
            .default_value(DEFAULT_WAITING_TIMEOUT_MS)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("reconnect-timeout")
            .nick("Reconnect time-out")
            .blurb("Time in milliseconds for which a lost connection is tried again before it is an error (0 = for ever)")
            .default_value(DEFAULT_RECONNECT_TIMEOUT_MS)
            .mutable_ready()
            .build(),
    ]
}

fn what_is_true_now() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecEnum::builder::<ConnectionState>(PROP_CONNECTION_STATE)
            .nick("Connection state")
            .blurb("State of the connection to the room")
            .read_only()
            .build(),
        glib::ParamSpecString::builder(PROP_ROOM_NAME)
            .nick("Room name")
            .blurb("Name of the room that was joined, as the server says it")
            .read_only()
            .build(),
        glib::ParamSpecString::builder(PROP_STREAMER_SID)
            .nick("Streamer's SID")
            .blurb("SID of the participant whose tracks are taken (NULL = nobody publishes)")
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>(PROP_STATS)
            .nick("Statistics")
            .blurb(STATS_BLURB)
            .read_only()
            .build(),
    ]
}

/// Stores a property's new value.
pub(crate) fn store(settings: &mut Settings, name: &str, value: &glib::Value) {
    let text = || {
        value
            .get::<Option<String>>()
            .ok()
            .flatten()
            .filter(|text| !text.is_empty())
    };
    let number = |default| value.get::<u32>().unwrap_or(default);
    match name {
        "mint-id" => settings.mint_id = text(),
        "url" => settings.url = text(),
        "token" => settings.token = text(),
        "api-key" => settings.api_key = text(),
        "api-secret" => settings.api_secret = text(),
        "room" => settings.room = text(),
        "identity" => settings.identity = text(),
        "participant" => settings.participant = text(),
        "video-source" => settings.video_source = value.get::<VideoChoice>().unwrap_or_default(),
        "audio-mode" => settings.audio_mode = value.get::<AudioChoice>().unwrap_or_default(),
        "max-width" => settings.video_limits.max_width = number(0),
        "max-height" => settings.video_limits.max_height = number(0),
        "max-fps" => settings.video_limits.max_fps = number(0),
        "ice-addresses" => settings.ice_addresses = text(),
        "ice-transport-policy" => {
            settings.transport_policy = value.get::<TransportChoice>().unwrap_or_default();
        }
        "turn-servers" => settings.turn_servers = text(),
        "latency" => settings.latency_ms = number(DEFAULT_LATENCY_MS),
        "waiting-timeout" => settings.waiting_timeout_ms = number(DEFAULT_WAITING_TIMEOUT_MS),
        "reconnect-timeout" => {
            settings.reconnect_timeout_ms = number(DEFAULT_RECONNECT_TIMEOUT_MS);
        }
        _ => {}
    }
}

/// A settable property's present value.
pub(crate) fn load(settings: &Settings, name: &str) -> Option<glib::Value> {
    Some(match name {
        "mint-id" => settings.mint_id.to_value(),
        "url" => settings.url.to_value(),
        "api-key" => settings.api_key.to_value(),
        "room" => settings.room.to_value(),
        "identity" => settings.identity.to_value(),
        "participant" => settings.participant.to_value(),
        "video-source" => settings.video_source.to_value(),
        "audio-mode" => settings.audio_mode.to_value(),
        "max-width" => settings.video_limits.max_width.to_value(),
        "max-height" => settings.video_limits.max_height.to_value(),
        "max-fps" => settings.video_limits.max_fps.to_value(),
        "ice-addresses" => settings.ice_addresses.to_value(),
        "ice-transport-policy" => settings.transport_policy.to_value(),
        "latency" => settings.latency_ms.to_value(),
        "waiting-timeout" => settings.waiting_timeout_ms.to_value(),
        "reconnect-timeout" => settings.reconnect_timeout_ms.to_value(),
        _ => return None,
    })
}

/// Names of the readable properties whose values differ.
pub(super) fn differing(before: &Settings, after: &Settings) -> Vec<&'static str> {
    let text = |settings: &Settings, name| {
        let value = load(settings, name)?;
        value.serialize().ok()
    };
    PROPERTIES
        .iter()
        .map(glib::ParamSpec::name)
        .filter(|name| text(before, name) != text(after, name))
        .collect()
}
