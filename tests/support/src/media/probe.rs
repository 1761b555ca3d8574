use crate::{
    clip::ffmpeg,
    error::{Result, RigError},
    paths, process,
};
use serde_json::Value;
use std::{path::Path, time::Duration};
use tokio::process::Command;

/// How long reading a file may take.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(600);

/// What a media file holds, by ffprobe.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// FFmpeg's name of the container, for example `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// Length in seconds.
    pub duration_s: f64,
    /// Bytes.
    pub size_bytes: u64,
    /// Tags of the whole file, names in lower case.
    pub tags: Vec<(String, String)>,
    /// Its streams.
    pub streams: Vec<ProbedStream>,
}

/// A stream of a media file.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbedStream {
    /// `video` or `audio`.
    pub kind: String,
    /// FFmpeg's name of the codec: `h264`, `aac`, `opus` …
    pub codec: String,
    /// Pixels; 0 for audio.
    pub width: u32,
    /// Pixels; 0 for audio.
    pub height: u32,
    /// Frames that the file holds, counted by reading it.
    pub frames: u64,
    /// Start in seconds, where the container says it.
    pub start_s: Option<f64>,
    /// Length in seconds, where the container says it.
    pub duration_s: Option<f64>,
    /// Hertz; 0 for video.
    pub sample_rate: u32,
    /// 0 for video.
    pub channels: u32,
}

impl Probe {
    /// The first stream of a kind (`video`, `audio`).
    pub fn stream(&self, kind: &str) -> Option<&ProbedStream> {
        self.streams.iter().find(|stream| stream.kind == kind)
    }
}

/// Reads a media file's description, and counts its packets.
///
/// # Errors
/// When ffprobe is missing or can't read the file.
pub async fn probe(file: &Path) -> Result<Probe> {
    let mut command = Command::new(paths::tool("ffprobe")?);
    command
        .args([
            "-hide_banner",
            "-loglevel",
            "error",
            "-count_packets",
            "-of",
            "json",
        ])
        .args(["-show_format", "-show_streams"])
        .arg(file);
    let what = format!("ffprobe {}", file.display());
    let answer = process::output(&what, command, READ_LIMIT).await?;
    let answer: Value = serde_json::from_slice(&answer.stdout)
        .map_err(|error| RigError::unexpected(what, error))?;
    let format = &answer["format"];
    let tags = format["tags"].as_object().into_iter().flatten();
    let streams = answer["streams"].as_array().into_iter().flatten();
    Ok(Probe {
        container: text(&format["format_name"]),
        duration_s: number(&format["duration"]).unwrap_or(0.0),
        size_bytes: whole(&format["size"]),
        tags: tags
            .map(|(name, value)| (name.to_lowercase(), text(value)))
            .collect(),
        streams: streams.map(stream).collect(),
    })
}

fn stream(described: &Value) -> ProbedStream {
    let small = |value: &Value| u32::try_from(whole(value)).unwrap_or(0);
    ProbedStream {
        kind: text(&described["codec_type"]),
        codec: text(&described["codec_name"]),
        width: small(&described["width"]),
        height: small(&described["height"]),
        frames: whole(&described["nb_read_packets"]),
        start_s: number(&described["start_time"]),
        duration_s: number(&described["duration"]),
        sample_rate: small(&described["sample_rate"]),
        channels: small(&described["channels"]),
    }
}

/// Decodes a file from start to end.
///
/// # Errors
/// [`RigError::Failed`] with what ffmpeg complained about, at the first error or warning of a decoder.
pub async fn decode_to_end(file: &Path) -> Result<()> {
    let mut command = ffmpeg()?;
    command
        .args(["-xerror", "-i"])
        .arg(file)
        .args(["-map", "0:v?", "-map", "0:a?"])
        // Frames keep their own times: rounded to the nominal rate, two of a variable rate may
        // fall together, which would look like an error of the file.
        .args(["-fps_mode", "passthrough", "-enc_time_base:v", "1:90000"])
        .args(["-f", "null", "-"]);
    let what = format!("decoding {}", file.display());
    let answer = process::output(&what, command, READ_LIMIT).await?;
    match answer.stderr.trim() {
        "" => Ok(()),
        complaint => Err(RigError::unexpected(what, process::tail(complaint))),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

/// ffprobe writes some numbers as strings.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn whole(value: &Value) -> u64 {
    value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap_or(0)
}
