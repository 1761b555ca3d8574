//! Clients as the application sees them: the property, the signals, the limit.

use super::{
    imp::{CAT, WsJpegSink},
    media::Media,
    properties::{PROP_CLIENTS, SIGNAL_CLIENT_ADDED, SIGNAL_CLIENT_REMOVED},
};
use crate::server::Clients;
use gst::{glib, prelude::*, subclass::prelude::*};
use std::sync::{Arc, atomic::Ordering};
use viewer_socket::Hub;

/// The server's view of the element. Doesn't keep it alive.
pub(super) struct Handlers {
    pub(super) element: glib::subclass::ObjectImplWeakRef<WsJpegSink>,
    pub(super) media: Arc<Media>,
    pub(super) max: u32,
}

impl Clients for Handlers {
    fn hub(&self) -> Hub {
        self.media.hub()
    }

    fn add(&self, address: &str) -> Option<u64> {
        let room = |clients| (clients < self.max).then_some(clients + 1);
        let element = self.element.upgrade()?;
        let clients = &self.media.clients;
        if clients
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, room)
            .is_err()
        {
            gst::warning!(
                CAT,
                imp = element,
                "{address}: all {} places are taken",
                self.max
            );
            return None;
        }
        let id = element.next_client();
        gst::info!(CAT, imp = element, "client {id} from {address}");
        let obj = element.obj();
        obj.notify(PROP_CLIENTS);
        obj.emit_by_name::<()>(SIGNAL_CLIENT_ADDED, &[&id, &address]);
        Some(id)
    }

    fn remove(&self, id: u64, address: &str) {
        self.media.clients.fetch_sub(1, Ordering::AcqRel);
        let Some(element) = self.element.upgrade() else {
            return;
        };
        gst::info!(CAT, imp = element, "client {id} from {address} is gone");
        let obj = element.obj();
        obj.notify(PROP_CLIENTS);
        obj.emit_by_name::<()>(SIGNAL_CLIENT_REMOVED, &[&id, &address]);
    }
}
