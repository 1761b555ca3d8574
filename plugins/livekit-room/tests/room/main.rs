//! The state machine on simulated time, against a server that says what each test needs.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod ending;
mod joining;
mod keeping;
mod script;
