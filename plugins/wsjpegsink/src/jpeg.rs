//! As much of JPEG as it takes to know a picture's size (ITU-T T.81, annex B).

/// Width and height in pixels, or none where the bytes aren't a JPEG picture.
pub(crate) fn dimensions(jpeg: &[u8]) -> Option<(u32, u32)> {
    let mut rest = jpeg.strip_prefix(&[0xFF, 0xD8])?;
    loop {
        let [0xFF, marker, after @ ..] = rest else {
            return None;
        };
        match marker {
            // Fill bytes before a marker.
            0xFF => rest = rest.get(1..)?,
            // Markers without a segment.
            0x01 | 0xD0..=0xD7 => rest = after,
            // End of image, start of scan: no frame header came.
            0xD9 | 0xDA => return None,
            // Start of frame, whatever the coding; C4, C8 and CC share the range and are none.
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                let [_, _, _, h0, h1, w0, w1, ..] = after else {
                    return None;
                };
                let size = |high, low| u32::from(u16::from_be_bytes([high, low]));
                return Some((size(*w0, *w1), size(*h0, *h1)));
            }
            _ => {
                let [high, low, ..] = after else {
                    return None;
                };
                let length = usize::from(u16::from_be_bytes([*high, *low])).max(2);
                rest = after.get(length..)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SOI, APP0, a table, SOF2, SOS.
    const PICTURE: [u8; 37] = [
        0xFF, 0xD8, 0xFF, 0xE0, 0x00, 0x04, 1, 2, 0xFF, 0xC4, 0x00, 0x03, 9, 0xFF, 0xFF, 0xC2,
        0x00, 0x11, 8, 0x02, 0xD0, 0x05, 0x00, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1, 0xFF, 0xDA,
        0, 0,
    ];

    #[test]
    fn the_size_stands_in_the_frame_header() {
        assert_eq!(dimensions(&PICTURE), Some((1280, 720)));
    }

    #[test]
    fn what_is_no_picture_has_no_size() {
        assert_eq!(dimensions(b""), None);
        assert_eq!(dimensions(b"GIF89a"), None);
        assert_eq!(dimensions(&[0xFF, 0xD8, 0xFF, 0xD9]), None);
        for end in 0..23 {
            assert_eq!(dimensions(&PICTURE[..end]), None, "cut at {end}");
        }
        for at in 0..PICTURE.len() {
            for value in [0, 0x7F, 0xC0, 0xFF] {
                let mut bytes = PICTURE;
                bytes[at] = value;
                _ = dimensions(&bytes);
            }
        }
    }
}
