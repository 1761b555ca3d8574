use std::collections::BTreeMap;

/// One of the platform's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// `POST /livestream/join`
    Join,
    /// `GET /livestream?mintId=`
    Livestream,
    /// `GET /coins/currently-live`
    CurrentlyLive,
    /// `GET /coins/{mint}`
    Coin,
}

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429, with `Retry-After` in seconds where given.
    RateLimited {
        /// Value of `Retry-After`.
        retry_after_s: Option<u32>,
    },
    /// 500 with a JSON body.
    ServerError,
    /// 503 with an HTML page, as a proxy in front answers.
    Unavailable,
    /// 403 with an HTML page, as a bot filter answers.
    Forbidden,
    /// 200 with an HTML page.
    Html,
    /// No answer until the client gives up.
    Hang,
    /// 200 with an empty body.
    Empty,
    /// 200 with JSON that has nothing of what was asked for.
    WrongShape,
    /// 200 with JSON that breaks off.
    Truncated,
    /// 200 with 10 MB of JSON.
    Huge,
}

/// The faults in force.
#[derive(Debug, Default)]
pub(super) struct Faults(BTreeMap<Endpoint, (Fault, Option<u32>)>);

impl Faults {
    pub(super) fn set(&mut self, endpoint: Endpoint, fault: Fault, times: Option<u32>) {
        self.0.insert(endpoint, (fault, times));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that the next request of this kind meets.
    pub(super) fn next(&mut self, endpoint: Endpoint) -> Option<Fault> {
        let (fault, times) = self.0.get_mut(&endpoint)?;
        let fault = *fault;
        if let Some(left) = times {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.0.remove(&endpoint);
            }
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_lasts_as_often_as_asked() {
        let mut faults = Faults::default();
        faults.set(Endpoint::Join, Fault::Empty, Some(2));
        let met: Vec<_> = (0..3).map(|_| faults.next(Endpoint::Join)).collect();
        assert_eq!(met, [Some(Fault::Empty), Some(Fault::Empty), None]);
        assert_eq!(faults.next(Endpoint::Coin), None);
    }
}
