//! Clients as the application sees them: the property, the signals, the limit, the statistics.

use super::{
    imp::{CAT, WsJpegSink},
    media::Media,
    properties::{PROP_CLIENTS, SIGNAL_CLIENT_ADDED, SIGNAL_CLIENT_REMOVED},
};
use crate::{roster::Client, server::Clients};
use gst::{glib, prelude::*, subclass::prelude::*};
use std::sync::Arc;
use viewer_socket::{EndReason, Hub, Protocol};

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

    fn add(&self, address: &str, protocol: Protocol) -> Option<Arc<Client>> {
        let element = self.element.upgrade()?;
        let roster = &self.media.roster;
        let Some(client) = roster.admit(address, protocol, self.max as usize) else {
            gst::warning!(
                CAT,
                imp = element,
                "{address}: all {} places are taken",
                self.max
            );
            return None;
        };
        let id = client.id;
        gst::info!(CAT, imp = element, "client {id} from {address}");
        let obj = element.obj();
        obj.notify(PROP_CLIENTS);
        obj.emit_by_name::<()>(SIGNAL_CLIENT_ADDED, &[&id, &address]);
        Some(client)
    }

    fn remove(&self, client: &Client, why: &EndReason) {
        let Client { id, address, .. } = client;
        self.media.roster.leave(*id);
        let Some(element) = self.element.upgrade() else {
            return;
        };
        match why {
            EndReason::Stalled | EndReason::NoPong | EndReason::Violation(_) => {
                gst::warning!(CAT, imp = element, "client {id} from {address}: {why:?}");
            }
            _ => gst::info!(CAT, imp = element, "client {id} from {address}: {why:?}"),
        }
        let obj = element.obj();
        obj.notify(PROP_CLIENTS);
        obj.emit_by_name::<()>(SIGNAL_CLIENT_REMOVED, &[id, address]);
    }
}

/// The `stats` property.
pub(super) fn stats(media: &Media) -> gst::Structure {
    let stats = media.hub().stats();
    let clients = media.roster.list();
    gst::Structure::builder("wsjpegsink-stats")
        .field("clients", clients.len() as u32)
        .field("frames-published", stats.frames_published)
        .field("frames-sent", stats.frames_sent)
        .field("frames-skipped", stats.frames_skipped)
        .field("frames-malformed", media.malformed())
        .field("messages-built", stats.messages_built)
        .field("audio-chunks", stats.audio_published)
        .field("audio-sent", stats.audio_sent)
        .field("audio-lagged", stats.audio_lagged)
        .field("bytes-sent", stats.bytes_sent)
        .field(
            "client-stats",
            gst::Array::new(clients.iter().map(|client| client_stats(client))),
        )
        .build()
}

fn client_stats(client: &Client) -> gst::Structure {
    let stats = client.counters.stats();
    let connected = gst::ClockTime::try_from(client.since.elapsed());
    gst::Structure::builder("wsjpegsink-client")
        .field("id", client.id)
        .field("address", &client.address)
        .field("protocol", client.protocol.name())
        .field("connected-for", connected.unwrap_or(gst::ClockTime::MAX))
        .field("frames-sent", stats.frames_sent)
        .field("frames-skipped", stats.frames_skipped)
        .field("audio-sent", stats.audio_sent)
        .field("audio-lagged", stats.audio_lagged)
        .field("bytes-sent", stats.bytes_sent)
        .build()
}
