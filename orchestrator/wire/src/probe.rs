use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `haven-worker --probe` prints: what this machine can do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Version of the worker.
    pub worker_version: String,
    /// Version of GStreamer, as it names itself.
    pub gstreamer_version: String,
    /// The recording formats, by name.
    pub formats: BTreeMap<String, FormatProbe>,
    /// Elements that sessions need and that aren't installed, with the Debian package that has
    /// each.
    pub missing: BTreeMap<String, String>,
}

/// [`FormatProbe::codec`] of a format that keeps what was published.
pub const COPIED: &str = "copy";
/// [`FormatProbe::codec`] of a format without pictures.
pub const NO_VIDEO: &str = "none";

/// A recording format on this machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FormatProbe {
    /// A phrase for people.
    pub description: String,
    /// The video codec in FFmpeg's name, which existing frontends show (`libx264`).
    pub codec: String,
    /// The audio codec in FFmpeg's name (`aac`).
    pub audio_codec: String,
    /// `mp4` or `webm`; also the file's extension.
    pub container: String,
    /// Other names that a request may use.
    pub aliases: Vec<String>,
    /// The element that will encode video, if one of the candidates is installed.
    pub encoder: Option<String>,
    /// The encoders that were tried and work, to be named when a recording is asked for.
    #[serde(default)]
    pub chosen: ChosenEncoders,
    /// What is missing when the format can't be used, with the Debian package that has it.
    pub missing: BTreeMap<String, String>,
    /// Why encoders that are installed aren't used, with file and line.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What each quality means for this format.
    pub qualities: BTreeMap<String, QualityPreset>,
}

impl FormatProbe {
    /// Whether a recording in this format can be made here.
    pub fn available(&self) -> bool {
        let encodes = !matches!(self.codec.as_str(), COPIED | NO_VIDEO);
        self.missing.is_empty() && (self.encoder.is_some() || !encodes)
    }
}

/// Encoders by the names that the format description gives them. What isn't named, or isn't there
/// any more, is left to the worker: it takes the first one that needs no hardware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenEncoders {
    /// For pictures.
    pub video: Option<String>,
    /// For sound.
    pub audio: Option<String>,
}

/// The bit rates of one quality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QualityPreset {
    /// Kilobits per second.
    pub video_kbps: u32,
    /// Kilobits per second.
    pub audio_kbps: u32,
}
