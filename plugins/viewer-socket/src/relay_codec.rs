//! Messages of [`Protocol::Relay`](crate::Protocol::Relay): a header of fixed size, then the picture
//! or the sound.

use crate::{
    AudioChunk, VideoFrame,
    message::{OPCODE_BINARY, frame},
};
use bytes::Bytes;
use std::time::Duration;

// The relay's header, big endian: kind u8, version u8, two zero bytes, width or sample rate u32,
// height or channels u32, seq u64, pts in nanoseconds u64, wall clock in microseconds i64.
pub(crate) const RELAY_HEADER_BYTES: usize = 36;
const RELAY_VERSION: u8 = 1;
const RELAY_VIDEO: u8 = 1;
const RELAY_AUDIO: u8 = 2;

/// A message of [`Protocol::Relay`](crate::Protocol::Relay).
#[derive(Clone, Debug, PartialEq)]
pub enum RelayMessage {
    /// A picture.
    Video(VideoFrame),
    /// Sound.
    Audio(AudioChunk),
    /// A kind that only a later version knows: pass it over.
    Unknown,
}

/// A binary message that is none of [`Protocol::Relay`](crate::Protocol::Relay).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedRelay {
    /// Shorter than the header.
    #[error("{0} bytes are too few for a relay message")]
    TooShort(usize),
    /// A wall clock time outside of what a calendar holds.
    #[error("the time stamp is out of range")]
    Timestamp,
    /// Sound that isn't whole samples of one or two channels.
    #[error("the sound is not whole samples of one or two channels")]
    Samples,
}

fn relay_frame(
    kind: u8,
    geometry: [u32; 2],
    seq: u64,
    times: (Duration, i64),
    data: &[u8],
) -> Bytes {
    let mut header = [0u8; RELAY_HEADER_BYTES];
    let pts_ns = u64::try_from(times.0.as_nanos()).unwrap_or(u64::MAX);
    header[0] = kind;
    header[1] = RELAY_VERSION;
    header[4..8].copy_from_slice(&geometry[0].to_be_bytes());
    header[8..12].copy_from_slice(&geometry[1].to_be_bytes());
    header[12..20].copy_from_slice(&seq.to_be_bytes());
    header[20..28].copy_from_slice(&pts_ns.to_be_bytes());
    header[28..36].copy_from_slice(&times.1.to_be_bytes());
    frame(OPCODE_BINARY, &[&header, data])
}

/// A picture's complete bytes on the wire.
pub(crate) fn video(video: &VideoFrame) -> Bytes {
    relay_frame(
        RELAY_VIDEO,
        [video.width, video.height],
        video.seq,
        (video.pts, video.timestamp.as_microsecond()),
        &video.jpeg,
    )
}

/// A chunk's complete bytes on the wire.
pub(crate) fn audio(audio: &AudioChunk) -> Bytes {
    relay_frame(
        RELAY_AUDIO,
        [audio.sample_rate, audio.channels],
        0,
        (audio.pts, audio.timestamp.as_microsecond()),
        &audio.pcm,
    )
}

/// Takes a binary message of [`Protocol::Relay`](crate::Protocol::Relay) apart; the picture or sound shares its bytes.
///
/// # Errors
/// See [`MalformedRelay`]. Never panics, whatever the bytes are.
pub fn decode_relay(message: &Bytes) -> Result<RelayMessage, MalformedRelay> {
    let Some((header, _)) = message.split_first_chunk::<RELAY_HEADER_BYTES>() else {
        return Err(MalformedRelay::TooShort(message.len()));
    };
    let four = |at: usize| {
        header[at..at + 4]
            .iter()
            .fold(0u32, |n, b| n << 8 | u32::from(*b))
    };
    let eight = |at: usize| {
        header[at..at + 8]
            .iter()
            .fold(0u64, |n, b| n << 8 | u64::from(*b))
    };
    let (first, second, seq) = (four(4), four(8), eight(12));
    let pts = Duration::from_nanos(eight(20));
    let timestamp = jiff::Timestamp::from_microsecond(eight(28) as i64)
        .map_err(|_| MalformedRelay::Timestamp)?;
    let payload = message.slice(RELAY_HEADER_BYTES..);
    match (header[1], header[0]) {
        (RELAY_VERSION, RELAY_VIDEO) => Ok(RelayMessage::Video(VideoFrame {
            jpeg: payload,
            width: first,
            height: second,
            pts,
            timestamp,
            seq,
        })),
        (RELAY_VERSION, RELAY_AUDIO) => {
            let whole =
                (1..=2).contains(&second) && payload.len().is_multiple_of(2 * second as usize);
            if !whole || first == 0 {
                return Err(MalformedRelay::Samples);
            }
            Ok(RelayMessage::Audio(AudioChunk {
                pcm: payload,
                sample_rate: first,
                channels: second,
                pts,
                timestamp,
            }))
        }
        _ => Ok(RelayMessage::Unknown),
    }
}
