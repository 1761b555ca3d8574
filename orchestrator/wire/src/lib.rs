//! Messages between the Haven server and its workers.
//!
//! A worker is one `haven-worker` process for one live session. The server writes
//! [`ServerMessage`]s to its standard input and reads [`WorkerMessage`]s from its standard output,
//! one JSON object a line; standard error carries the worker's log. Nothing else crosses the
//! border but media, over the Unix socket named in [`SessionConfig::media_socket`].
//!
//! The first line the server writes is [`ServerMessage::Start`]. The worker answers
//! [`WorkerMessage::Ready`] once its media socket listens, then reports what happens. When its
//! standard input ends, the server is gone: the worker finalises its files and exits.
//!
//! Secrets (tokens) travel only here, never in arguments or the environment.

mod codec;
mod costs;
mod probe;
mod publisher;

pub use codec::{LineError, LineReader, MAX_LINE_BYTES, encode_line};
pub use costs::{Cost, Costs};
pub use probe::{COPIED, ChosenEncoders, FormatProbe, NO_VIDEO, Probe, QualityPreset};
pub use publisher::{MAX_PUBLISHERS, PublishedTrack, Publisher};

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What the server says to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// Always the first message: what to run.
    Start(SessionConfig),
    /// The answer to [`WorkerMessage::TokenRequest`].
    Token(TokenReply),
    /// Begin a recording. Answered by [`WorkerMessage::RecordingStarted`] or
    /// [`WorkerMessage::RecordingFinished`] with an error.
    StartRecording(RecordingConfig),
    /// Finalise a recording. Answered by [`WorkerMessage::RecordingFinished`].
    StopRecording {
        /// Which one.
        recording_id: i64,
    },
    /// Serve pictures of at most this width (pixels), too, with the sound, on
    /// [`rendition_socket`]: from now on until the worker ends, at no cost while nobody watches.
    Show {
        /// One of [`RENDITION_WIDTHS`].
        width: u32,
    },
    /// Finalise every recording, leave the room, and exit.
    Shutdown,
}

/// Widths of the smaller pictures that viewers may ask for, in pixels.
pub const RENDITION_WIDTHS: [u32; 2] = [320, 640];

/// Where a worker serves pictures of at most this width.
pub fn rendition_socket(media_socket: &Path, width: u32) -> PathBuf {
    let mut path = media_socket.to_owned().into_os_string();
    path.push(format!(".{width}"));
    path.into()
}

/// What a worker runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionConfig {
    /// Row of the session in the server's database; for log lines.
    pub session_id: i64,
    /// The mint, or the room name of a generic session; for log lines and viewers' messages.
    pub key: String,
    /// Where the media comes from.
    pub source: Source,
    /// Unix socket on which the worker serves frames and sound (the relay protocol of the crate
    /// `viewer-socket`). Its folder exists; the worker makes the socket and removes it.
    pub media_socket: PathBuf,
    /// End the session when nobody has published for this long, in milliseconds (0: never).
    pub waiting_timeout_ms: u64,
    /// A folder with further format descriptions, if the user has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formats_dir: Option<PathBuf>,
}

/// Where a session's media comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A LiveKit room.
    Room {
        /// The token to join with first; later ones are asked for by
        /// [`WorkerMessage::TokenRequest`].
        access: RoomAccess,
        /// Local addresses to gather ICE candidates on (empty: the default interfaces).
        #[serde(default)]
        ice_addresses: Vec<std::net::IpAddr>,
    },
    /// The built-in test room: a pattern with a running clock, and a tone.
    Demo,
}

/// Where a room is, and the secret that opens it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct RoomAccess {
    /// The LiveKit server, `ws://…` or `wss://…`.
    pub url: String,
    /// A viewer's token (a JWT). Secret.
    pub token: String,
}

impl std::fmt::Debug for RoomAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoomAccess")
            .field("url", &self.url)
            .field("token", &"…")
            .finish()
    }
}

/// The server's answer to a request for a fresh token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenReply {
    /// The [`WorkerMessage::TokenRequest`] this answers.
    pub request_id: u64,
    /// The token; none when it could not be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<RoomAccess>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether asking again may help (an outage) or not (the stream is over).
    #[serde(default)]
    pub retry: bool,
}

/// One recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordingConfig {
    /// Row of the recording in the server's database.
    pub recording_id: i64,
    /// Name of a format in the worker's format description (`h264`, …).
    pub format: String,
    /// Name of one of its quality presets (`low`, `medium`, `high`).
    pub quality: String,
    /// The encoders that the probe chose.
    #[serde(default)]
    pub encoders: ChosenEncoders,
    /// The file to write, whose folder exists. A recording of the source has the extension of what
    /// comes in place of this one's; further files have `_part2`, `_part3` … before it, and so has the
    /// first one where something has its name. A file that exists is never written to.
    pub path: PathBuf,
    /// Whose voices are recorded.
    #[serde(default)]
    pub audio: AudioChoice,
    /// When to go on in a further file.
    #[serde(default)]
    pub split: Split,
}

