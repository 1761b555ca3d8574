//! The element's properties and signals, as `gst-inspect-1.0` shows them.

use crate::settings::{
    DEFAULT_ADDRESS, DEFAULT_ASYNC, DEFAULT_CLIENT_TIMEOUT_MS, DEFAULT_MAX_CLIENTS,
    DEFAULT_MAX_LATENESS, DEFAULT_ORIGINS, DEFAULT_PATH, DEFAULT_PING_INTERVAL_MS, DEFAULT_PORT,
    DEFAULT_QOS, DEFAULT_SOCKET_PATH, DEFAULT_STREAM_NAME, DEFAULT_SYNC, Settings,
};
use gst::{
    glib::{self, subclass::Signal},
    prelude::*,
    subclass::prelude::*,
};
use std::{path::PathBuf, sync::LazyLock};

pub(super) const PROP_ADDRESS: &str = "address";
pub(super) const PROP_PORT: &str = "port";
pub(super) const PROP_PATH: &str = "path";
pub(super) const PROP_SOCKET_PATH: &str = "socket-path";
pub(super) const PROP_STREAM_NAME: &str = "stream-name";
pub(super) const PROP_MAX_CLIENTS: &str = "max-clients";
pub(super) const PROP_CLIENT_TIMEOUT: &str = "client-timeout";
pub(super) const PROP_PING_INTERVAL: &str = "ping-interval";
pub(super) const PROP_ORIGINS: &str = "origins";
pub(super) const PROP_CLIENTS: &str = "clients";
pub(super) const PROP_STATS: &str = "stats";
pub(super) const PROP_SYNC: &str = "sync";
pub(super) const PROP_ASYNC: &str = "async";
pub(super) const PROP_QOS: &str = "qos";
pub(super) const PROP_MAX_LATENESS: &str = "max-lateness";

pub(super) const SIGNAL_CLIENT_ADDED: &str = "client-added";
pub(super) const SIGNAL_CLIENT_REMOVED: &str = "client-removed";
const SIGNAL_DROP_CLIENT: &str = "drop-client";

pub(super) fn properties() -> &'static [glib::ParamSpec] {
    static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let mut all = endpoint_properties();
        all.extend(client_properties());
        all.extend(clock_properties());
        all
    });
    &PROPERTIES
}

fn endpoint_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder(PROP_ADDRESS)
            .nick("Address")
            .blurb("Address or host name to listen on (0.0.0.0 = every IPv4 interface). Everybody who reaches it can watch")
            .default_value(DEFAULT_ADDRESS)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder(PROP_PORT)
            .nick("Port")
            .blurb("TCP port to listen on (0 = any free port; from PAUSED on it reads the real one, with a notify)")
            .maximum(u32::from(u16::MAX))
            .default_value(DEFAULT_PORT)
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder(PROP_PATH)
            .nick("Path")
            .blurb("Path below which everything is served (empty = at the root)")
            .default_value(DEFAULT_PATH)
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder(PROP_SOCKET_PATH)
            .nick("Socket path")
            .blurb("Unix socket to listen on in place of address and port (NULL = TCP). Made with mode 0600, removed at stop; a stale one is replaced")
            .default_value(DEFAULT_SOCKET_PATH)
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder(PROP_STREAM_NAME)
            .nick("Stream name")
            .blurb("Name of the session, mint_id in JSON messages (empty = an empty text)")
            .default_value(DEFAULT_STREAM_NAME)
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder(PROP_ORIGINS)
            .nick("Origins")
            .blurb("Comma-separated origins of web pages that may watch, https://host[:port] each, beside the server's own and loopback (empty = no others)")
            .default_value(DEFAULT_ORIGINS)
            .mutable_ready()
            .build(),
    ]
}

fn client_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecUInt::builder(PROP_MAX_CLIENTS)
            .nick("Maximum clients")
            .blurb("So many clients at once; the next is closed with 1013 (at least 1)")
            .minimum(1)
            .maximum(65_536)
            .default_value(DEFAULT_MAX_CLIENTS)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder(PROP_CLIENT_TIMEOUT)
            .nick("Client time-out")
            .blurb("Time in milliseconds without progress, no byte taken of what waits to be sent, after which a client is dropped (0 = never)")
            .default_value(DEFAULT_CLIENT_TIMEOUT_MS)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder(PROP_PING_INTERVAL)
            .nick("Ping interval")
            .blurb("Time in milliseconds between WebSocket pings; a client that leaves two unanswered is dropped when the third is due")
            .minimum(100)
            .maximum(3_600_000)
            .default_value(DEFAULT_PING_INTERVAL_MS)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder(PROP_CLIENTS)
            .nick("Clients")
            .blurb("Clients connected now; notified on a thread of the server's, whether data flows or not")
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>(PROP_STATS)
            .nick("Statistics")
            .blurb("Counters since the stream began: clients, frames-published, frames-sent, frames-skipped, frames-malformed, messages-built, audio-chunks, audio-sent, audio-lagged, bytes-sent; and client-stats, an array with a structure for each client: id, address, protocol, connected-for (nanoseconds), frames-sent, frames-skipped, audio-sent, audio-lagged, bytes-sent")
            .read_only()
            .build(),
    ]
}

