use gst::ClockTime;

/// A picture is repeated when none came for this long: a muxer waits for the stream that is
/// behind, so a camera that is muted would hold up the sound.
pub(crate) const QUIET: ClockTime = ClockTime::from_mseconds(500);

/// How far behind the present a repeated picture is put, so that a true one which is still being
/// decoded isn't overtaken.
const MARGIN: ClockTime = ClockTime::from_mseconds(300);

/// Shortest time between two pictures: 1 ms, since some encoders count in milliseconds.
const STEP: ClockTime = ClockTime::from_mseconds(1);

/// Decides when each picture of a recording is shown: every one that arrives at its own time, and
/// the last one again while nothing arrives. All times count from the start of the file.
#[derive(Debug, Default)]
pub(crate) struct Filler {
    last: Option<ClockTime>,
    arrived: Option<ClockTime>,
}

impl Filler {
    /// When to show a picture that arrived now, or `None` where that time is over.
    pub(crate) fn picture(&mut self, pts: ClockTime, now: ClockTime) -> Option<ClockTime> {
        self.arrived = Some(now);
        let shown = match self.last {
            // The first picture stands for what came before it.
            None => ClockTime::ZERO,
            Some(last) if pts >= last + STEP => pts,
            Some(_) => return None,
        };
        self.last = Some(shown);
        Some(shown)
    }

    /// When to show the last picture again, if that is due.
    pub(crate) fn repeat(&mut self, now: ClockTime) -> Option<ClockTime> {
        let last = self.last?;
        if now.saturating_sub(self.arrived?) < QUIET {
            return None;
        }
        let shown = now.checked_sub(MARGIN)?;
        if shown < last + QUIET {
            return None;
        }
        self.last = Some(shown);
        Some(shown)
    }

    /// When to show the last picture for the last time in a file that ends at `end`.
    pub(crate) fn close(&mut self, end: ClockTime) -> Option<ClockTime> {
        // Nearer to the end than this, the last picture's own duration covers the rest.
        const COVERED: ClockTime = ClockTime::from_mseconds(50);
        let shown = end.checked_sub(COVERED)?;
        if shown < self.last? + COVERED {
            return None;
        }
        self.last = Some(shown);
        Some(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> ClockTime {
        ClockTime::from_mseconds(ms)
    }

    #[test]
    fn pictures_keep_their_own_times() {
        let mut filler = Filler::default();
        assert_eq!(filler.picture(ms(0), ms(10)), Some(ms(0)));
        assert_eq!(filler.picture(ms(37), ms(40)), Some(ms(37)));
        assert_eq!(filler.repeat(ms(200)), None);
        assert_eq!(filler.picture(ms(66), ms(400)), Some(ms(66)));
    }

    #[test]
    fn the_first_picture_covers_the_time_before_it() {
        let mut filler = Filler::default();
        assert_eq!(filler.picture(ms(1500), ms(1510)), Some(ms(0)));
        assert_eq!(filler.picture(ms(1533), ms(1540)), Some(ms(1533)));
    }

    #[test]
    fn a_muted_camera_repeats_its_last_picture_twice_a_second() {
        let mut filler = Filler::default();
        filler.picture(ms(0), ms(5));
        let mut shown = Vec::new();
        for now in (0..5000).step_by(100) {
            shown.extend(filler.repeat(ms(now)).map(ClockTime::mseconds));
        }
        assert_eq!(shown.len(), 9);
        assert!(shown.windows(2).all(|pair| pair[1] - pair[0] == 500));
    }

    #[test]
    fn a_picture_older_than_a_repeated_one_is_left_out() {
        let mut filler = Filler::default();
        filler.picture(ms(0), ms(5));
        assert_eq!(filler.repeat(ms(1000)), Some(ms(700)));
        assert_eq!(filler.picture(ms(690), ms(1001)), None);
        assert_eq!(filler.picture(ms(720), ms(1002)), Some(ms(720)));
    }

    #[test]
    fn a_slow_decoder_is_no_muted_camera() {
        let mut filler = Filler::default();
        for pts in (0..3000).step_by(33) {
            let arrived = ms(pts + 2000);
            assert_eq!(filler.repeat(arrived), None);
            assert_eq!(filler.picture(ms(pts), arrived), Some(ms(pts)));
        }
    }
}
