//! Who may call, and what nobody gets to see: the contract's list, line by line.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod calling;
mod seeing;
#[path = "../support/mod.rs"]
mod support;

pub(crate) const TOKEN: &str = "planted-token-5f0c";
