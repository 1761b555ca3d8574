//! The Haven server: live LiveKit rooms on WebSockets and in files.
//!
//! Layers point one way: `api` → `sessions` → `worker` → the wire protocol. SQL is only in `db`;
//! GStreamer is only in the worker processes. `ARCHITECTURE.md` shows who owns what.

#![forbid(unsafe_code)]

mod admission;
mod api;
mod autorecord;
mod backoff;
pub mod cli;
mod clock;
mod config;
mod db;
mod error;
mod events;
mod folders;
mod limits;
mod listener;
mod lookups;
mod pumpfun;
mod recordings;
mod runtime_dir;
mod secret;
mod service_manager;
mod sessions;
mod shutdown;
mod tls;
mod watch;
mod webhooks;
mod worker;

pub use error::Error;
