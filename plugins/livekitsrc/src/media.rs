//! Frames of the room as GStreamer's caps and buffers.

use livekit_room::{Codec, Frame, Kind};
use std::sync::Arc;

/// A temporal delimiter OBU: WebRTC leaves it out (RTP payload format for AV1, section 5), and
/// `alignment=tu` wants it in.
const AV1_TEMPORAL_DELIMITER: &[u8] = &[0x12, 0x00];

/// The encoded caps a codec comes with.
pub(crate) fn caps(codec: Codec) -> gst::Caps {
    match codec {
        Codec::H264 => gst::Caps::builder("video/x-h264")
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build(),
        Codec::Vp8 => gst::Caps::new_empty_simple("video/x-vp8"),
        Codec::Vp9 => gst::Caps::builder("video/x-vp9")
            .field("alignment", "super-frame")
            .build(),
        Codec::Av1 => gst::Caps::builder("video/x-av1")
            .field("stream-format", "obu-stream")
            .field("alignment", "tu")
            .build(),
        // WebRTC's Opus is always this (RFC 7587, section 7), whatever was put in.
        Codec::Opus => gst::Caps::builder("audio/x-opus")
            .field("rate", 48_000)
            .field("channels", 2)
            .field("channel-mapping-family", 0)
            .build(),
    }
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
