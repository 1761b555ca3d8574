//! The thread that asks pump.fun, one for all elements of this process.

use parking_lot::Mutex;
use pumpfun_api::{Client, Endpoints, Error, Mint, Options, Poller, Watch};
use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, ThreadId},
    time::Duration,
};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// The running one. It is there while an element needs it.
static SHARED: Mutex<Weak<Fetcher>> = Mutex::new(Weak::new());

/// A thread with a tokio runtime, and the polls that run on it. Both end when this is dropped.
#[derive(Debug)]
pub(crate) struct Fetcher {
    handle: Handle,
    pollers: Arc<Pollers>,
    thread: Option<JoinHandle<()>>,
    /// Closed to end the thread.
    running: Option<oneshot::Sender<()>>,
    /// It can't be waited for.
    busy: AtomicBool,
}

/// By the address that is asked: elements that ask the same one share its polls.
#[derive(Debug, Default)]
pub(crate) struct Pollers(Mutex<HashMap<String, Poller>>);

impl Fetcher {
    /// The process's one, made where there is none.
    ///
    /// # Errors
    /// When its thread can't be started.
    pub(crate) fn shared() -> io::Result<Arc<Self>> {
        let mut shared = SHARED.lock();
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        let fetcher = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&fetcher);
        Ok(fetcher)
    }

    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("pumpfunmeta".into())
            .spawn(move || {
                // An error says that the sender is gone, which is what is waited for.
                let _ = runtime.block_on(ended);
                // Without waiting for a look-up of a name, which nothing can cut short.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            pollers: Arc::default(),
            thread: Some(thread),
            running: Some(running),
            busy: AtomicBool::new(false),
        })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// For tasks, which must not keep the thread running that they run on.
    pub(crate) fn pollers(&self) -> Arc<Pollers> {
        Arc::clone(&self.pollers)
    }

    /// A handler of the application holds the thread, perhaps for as long as somebody waits for it: it
    /// ends by itself then, and isn't joined.
    pub(crate) fn leave_running(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// Whether this is called by something that runs on the fetcher's thread.
    pub(crate) fn is_current_thread(&self) -> bool {
        let own = self.thread.as_ref().map(|thread| thread.thread().id());
        own == Some(current_thread())
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        drop(self.running.take());
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A handler of the application that stops the element runs on the thread itself, which ends
        // when the handler returns.
        if thread.thread().id() != current_thread() && !self.busy.load(Ordering::Relaxed) {
            // An error is a panic, and there is nothing left that it could have spoilt.
            let _ = thread.join();
        }
    }
}

impl Pollers {
    /// Begins to watch a coin. Called on the fetcher's thread: reading the machine's certificates
    /// takes some milliseconds.
    ///
    /// # Errors
    /// When the machine's TLS set-up can't be used.
    pub(crate) fn watch(
        &self,
        endpoints: &Endpoints,
        mint: &Mint,
        interval: Option<Duration>,
    ) -> Result<Watch, Error> {
        let mut pollers = self.0.lock();
        let key = endpoints.frontend_url.as_str();
        if let Some(poller) = pollers.get(key) {
            return Ok(poller.watch(mint, interval));
        }
        let mut options = Options::default();
        options.max_attempts = 1;
        let client = Client::with_options(endpoints.clone(), options)?;
        let poller = Poller::new(client, Handle::current());
        let watch = poller.watch(mint, interval);
        pollers.insert(key.to_owned(), poller);
        Ok(watch)
    }
}

fn current_thread() -> ThreadId {
    std::thread::current().id()
}
