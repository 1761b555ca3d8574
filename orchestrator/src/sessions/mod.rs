//! Live sessions: each is owned by one actor; the registry knows them by their key.

mod actor;
mod continuing;
mod ending;
mod findings;
mod finishing;
mod handle;
pub(crate) mod keeper;
mod load;
mod recording;
mod registry;
mod restarts;
mod setbacks;
mod source;
mod state;
mod stream_info;
mod supervision;
mod takeup;
mod writes;

pub(crate) use actor::Selector;
pub(crate) use handle::Handle;
pub(crate) use recording::{ALREADY_RECORDING, RECORDING_ENDING};
pub(crate) use registry::{Context, Registry, Started};
pub(crate) use source::{DEMO, Sources, Target};
pub(crate) use state::{Phase, Trouble, View};
pub(crate) use stream_info::StreamInfo;
