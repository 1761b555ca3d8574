use gst::ClockTime;

/// A picture later than this isn't waited for.
const MAX_LATE: ClockTime = ClockTime::SECOND;
/// How long pictures may be late, in all, before what is late is passed over. Each second in which
/// they are in time gives half a second back.
const PATIENCE: ClockTime = ClockTime::from_seconds(2);
/// What is late is then shown no more often than this.
const LATE_INTERVAL: ClockTime = ClockTime::from_mseconds(66);

/// Decides which pictures are worth encoding for a live view: pure.
///
/// A machine that is held up for a moment shows every picture and is soon in time again. One that
/// is too slow, or that decodes its way up to the present, shows only the newest of what it has.
#[derive(Debug)]
pub(crate) struct CatchUp {
    /// How long after its capture a picture is due.
    latency: ClockTime,
    /// What is used up of the patience.
    spent: ClockTime,
    judged_at: Option<ClockTime>,
    shown_at: Option<ClockTime>,
}

impl CatchUp {
    pub(crate) fn new(latency: ClockTime) -> Self {
        Self {
            latency,
            spent: ClockTime::ZERO,
            judged_at: None,
            shown_at: None,
        }
    }

    /// Whether to show a picture captured at `pts`, while newer ones wait behind it or not.
    pub(crate) fn judge(&mut self, pts: ClockTime, now: ClockTime, newer_waits: bool) -> bool {
        let since = |at: Option<ClockTime>| at.map(|at| now.saturating_sub(at));
        let passed = since(self.judged_at).unwrap_or_default();
        self.judged_at = Some(now);
        let late = now.saturating_sub(self.latency).saturating_sub(pts);
        let show = if late == ClockTime::ZERO {
            self.spent = self.spent.saturating_sub(passed / 2);
            true
        } else {
            self.spent = (self.spent + passed).min(PATIENCE);
            let catches_up = late <= MAX_LATE && self.spent < PATIENCE;
            let due = since(self.shown_at).is_none_or(|passed| passed >= LATE_INTERVAL);
            catches_up || (due && !newer_waits)
        };
        if show {
            self.shown_at = Some(now);
        }
        show
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: u64 = 200;

    fn ms(ms: u64) -> ClockTime {
        ClockTime::from_mseconds(ms)
    }

    fn catch_up() -> CatchUp {
        CatchUp::new(ms(LATENCY))
    }

    /// An encoder that takes `cost` ms a picture, a picture each 33 ms, held up once from
    /// `stall_at` for `stall`: when each picture that was shown was encoded.
    fn run(cost: u64, stall_at: u64, stall: u64, pictures: u64) -> Vec<(u64, u64)> {
        let mut catch_up = catch_up();
        let (mut now, mut shown) = (0, Vec::new());
        for n in 0..pictures {
            let pts = n * 33;
            now = now.max(pts);
            if now >= stall_at && now < stall_at + stall {
                now = stall_at + stall;
            }
            let newer_waits = (n + 1) * 33 <= now;
            if catch_up.judge(ms(pts), ms(now), newer_waits) {
                now += cost;
                shown.push((pts, now));
            }
        }
        shown
    }

    #[test]
    fn nothing_is_lost_to_a_moment_without_processor() {
        let shown = run(3, 2_000, 700, 300);
        assert_eq!(shown.len(), 300);
        assert!(shown[150..].iter().all(|(pts, at)| at - pts < LATENCY));
    }

    #[test]
    fn an_encoder_that_is_too_slow_shows_the_newest() {
        let shown = run(100, 0, 0, 900);
        let delay = |part: &[(u64, u64)]| part.iter().map(|(pts, at)| at - pts).max();
        assert!(delay(&shown).unwrap() < LATENCY + 1_200, "{shown:?}");
        let settled = shown.partition_point(|(pts, _)| *pts < 5_000);
        assert!(delay(&shown[settled..]).unwrap() < LATENCY + 200);
        // As fast as it can.
        assert!(shown.len() - settled > 220, "{}", shown.len());
    }

    #[test]
    fn the_way_up_to_the_present_is_shown_in_a_few_pictures() {
        let mut catch_up = catch_up();
        // Ten seconds of pictures, decoded at 5 ms each.
        let shown = (0..300u64)
            .filter(|n| catch_up.judge(ms(n * 33), ms(10_000 + n * 5), false))
            .count();
        assert!((20..60).contains(&shown), "{shown}");
    }

    #[test]
    fn a_picture_from_before_the_viewer_is_shown_at_once() {
        assert!(catch_up().judge(ms(0), ms(60_000), false));
    }
}
