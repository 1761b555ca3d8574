//! A subscriber to a LiveKit room: encoded frames with a common time line, and a connection that
//! is made again whenever it breaks.
//!
//! The crate knows no GStreamer and never decodes: what the publisher encoded is what comes out.
//! It has three layers, and an application usually meets the last one only:
//!
//! - [`Room`] is the protocol without sockets, threads or clocks: signalling messages, packets and
//!   the time go in, messages, packets, frames and the next deadline come out.
//! - [`TokenSource`] says where the room is and gives a fresh token for every join.
//! - [`Driver`] runs a [`Room`] on tokio: it owns the sockets and the signalling connection.
//!
//! ```no_run
//! use livekit_room::{Driver, FixedToken, RoomConfig, RoomEvent};
//!
//! # async fn example() {
//! let token = FixedToken::new("wss://example.livekit.cloud", "<JWT>");
//! let driver = Driver::new(RoomConfig::default(), Box::new(token));
//! let stop = driver.stopper();
//! let reason = driver
//!     .run(|event: RoomEvent| {
//!         if let RoomEvent::Frame(frame) = event {
//!             println!("{:?} {} bytes", frame.codec, frame.data.len());
//!             stop.stop();
//!         }
//!     })
//!     .await;
//! println!("ended: {reason}");
//! # }
//! ```

mod access;
mod backoff;
mod data;
mod driver;
mod event;
mod keyframe;
mod layers;
mod network;
mod participants;
mod peer;
mod room;
mod sdp;
mod signal;
mod stall;
mod stats;
mod superframe;
mod timeline;
mod tracks;

pub use access::{Access, AccessError, AccessFuture, ApiKey, FixedToken, TokenSource, ViewerToken};
pub use driver::{Driver, Stopper};
pub use event::{
    AudioMode, Choice, Choices, Codec, ConnectionState, DataMessage, EndReason, Frame, JoinedRoom,
    Kind, Participant, Role, RoomEvent, Track, TrackSource, VideoSource,
};
pub use layers::VideoLimits;
pub use network::{
    LocalCandidate, Network, Path, RemoteCandidate, Transport, TransportPolicy, TurnServer,
    TurnUrlError,
};
pub use room::{Input, JoinError, Output, ResumeError, Room, RoomConfig};
pub use stats::{RoomStats, TrackStats};
pub use timeline::{Sample, SenderReport, Timeline};
