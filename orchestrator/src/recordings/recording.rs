//! One recording, running or over, and how the API shows it.

use crate::{
    clock,
    db::{FileProgress, RecordingRow},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The API's `config`: what is recorded how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Config {
    /// FFmpeg's name of the video encoder, which existing frontends show.
    pub(crate) video_codec: String,
    pub(crate) audio_codec: String,
    /// As `2000k`.
    pub(crate) video_bitrate: String,
    pub(crate) audio_bitrate: String,
    /// The container.
    pub(crate) format: String,
    /// The GStreamer element in use.
    pub(crate) encoder: Option<String>,
}

/// One file of a recording.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// From 1.
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    pub(crate) started_at_ms: i64,
    pub(crate) progress: FileProgress,
    /// Why it ended; none while it is written.
    pub(crate) end_reason: Option<String>,
}

/// How a recording ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) at_ms: i64,
    pub(crate) reason: String,
}

/// A recording with its files.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recording {
    pub(crate) id: i64,
    /// The session's key.
    pub(crate) key: String,
    pub(crate) format: String,
    pub(crate) config: Config,
    pub(crate) started_at_ms: i64,
    pub(crate) parts: Vec<Part>,
    pub(crate) ended: Option<Ended>,
}

impl Recording {
    /// A recording as it was stored. An unreadable configuration is shown empty.
    pub(crate) fn from_row(row: RecordingRow) -> Self {
        let config = serde_json::from_str(&row.config).unwrap_or_else(|error| {
            tracing::warn!(recording_id = row.id, %error, "a stored configuration can't be read");
            Config {
                video_codec: String::new(),
                audio_codec: String::new(),
                video_bitrate: String::new(),
                audio_bitrate: String::new(),
                format: String::new(),
                encoder: None,
            }
        });
        let parts = row.files.into_iter().map(|file| Part {
            number: file.part,
            path: file.path,
            started_at_ms: file.started_at_ms,
            progress: file.progress,
            end_reason: file.end_reason,
        });
        Self {
            id: row.id,
            key: row.key,
            format: row.format,
            config,
            started_at_ms: row.started_at_ms,
            parts: parts.collect(),
            ended: row
                .ended_at_ms
                .zip(row.end_reason)
                .map(|(at_ms, reason)| Ended { at_ms, reason }),
        }
    }

    /// The file that is being written.
    pub(crate) fn open_part(&mut self) -> Option<&mut Part> {
        self.parts
            .last_mut()
            .filter(|part| part.end_reason.is_none())
    }

    /// The file at this path, or the one that is being written where no path was told.
    pub(crate) fn part_at(&mut self, path: &Path) -> Option<&mut Part> {
        match self.parts.iter().position(|part| part.path == path) {
            Some(index) => self.parts.get_mut(index),
            None => self.open_part().filter(|_| path.as_os_str().is_empty()),
        }
    }

    /// Where its first file is.
    pub(crate) fn output_path(&self) -> String {
        self.parts
            .first()
            .map(|part| part.path.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    fn sum(&self, of: impl Fn(&FileProgress) -> u64) -> u64 {
        self.parts.iter().map(|part| of(&part.progress)).sum()
    }

    /// Pauses between the files, in the recording's own time.
    fn gaps(&self) -> Vec<Value> {
        let mut at_ms = 0;
        let mut gaps = Vec::new();
        for pair in self.parts.windows(2) {
            let length = pair[0].progress.duration_ms;
            at_ms += length;
            let end_ms = pair[0].started_at_ms.saturating_add_unsigned(length);
            let for_ms = u64::try_from(pair[1].started_at_ms - end_ms).unwrap_or(0);
            if for_ms > 0 {
                gaps.push(json!({"at_s": clock::seconds(at_ms), "for_s": clock::seconds(for_ms)}));
            }
        }
        gaps
    }

    fn parts_json(&self) -> Vec<Value> {
        self.parts
            .iter()
            .map(|part| {
                json!({
                    "path": part.path.to_string_lossy(),
                    "start_time": clock::rfc3339(part.started_at_ms),
                    "duration_s": clock::seconds(part.progress.duration_ms),
                    "bytes": part.progress.bytes,
                    "reason": part.end_reason,
                })
            })
            .collect()
    }

    /// The answer to `GET /api/recording/status/{mint_id}` for a running recording.
    pub(crate) fn status_json(&self) -> Value {
        json!({
            "mint_id": self.key,
            "is_recording": true,
            "recording_id": self.id,
            "output_format": self.format,
            "start_time": clock::rfc3339(self.started_at_ms),
            "output_path": self.output_path(),
            "config": self.config,
            "duration_s": clock::seconds(self.sum(|file| file.duration_ms)),
            "bytes": self.sum(|file| file.bytes),
            "dropped_frames": self.sum(|file| file.dropped_frames),
            "gaps": self.gaps(),
            "parts": self.parts_json(),
        })
    }

    /// The fields of the answer to `POST /api/recording/start`.
    pub(crate) fn started_json(&self) -> Value {
        json!({
            "success": true,
            "mint_id": self.key,
            "recording_id": self.id,
            "output_format": self.format,
            "output_path": self.output_path(),
            "config": self.config,
            "parts": self.parts_json(),
        })
    }

    /// The answer to `POST /api/recording/stop`.
    pub(crate) fn stopped_json(&self) -> Value {
        let mut answer = Map::new();
        answer.insert("success".into(), true.into());
        if let Value::Object(status) = self.status_json() {
            answer.extend(status);
        }
        answer.remove("is_recording");
        answer.insert(
            "end_time".into(),
            self.ended
                .as_ref()
                .map(|ended| clock::rfc3339(ended.at_ms))
                .into(),
        );
        answer.insert(
            "end_reason".into(),
            self.ended.as_ref().map(|ended| ended.reason.clone()).into(),
        );
        Value::Object(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u32, started_at_ms: i64, duration_ms: u64) -> Part {
        Part {
            number,
            path: format!("/r/a_{number}.mp4").into(),
            started_at_ms,
            progress: FileProgress {
                duration_ms,
                bytes: 10,
                dropped_frames: 1,
            },
            end_reason: Some("worker_crashed".into()),
        }
    }

    #[test]
    fn parts_add_up_and_what_lies_between_them_is_a_gap() {
        let recording = Recording {
            id: 3,
            key: "demo".into(),
            format: "h264".into(),
            config: serde_json::from_value(json!({
                "video_codec": "libx264", "audio_codec": "aac", "video_bitrate": "2000k",
                "audio_bitrate": "128k", "format": "mp4", "encoder": "x264enc"
            }))
            .unwrap(),
            started_at_ms: 1000,
            parts: vec![part(1, 1000, 2000), part(2, 4500, 1000), part(3, 5500, 500)],
            ended: Some(Ended {
                at_ms: 6000,
                reason: "stopped".into(),
            }),
        };
        let stopped = recording.stopped_json();
        assert_eq!(stopped["duration_s"], 3.5);
        assert_eq!(stopped["bytes"], 30);
        assert_eq!(stopped["output_path"], "/r/a_1.mp4");
        assert_eq!(stopped["gaps"], json!([{"at_s": 2.0, "for_s": 1.5}]));
        assert_eq!(stopped["end_time"], "1970-01-01T00:00:06.000Z");
        assert_eq!(stopped["parts"].as_array().unwrap().len(), 3);
    }
}
