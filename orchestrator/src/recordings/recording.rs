//! One recording, running or over, and how the API shows it.

use super::Part;
use crate::{
    clock,
    db::{FileProgress, RecordingRow},
};
use haven_wire::{AudioChoice, ChosenEncoders, Gap, Publisher, Split};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The API's `config`: what is recorded how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Config {
    /// FFmpeg's name of the video encoder, which existing frontends show; none without video.
    pub(crate) video_codec: Option<String>,
    pub(crate) audio_codec: String,
    /// As `2000k`; none where nothing is encoded.
    pub(crate) video_bitrate: Option<String>,
    pub(crate) audio_bitrate: Option<String>,
    /// The container.
    pub(crate) format: String,
    /// The GStreamer element in use.
    pub(crate) encoder: Option<String>,
}

/// What a worker must be told to begin a recording, and to go on with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub(crate) quality: String,
    /// The extension to ask for.
    pub(crate) extension: String,
    /// What the probe chose.
    pub(crate) encoders: ChosenEncoders,
    pub(crate) audio: AudioChoice,
    pub(crate) split: Split,
}

impl Settings {
    /// Whether a worker can be told to go on. Not of a recording of a version that stored nothing
    /// of it, or of what can't be read.
    pub(crate) fn are_known(&self) -> bool {
        !self.quality.is_empty() && !self.extension.is_empty()
    }
}

/// How a recording ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) at_ms: i64,
    pub(crate) reason: String,
}

/// The file that was made of all files of a recording.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Joined {
    pub(crate) path: PathBuf,
    pub(crate) duration_ms: u64,
    pub(crate) bytes: u64,
}

/// A recording with its files.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recording {
    pub(crate) id: i64,
    pub(crate) session_id: i64,
    /// The session's key.
    pub(crate) key: String,
    pub(crate) format: String,
    pub(crate) config: Config,
    pub(crate) settings: Settings,
    pub(crate) started_at_ms: i64,
    pub(crate) parts: Vec<Part>,
    pub(crate) ended: Option<Ended>,
    pub(crate) kept: bool,
    pub(crate) joined: Option<Joined>,
    /// Who published or spoke while it was recorded.
    pub(crate) participants: Vec<Publisher>,
}

/// What was stored as JSON. What can't be read counts as empty.
fn stored<T: Default + DeserializeOwned>(id: i64, text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::warn!(recording_id = id, %error, "a stored configuration can't be read");
        T::default()
    })
}

impl Recording {
    /// A recording as it was stored.
    pub(crate) fn from_row(row: RecordingRow) -> Self {
        let parts = row.files.into_iter().map(Part::from);
        Self {
            id: row.id,
            session_id: row.session_id,
            key: row.key,
            format: row.format,
            config: stored(row.id, &row.config),
            settings: stored(row.id, &row.settings),
            participants: stored(row.id, &row.participants),
            started_at_ms: row.started_at_ms,
            parts: parts.collect(),
            ended: row
                .ended_at_ms
                .zip(row.end_reason)
                .map(|(at_ms, reason)| Ended { at_ms, reason }),
            kept: row.kept,
            joined: row.joined.map(|(path, duration_ms, bytes)| Joined {
                path,
                duration_ms,
                bytes,
            }),
        }
    }