fn clock_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecBoolean::builder(PROP_SYNC)
            .nick("Sync")
            .blurb("Send pictures and sound at their time by the pipeline's clock (false = at once)")
            .default_value(DEFAULT_SYNC)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder(PROP_ASYNC)
            .nick("Async")
            .blurb("Reach PAUSED only with a first picture (false = at once, for sinks whose input comes later)")
            .default_value(DEFAULT_ASYNC)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder(PROP_QOS)
            .nick("QoS")
            .blurb("Tell upstream when pictures come too late, so that it can skip work")
            .default_value(DEFAULT_QOS)
            .mutable_playing()
            .build(),
        glib::ParamSpecInt64::builder(PROP_MAX_LATENESS)
            .nick("Maximum lateness")
            .blurb("Pictures later than this are dropped, in nanoseconds (-1 = never)")
            .minimum(-1)
            .default_value(DEFAULT_MAX_LATENESS)
            .mutable_playing()
            .build(),
    ]
}

pub(super) fn signals() -> &'static [Signal] {
    static SIGNALS: LazyLock<Vec<Signal>> = LazyLock::new(|| {
        let signal = |name| {
            Signal::builder(name)
                .param_types([u64::static_type(), String::static_type()])
                .build()
        };
        let drop_client = Signal::builder(SIGNAL_DROP_CLIENT)
            .param_types([u64::static_type()])
            .return_type::<bool>()
            .action()
            .class_handler(|values| {
                let element = values.first()?.get::<super::WsJpegSink>().ok()?;
                let id = values.get(1)?.get::<u64>().ok()?;
                Some(element.imp().drop_client(id).to_value())
            })
            .build();
        vec![
            signal(SIGNAL_CLIENT_ADDED),
            signal(SIGNAL_CLIENT_REMOVED),
            drop_client,
        ]
    });
    &SIGNALS
}

/// Takes a property's value over; false for one that can't be set.
pub(super) fn set(settings: &mut Settings, value: &glib::Value, pspec: &glib::ParamSpec) -> bool {
    let text = || value.get::<Option<String>>().ok().flatten();
    match pspec.name() {
        PROP_ADDRESS => settings.address = text().unwrap_or_default(),
        PROP_PATH => settings.path = text().unwrap_or_default(),
        PROP_STREAM_NAME => settings.stream_name = text().unwrap_or_default(),
        PROP_ORIGINS => settings.origins = text().unwrap_or_default(),
        PROP_SOCKET_PATH => {
            let path = text().filter(|path| !path.is_empty());
            settings.socket_path = path.map(PathBuf::from);
        }
        PROP_PORT => {
            // The property's range is a port's.
            let port = value
                .get::<u32>()
                .ok()
                .and_then(|port| port.try_into().ok());
            settings.port = port.unwrap_or(settings.port);
        }
        PROP_MAX_CLIENTS => settings.max_clients = value.get().unwrap_or(settings.max_clients),
        PROP_CLIENT_TIMEOUT => {
            settings.client_timeout_ms = value.get().unwrap_or(settings.client_timeout_ms);
        }
        PROP_PING_INTERVAL => {
            settings.ping_interval_ms = value.get().unwrap_or(settings.ping_interval_ms);
        }
        PROP_SYNC => settings.sync = value.get().unwrap_or(settings.sync),
        PROP_ASYNC => settings.async_ = value.get().unwrap_or(settings.async_),
        PROP_QOS => settings.qos = value.get().unwrap_or(settings.qos),
        PROP_MAX_LATENESS => {
            settings.max_lateness = value.get().unwrap_or(settings.max_lateness);
        }
        _ => return false,
    }
    true
}

/// A property's value as it was asked for.
pub(super) fn get(settings: &Settings, pspec: &glib::ParamSpec) -> glib::Value {
    match pspec.name() {
        PROP_ADDRESS => settings.address.to_value(),
        PROP_PORT => u32::from(settings.port).to_value(),
        PROP_PATH => settings.path.to_value(),
        PROP_SOCKET_PATH => {
            let path = settings.socket_path.as_ref();
            path.map(|path| path.to_string_lossy().into_owned())
                .to_value()
        }
        PROP_STREAM_NAME => settings.stream_name.to_value(),
        PROP_MAX_CLIENTS => settings.max_clients.to_value(),
        PROP_CLIENT_TIMEOUT => settings.client_timeout_ms.to_value(),
        PROP_PING_INTERVAL => settings.ping_interval_ms.to_value(),
        PROP_ORIGINS => settings.origins.to_value(),
        PROP_SYNC => settings.sync.to_value(),
        PROP_ASYNC => settings.async_.to_value(),
        PROP_QOS => settings.qos.to_value(),
        PROP_MAX_LATENESS => settings.max_lateness.to_value(),
        _ => pspec.default_value().clone(),
    }
}
