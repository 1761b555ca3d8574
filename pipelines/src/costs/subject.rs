use haven_wire::ChosenEncoders;
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf};

/// What one process measures, or prepares.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    /// How many pictures count.
    pub(super) pictures: u32,
    /// Where processes leave files for each other, and write recordings.
    pub(super) folder: PathBuf,
    pub(super) subject: Subject,
}

/// What is measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Subject {
    /// Nothing: what the others decode and copy is encoded.
    Publishing,
    /// A worker that shows and records nothing.
    Session,
    /// Decoding.
    Decoding,
    /// Encoding for viewers.
    Preview,
    /// A recording.
    Recording(Wanted),
}

/// Which recording.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) format: String,
    pub(super) quality: String,
    pub(super) encoders: ChosenEncoders,
    pub(super) formats_dir: Option<PathBuf>,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publishing => f.write_str("publishing"),
            Self::Session => f.write_str("a session"),
            Self::Decoding => f.write_str("decoding"),
            Self::Preview => f.write_str("the preview"),
            Self::Recording(wanted) => {
                write!(f, "recording as {} ({})", wanted.format, wanted.quality)
            }
        }
    }
}
