//! What a decoder, and a file's header, must know of an encoded stream: as long as it stays the
//! same, one file can hold the stream.

use crate::tap::Unit;

const H264_SPS: u8 = 7;
const H264_PPS: u8 = 8;
const AV1_SEQUENCE_HEADER: u8 = 1;

/// The codec and its parameters (size and profile among them), as a key frame carries them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    media: String,
    parameters: Vec<u8>,
}

impl Signature {
    /// What this key frame says. None where it isn't one, or carries no parameters.
    pub(crate) fn of(unit: &Unit) -> Option<Self> {
        let structure = unit.caps.structure(0)?;
        let media = structure.name().to_string();
        let map = unit.buffer.map_readable().ok()?;
        let parameters = match media.as_str() {
            "video/x-h264" => h264_parameter_sets(&map),
            "video/x-av1" => av1_sequence_header(&map)?.to_vec(),
            "video/x-vp8" => vp8_size(&map)?.to_vec(),
            "video/x-vp9" => vp9_parameters(&map)?.to_vec(),
            _ => return None,
        };
        let known = unit.key && !parameters.is_empty();
        known.then_some(Self { media, parameters })
    }

    /// The name of its caps.
    pub(crate) fn media(&self) -> &str {
        &self.media
    }
}

/// Sequence and picture parameter sets of an access unit in Annex B (ITU-T H.264, 7.3.1 and B.1),
/// in their order.
fn h264_parameter_sets(data: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    for unit in annex_b(data) {
        if matches!(
            unit.first().map(|header| header & 0x1f),
            Some(H264_SPS | H264_PPS)
        ) {
            found.extend_from_slice(unit);
        }
    }
    found
}

/// The NAL units between start codes.
fn annex_b(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(data);
    std::iter::from_fn(move || {
        let unit = rest?;
        let end = start_code(unit);
        rest = end.and_then(|end| after_start_code(&unit[end..]));
        let unit = &unit[..end.unwrap_or(unit.len())];
        // A start code of four bytes begins with a zero, and units may be padded with zeros.
        let padding = unit.iter().rev().take_while(|byte| **byte == 0).count();
        Some(&unit[..unit.len() - padding])
    })
}

fn start_code(data: &[u8]) -> Option<usize> {
    data.windows(3).position(|bytes| bytes == [0, 0, 1])
}

fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    start_code(data).map(|at| &data[at + 3..])
}

/// The first sequence header OBU of a temporal unit (AV1 specification, 5.3).
fn av1_sequence_header(mut data: &[u8]) -> Option<&[u8]> {
    loop {
        let header = *data.first()?;
        let (extended, sized) = (header & 0b100 != 0, header & 0b10 != 0);
        let payload = data.get(if extended { 2 } else { 1 }..)?;
        let (size, payload) = if sized {
            leb128(payload)?
        } else {
            (payload.len(), payload)
        };
        let content = payload.get(..size)?;
        if (header >> 3) & 0b1111 == AV1_SEQUENCE_HEADER {
            return Some(content);
        }
        data = &payload[size..];
    }
}

/// A number of AV1's (4.10.5), and what follows it.
fn leb128(data: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0usize;
    for (index, byte) in data.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (index * 7);
        if byte & 0x80 == 0 {
            return Some((value, &data[index + 1..]));
        }
    }
    None
}

/// Width and height as they stand in a key frame's header (RFC 6386, 9.1).
fn vp8_size(data: &[u8]) -> Option<&[u8]> {
    let inter_frame = data.first()? & 1 != 0;
    (!inter_frame).then(|| data.get(6..10)).flatten()
}

/// Profile, colours, width and height: the first 68 bits of a key frame's uncompressed header but
/// its flags and sync code (VP9 bitstream specification, 6.2). Profiles above 0 have a few more bits;
/// a change of their size shows in these all the same.
fn vp9_parameters(data: &[u8]) -> Option<[u8; 6]> {
    let header: &[u8; 9] = data.first_chunk()?;
    if header[1..4] != [0x49, 0x83, 0x42] {
        return None;
    }
    let profile = header[0] & 0b0011_0000;
    let [.., a, b, c, d, e] = *header;
    Some([profile, a, b, c, d, e & 0xf0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(media: &str, data: &[u8]) -> Option<Signature> {
        gst::init().unwrap();
        Signature::of(&Unit {
            buffer: gst::Buffer::from_slice(data.to_vec()),
            caps: gst::Caps::new_empty_simple(media),
            pts: gst::ClockTime::ZERO,
            key: true,
        })
    }

    #[test]
    fn only_parameter_sets_make_the_signature_of_h264() {
        let one = [
            0, 0, 0, 1, 0x67, 9, 8, 0, 0, 1, 0x68, 7, 0, 0, 1, 0x65, 1, 2,
        ];
        let same = [
            0, 0, 1, 0x67, 9, 8, 0, 0, 0, 1, 0x68, 7, 0, 0, 0, 1, 0x65, 5,
        ];
        let other = [0, 0, 1, 0x67, 9, 7, 0, 0, 1, 0x68, 7, 0, 0, 1, 0x65, 5];
        let first = signature("video/x-h264", &one).unwrap();
        assert_eq!(first.parameters, [0x67, 9, 8, 0x68, 7]);
        assert_eq!(Some(&first), signature("video/x-h264", &same).as_ref());
        assert_ne!(Some(&first), signature("video/x-h264", &other).as_ref());
        assert_eq!(signature("video/x-h264", &[0, 0, 1, 0x65, 5]), None);
    }

    #[test]
    fn the_size_makes_the_signature_of_vp8_and_vp9() {
        let vp8 = [0x10, 0, 0, 0x9d, 1, 0x2a, 16, 0, 16, 0, 7];
        assert_eq!(
            signature("video/x-vp8", &vp8).unwrap().parameters,
            [16, 0, 16, 0]
        );
        let vp9 = |width: u8, flags: u8| {
            [
                0x80 | flags,
                0x49,
                0x83,
                0x42,
                0,
                width,
                0xf0,
                0x0b,
                0x3f,
                1,
            ]
        };
        let small = signature("video/x-vp9", &vp9(1, 0)).unwrap();
        assert_eq!(Some(&small), signature("video/x-vp9", &vp9(1, 1)).as_ref());
        assert_ne!(Some(&small), signature("video/x-vp9", &vp9(2, 0)).as_ref());
    }

    #[test]
    fn the_sequence_header_is_found_behind_other_units() {
        let unit = [0x12, 0, 0x0a, 3, 1, 2, 3, 0x32, 1, 9];
        assert_eq!(
            signature("video/x-av1", &unit).unwrap().parameters,
            [1, 2, 3]
        );
        assert_eq!(signature("video/x-av1", &[0x12, 0, 0x32, 1, 9]), None);
    }

    #[test]
    fn cut_off_data_has_no_signature_and_no_panic() {
        let whole: [(&str, &[u8]); 4] = [
            ("video/x-h264", &[0, 0, 0, 1, 0x67, 9, 0, 0, 1, 0x68, 7]),
            ("video/x-av1", &[0x16, 0x08, 0, 0x0a, 0x83, 1, 2, 3]),
            ("video/x-vp8", &[0x10, 0, 0, 0x9d, 1, 0x2a, 16, 0, 16]),
            ("video/x-vp9", &[0x80, 0x49, 0x83, 0x42, 0, 1, 2, 3]),
        ];
        for (media, data) in whole {
            for end in 0..=data.len() {
                let _ = signature(media, &data[..end]);
            }
        }
    }
}
