//! What was asked of the element, with the defaults that its properties declare.

use std::{path::PathBuf, time::Duration};

/// Loopback only: who shows a room to the network says so.
pub(crate) const DEFAULT_ADDRESS: &str = "127.0.0.1";
/// Any free port.
pub(crate) const DEFAULT_PORT: u32 = 0;
pub(crate) const DEFAULT_PATH: &str = "";
pub(crate) const DEFAULT_SOCKET_PATH: Option<&str> = None;
pub(crate) const DEFAULT_STREAM_NAME: &str = "";
pub(crate) const DEFAULT_MAX_CLIENTS: u32 = 1024;
/// Long enough for a phone between two cells, short enough that a dead peer's place is free soon.
pub(crate) const DEFAULT_CLIENT_TIMEOUT_MS: u32 = 10_000;
/// Below the 30 to 60 s after which proxies and address translators forget a silent connection.
pub(crate) const DEFAULT_PING_INTERVAL_MS: u32 = 20_000;
pub(crate) const DEFAULT_ORIGINS: &str = "";
pub(crate) const DEFAULT_SYNC: bool = true;
pub(crate) const DEFAULT_ASYNC: bool = true;
pub(crate) const DEFAULT_QOS: bool = true;
/// A picture later than this is of no use to who watches live.
pub(crate) const DEFAULT_MAX_LATENESS: i64 = 200 * 1_000_000;

/// The element's properties.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) path: String,
    pub(crate) socket_path: Option<PathBuf>,
    pub(crate) stream_name: String,
    pub(crate) max_clients: u32,
    pub(crate) client_timeout_ms: u32,
    pub(crate) ping_interval_ms: u32,
    pub(crate) origins: String,
    pub(crate) sync: bool,
    pub(crate) async_: bool,
    pub(crate) qos: bool,
    /// Nanoseconds; -1: pictures are never too late.
    pub(crate) max_lateness: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: DEFAULT_ADDRESS.into(),
            port: DEFAULT_PORT as u16,
            path: DEFAULT_PATH.into(),
            socket_path: DEFAULT_SOCKET_PATH.map(PathBuf::from),
            stream_name: DEFAULT_STREAM_NAME.into(),
            max_clients: DEFAULT_MAX_CLIENTS,
            client_timeout_ms: DEFAULT_CLIENT_TIMEOUT_MS,
            ping_interval_ms: DEFAULT_PING_INTERVAL_MS,
            origins: DEFAULT_ORIGINS.into(),
            sync: DEFAULT_SYNC,
            async_: DEFAULT_ASYNC,
            qos: DEFAULT_QOS,
            max_lateness: DEFAULT_MAX_LATENESS,
        }
    }
}

impl Settings {
    /// For how long a client's connection may take nothing.
    pub(crate) fn client_timeout(&self) -> Duration {
        match self.client_timeout_ms {
            0 => Duration::MAX,
            ms => Duration::from_millis(ms.into()),
        }
    }

    /// How often a client is pinged.
    pub(crate) fn ping_interval(&self) -> Duration {
        Duration::from_millis(self.ping_interval_ms.into())
    }

    /// The listed origins, one each.
    pub(crate) fn origins(&self) -> impl Iterator<Item = &str> {
        let listed = self.origins.split(',').map(str::trim);
        listed.filter(|origin| !origin.is_empty())
    }
}
