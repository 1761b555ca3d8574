//! Frames, sound and status, and how each protocol puts them on the wire.
//!
//! Everything here is pure: values in, the complete bytes of a server's WebSocket frame (header
//! and unmasked payload, RFC 6455 section 5.2) out. A server's frames are the same for every
//! viewer, so one buffer serves them all.

use crate::{relay_codec, ring::Weight};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The ways to show a session's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `/api/live-sessions/stream/…`: every message is a JSON object in a text message.
    Json,
    /// `/api/live-sessions/ws/live/…`: a JPEG is a binary message, sound is `audio:` and base64.
    Binary,
    /// Between a worker and the server: binary messages with a header of fixed size.
    Relay,
}

impl Protocol {
    /// One word for it, for statistics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Binary => "binary",
            Self::Relay => "relay",
        }
    }
}

/// One picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VideoFrame {
    /// The picture as JPEG.
    pub jpeg: Bytes,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Time since the session's media began; the same clock as [`AudioChunk::pts`].
    pub pts: Duration,
    /// When it was published, by the wall clock.
    pub timestamp: jiff::Timestamp,
    /// Number of the frame; grows by one each.
    pub seq: u64,
}

/// A stretch of sound, 20 ms as a rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AudioChunk {
    /// Samples, signed 16 bit little endian, channels interleaved.
    pub pcm: Bytes,
    /// Hertz.
    pub sample_rate: u32,
    /// 1 or 2.
    pub channels: u32,
    /// Time of the first sample since the session's media began.
    pub pts: Duration,
    /// When it was published, by the wall clock.
    pub timestamp: jiff::Timestamp,
}

/// What a session is doing, in the words of the HTTP API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Media arrives.
    Live,
    /// Nobody publishes yet, or nobody does any more.
    #[default]
    Waiting,
    /// The connection to the room is being made again.
    Reconnecting,
    /// Over; the connection is closed next.
    Ended,
}

/// A status message: the state, and whatever else viewers should know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// What the session is doing.
    pub state: State,
    /// Further fields of the JSON object (`reason`, …).
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl From<State> for Status {
    fn from(state: State) -> Self {
        Self {
            state,
            extra: serde_json::Map::new(),
        }
    }
}

/// Why viewers are sent away: a WebSocket close code and a reason of at most 123 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// Close code (RFC 6455 section 7.4).
    pub code: u16,
    /// One phrase for people.
    pub reason: String,
}

impl CloseReason {
    /// The session is over: 1000 `session ended`.
    pub fn session_ended() -> Self {
        Self::new(1000, "session ended")
    }

    /// The server is going down: 1001.
    pub fn going_away() -> Self {
        Self::new(1001, "server is going down")
    }

    /// The application wants this viewer gone: 1008.
    pub fn dismissed() -> Self {
        Self::new(1008, "disconnected by the application")
    }

    /// No session of that name: 4404.
    pub fn not_found(reason: impl Into<String>) -> Self {
        Self::new(4404, reason)
    }

