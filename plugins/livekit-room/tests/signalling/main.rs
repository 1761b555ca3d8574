//! The life of a connection against a server that does what no real one does on command.

mod ending;
mod joining;
mod leaving;
mod nonsense;
#[path = "../support/mod.rs"]
mod support;
