//! One poll for all in a process who want to know the same coin.

use crate::{Client, Coin, Error, Mint, retry};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Weak},
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::JoinHandle,
};

/// A coin is asked for no more often than this, whatever its watchers want.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// What is known of a coin.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Observation {
    /// The newest answer. It stays while later requests fail.
    pub coin: Option<Arc<Coin>>,
    /// When that answer came.
    pub fetched: Option<(SystemTime, Instant)>,
    /// Why the newest request failed; none when it didn't.
    pub error: Option<Arc<Error>>,
    /// Requests that failed since the last answer.
    pub failures: u32,
    /// Requests so far.
    pub requests: u64,
}

/// Asks for coins now and then, once for all who watch the same one. Its requests end with the
/// last [`Watch`].
///
/// The client should be one whose [`max_attempts`](crate::Options::max_attempts) is 1: the pauses
/// after failures are the poller's, and grow from call to call.
pub struct Poller {
    client: Client,
    runtime: Handle,
    polls: Mutex<HashMap<Mint, Weak<Poll>>>,
}

/// One who wants to know a coin.
pub struct Watch {
    seen: watch::Receiver<Observation>,
    /// Number of requests at the newest observation that was given out.
    told: u64,
    poll: Arc<Poll>,
    number: u64,
}

/// The requests for one coin. They end when this is dropped.
struct Poll {
    seen: watch::Receiver<Observation>,
    wishes: Arc<Wishes>,
    task: JoinHandle<()>,
}

/// How often the watchers of a coin want it asked for.
#[derive(Default)]
struct Wishes {
    /// By the watchers' numbers. None: until there is an answer.
    intervals: Mutex<(u64, BTreeMap<u64, Option<Duration>>)>,
    changed: Notify,
}

impl Poller {
    /// A poller whose tasks run on `runtime`.
    pub fn new(client: Client, runtime: Handle) -> Self {
        Self {
            client,
            runtime,
            polls: Mutex::default(),
        }
    }

    /// Begins to watch a coin. It is asked for at once if nobody else watches it, then after each
    /// `interval` and a little more; none: until there is an answer. Of several watchers' intervals
    /// the shortest counts, and none is shorter than a second.
    pub fn watch(&self, mint: &Mint, interval: Option<Duration>) -> Watch {
        let mut polls = self.polls.lock();
        polls.retain(|_, poll| poll.strong_count() > 0);
        let poll = polls.get(mint).and_then(Weak::upgrade).unwrap_or_else(|| {
            let poll = Arc::new(self.poll(mint.clone()));
            polls.insert(mint.clone(), Arc::downgrade(&poll));
            poll
        });
        let number = poll.wishes.add(interval);
        Watch {
            seen: poll.seen.clone(),
            told: 0,
            poll,
            number,
        }
    }

    fn poll(&self, mint: Mint) -> Poll {
        let (tell, seen) = watch::channel(Observation::default());
        let wishes = Arc::new(Wishes::default());
        let task = poll(self.client.clone(), mint, Arc::clone(&wishes), tell);
        Poll {
            seen,
            wishes,
            task: self.runtime.spawn(task),
        }
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// What is known now.
    pub fn latest(&self) -> Observation {
        self.seen.borrow().clone()
    }

    /// Waits for the outcome of the next request, or gives what was known before. None when no more
    /// will come, since the runtime ends. Safe to cancel.
    pub async fn changed(&mut self) -> Option<Observation> {
        let told = self.told;
        let seen = self.seen.wait_for(|seen| seen.requests != told).await;
        let seen = seen.ok()?.clone();
        self.told = seen.requests;
        Some(seen)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("latest", &*self.seen.borrow())
            .finish_non_exhaustive()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.poll.wishes.remove(self.number);
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wishes {
    fn add(&self, interval: Option<Duration>) -> u64 {
        let number = {
            let (next, intervals) = &mut *self.intervals.lock();
            *next += 1;
            intervals.insert(*next, interval);
            *next
        };
        self.changed.notify_one();
        number
    }

    fn remove(&self, number: u64) {
        self.intervals.lock().1.remove(&number);
        self.changed.notify_one();
    }

    /// The shortest interval that is wanted.
    fn interval(&self) -> Option<Duration> {
        let intervals = self.intervals.lock();
        let shortest = intervals.1.values().flatten().min();
        shortest.map(|interval| SHORTEST_INTERVAL.max(*interval))
    }
}

async fn poll(client: Client, mint: Mint, wishes: Arc<Wishes>, tell: watch::Sender<Observation>) {
    loop {
        let asked = tokio::time::Instant::now();
        let answer = client.coin(&mint).await;
        let retry_after = match &answer {
            Err(Error::RateLimited { retry_after }) => *retry_after,
            _ => None,
        };
        tell.send_modify(|seen| {
            seen.requests += 1;
            match answer {
                Ok(coin) => {
                    seen.coin = Some(Arc::new(coin));
                    seen.fetched = Some((SystemTime::now(), Instant::now()));
                    seen.failures = 0;
                    seen.error = None;
                }
                Err(error) => {
                    tracing::debug!(%mint, %error, "no news of a coin");
                    seen.failures = seen.failures.saturating_add(1);
                    seen.error = Some(Arc::new(error));
                }
            }
        });
        let (known, failures) = {
            let seen = tell.borrow();
            (seen.coin.is_some(), seen.failures)
        };
        let unit = rand::random();
        loop {
            let pause = retry::poll_pause(known, failures, wishes.interval(), retry_after, unit);
            let again = async {
                match pause.and_then(|pause| asked.checked_add(pause)) {
                    Some(then) => tokio::time::sleep_until(then).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = again => break,
                () = wishes.changed.notified() => {}
            }
        }
    }
}