    /// The files that are being written: one, and for a moment the one before it.
    pub(crate) fn open_parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.end_reason.is_none())
    }

    /// The newest file that is being written.
    pub(crate) fn open_part(&mut self) -> Option<&mut Part> {
        self.parts
            .last_mut()
            .filter(|part| part.end_reason.is_none())
    }

    /// The file of this number.
    pub(crate) fn part(&mut self, number: u32) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.number == number)
    }

    /// The file at this path, or the one that is being written where no path was told.
    pub(crate) fn part_at(&mut self, path: &Path) -> Option<&mut Part> {
        match self.parts.iter().position(|part| part.path == path) {
            Some(index) => self.parts.get_mut(index),
            None => self.open_part().filter(|_| path.as_os_str().is_empty()),
        }
    }

    /// The number of the next file.
    pub(crate) fn next_part(&self) -> u32 {
        self.parts.last().map_or(1, |part| part.number + 1)
    }

    /// Where its first file is.
    pub(crate) fn output_path(&self) -> String {
        self.parts
            .first()
            .map(|part| part.path.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// The folder its files lie in.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        let first = self.parts.first()?;
        first.path.parent().map(Path::to_owned)
    }

    /// Bytes of its files.
    pub(crate) fn bytes(&self) -> u64 {
        self.sum(|file| file.bytes)
    }

    /// The state in the API's words.
    pub(crate) fn state(&self) -> &'static str {
        match self.ended.as_ref().map(|ended| ended.reason.as_str()) {
            None => "recording",
            Some("interrupted") => "interrupted",
            Some(reason) if reason.starts_with("error:") => "failed",
            Some(_) => "finished",
        }
    }

    /// Length of its files together, in milliseconds.
    pub(crate) fn duration_ms(&self) -> u64 {
        self.sum(|file| file.duration_ms)
    }

    /// Frames that arrived and are in none of its files.
    pub(crate) fn dropped_frames(&self) -> u64 {
        self.sum(|file| file.dropped_frames)
    }

    fn sum(&self, of: impl Fn(&FileProgress) -> u64) -> u64 {
        self.parts.iter().map(|part| of(&part.progress)).sum()
    }

    /// When nothing came, and the pauses between the files; in the time of the files one after
    /// the other. A pause between files takes none of that time.
    pub(crate) fn gaps(&self) -> Vec<Gap> {
        let mut place_ms = 0;
        let mut gaps = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            let within = part.gaps.iter();
            gaps.extend(within.map(|within| Gap {
                at_ms: place_ms + within.at_ms,
                for_ms: within.for_ms,
            }));
            place_ms += part.progress.duration_ms;
            let end_ms = part
                .started_at_ms
                .saturating_add_unsigned(part.progress.duration_ms);
            if let Some(next) = self.parts.get(index + 1)
                && part.is_followed_by_a_pause()
                && let Ok(for_ms) = u64::try_from(next.started_at_ms - end_ms)
                && for_ms > 0
            {
                let at_ms = place_ms;
                gaps.push(Gap { at_ms, for_ms });
            }
        }
        gaps
    }

    fn gaps_json(&self) -> Vec<Value> {
        let gaps = self.gaps().into_iter();
        gaps.map(
            |gap| json!({"at_s": clock::seconds(gap.at_ms), "for_s": clock::seconds(gap.for_ms)}),
        )
        .collect()
    }

    fn parts_json(&self) -> Vec<Value> {
        self.parts.iter().map(Part::json).collect()
    }

    /// The answer to `GET /api/recording/status/{mint_id}` for a running recording.
    pub(crate) fn status_json(&self) -> Value {
        json!({
            "mint_id": self.key,
            "is_recording": true,
            "recording_id": self.id,
            "output_format": self.format,
            "audio": self.settings.audio,
            "start_time": clock::rfc3339(self.started_at_ms),
            "output_path": self.output_path(),
            "config": self.config,
            "duration_s": clock::seconds(self.duration_ms()),
            "bytes": self.bytes(),
            "dropped_frames": self.dropped_frames(),
            "gaps": self.gaps_json(),
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
            "audio": self.settings.audio,
            "output_path": self.output_path(),
            "config": self.config,
            "parts": self.parts_json(),
        })
    }

    /// The answer to `POST /api/recording/stop`.
    pub(crate) fn stopped_json(&self) -> Value {
        let mut answer = self.ended_json();
        answer.insert("success".into(), true.into());
        Value::Object(answer)
    }

    /// The recording in the library.
    pub(crate) fn library_json(&self) -> Map<String, Value> {
        let mut shown = self.ended_json();
        shown.insert("session_id".into(), self.session_id.into());
        shown.insert("state".into(), self.state().into());
        shown.insert("kept".into(), self.kept.into());
        let joined = self.joined.as_ref().map(|joined| {
            json!({
                "path": joined.path.to_string_lossy(),
                "duration_s": clock::seconds(joined.duration_ms),
                "bytes": joined.bytes,
            })
        });
        shown.insert("joined".into(), joined.into());
        shown
    }

    fn ended_json(&self) -> Map<String, Value> {
        let mut shown = match self.status_json() {
            Value::Object(status) => status,
            _ => Map::new(),
        };
        shown.remove("is_recording");
        let ended = self.ended.as_ref();
        let end_time = ended.map(|ended| clock::rfc3339(ended.at_ms));
        shown.insert("end_time".into(), end_time.into());
        let reason = ended.map(|ended| ended.reason.clone());
        shown.insert("end_reason".into(), reason.into());
        shown
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::recordings::SPLIT;
    use haven_wire::Gap;

    /// A recording of three files, for tests.
    pub(crate) fn recording() -> Recording {
        let part = |number, started_at_ms, duration_ms, reason: &str| Part {
            progress: FileProgress {
                duration_ms,
                bytes: 10,
                dropped_frames: 1,
            },
            end_reason: Some(reason.into()),
            ..Part::new(number, format!("/r/a_{number}.mp4").into(), started_at_ms)
        };
        let mut parts = vec![
            part(1, 1000, 2000, "worker_crashed"),
            part(2, 4500, 1000, SPLIT),
            part(3, 5530, 500, "stopped"),
        ];
        parts[1].gaps.push(Gap {
            at_ms: 250,
            for_ms: 100,
        });
        Recording {
            id: 3,
            session_id: 1,
            key: "demo".into(),
            format: "h264".into(),
            config: Config::default(),
            settings: Settings::default(),
            started_at_ms: 1000,
            parts,
            ended: Some(Ended {
                at_ms: 6000,
                reason: "stopped".into(),
            }),
            kept: false,
            joined: None,
            participants: Vec::new(),
        }
    }

    #[test]
    fn parts_add_up_and_what_lies_between_them_is_a_gap() {
        let stopped = recording().stopped_json();
        assert_eq!(stopped["duration_s"], 3.5);
        assert_eq!(stopped["bytes"], 30);
        assert_eq!(stopped["dropped_frames"], 3);
        assert_eq!(stopped["output_path"], "/r/a_1.mp4");
        // The pause after the crash, the gap within the second file; none where it was split.
        assert_eq!(
            stopped["gaps"],
            json!([{"at_s": 2.0, "for_s": 1.5}, {"at_s": 2.25, "for_s": 0.1}])
        );
        assert_eq!(stopped["end_time"], "1970-01-01T00:00:06.000Z");
        assert_eq!(stopped["parts"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn two_files_may_be_open_for_a_moment() {
        let mut recording = recording();
        for part in &mut recording.parts[1..] {
            part.end_reason = None;
        }
        assert_eq!(recording.open_part().unwrap().number, 3);
        let second = PathBuf::from("/r/a_2.mp4");
        assert_eq!(recording.part_at(&second).unwrap().number, 2);
        assert_eq!(recording.part_at(Path::new("")).unwrap().number, 3);
        assert!(recording.part_at(Path::new("/r/other.mp4")).is_none());
    }

    #[test]
    fn a_reason_says_the_state() {
        let mut recording = recording();
        for (reason, state) in [
            ("stopped", "finished"),
            ("disk_full", "finished"),
            ("interrupted", "interrupted"),
            ("error: x", "failed"),
        ] {
            let reason = reason.to_owned();
            recording.ended = Some(Ended { at_ms: 0, reason });
            assert_eq!(recording.state(), state);
        }
        recording.ended = None;
        assert_eq!(recording.state(), "recording");
    }
}
