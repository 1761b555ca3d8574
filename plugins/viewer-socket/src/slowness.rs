//! Whether a viewer is slow: then it skips to the newest picture.

use std::time::Duration;

/// A viewer is slow when its connection takes longer than [`SLOW`] for each of the last [`SLOW_RUN`]
/// pictures. Less can be a busy machine on either side, and then it gets what it missed from the
/// hub's last few.
const SLOW: Duration = Duration::from_millis(100);
const SLOW_RUN: u32 = 2;
/// It is slow too when each of the last [`FULL_RUN`] pictures met a connection that was full for
/// longer than [`FULL`], and it has come to lag by more than [`LAG`]: it takes fewer pictures than
/// there are, and would be shown them ever later.
const FULL: Duration = Duration::from_millis(10);
const FULL_RUN: u32 = 3;
const LAG: Duration = Duration::from_millis(100);

/// How a viewer's pictures went so far.
#[derive(Debug, Default)]
pub(crate) struct Slowness {
    /// Pictures in a row that waited long for the socket.
    slow_run: u32,
    /// Pictures in a row that found the socket full.
    full_run: u32,
    /// It lags, and gets the newest until the socket has room again.
    lags: bool,
}

impl Slowness {
    /// A picture is through that found the socket full for so long.
    pub(crate) fn sent(&mut self, blocked: Duration) {
        let longer = |run: u32, than| match blocked > than {
            true => run.saturating_add(1),
            false => 0,
        };
        self.slow_run = longer(self.slow_run, SLOW);
        self.full_run = longer(self.full_run, FULL);
        self.lags &= self.full_run > 0;
    }

    /// Whether the next picture is to be the newest, where the one in turn has waited for so long.
    pub(crate) fn skips(&mut self, waited: Duration) -> bool {
        self.lags |= self.full_run >= FULL_RUN && waited > LAG;
        self.lags || self.slow_run >= SLOW_RUN
    }
}
