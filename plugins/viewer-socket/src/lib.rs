//! JPEG and PCM to many WebSocket viewers: newest frame wins, bytes are shared.
//!
//! A [`Hub`] takes frames and sound in from one side ([`Hub::publish_video`],
//! [`Hub::publish_audio`]; neither ever waits) and any number of viewers on the other. For each
//! viewer the caller answers the HTTP upgrade with [`accept`] and hands the upgraded connection to
//! [`serve_viewer`], which runs until the viewer leaves, is dropped for standing still, or the hub
//! is closed.
//!
//! Three protocols show the same frames ([`Protocol`]): the two of the HTTP API, and one of our
//! own between a worker and the server ([`relay`]). A frame's message is built once for each
//! protocol, as the bytes that go over the wire, and only if somebody speaks that protocol. What a
//! slow viewer misses it skips; nothing queues for it.
//!
//! ```no_run
//! # async fn example(io: tokio::io::DuplexStream, jpeg: bytes::Bytes) {
//! use viewer_socket::{Hub, HubOptions, Protocol, VideoFrame, ViewerOptions, serve_viewer};
//!
//! let hub = Hub::new(HubOptions { name: Some("demo".into()), ..HubOptions::default() });
//! hub.publish_video(VideoFrame { jpeg, width: 1280, height: 720, ..VideoFrame::default() });
//! let options = ViewerOptions::from_query(Some("max_fps=10")).unwrap_or_default();
//! let end = serve_viewer(io, &hub, Protocol::Json, &options, std::future::pending()).await;
//! println!("{} frames sent, {:?}", end.frames_sent, end.reason);
//! # }
//! ```

mod connection;
mod counters;
mod farewell;
mod hub;
mod inbound;
mod message;
mod options;
mod origin;
pub mod page;
mod pcm;
pub mod relay;
mod relay_codec;
mod ring;
mod slowness;
mod tcp;
mod upgrade;
mod viewer;

pub use counters::{HubStats, ViewerCounters, ViewerStats};
pub use farewell::{EndReason, ViewerEnd};
pub use hub::{Hub, HubOptions};
pub use message::{AudioChunk, CloseReason, Protocol, State, Status, VideoFrame};
pub use options::{AudioChoice, QueryError, ViewerOptions};
pub use origin::{InvalidOrigin, OriginPolicy};
pub use pcm::AudioFormat;
pub use relay_codec::{MalformedRelay, RelayMessage, decode_relay};
pub use tcp::{limit_silence, tune_tcp};
pub use upgrade::{UpgradeError, accept};
pub use viewer::{close_with, serve_counted_viewer, serve_viewer};
