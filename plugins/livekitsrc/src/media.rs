//! Frames of the room as GStreamer's caps and buffers.

use livekit_room::{Codec, Frame, Kind};
use std::sync::Arc;

/// A temporal delimiter OBU: WebRTC leaves it out (RTP payload format for AV1, section 5), and
/// `alignment=tu` wants it in.
const AV1_TEMPORAL_DELIMITER: &[u8] = &[0x12, 0x00];

/// A publisher's rate changes as it likes. Said where no parser finds a rate in the stream, since
/// muxers insist on the field (as RTP depayloaders do).
const VARIABLE_RATE: gst::Fraction = gst::Fraction::new_raw(0, 1);

/// The encoded caps a codec comes with.
pub(crate) fn caps(codec: Codec) -> gst::Caps {
    match codec {
        Codec::H264 => gst::Caps::builder("video/x-h264")
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build(),
        Codec::Vp8 => gst::Caps::builder("video/x-vp8")
            .field("framerate", VARIABLE_RATE)
            .build(),
        Codec::Vp9 => gst::Caps::builder("video/x-vp9")
            .field("alignment", "super-frame")
            .field("framerate", VARIABLE_RATE)
            .build(),
        Codec::Av1 => gst::Caps::builder("video/x-av1")
            .field("stream-format", "obu-stream")
            .field("alignment", "tu")
            .field("framerate", VARIABLE_RATE)
            .build(),
        // WebRTC's Opus is always this (RFC 7587, section 7), whatever was put in.
        Codec::Opus => gst::Caps::builder("audio/x-opus")
            .field("rate", 48_000)
            .field("channels", 2)
            .field("channel-mapping-family", 0)
            .build(),
    }
}

/// The caps from this key frame on, where they say more than the codec alone: muxers want to know
/// the size of VP8, and GStreamer has no parser that finds it.
pub(crate) fn key_frame_caps(frame: &Frame) -> Option<gst::Caps> {
    if frame.codec != Codec::Vp8 || !frame.key {
        return None;
    }
    let (width, height) = vp8_size(&frame.data)?;
    let mut caps = caps(Codec::Vp8);
    let inner = caps.make_mut();
    inner.set("width", i32::from(width));
    inner.set("height", i32::from(height));
    Some(caps)
}

/// Width and height in pixels from a VP8 key frame's header (RFC 6386, section 9.1): three bytes of
/// frame tag, a start code, then twice 14 bits of size and 2 of scaling.
fn vp8_size(frame: &[u8]) -> Option<(u16, u16)> {
    let header: &[u8; 10] = frame.first_chunk()?;
    if header[0] & 1 != 0 || header[3..6] != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let size = |low: u8, high: u8| u16::from_le_bytes([low, high]) & 0x3fff;
    let (width, height) = (size(header[6], header[7]), size(header[8], header[9]));
    (width > 0 && height > 0).then_some((width, height))
}

/// Everything a pad of this kind can carry: all codecs, or raw.
pub(crate) fn template_caps(kind: Kind) -> gst::Caps {
    let codecs: &[Codec] = match kind {
        Kind::Video => &[Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1],
        Kind::Audio => &[Codec::Opus],
    };
    let mut all: gst::Caps = codecs.iter().copied().map(caps).collect();
    all.merge(raw_caps(kind));
    all
}

/// What a decoder of this kind makes, in any memory.
pub(crate) fn raw_caps(kind: Kind) -> gst::Caps {
    let name = match kind {
        Kind::Video => "video/x-raw",
        Kind::Audio => "audio/x-raw",
    };
    gst::Caps::builder(name).any_features().build()
}

/// The frame as a buffer around the same bytes.
pub(crate) fn buffer(frame: &Frame, pts: gst::ClockTime, discontinuity: bool) -> gst::Buffer {
    let mut buffer = gst::Buffer::new();
    let inner = buffer.make_mut();
    if frame.codec == Codec::Av1 {
        inner.append_memory(gst::Memory::from_slice(AV1_TEMPORAL_DELIMITER));
    }
    inner.append_memory(gst::Memory::from_slice(Shared(frame.data.clone())));
    inner.set_pts(pts);
    if !frame.key {
        inner.set_flags(gst::BufferFlags::DELTA_UNIT);
    }
    if discontinuity {
        inner.set_flags(gst::BufferFlags::DISCONT);
    }
    buffer
}

/// Lets a buffer own a share of a frame.
struct Shared(Arc<[u8]>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_vp8_is_found_in_key_frames_only() {
        let key = [0x10, 2, 0, 0x9d, 0x01, 0x2a, 0x80, 0x42, 0x68, 0x01, 7];
        assert_eq!(vp8_size(&key), Some((640, 360)));
        let mut delta = key;
        delta[0] |= 1;
        assert_eq!(vp8_size(&delta), None);
        for end in 0..10 {
            assert_eq!(vp8_size(&key[..end]), None);
        }
    }
}
