//! The recordings' API, described; its handlers are in `api/recordings.rs`.

#![allow(dead_code, reason = "shapes and places for descriptions")]

use super::reply::Problem;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What to record, how.
#[derive(ToSchema)]
pub(super) struct StartRecording {
    /// Of which session: a mint, or the name of a generic room.
    mint_id: Option<String>,
    /// The same: the name of a generic room. One of the two must be there.
    room_name: Option<String>,
    /// `av1`, `h264`, `vp9`, `source`, … or an alias; the configured default where it isn't named.
    output_format: Option<String>,
    /// `low`, `medium` or `high`; the configured default where it isn't named.
    video_quality: Option<String>,
    /// `mix` (everybody, the default) or `streamer`.
    audio: Option<String>,
    /// When to go on in another file: 0 (never), or 0.1 to 10080; what is configured where it isn't
    /// named.
    split_minutes: Option<f64>,
    /// When to go on in another file: 0 (never), or 65536 and more.
    split_bytes: Option<u64>,
}

/// Which recording to stop.
#[derive(ToSchema)]
pub(super) struct StopRecording {
    /// Of which session: a mint, or the name of a generic room.
    mint_id: Option<String>,
    /// The same: the name of a generic room. One of the two must be there.
    room_name: Option<String>,
    /// Which, where several run.
    recording_id: Option<i64>,
    /// Which, where several run.
    output_format: Option<String>,
}

/// How something is recorded.
#[derive(ToSchema)]
pub(super) struct RecordingConfig {
    /// FFmpeg's name of the video encoder.
    video_codec: Option<String>,
    audio_codec: String,
    /// As `2000k`.
    video_bitrate: Option<String>,
    audio_bitrate: Option<String>,
    /// The container.
    format: String,
    /// The GStreamer element in use.
    encoder: Option<String>,
}

/// One file of a recording.
#[derive(ToSchema)]
pub(super) struct RecordingPart {
    /// From 1.
    part: u32,
    path: String,
    /// RFC 3339.
    start_time: String,
    duration_s: f64,
    bytes: u64,
    /// Frames that were lost because this machine was too slow.
    dropped_frames: u64,
    /// Why it ended; null while it is written.
    reason: Option<String>,
}

/// A time of which nothing was recorded.
#[derive(ToSchema)]
pub(super) struct RecordingGap {
    /// Seconds from the beginning.
    at_s: f64,
    /// Seconds.
    for_s: f64,
}

/// Who is heard in a recording.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Voices {
    /// Everybody in the room.
    Mix,
    /// The streamer alone.
    Streamer,
}

/// A recording that runs now.
#[derive(ToSchema)]
pub(super) struct RecordingStarted {
    success: bool,
    mint_id: String,
    recording_id: i64,
    output_format: String,
    audio: Voices,
    /// Its first file.
    output_path: String,
    config: RecordingConfig,
    parts: Vec<RecordingPart>,
}

/// A recording that is complete and playable.
#[derive(ToSchema)]
pub(super) struct RecordingStopped {
    success: bool,
    mint_id: String,
    recording_id: i64,
    output_format: String,
    audio: Voices,
    output_path: String,
    config: RecordingConfig,
    /// RFC 3339.
    start_time: String,
    /// RFC 3339.
    end_time: Option<String>,
    end_reason: Option<String>,
    duration_s: f64,
    bytes: u64,
    dropped_frames: u64,
    gaps: Vec<RecordingGap>,
    parts: Vec<RecordingPart>,
}

