//! Streams that are recorded whenever they are live, because a rule says so.
//!
//! One [`Watcher`] reads the platform's list of live coins for all rules. Each coin that a rule is
//! about has a task of its own from the look that saw it live to the one that didn't any more
//! (`period`): it starts session and recording as a client would, and ends what it has started.

mod ending;
mod pace;
mod period;
mod poll;
mod questions;
mod recording;
mod rules;
mod shown;
mod watcher;

pub(crate) use rules::{Rule, Subject};
pub(crate) use shown::{LiveState, Shown};
pub(crate) use watcher::Watcher;
