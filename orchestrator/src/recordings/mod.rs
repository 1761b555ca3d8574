//! Recordings: what they are called, where their files lie, what may be recorded, and what becomes
//! of them.

mod archive;
mod choice;
mod describing;
mod drafts;
mod files;
mod formats;
mod joining;
mod library;
mod part;
mod recording;
pub(crate) mod recovery;
mod retention;
mod sidecar;
mod thumbnails;

pub(crate) use archive::{Archive, Served, Which};
pub(crate) use choice::Choice;
pub(crate) use files::lies_in;
pub(crate) use formats::{
    Known, Plan, check_default_format, check_default_quality, known_formats, presets,
};
pub(crate) use joining::REQUESTED;
pub(crate) use library::{Library, free_bytes, remove_if_empty};
pub(crate) use part::{Part, SOURCE_CHANGED, SPLIT};
pub(crate) use recording::{Config, Ended, Joined, Recording, Settings};
pub(crate) use retention::{Keeper, Policy, PolicySource};
