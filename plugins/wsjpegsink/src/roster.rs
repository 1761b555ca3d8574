//! Who watches: known by number, counted, and sent away on request.

use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use tokio::sync::Notify;
use viewer_socket::{Protocol, ViewerCounters};

/// A client that watches.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) protocol: Protocol,
    pub(crate) since: Instant,
    pub(crate) counters: ViewerCounters,
    dismissal: Notify,
}

impl Client {
    /// Ready when it is to be sent away.
    pub(crate) async fn dismissed(&self) {
        self.dismissal.notified().await;
    }
}

/// Everybody who watches. The numbers are never used twice.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    clients: Mutex<BTreeMap<u64, Arc<Client>>>,
    next: AtomicU64,
}

impl Roster {
    /// Takes a client in, or none where `max` are there already.
    pub(crate) fn admit(
        &self,
        address: &str,
        protocol: Protocol,
        max: usize,
    ) -> Option<Arc<Client>> {
        let mut clients = self.clients.lock();
        if clients.len() >= max {
            return None;
        }
        let client = Arc::new(Client {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            address: address.to_owned(),
            protocol,
            since: Instant::now(),
            counters: ViewerCounters::default(),
            dismissal: Notify::new(),
        });
        clients.insert(client.id, Arc::clone(&client));
        Some(client)
    }

    /// A client is gone.
    pub(crate) fn leave(&self, id: u64) {
        self.clients.lock().remove(&id);
    }

    /// Sends a client away; false where there is none of that number.
    pub(crate) fn dismiss(&self, id: u64) -> bool {
        let client = self.clients.lock().get(&id).map(Arc::clone);
        if let Some(client) = &client {
            client.dismissal.notify_one();
        }
        client.is_some()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        // More than `max-clients` never come in, and that is far less.
        u32::try_from(self.clients.lock().len()).unwrap_or(u32::MAX)
    }

    /// All of them, in the order in which they came.
    pub(crate) fn list(&self) -> Vec<Arc<Client>> {
        self.clients.lock().values().map(Arc::clone).collect()
    }
}
