//! The test rig: a real livekit-server, real publishers, a stand-in of pump.fun's API, and readers of what came out.

mod access;
mod browser;
mod certificate;
mod clip;
mod error;
mod livekit_server;
pub mod media;
mod paths;
pub mod picture;
mod process;
mod publisher;
pub mod pumpfun;
pub mod relay;
mod room_service;
pub mod sound;
pub mod speech;
mod turn;
pub mod viewer;
mod webhooks;

pub use access::{Keys, Role};
pub use browser::{Browser, Page};
pub use certificate::Certificate;
pub use clip::{Clip, ClipSpec, Codec};
pub use error::{Result, RigError, within};
pub use livekit_server::LiveKitServer;
pub use paths::{built_binary, cache_dir, repository, tool};
pub use process::Child;
pub use publisher::{ClipParticipant, LiveOptions, Publisher, PublisherEvent, TrackKind};
pub use room_service::{Participant, Permission, RoomService, Track};
pub use turn::{Turn, TurnTransport};
pub use webhooks::{Answer, Received, WebhookReceiver};