/// Whose voices are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioChoice {
    /// Everybody's in the room, mixed.
    #[default]
    Mix,
    /// The streamer's own track alone; untouched where the format keeps what comes.
    Streamer,
}

/// When a recording goes on in a further file; 0 stands for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Split {
    /// Length of a file in milliseconds. Encoded files are cut there, files of the source at the
    /// next key frame.
    pub after_ms: u64,
    /// Size of a file in bytes. A file is a little larger: what is still on its way to it.
    pub after_bytes: u64,
}

/// Why a recording goes on in a further file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartReason {
    /// It was to be split here.
    Split,
    /// The publisher's codec or its parameters (the size, the profile) changed.
    SourceChanged,
}

/// What a worker says to the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum WorkerMessage {
    /// The pipeline is built and the media socket listens.
    Ready {
        /// Version of the worker.
        version: String,
    },
    /// A token is needed to rejoin; the server answers with [`ServerMessage::Token`].
    TokenRequest {
        /// Number of the request, unique in this worker.
        request_id: u64,
    },
    /// What is true now. Sent whenever any of it changes.
    Status(SessionStatus),
    /// Media is being written into the first file.
    RecordingStarted {
        /// Which one.
        recording_id: i64,
        /// The GStreamer element that encodes its video; none where nothing encodes it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        encoder: Option<String>,
        /// The file, whose extension is the container's.
        path: PathBuf,
    },
    /// How far a recording's newest file is; about once a second.
    RecordingProgress(RecordingProgress),
    /// A recording goes on in a further file, without a break. What is still to be written to the
    /// one before it is told by [`WorkerMessage::RecordingPartFinished`], which may come later.
    RecordingPartStarted {
        /// Which recording.
        recording_id: i64,
        /// The new file.
        path: PathBuf,
    },
    /// A file of a recording that goes on is complete.
    RecordingPartFinished {
        /// How long and large it is.
        #[serde(flatten)]
        progress: RecordingProgress,
        /// Why the recording goes on in another file.
        reason: PartReason,
        /// What went wrong with it, if anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A recording is over: its last file is complete and playable, unless `error` says otherwise.
    /// Nothing of it follows.
    RecordingFinished {
        /// How long and large the last file is.
        #[serde(flatten)]
        progress: RecordingProgress,
        /// Why it ended, if that wasn't asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Whether that was since the disk is full.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        disk_full: bool,
    },
    /// The session is over and the worker is about to exit.
    Ended {
        /// Why.
        reason: EndReason,
    },
}

/// A session as the worker sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// State of the connection.
    pub state: SessionState,
    /// The LiveKit room that was really joined; empty before that.
    #[serde(default)]
    pub room_name: String,
    /// SID of the participant whose tracks are shown, while somebody publishes.
    #[serde(default)]
    pub participant_sid: Option<String>,
    /// The video as it arrives.
    #[serde(default)]
    pub video: Option<VideoStatus>,
    /// The audio as it arrives.
    #[serde(default)]
    pub audio: Option<AudioStatus>,
    /// Whose pictures and sound are taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publishers: Vec<Publisher>,
}

/// State of a session's connection, in the words of the HTTP API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Not joined yet.
    #[default]
    Connecting,
    /// Media arrives.
    Live,
    /// Joined, and nobody publishes.
    Waiting,
    /// The connection was lost and is being made again.
    Reconnecting,
}

/// Video as the publisher sends it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VideoStatus {
    /// `h264`, `vp8`, `vp9` or `av1`.
    pub codec: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second over the last seconds.
    pub fps: f64,
    /// Bits per second over the last seconds.
    pub bitrate: u64,
}

/// Audio as the publisher sends it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AudioStatus {
    /// `opus`.
    pub codec: String,
    /// Hertz.
    pub sample_rate: u32,
    /// 1 or 2.
    pub channels: u32,
    /// Bits per second over the last seconds.
    pub bitrate: u64,
}

/// How far a recording is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecordingProgress {
    /// Which one.
    pub recording_id: i64,
    /// Length of what is in the file, in milliseconds.
    pub duration_ms: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Frames that arrived and are not in the file.
    pub dropped_frames: u64,
    /// The file; empty where there is none.
    #[serde(default)]
    pub path: PathBuf,
    /// When nothing came: of video, or of sound where there is no video. Those that are over, and
    /// at most [`MAX_GAPS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
}

/// Gaps of one file that are told.
pub const MAX_GAPS: usize = 1000;

/// A time in which nothing came, in the file's own time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Its begin, in milliseconds from the file's.
    pub at_ms: u64,
    /// Its length in milliseconds.
    pub for_ms: u64,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EndReason {
    /// [`ServerMessage::Shutdown`], or the server is gone.
    Stopped,
    /// The room was closed.
    RoomDeleted,
    /// Nobody published for [`SessionConfig::waiting_timeout_ms`].
    NoPublisher,
    /// The token was refused, or the room forbids it.
    NotAuthorized {
        /// What the server said.
        message: String,
    },
    /// No connection to the LiveKit server.
    Connection {
        /// What failed.
        message: String,
    },
    /// The worker could not go on.
    Error {
        /// What failed.
        message: String,
    },
}
