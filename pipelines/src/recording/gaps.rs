use haven_wire::{Gap, MAX_GAPS};

/// A pause this long is a gap.
const GAP: gst::ClockTime = gst::ClockTime::SECOND;

/// When nothing came in one file, by the times of what came.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    last: gst::ClockTime,
    list: Vec<Gap>,
}

impl Gaps {
    /// Something came for this place in the file.
    pub(crate) fn on_media(&mut self, at: gst::ClockTime) {
        self.close(at);
        self.last = self.last.max(at);
    }

    /// The file ends here.
    pub(crate) fn close(&mut self, end: gst::ClockTime) {
        let length = end.saturating_sub(self.last);
        if length >= GAP && self.list.len() < MAX_GAPS {
            self.list.push(Gap {
                at_ms: self.last.mseconds(),
                for_ms: length.mseconds(),
            });
            self.last = end;
        }
    }

    /// Those that are over.
    pub(crate) fn list(&self) -> Vec<Gap> {
        self.list.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_of_a_second_are_gaps_and_the_end_is_a_place_like_others() {
        let mut gaps = Gaps::default();
        for ms in [1500, 2000, 2999, 9000] {
            gaps.on_media(gst::ClockTime::from_mseconds(ms));
        }
        gaps.close(gst::ClockTime::from_mseconds(12_000));
        let of = |at_ms, for_ms| Gap { at_ms, for_ms };
        assert_eq!(gaps.list(), [of(0, 1500), of(2999, 6001), of(9000, 3000)]);
    }
}
