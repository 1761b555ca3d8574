//! What a publisher reports, read as it comes: one whose output nobody reads stops sending.

use super::PublisherEvent;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::ChildStdout,
    sync::Notify,
};

/// Events kept for later; the oldest go when nobody takes them.
const KEPT_EVENTS: usize = 10_000;

/// Events that nobody has taken yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Inbox {
    shared: Arc<(Mutex<Kept>, Notify)>,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<PublisherEvent>,
    ended: bool,
}

/// What there was for who asked.
#[derive(Debug)]
pub(super) enum Taken {
    Event(Box<PublisherEvent>),
    /// The publisher reported a failure.
    Failure(Box<PublisherEvent>),
    /// The publisher has ended.
    Ended,
}

impl Inbox {
    /// Reads until the publisher closes its output, as it does at its end.
    pub(super) fn reading(output: ChildStdout) -> Self {
        let inbox = Self::default();
        let filled = inbox.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // The SDK may print lines of its own.
                if let Ok(event) = serde_json::from_str(&line) {
                    filled.put(event);
                }
            }
            filled.kept().ended = true;
            filled.shared.1.notify_one();
        });
        inbox
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, event: PublisherEvent) {
        let mut kept = self.kept();
        if kept.events.len() == KEPT_EVENTS {
            kept.events.pop_front();
        }
        kept.events.push_back(event);
        drop(kept);
        self.shared.1.notify_one();
    }

    /// Forgets all events that aren't as wanted.
    pub(super) fn retain(&self, wanted: impl Fn(&PublisherEvent) -> bool) {
        self.kept().events.retain(wanted);
    }

    /// Waits for the next event that is `wanted`, a failure, or the end. Others stay for later.
    pub(super) async fn take(&self, wanted: impl Fn(&PublisherEvent) -> bool) -> Taken {
        loop {
            let heard = self.shared.1.notified();
            if let Some(taken) = self.take_kept(&wanted) {
                return taken;
            }
            heard.await;
        }
    }

    fn take_kept(&self, wanted: impl Fn(&PublisherEvent) -> bool) -> Option<Taken> {
        let mut kept = self.kept();
        let mut remove = |wanted: &dyn Fn(&PublisherEvent) -> bool| {
            let index = kept.events.iter().position(wanted)?;
            kept.events.remove(index).map(Box::new)
        };
        if let Some(event) = remove(&wanted) {
            return Some(Taken::Event(event));
        }
        if let Some(event) = remove(&|event| matches!(&*event.event, "failed" | "error")) {
            return Some(Taken::Failure(event));
        }
        kept.ended.then_some(Taken::Ended)
    }
}
