//! What the end-to-end tests share: a running `haven`, and a stage with a real room for it.
//!
//! The tests run the programs as their users do, so these must have been built before:
//! `cargo build --workspace`, which `scripts/test.sh` does.

mod asked;
mod cable;
mod haven;
mod jpeg_sink;
mod processes;
mod recorded;
mod room;
pub mod scene;
pub mod shell;
mod small_disk;
mod source;
mod stage;
mod viewer;

pub use asked::{Asked, Length};
pub use cable::Cable;
pub use haven::{Answer, Haven};
pub use jpeg_sink::{JpegSink, SinkClient};
pub use processes::{Process, descendants};
pub use recorded::{Pause, Recorded, RecordedPart, library_agrees};
pub use room::Room;
pub use small_disk::SmallDisk;
pub use source::{Left, PadLog, Sinks, Source};
pub use stage::{
    Publishing, Stage, is_long_form, may_be_missing, may_be_unheard, may_break, measured_seconds,
};
pub use viewer::Viewer;

/// Any failure of the rig ends the test that met it.
pub type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
