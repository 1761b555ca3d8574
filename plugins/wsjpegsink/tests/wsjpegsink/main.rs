//! The element in pipelines, with real clients.

// Clippy takes only the test functions themselves for tests, not their helpers.
#![allow(clippy::unwrap_used)]

mod declared;
mod listening;
mod streaming;
#[path = "../support/mod.rs"]
mod support;
