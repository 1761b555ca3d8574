//! One element that follows one coin.

use crate::fetcher::Fetcher;
use crate::pumpfunmeta::{CAT, FAILURES_OF_AN_OUTAGE, imp::PumpFunMeta};
use gst::glib::subclass::ObjectImplWeakRef;
use pumpfun_api::{Endpoints, Error, Mint, Observation};
use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long stopping waits for a handler of the application that is running.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// What is followed: told with each observation, so that one of an earlier coin is known as such.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) mint: Mint,
    pub(crate) endpoints: Endpoints,
    /// None: until there is an answer.
    pub(crate) interval: Option<Duration>,
    /// Grows with each target of an element.
    pub(crate) generation: u64,
}

/// A task that hands observations to the element.
#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) mint: Mint,
    task: JoinHandle<()>,
    /// Closed when the task has ended.
    ended: mpsc::Receiver<()>,
    fetcher: Arc<Fetcher>,
}

impl Following {
    /// Begins. Nothing here waits for the network.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(crate) fn start(element: &PumpFunMeta, target: Target) -> io::Result<Self> {
        let fetcher = Fetcher::shared()?;
        let pollers = fetcher.pollers();
        let (running, ended) = mpsc::channel();
        let weak = element.downgrade();
        let mint = target.mint.clone();
        let task = fetcher.handle().spawn(async move {
            match pollers.watch(&target.endpoints, &target.mint, target.interval) {
                Ok(mut watch) => {
                    while let Some(seen) = watch.changed().await
                        && tell(&weak, &target, &seen)
                    {}
                }
                Err(error) => {
                    tell(&weak, &target, &failed(error));
                }
            }
            drop(running);
        });
        Ok(Self {
            mint,
            task,
            ended,
            fetcher,
        })
    }

    /// Ends it, and waits until nothing more is told. It waits for a handler of the application, a
    /// second at most, and for nothing else.
    pub(crate) fn stop(self) {
        self.task.abort();
        if self.fetcher.is_current_thread() {
            return;
        }
        if self.ended.recv_timeout(STOP_TIMEOUT) == Err(mpsc::RecvTimeoutError::Timeout) {
            // The handler may itself wait for the state change that we are in.
            gst::warning!(
                CAT,
                "a handler of the application keeps the thread of pumpfunmeta from going on"
            );
            // Joining it would wait for the handler as well.
            self.fetcher.leave_running();
        }
    }
}

/// Whether the element is still there.
fn tell(weak: &ObjectImplWeakRef<PumpFunMeta>, target: &Target, seen: &Observation) -> bool {
    let Some(element) = weak.upgrade() else {
        return false;
    };
    element.observed(target.generation, seen);
    true
}

fn failed(error: Error) -> Observation {
    let mut seen = Observation::default();
    seen.error = Some(Arc::new(error));
    seen.failures = FAILURES_OF_AN_OUTAGE;
    seen
}
