//! Look-ups that several ask for at once run once; what they came to may be remembered for a while.

use crate::shutdown::Shutdown;
use parking_lot::Mutex;
use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// Results remembered at once; beyond, the old ones and then all are forgotten.
const MOST_REMEMBERED: usize = 1024;

/// A look-up on its way: none until it has come to something.
pub(crate) type Pending<V> = watch::Receiver<Option<V>>;

/// Look-ups by key.
pub(crate) struct Lookups<K, V> {
    state: Arc<Mutex<State<K, V>>>,
}

struct State<K, V> {
    running: HashMap<K, Pending<V>>,
    remembered: HashMap<K, (Instant, V)>,
}

impl<K, V> Default for Lookups<K, V> {
    fn default() -> Self {
        let state = State {
            running: HashMap::new(),
            remembered: HashMap::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }
}

/// Takes a look-up out of the running ones, also when it panics or is cancelled.
struct Running<K: Hash + Eq, V> {
    key: K,
    state: Arc<Mutex<State<K, V>>>,
}

impl<K: Hash + Eq, V> Drop for Running<K, V> {
    fn drop(&mut self) {
        self.state.lock().running.remove(&self.key);
    }
}

impl<K, V> Lookups<K, V>
where
    K: Clone + Hash + Eq + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// What is remembered of `key`, or the look-up that runs, or a new one that does `work`. It
    /// goes on when nobody waits for it any more, until the server ends.
    pub(crate) fn start<F>(
        &self,
        key: &K,
        shutdown: &Shutdown,
        remember: fn(&V) -> Option<Duration>,
        work: impl FnOnce() -> F,
    ) -> Pending<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut state = self.state.lock();
        match state.remembered.get(key) {
            Some((until, value)) if *until > Instant::now() => {
                return watch::channel(Some(value.clone())).1;
            }
            Some(_) => drop(state.remembered.remove(key)),
            None => {}
        }
        if let Some(running) = state.running.get(key) {
            return running.clone();
        }
        let (result, pending) = watch::channel(None);
        state.running.insert(key.clone(), pending.clone());
        drop(state);
        let running = Running {
            key: key.clone(),
            state: Arc::clone(&self.state),
        };
        let (work, ending) = (work(), shutdown.token.clone());
        shutdown.tasks.spawn(async move {
            let value = tokio::select! {
                value = work => value,
                () = ending.cancelled() => return,
            };
            if let Some(time) = remember(&value) {
                let until = Instant::now() + time;
                let mut state = running.state.lock();
                state.remember(running.key.clone(), until, value.clone());
            }
            // Out of the running ones first: who hears of the result may begin the next.
            drop(running);
            result.send_replace(Some(value));
        });
        pending
    }
}

impl<K: Hash + Eq, V> State<K, V> {
    fn remember(&mut self, key: K, until: Instant, value: V) {
        if self.remembered.len() >= MOST_REMEMBERED {
            let now = Instant::now();
            self.remembered.retain(|_, (until, _)| *until > now);
        }
        if self.remembered.len() >= MOST_REMEMBERED {
            self.remembered.clear();
        }
        self.remembered.insert(key, (until, value));
    }
}

/// Waits for what a look-up comes to; none when it was given up.
pub(crate) async fn result<V: Clone>(mut pending: Pending<V>) -> Option<V> {
    let value = pending.wait_for(Option::is_some).await.ok()?;
    value.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn never(_: &u32) -> Option<Duration> {
        None
    }

    #[tokio::test]
    async fn a_crowd_shares_one_look_up() {
        let (lookups, shutdown) = (Lookups::default(), Shutdown::default());
        let begun = Arc::new(AtomicU32::new(0));
        let gate = Arc::new(tokio::sync::Notify::new());
        let ask = || {
            let (begun, gate) = (Arc::clone(&begun), Arc::clone(&gate));
            lookups.start(&"coin", &shutdown, never, || async move {
                gate.notified().await;
                begun.fetch_add(1, Ordering::Relaxed) + 1
            })
        };
        let crowd: Vec<_> = (0..50).map(|_| ask()).collect();
        gate.notify_one();
        for pending in crowd {
            assert_eq!(result(pending).await, Some(1));
        }
        gate.notify_one();
        assert_eq!(result(ask()).await, Some(2), "nothing is remembered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_is_remembered_as_long_as_asked() {
        let (lookups, shutdown) = (Lookups::default(), Shutdown::default());
        let ask = |value: u32| {
            let remember = |_: &u32| Some(Duration::from_secs(5));
            lookups.start(&(), &shutdown, remember, || async move { value })
        };
        assert_eq!(result(ask(1)).await, Some(1));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(result(ask(2)).await, Some(1));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(result(ask(3)).await, Some(3));
    }

    #[tokio::test]
    async fn the_servers_end_gives_look_ups_up() {
        let (lookups, shutdown) = (Lookups::default(), Shutdown::default());
        let pending = lookups.start(&(), &shutdown, never, std::future::pending);
        shutdown.token.cancel();
        assert_eq!(result(pending).await, None);
        shutdown.tasks.close();
        shutdown.tasks.wait().await;
        assert!(lookups.state.lock().running.is_empty());
    }
}
