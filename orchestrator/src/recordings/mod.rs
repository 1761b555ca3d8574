//! Recordings: what they are called, where their files lie, what may be recorded.

mod formats;
mod library;
mod recording;
pub(crate) mod recovery;

pub(crate) use formats::{Plan, known_formats, plan, presets};
pub(crate) use library::{Library, remove_if_empty};
pub(crate) use recording::{Config, Ended, Part, Recording};
