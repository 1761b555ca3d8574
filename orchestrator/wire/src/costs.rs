use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `haven-worker --costs` prints: what each thing that a session does takes of this machine, as
/// measured on it, for pictures of [`Costs::WIDTH`] × [`Costs::HEIGHT`] at [`Costs::FPS`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// A worker that takes part in a room, and shows and records nothing.
    pub session: Cost,
    /// Decoding pictures and sound, once for all who need them decoded.
    pub decoding: Cost,
    /// Making JPEGs and PCM for viewers, once for all of them; decoding comes on top.
    pub preview: Cost,
    /// Writing a recording, and encoding it where its format doesn't copy: by format, then by quality.
    /// For those that encode, decoding comes on top. Formats that can't be used here aren't listed.
    pub recordings: BTreeMap<String, BTreeMap<String, Cost>>,
}

impl Costs {
    /// Width of the pictures that were measured with, in pixels.
    pub const WIDTH: u32 = 1280;
    /// Height of the pictures that were measured with, in pixels.
    pub const HEIGHT: u32 = 720;
    /// Pictures a second.
    pub const FPS: u32 = 30;
}

/// What something takes for as long as it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Processor seconds a second: 1.0 is one core.
    pub cpu: f64,
    /// Bytes of memory.
    pub memory_bytes: u64,
}
