//! What to do about a video that stopped while the room's other media go on; pure.

use std::time::{Duration, Instant};

/// Media that should come and don't for this long are missed.
pub(crate) const STALL: Duration = Duration::from_secs(5);
/// Attempts to get them back become rarer up to this, since the publisher may be at fault: phones
/// stop their camera in the background without a word.
pub(crate) const LONGEST_STALL: Duration = Duration::from_secs(60);
/// How long a video stays unsubscribed. The server would see no change in less: it looks at what
/// is wanted, not at what was said (livekit-server 1.13.5).
const APART: Duration = Duration::from_secs(1);

/// What may bring a video back, without touching the sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Ask for a key frame.
    KeyFrame,
    /// Give the subscription up, to make it anew.
    Unsubscribe,
    /// Make it anew.
    Subscribe,
}

/// Watches one video.
#[derive(Debug)]
pub(crate) struct VideoWatch {
    due: Instant,
    tries: u32,
    apart: bool,
}

impl VideoWatch {
    /// A video that is expected from `now` on.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            due: now + STALL,
            tries: 0,
            apart: false,
        }
    }

    /// A frame came.
    pub(crate) fn on_frame(&mut self, now: Instant) {
        // What was on its way when the subscription was given up says nothing.
        if !self.apart {
            *self = Self::new(now);
        }
    }

    /// When there is something to do unless a frame comes.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// What to do now, if anything.
    pub(crate) fn remedy(&mut self, now: Instant) -> Option<Remedy> {
        if now < self.due {
            return None;
        }
        if self.apart {
            self.apart = false;
            self.tries = self.tries.saturating_add(1);
            self.due = now + wait(self.tries);
            return Some(Remedy::Subscribe);
        }
        if self.tries == 0 {
            self.tries = 1;
            self.due = now + wait(self.tries);
            return Some(Remedy::KeyFrame);
        }
        self.apart = true;
        self.due = now + APART;
        Some(Remedy::Unsubscribe)
    }
}

/// The wait after so many attempts.
pub(crate) fn wait(tries: u32) -> Duration {
    (STALL * (1 << tries.saturating_sub(1).min(8))).min(LONGEST_STALL)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is done in so long without a frame, with the second at which it is.
    fn done(seconds: u64) -> Vec<(u64, Remedy)> {
        let start = Instant::now();
        let mut watch = VideoWatch::new(start);
        let at = |second| start + Duration::from_secs(second);
        (0..seconds)
            .filter_map(|second| Some((second, watch.remedy(at(second))?)))
            .collect()
    }

    #[test]
    fn the_remedies_go_from_gentle_to_firm_and_become_rare() {
        use Remedy::{KeyFrame, Subscribe, Unsubscribe};
        let expected = [
            (5, KeyFrame),
            (10, Unsubscribe),
            (11, Subscribe),
            (21, Unsubscribe),
            (22, Subscribe),
            (42, Unsubscribe),
            (43, Subscribe),
        ];
        assert_eq!(done(60), expected);
        let subscribed = |(_, remedy): &&(u64, Remedy)| *remedy == Subscribe;
        let in_an_hour = done(3600).iter().filter(subscribed).count();
        assert!((50..65).contains(&in_an_hour), "{in_an_hour}");
    }

    #[test]
    fn a_frame_ends_it_unless_it_was_on_its_way() {
        let start = Instant::now();
        let mut watch = VideoWatch::new(start);
        assert_eq!(watch.remedy(start + STALL), Some(Remedy::KeyFrame));
        watch.on_frame(start + STALL);
        assert_eq!(watch.due(), start + 2 * STALL);
        assert_eq!(watch.remedy(start + 2 * STALL), Some(Remedy::KeyFrame));
        assert_eq!(watch.remedy(start + 3 * STALL), Some(Remedy::Unsubscribe));
        watch.on_frame(start + 3 * STALL);
        let again = watch.remedy(start + 3 * STALL + APART);
        assert_eq!(again, Some(Remedy::Subscribe));
    }
}
