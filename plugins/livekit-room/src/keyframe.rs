//! Which video frames may pass, and when to ask for a key frame; pure.

use std::time::{Duration, Instant};

/// Shortest time between two requests for one track. The server forwards at most one a second for
/// the high layer, and holds retransmissions back from a request until the key frame came: who asks
/// more often starves itself (seen in November 2026 with livekit-server 1.13.5).
const REQUEST_INTERVAL: Duration = Duration::from_secs(1);

/// Shortest time between requests that the application makes.
const APPLICATION_REQUEST_INTERVAL: Duration = Duration::from_millis(500);

/// Lets frames through from a key frame on, until one is missing.
#[derive(Debug)]
pub(crate) struct KeyframeGate {
    closed: bool,
    discontinuity: bool,
    last_request: Option<Instant>,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether it is passed on.
    pub(crate) pass: bool,
    /// Whether something before it is missing.
    pub(crate) discontinuity: bool,
    /// Whether to ask the publisher for a key frame now.
    pub(crate) request: bool,
}

impl KeyframeGate {
    /// Closed until the first key frame, which the server asks for by itself.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            closed: true,
            discontinuity: true,
            last_request: Some(now),
        }
    }

    pub(crate) fn judge(&mut self, now: Instant, key: bool, contiguous: bool) -> Verdict {
        if key {
            self.closed = false;
        } else if !contiguous {
            self.closed = true;
        }
        if self.closed {
            self.discontinuity = true;
            return Verdict {
                pass: false,
                discontinuity: true,
                request: self.may_request(now, REQUEST_INTERVAL),
            };
        }
        let discontinuity = std::mem::take(&mut self.discontinuity) || !contiguous;
        Verdict {
            pass: true,
            discontinuity,
            request: false,
        }
    }

    /// Whether a request of the application may be sent now.
    pub(crate) fn application_request(&mut self, now: Instant) -> bool {
        self.may_request(now, APPLICATION_REQUEST_INTERVAL)
    }

    fn may_request(&mut self, now: Instant, interval: Duration) -> bool {
        let due = self
            .last_request
            .is_none_or(|last| now.duration_since(last) >= interval);
        if due {
            self.last_request = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_wait_for_a_key_frame() {
        let start = Instant::now();
        let mut gate = KeyframeGate::new(start);
        assert!(!gate.judge(start, false, true).pass);
        let first = gate.judge(start, true, true);
        assert!(first.pass && first.discontinuity);
        let next = gate.judge(start, false, true);
        assert!(next.pass && !next.discontinuity);
    }

    #[test]
    fn a_missing_frame_closes_the_gate_and_asks_once_a_second() {
        let start = Instant::now();
        let mut gate = KeyframeGate::new(start);
        gate.judge(start, true, true);
        let mut requests = 0;
        for ms in (2000..5000).step_by(33) {
            let contiguous = ms != 2000;
            let verdict = gate.judge(start + Duration::from_millis(ms), false, contiguous);
            assert!(!verdict.pass);
            requests += u32::from(verdict.request);
        }
        assert_eq!(requests, 3);
        let back = gate.judge(start + Duration::from_secs(5), true, true);
        assert!(back.pass && back.discontinuity);
    }
}
