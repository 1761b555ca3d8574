//! What happens, told to all who listen: a bounded ring that each listener reads at its own pace.
//! A slow one loses the oldest events, and is told how many; nobody queues anything for it.

use crate::clock;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::watch;

/// Events that can be asked for again.
const KEPT: usize = 1000;
/// A larger event loses its details.
const MAX_BYTES: usize = 16 << 10;

/// What may happen. Those of livestreams are the contract's, of the ingest.
pub(crate) const KINDS: [&str; 18] = [
    "session.started",
    "session.state",
    "session.resumed",
    "session.ended",
    "recording.started",
    "recording.resumed",
    "recording.part_started",
    "recording.part_finished",
    "recording.finished",
    "recording.failed",
    "recording.deleted",
    "recording.joined",
    "watch.live",
    "watch.recording",
    "watch.failed",
    "watch.ended",
    "livestream.started",
    "livestream.ended",
];

/// One event.
#[derive(Debug, PartialEq)]
pub(crate) struct Event {
    /// From 1, in this server's life.
    pub(crate) number: u64,
    /// As `session.started`.
    pub(crate) kind: &'static str,
    /// JSON: an object with `type`, `at` and the event's own fields.
    pub(crate) text: String,
}

/// The server's events; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Tells this server's numbers from those of the one before.
    epoch: String,
    ring: Mutex<VecDeque<Arc<Event>>>,
    newest: watch::Sender<u64>,
}

/// What a listener gets next.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    Event(Arc<Event>),
    /// So many events are gone that the listener has not read.
    Missed(u64),
}

/// Somebody who listens, and how far it has read.
#[derive(Debug)]
pub(crate) struct Listener {
    events: Events,
    read: u64,
    newest: watch::Receiver<u64>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                epoch: format!("{:x}", clock::now_ms()),
                ring: Mutex::default(),
                newest: watch::Sender::new(0),
            }),
        }
    }

    /// Tells that something has happened. `details` are its fields.
    pub(crate) fn emit(&self, kind: &'static str, details: Value) {
        debug_assert!(KINDS.contains(&kind), "{kind} is in no list");
        let mut fields = Map::new();
        fields.insert("type".into(), kind.into());
        fields.insert("at".into(), clock::rfc3339(clock::now_ms()).into());
        let bare = Value::Object(fields.clone()).to_string();
        if let Value::Object(details) = details {
            fields.extend(details);
        }
        let mut text = Value::Object(fields).to_string();
        if text.len() > MAX_BYTES {
            text = bare;
        }
        let mut ring = self.inner.ring.lock();
        let number = *self.inner.newest.borrow() + 1;
        ring.push_back(Arc::new(Event { number, kind, text }));
        if ring.len() > KEPT {
            ring.pop_front();
        }
        self.inner.newest.send_replace(number);
    }

    /// The id under which an event can be named later.
    pub(crate) fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.inner.epoch)
    }

    /// A listener for what comes after the event `last_id`; without one, for what comes from now
    /// on. An id of another server's life asks for all that is kept of this one's.
    pub(crate) fn listen(&self, last_id: Option<&str>) -> Listener {
        let newest = self.inner.newest.subscribe();
        let now = *newest.borrow();
        let read = match last_id.and_then(|id| id.split_once('-')) {
            Some((epoch, number)) if epoch == self.inner.epoch => {
                number.parse().map_or(now, |number: u64| number.min(now))
            }
            Some(_) => 0,
            None => now,
        };
        Listener {
            events: self.clone(),
            read,
            newest,
        }
    }
}

impl Listener {
    /// The next event; waits for it. Cancel-safe. None once the server's events are over.
    pub(crate) async fn next(&mut self) -> Option<Next> {
        let read = self.read;
        self.newest.wait_for(|newest| *newest > read).await.ok()?;
        self.try_next()
    }

    /// The next event, if it has happened already.
    pub(crate) fn try_next(&mut self) -> Option<Next> {
        let read = self.read;
        let ring = self.events.inner.ring.lock();
        let oldest = ring.front()?.number;
        if oldest > read + 1 {
            self.read = oldest - 1;
            return Some(Next::Missed(oldest - 1 - read));
        }
        // Beyond the newest there is none.
        let index = usize::try_from(read + 1 - oldest).ok()?;
        let event = ring.get(index)?;
        self.read = event.number;
        Some(Next::Event(Arc::clone(event)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    async fn next(listener: &mut Listener) -> Value {
        match listener.next().await {
            Some(Next::Event(event)) => serde_json::from_str(&event.text).unwrap(),
            Some(Next::Missed(missed)) => json!(missed),
            None => Value::Null,
        }
    }

    #[tokio::test]
    async fn a_listener_goes_on_where_it_was() {
        let events = Events::new();
        events.emit("session.started", json!({"mint_id": "a"}));
        let mut fresh = events.listen(None);
        events.emit("session.ended", json!({"mint_id": "b"}));
        let event = next(&mut fresh).await;
        assert_eq!(
            (&event["type"], &event["mint_id"]),
            (&json!("session.ended"), &json!("b"))
        );
        let mut again = events.listen(Some(&events.id(1)));
        assert_eq!(next(&mut again).await["mint_id"], "b");
        // Another life's id, and what is no id of ours.
        let mut other = events.listen(Some("5f-77"));
        assert_eq!(next(&mut other).await["mint_id"], "a");
        for odd in ["", "x", "7"] {
            let mut odd = events.listen(Some(odd));
            assert!(
                tokio::time::timeout(std::time::Duration::ZERO, odd.next())
                    .await
                    .is_err()
            );
        }
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_what_it_missed() {
        let events = Events::new();
        let mut slow = events.listen(None);
        for number in 0..KEPT + 5 {
            events.emit("session.state", json!({ "number": number }));
        }
        assert_eq!(next(&mut slow).await, json!(5));
        assert_eq!(next(&mut slow).await["number"], 5);
        assert_eq!(events.inner.ring.lock().len(), KEPT);
    }

    #[tokio::test]
    async fn a_huge_event_loses_its_details() {
        let events = Events::new();
        let mut listener = events.listen(None);
        events.emit("session.ended", json!({"reason": "x".repeat(MAX_BYTES)}));
        let event = next(&mut listener).await;
        assert_eq!(
            (&event["type"], &event["reason"]),
            (&json!("session.ended"), &Value::Null)
        );
    }
}
