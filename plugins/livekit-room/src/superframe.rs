//! VP9 pictures of several spatial layers; pure.
//!
//! A scalable stream sends a frame for each layer of a picture, each in RTP packets of its own, and
//! no word on where one ends in the whole. Decoders and parsers want that: the *superframe index* at
//! the end of the picture (VP9 bitstream specification, Annex B), which RTP leaves out.

/// Most frames that an index can name.
const MAX_FRAMES: usize = 8;

/// The picture with its index; none where it needs none, being a single frame.
///
/// `ends` are the ends of the layers' frames within `picture`, lowest layer first.
pub(crate) fn with_index(picture: &[u8], ends: &[Option<usize>]) -> Option<Vec<u8>> {
    let mut sizes = Vec::new();
    let mut start = 0;
    for end in ends.iter().flatten() {
        sizes.push(end.checked_sub(start).filter(|size| *size > 0)?);
        start = *end;
    }
    if sizes.len() < 2 || sizes.len() > MAX_FRAMES || start != picture.len() {
        return None;
    }
    let largest = sizes.iter().max()?;
    let bytes_per_size = (1..=4).find(|bytes| largest >> (8 * bytes) == 0)?;
    let marker = 0b1100_0000 | (bytes_per_size - 1) << 3 | (sizes.len() - 1);
    let mut whole = Vec::with_capacity(picture.len() + 2 + bytes_per_size * sizes.len());
    whole.extend_from_slice(picture);
    whole.push(marker as u8);
    for size in &sizes {
        whole.extend_from_slice(&size.to_le_bytes()[..bytes_per_size]);
    }
    whole.push(marker as u8);
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_three_layers_says_where_each_frame_ends() {
        let picture = vec![0x82; 900];
        let whole = with_index(&picture, &[Some(100), Some(400), Some(900)]).unwrap();
        assert_eq!(whole[..900], picture);
        // Two bytes a size, three frames.
        let marker = 0b1100_1010;
        assert_eq!(whole[900..], [marker, 100, 0, 44, 1, 244, 1, marker]);
    }

    #[test]
    fn a_single_frame_stays_as_it_is() {
        assert_eq!(with_index(&[0x82; 9], &[Some(9), None, None]), None);
        assert_eq!(with_index(&[0x82; 9], &[None, None, Some(9)]), None);
    }

    #[test]
    fn ends_that_contradict_the_picture_are_not_believed() {
        for ends in [
            [Some(5), Some(8), None],
            [Some(5), Some(5), Some(9)],
            [Some(9), Some(5), None],
            [Some(5), Some(10), None],
        ] {
            assert_eq!(with_index(&[0x82; 9], &ends), None, "{ends:?}");
        }
    }
}
