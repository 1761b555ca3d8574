//! When a recording whose file has ended by a failure goes on in another one, and when it is given
//! up: its session goes on meanwhile.

use crate::backoff::Backoff;
use std::time::Duration;
use tokio::time::Instant;

/// Pauses before the next file: first, and at the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// So many files in a row that fail and hold nothing end a recording.
const MOST_EMPTY: u32 = 5;
/// A file this long was sound: the pauses begin anew after it.
const STEADY: Duration = Duration::from_secs(60);
/// How long the files before are waited for, whose disk may not be mounted yet. After that a
/// recording goes on without them: they may have been moved away.
const AWAY_LIMIT: Duration = Duration::from_secs(60);

/// The setbacks of one recording.
#[derive(Debug)]
pub(super) struct Setbacks {
    backoff: Backoff,
    empty: u32,
    /// Why the last file failed.
    why: String,
    /// When it goes on; none: at once.
    resume_at: Option<Instant>,
    /// Since when there is no further file to be had.
    failing_since: Option<Instant>,
}

impl Setbacks {
    pub(super) fn new() -> Self {
        Self {
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            empty: 0,
            why: String::new(),
            resume_at: None,
            failing_since: None,
        }
    }

    /// A file has failed while it was written.
    pub(super) fn file_failed(&mut self, why: &str, now: Instant) {
        why.clone_into(&mut self.why);
        self.resume_at = Some(now + self.backoff.next(rand::random()));
    }

    /// What was found in a file that has failed, once that is known.
    pub(super) fn file_held(&mut self, duration_ms: u64) {
        if Duration::from_millis(duration_ms) >= STEADY {
            self.backoff.reset();
        }
        match duration_ms {
            0 => self.empty += 1,
            _ => self.empty = 0,
        }
    }

    /// There is no further file to be had now.
    pub(super) fn cannot_go_on(&mut self, now: Instant) {
        self.failing_since.get_or_insert(now);
        self.resume_at = Some(now + self.backoff.next(rand::random()));
    }

    /// It goes on.
    pub(super) fn goes_on(&mut self) {
        self.resume_at = None;
        self.failing_since = None;
    }

    /// Why it is given up, where no file can be made that holds anything.
    pub(super) fn is_hopeless(&self) -> Option<String> {
        (self.empty >= MOST_EMPTY).then(|| self.why.clone())
    }

    /// When it is to go on, if not at once.
    pub(super) fn resume_at(&self) -> Option<Instant> {
        self.resume_at
    }

    /// Whether the files before are to be there, for the next one to be put beside them.
    pub(super) fn waits_for_files(&self, now: Instant) -> bool {
        self.failing_since
            .is_none_or(|since| now.duration_since(since) < AWAY_LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_hold_nothing_end_a_recording_and_one_that_holds_something_begins_anew() {
        let mut setbacks = Setbacks::new();
        for _ in 1..MOST_EMPTY {
            setbacks.file_held(0);
        }
        setbacks.file_held(10);
        for _ in 0..MOST_EMPTY {
            assert_eq!(setbacks.is_hopeless(), None);
            setbacks.file_failed("error: x", Instant::now());
            setbacks.file_held(0);
        }
        assert_eq!(setbacks.is_hopeless().unwrap(), "error: x");
    }

    #[test]
    fn the_pauses_grow_until_a_file_was_long() {
        let (mut setbacks, now) = (Setbacks::new(), Instant::now());
        let mut pause = |held_ms| {
            setbacks.file_held(held_ms);
            setbacks.file_failed("error: x", now);
            setbacks.resume_at().unwrap().duration_since(now)
        };
        assert!(pause(1000) <= FIRST_PAUSE);
        for _ in 0..20 {
            pause(1000);
        }
        assert!(pause(1000) >= LONGEST_PAUSE / 2);
        assert!(pause(60_000) <= FIRST_PAUSE);
    }

    #[test]
    fn files_that_are_away_are_waited_for_but_not_for_ever() {
        let (mut setbacks, now) = (Setbacks::new(), Instant::now());
        assert!(setbacks.waits_for_files(now));
        setbacks.cannot_go_on(now);
        setbacks.cannot_go_on(now + AWAY_LIMIT / 2);
        assert!(setbacks.waits_for_files(now + AWAY_LIMIT / 2));
        assert!(!setbacks.waits_for_files(now + AWAY_LIMIT));
        setbacks.goes_on();
        assert_eq!(setbacks.resume_at(), None);
        assert!(setbacks.waits_for_files(now + AWAY_LIMIT));
    }
}