    pub(crate) fn new(code: u16, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

/// A frame with its messages, each built when the first viewer asks for it.
#[derive(Debug)]
pub(crate) struct VideoMessage {
    pub(crate) frame: VideoFrame,
    json: OnceLock<Bytes>,
    binary: OnceLock<Bytes>,
    relay: OnceLock<Bytes>,
}

impl VideoMessage {
    pub(crate) fn new(frame: VideoFrame) -> Self {
        Self {
            frame,
            json: OnceLock::new(),
            binary: OnceLock::new(),
            relay: OnceLock::new(),
        }
    }

    /// The complete bytes on the wire, which are counted in `built` when they are made. `name` is
    /// the session's `mint_id`.
    pub(crate) fn wire(&self, protocol: Protocol, name: &str, built: &AtomicU64) -> Bytes {
        let counted = |wire: Bytes| {
            built.fetch_add(1, Ordering::Relaxed);
            wire
        };
        match protocol {
            Protocol::Json => self
                .json
                .get_or_init(|| counted(video_json(&self.frame, name))),
            Protocol::Binary => self
                .binary
                .get_or_init(|| counted(frame(OPCODE_BINARY, &[&self.frame.jpeg]))),
            Protocol::Relay => self
                .relay
                .get_or_init(|| counted(relay_codec::video(&self.frame))),
        }
        .clone()
    }
}

impl Weight for VideoMessage {
    fn bytes(&self) -> usize {
        self.frame.jpeg.len() + built([&self.json, &self.binary, &self.relay])
    }
}

/// A chunk of sound with its messages, each built when the first viewer asks for it.
#[derive(Debug)]
pub(crate) struct AudioMessage {
    chunk: AudioChunk,
    json: OnceLock<Bytes>,
    binary: OnceLock<Bytes>,
    relay: OnceLock<Bytes>,
}

impl AudioMessage {
    pub(crate) fn new(chunk: AudioChunk) -> Self {
        Self {
            chunk,
            json: OnceLock::new(),
            binary: OnceLock::new(),
            relay: OnceLock::new(),
        }
    }

    /// The complete bytes on the wire. `name` is the session's `mint_id`.
    pub(crate) fn wire(&self, protocol: Protocol, name: &str) -> Bytes {
        match protocol {
            Protocol::Json => self.json.get_or_init(|| audio_json(&self.chunk, name)),
            Protocol::Binary => self
                .binary
                .get_or_init(|| text_with_base64("audio:", &self.chunk.pcm, "")),
            Protocol::Relay => self.relay.get_or_init(|| relay_codec::audio(&self.chunk)),
        }
        .clone()
    }
}

impl Weight for AudioMessage {
    fn bytes(&self) -> usize {
        self.chunk.pcm.len() + built([&self.json, &self.binary, &self.relay])
    }
}

/// How long the messages are that are built so far.
fn built(messages: [&OnceLock<Bytes>; 3]) -> usize {
    let built = messages.iter().filter_map(|message| message.get());
    built.map(Bytes::len).sum()
}

/// The complete bytes of a status message.
pub(crate) fn status_wire(status: &Status, protocol: Protocol, name: &str) -> Bytes {
    #[derive(Serialize)]
    struct Object<'a> {
        r#type: &'static str,
        mint_id: &'a str,
        #[serde(flatten)]
        status: &'a Status,
    }
    let object = Object {
        r#type: "status",
        mint_id: name,
        status,
    };
    // Strings and JSON values only: there is nothing here that can't be written.
    let json = serde_json::to_vec(&object).unwrap_or_default();
    match protocol {
        Protocol::Json | Protocol::Relay => frame(OPCODE_TEXT, &[&json]),
        Protocol::Binary => frame(OPCODE_TEXT, &[b"status:", &json]),
    }
}

fn video_json(video: &VideoFrame, name: &str) -> Bytes {
    let tail = format!(
        r#"","mint_id":{},"timestamp":"{}","width":{},"height":{},"pts_ms":{},"seq":{}}}"#,
        serde_json::Value::from(name),
        format_args!("{:.3}", video.timestamp),
        video.width,
        video.height,
        video.pts.as_millis(),
        video.seq,
    );
    text_with_base64(r#"{"type":"video_frame","data":""#, &video.jpeg, &tail)
}

fn audio_json(audio: &AudioChunk, name: &str) -> Bytes {
    let tail = format!(
        r#"","mint_id":{},"timestamp":"{}","sample_rate":{},"channels":{},"pts_ms":{}}}"#,
        serde_json::Value::from(name),
        format_args!("{:.3}", audio.timestamp),
        audio.sample_rate,
        audio.channels,
        audio.pts.as_millis(),
    );
    text_with_base64(r#"{"type":"audio_frame","data":""#, &audio.pcm, &tail)
}

/// A text message of `head`, the base64 of `payload`, and `tail`, in one allocation.
fn text_with_base64(head: &str, payload: &[u8], tail: &str) -> Bytes {
    let encoded = payload.len().div_ceil(3) * 4;
    let length = head.len() + encoded + tail.len();
    let mut wire = Vec::with_capacity(length + MAX_HEADER_BYTES);
    push_header(&mut wire, OPCODE_TEXT, length);
    wire.extend_from_slice(head.as_bytes());
    let start = wire.len();
    wire.resize(start + encoded, 0);
    let written = STANDARD.encode_slice(payload, &mut wire[start..]);
    debug_assert_eq!(written.ok(), Some(encoded));
    wire.extend_from_slice(tail.as_bytes());
    wire.into()
}

pub(crate) const OPCODE_TEXT: u8 = 0x1;
pub(crate) const OPCODE_BINARY: u8 = 0x2;
pub(crate) const OPCODE_CLOSE: u8 = 0x8;
pub(crate) const OPCODE_PING: u8 = 0x9;
pub(crate) const OPCODE_PONG: u8 = 0xA;
const MAX_HEADER_BYTES: usize = 10;
/// Longest payload of a control frame (RFC 6455 section 5.5).
const MAX_CONTROL_BYTES: usize = 125;

fn push_header(wire: &mut Vec<u8>, opcode: u8, length: usize) {
    wire.push(0x80 | opcode);
    match length {
        0..=125 => wire.push(length as u8),
        126..=0xFFFF => {
            wire.push(126);
            wire.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            wire.push(127);
            wire.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// One unfragmented frame whose payload is `parts` in order.
pub(crate) fn frame(opcode: u8, parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut wire = Vec::with_capacity(length + MAX_HEADER_BYTES);
    push_header(&mut wire, opcode, length);
    for part in parts {
        wire.extend_from_slice(part);
    }
    wire.into()
}

/// A close frame; a reason that is too long for one is cut at a character's border.
pub(crate) fn close_frame(code: u16, reason: &str) -> Bytes {
    let end = reason.floor_char_boundary(MAX_CONTROL_BYTES - 2);
    frame(
        OPCODE_CLOSE,
        &[&code.to_be_bytes(), &reason.as_bytes()[..end]],
    )
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
