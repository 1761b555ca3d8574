//! What a room says to the application.

use crate::network::Path;
use crate::stats::RoomStats;
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Something that happened in the room.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RoomEvent {
    /// The room was joined; said again after each full reconnect.
    Joined(JoinedRoom),
    /// The connection's state changed.
    State(ConnectionState),
    /// The participant whose tracks are taken changed, or is gone.
    Streamer(Option<Participant>),
    /// Somebody publishes a track, whether it is taken or not; its role is what it would be taken
    /// for.
    TrackPublished(Track),
    /// The track with this SID is no longer published.
    TrackUnpublished(Arc<str>),
    /// A track is about to deliver frames.
    TrackStarted(Track),
    /// A track delivers no more frames.
    TrackEnded(Track),
    /// The publisher muted or unmuted a track.
    TrackMuted {
        /// The track.
        track: Track,
        /// Whether it is silent now.
        muted: bool,
    },
    /// An encoded frame.
    Frame(Frame),
    /// How the connection does, once a second while there is one.
    Stats(RoomStats),
    /// The way media takes was found, or changed.
    Path(Path),
    /// The connection was lost and is being made again.
    Reconnecting {
        /// What was lost.
        reason: String,
        /// How many attempts were made since the connection last held, from 1.
        attempt: u32,
    },
    /// Somebody is in the room: everybody who was there at the join, and who came since. Who is
    /// there before and after a reconnect isn't said again.
    ParticipantJoined(Participant),
    /// Somebody left the room.
    ParticipantLeft(Participant),
    /// Somebody sent a data message into the room.
    Data(DataMessage),
}

/// A data message of the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataMessage {
    /// Identity of its sender; empty where the server sent it.
    pub identity: String,
    /// The topic it was sent under; empty without one. LiveKit's chat has `lk.chat`.
    pub topic: String,
    /// What was sent, at most 64 KiB.
    pub payload: Bytes,
    /// Whether it came by the channel on which nothing is lost.
    pub reliable: bool,
}

/// The room that was joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedRoom {
    /// The room's name as the server says it.
    pub name: String,
    /// The room's SID (`RM_…`).
    pub sid: String,
    /// Our own identity in it.
    pub identity: String,
}

/// State of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConnectionState {
    /// Not joined yet.
    #[default]
    Connecting,
    /// Joined; nothing to receive.
    Waiting,
    /// Frames arrive.
    Live,
    /// The connection was lost and is being made again.
    Reconnecting,
    /// Over.
    Ended,
}

/// A participant of the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// `PA_…`, new with each join.
    pub sid: String,
    /// The name its token carries.
    pub identity: String,
    /// The name to show.
    pub name: String,
}

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// Where a picture comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VideoSource {
    /// The camera if there is one, else a screen share, else any video.
    #[default]
    Any,
    /// Only a camera.
    Camera,
    /// Only a screen share.
    ScreenShare,
    /// A screen share if there is one, else the camera, else any video.
    ScreenShareFirst,
}

/// Whose sound is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AudioMode {
    /// The streamer's.
    #[default]
    Streamer,
    /// That of everybody who publishes any, each as a track of its own, to be mixed.
    Everyone,
}

/// What a track shows or plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TrackSource {
    /// The publisher didn't say.
    #[default]
    Unknown,
    /// A camera.
    Camera,
    /// A microphone.
    Microphone,
    /// A screen.
    ScreenShare,
    /// The sound that belongs to a screen.
    ScreenShareAudio,
}

/// What a track is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The streamer's picture or sound, one of each.
    Main,
    /// One voice of [`AudioMode::Everyone`].
    Speaker,
    /// What the application chose beyond that.
    Chosen,
}

/// What the application wants of a published track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Choice {
    /// What it would be without a choice.
    #[default]
    Usual,
    /// To have it.
    Take,
    /// Not to have it.
    Leave,
}

/// The application's choices by track SID.
pub type Choices = HashMap<Arc<str>, Choice>;

/// A published track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// `TR_…`, new with each publication.
    pub sid: Arc<str>,
    /// Video or audio.
    pub kind: Kind,
    /// What it shows or plays.
    pub source: TrackSource,
    /// The name it was published with; often empty.
    pub name: Arc<str>,
    /// What it is taken for.
    pub role: Role,
    /// Identity of its publisher.
    pub identity: Arc<str>,
    /// Name of its publisher, to be shown; may be empty.
    pub participant_name: Arc<str>,
    /// Width in pixels as announced; 0 where unknown.
    pub width: u32,
    /// Height in pixels as announced; 0 where unknown.
    pub height: u32,
}

/// A codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Annex B byte stream, one access unit a frame, parameter sets before key frames.
    H264,
    /// One frame as in RFC 6386.
    Vp8,
    /// One super frame, with its index where it has several spatial layers.
    Vp9,
    /// One temporal unit of OBUs with sizes, without a temporal delimiter.
    Av1,
    /// One packet, 48 kHz, up to two channels.
    Opus,
}

impl Codec {
    /// Video or audio.
    pub fn kind(self) -> Kind {
        match self {
            Self::H264 | Self::Vp8 | Self::Vp9 | Self::Av1 => Kind::Video,
            Self::Opus => Kind::Audio,
        }
    }

    /// Lower-case name (`h264`).
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::Av1 => "av1",
            Self::Opus => "opus",
        }
    }
}

/// An encoded frame as the publisher made it.
#[derive(Clone)]
pub struct Frame {
    /// SID of its track.
    pub track: Arc<str>,
    /// How `data` is encoded.
    pub codec: Codec,
    /// The frame. Shared, never copied.
    pub data: Arc<[u8]>,
    /// When it is to be shown, on the clock of this machine. Frames of one participant that were
    /// captured together carry the same time (once sender reports have come); within a track it
    /// only grows.
    pub time: Instant,
    /// When its first packet came.
    pub arrival: Instant,
    /// Whether a decoder can begin here. True for every audio packet.
    pub key: bool,
    /// Whether something before it is missing.
    pub discontinuity: bool,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("track", &self.track)
            .field("codec", &self.codec)
            .field("bytes", &self.data.len())
            .field("key", &self.key)
            .field("discontinuity", &self.discontinuity)
            .finish_non_exhaustive()
    }
}

/// Why a room is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The application asked for it.
    Stopped,
    /// The room was deleted, or closed by the server.
    RoomDeleted,
    /// The server removed us from the room.
    Removed,
    /// Somebody joined with our identity.
    DuplicateIdentity,
    /// Nobody has published for the waiting time-out.
    NoPublisher,
    /// The token was refused, or could not be had because it is refused.
    NotAuthorized(String),
    /// The stream that was asked for does not exist or isn't live.
    NotFound(String),
    /// The first join failed, or a lost connection could not be made again in time.
    Connection(String),
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::RoomDeleted => f.write_str("the room was deleted"),
            Self::Removed => f.write_str("the server removed this participant"),
            Self::DuplicateIdentity => f.write_str("another participant joined with this identity"),
            Self::NoPublisher => f.write_str("nobody publishes"),
            Self::NotAuthorized(why) => write!(f, "not authorized: {why}"),
            Self::NotFound(why) => write!(f, "not found: {why}"),
            Self::Connection(why) => write!(f, "no connection: {why}"),
        }
    }
}