/// How a session's recording is; without one only the first two.
#[derive(ToSchema)]
pub(super) struct RecordingStatus {
    mint_id: String,
    is_recording: bool,
    #[schema(nullable = false)]
    recording_id: Option<i64>,
    #[schema(nullable = false)]
    output_format: Option<String>,
    #[schema(nullable = false)]
    audio: Option<Voices>,
    /// RFC 3339.
    #[schema(nullable = false)]
    start_time: Option<String>,
    #[schema(nullable = false)]
    output_path: Option<String>,
    #[schema(nullable = false)]
    config: Option<RecordingConfig>,
    #[schema(nullable = false)]
    duration_s: Option<f64>,
    #[schema(nullable = false)]
    bytes: Option<u64>,
    #[schema(nullable = false)]
    dropped_frames: Option<u64>,
    #[schema(nullable = false)]
    gaps: Option<Vec<RecordingGap>>,
    #[schema(nullable = false)]
    parts: Option<Vec<RecordingPart>>,
    /// Where several run: all of them, as this one.
    #[schema(nullable = false)]
    recordings: Option<Vec<serde_json::Value>>,
}

/// The recordings that run, by their session's key.
#[derive(ToSchema)]
pub(super) struct RecordingsActive {
    success: bool,
    recordings: BTreeMap<String, RecordingStatus>,
}

/// What can be recorded, and how.
#[derive(ToSchema)]
pub(super) struct RecordingFormats {
    success: bool,
    formats: BTreeMap<String, RecordingFormat>,
    quality_presets: BTreeMap<String, QualityPreset>,
}

/// A format of recordings.
#[derive(ToSchema)]
pub(super) struct RecordingFormat {
    description: String,
    codec: Option<String>,
    audio_codec: String,
    container: String,
    /// Other names of it.
    aliases: Vec<String>,
    /// Whether this machine can do it.
    available: bool,
    /// The GStreamer element it would use.
    encoder: Option<String>,
    /// Elements that this machine lacks for it, with the packages that have them.
    missing: BTreeMap<String, String>,
}

/// What a quality means.
#[derive(ToSchema)]
pub(super) struct QualityPreset {
    video_bitrate: String,
    audio_bitrate: String,
}

/// Starts a recording of a session.
#[utoipa::path(
    post, path = "/api/recording/start", tag = "recordings", operation_id = "start_recording",
    request_body = StartRecording,
    responses(
        (status = 200, description = "It runs", body = RecordingStarted),
        (status = 400, description = "No JSON", body = Problem),
        (status = 404, description = "No such session runs", body = Problem),
        (status = 409, description = "The session is already recorded in this format, or such a recording is just being finished", body = Problem),
        (status = 422, description = "A field is missing or wrong", body = Problem),
        (status = 503, description = "This machine lacks an encoder for the format", body = Problem),
        (status = 507, description = "Not enough disk space", body = Problem),
    )
)]
pub(super) fn start() {}

/// Stops a recording; answers once its files are complete. Asked again, it answers the same for
/// ten minutes.
#[utoipa::path(
    post, path = "/api/recording/stop", tag = "recordings", operation_id = "stop_recording",
    request_body = StopRecording,
    responses(
        (status = 200, description = "It is complete", body = RecordingStopped),
        (status = 400, description = "No JSON", body = Problem),
        (status = 404, description = "There is none, and was none lately", body = Problem),
        (status = 422, description = "A field is missing or wrong; or several run and none is named", body = Problem),
        (status = 503, description = "The session's worker takes no messages", body = Problem),
        (status = 504, description = "Its files are not complete in time; it goes on ending", body = Problem),
    )
)]
pub(super) fn stop() {}

/// How a session's recording is.
#[utoipa::path(
    get, path = "/api/recording/status/{mint_id}", tag = "recordings",
    operation_id = "recording_status",
    params(("mint_id" = String, Path, description = "A mint, or the name of a generic room, percent-encoded")),
    responses((status = 200, description = "Also where nothing is recorded", body = RecordingStatus))
)]
pub(super) fn status() {}

/// The recordings that run.
#[utoipa::path(
    get, path = "/api/recording/active", tag = "recordings", operation_id = "active_recordings",
    responses((status = 200, description = "The recordings", body = RecordingsActive))
)]
pub(super) fn active() {}

/// What can be recorded, and how.
#[utoipa::path(
    get, path = "/api/recording/formats", tag = "recordings", operation_id = "recording_formats",
    responses((status = 200, description = "The formats", body = RecordingFormats))
)]
pub(super) fn formats() {}
