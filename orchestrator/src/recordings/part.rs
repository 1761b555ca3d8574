//! One file of a recording.

use crate::{
    clock,
    db::{FileProgress, FileRow},
};
use haven_wire::Gap;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Why a file ended that was to be split there.
pub(crate) const SPLIT: &str = "split";
/// Why a file ended whose publisher changed its encoding.
pub(crate) const SOURCE_CHANGED: &str = "source_changed";

/// One file of a recording.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// From 1.
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    pub(crate) started_at_ms: i64,
    pub(crate) progress: FileProgress,
    /// When nothing came, in the file's own time.
    pub(crate) gaps: Vec<Gap>,
    /// Why it ended; none while it is written.
    pub(crate) end_reason: Option<String>,
}

impl Part {
    /// A file that is about to be written.
    pub(crate) fn new(number: u32, path: PathBuf, started_at_ms: i64) -> Self {
        Self {
            number,
            path,
            started_at_ms,
            progress: FileProgress::default(),
            gaps: Vec::new(),
            end_reason: None,
        }
    }

    /// Whether nothing was recorded between this file and the next one. A recording that was
    /// split, or whose source changed, went on without a break.
    pub(super) fn is_followed_by_a_pause(&self) -> bool {
        self.end_reason
            .as_deref()
            .is_some_and(|reason| reason != SPLIT && reason != SOURCE_CHANGED)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "part": self.number,
            "path": self.path.to_string_lossy(),
            "start_time": clock::rfc3339(self.started_at_ms),
            "duration_s": clock::seconds(self.progress.duration_ms),
            "bytes": self.progress.bytes,
            "dropped_frames": self.progress.dropped_frames,
            "reason": self.end_reason,
        })
    }

    /// The file as it is stored, with why it ended; none while that isn't settled.
    pub(crate) fn row(&self, end_reason: Option<&str>) -> FileRow {
        FileRow {
            part: self.number,
            path: self.path.clone(),
            started_at_ms: self.started_at_ms,
            progress: self.progress,
            gaps: self.gaps.clone(),
            end_reason: end_reason.map(ToOwned::to_owned),
        }
    }
}

impl From<FileRow> for Part {
    fn from(file: FileRow) -> Self {
        Self {
            number: file.part,
            path: file.path,
            started_at_ms: file.started_at_ms,
            progress: file.progress,
            gaps: file.gaps,
            end_reason: file.end_reason,
        }
    }
}
