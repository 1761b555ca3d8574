//! The library of recordings and the events, as they are described.

use super::super::reply::Problem;
use serde::Serialize;
use utoipa::ToSchema;

/// Recordings of the library; `docs/api.md` has the fields of each.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "the shape of an answer")]
pub(super) struct Library {
    success: bool,
    /// How many there are without the limit.
    total: u64,
    offset: u32,
    limit: u32,
    /// Newest first.
    #[schema(value_type = Vec<Object>)]
    recordings: Vec<serde_json::Value>,
}

/// One recording of the library.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "the shape of an answer")]
pub(super) struct OneRecording {
    success: bool,
    #[schema(value_type = Object)]
    recording: serde_json::Value,
}

/// A recording that was deleted.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "the shape of an answer")]
pub(super) struct Deleted {
    success: bool,
    recording_id: i64,
}

/// A recording that retention leaves alone, or not any more.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "the shape of an answer")]
pub(super) struct Kept {
    success: bool,
    recording_id: i64,
    kept: bool,
}

/// The library of recordings, newest first.
#[utoipa::path(
    get, path = "/api/recordings", tag = "recordings", operation_id = "list_recordings",
    params(
        ("mint_id" = Option<String>, Query, description = "Of this session's key alone"),
        ("state" = Option<String>, Query, description = "`recording`, `finished`, `interrupted` or `failed`"),
        ("offset" = Option<u32>, Query, description = "How many to pass over"),
        ("limit" = Option<u32>, Query, description = "1 to 500, 50 unless given"),
    ),
    responses(
        (status = 200, body = Library),
        (status = 422, description = "A parameter is wrong", body = Problem),
    )
)]
#[allow(dead_code, reason = "a place for its description")]
pub(super) fn list() {}

/// One recording.
#[utoipa::path(
    get, path = "/api/recordings/{id}", tag = "recordings", operation_id = "show_recording",
    params(("id" = i64, Path, description = "Its number")),
    responses(
        (status = 200, body = OneRecording),
        (status = 404, description = "There is none", body = Problem),
    )
)]
#[allow(dead_code, reason = "a place for its description")]
pub(super) fn one() {}

/// Deletes a recording with all its files.
#[utoipa::path(
    delete, path = "/api/recordings/{id}", tag = "recordings", operation_id = "delete_recording",
    params(("id" = i64, Path, description = "Its number")),
    responses(
        (status = 200, body = Deleted),
        (status = 404, description = "There is none", body = Problem),
        (status = 409, description = "It is still being written, or just being joined", body = Problem),
    )
)]
#[allow(dead_code, reason = "a place for its description")]
pub(super) fn delete() {}

/// A file of a recording, with ranges.
#[utoipa::path(
    get, path = "/api/recordings/{id}/file", tag = "recordings", operation_id = "download_recording",
    params(
        ("id" = i64, Path, description = "Its number"),
        ("part" = Option<String>, Query, description = "From 1, or `joined`"),
        ("download" = Option<String>, Query, description = "`1` to save it"),
    ),
    responses(
        (status = 200, description = "The file", body = String, content_type = "video/mp4"),
        (status = 206, description = "A range of it", body = String, content_type = "video/mp4"),
        (status = 304, description = "As the client has it"),
        (status = 404, description = "There is none", body = Problem),
        (status = 416, description = "No such bytes, or several ranges", body = Problem),
        (status = 422, description = "A parameter is wrong", body = Problem),
    )
)]
#[allow(dead_code, reason = "a place for its description")]
pub(super) fn file() {}

/// A picture of a recording.
#[utoipa::path(
    get, path = "/api/recordings/{id}/thumbnail", tag = "recordings", operation_id = "show_thumbnail",
    params(("id" = i64, Path, description = "Its number")),
    responses(
        (status = 200, description = "A JPEG of at most 640 pixels", body = String, content_type = "image/jpeg"),
        (status = 404, description = "There is none", body = Problem),
    )
)]
#[allow(dead_code, reason = "a place for its description")]
pub(super) fn thumbnail() {}

/// Makes one file of a recording's parts, without encoding anything again.
#[utoipa::path(
    post, path = "/api/recordings/{id}/join", tag = "recordings", operation_id = "join_recording",
    params(("id" = i64, Path, description = "Its number")),
    responses(
        (status = 200, body = OneRecording),
        (status = 404, description = "There is none", body = Problem),
        (status = 409, description = "It is still being written, or just being joined", body = Problem),
        (status = 422, description = "Its parts don't go together", body = Problem),
        (status = 507, description = "Not enough disk space", body = Problem),
    )
)]
#[allow(dead_code, reason = "a place for its description")]
pub(super) fn join() {}

/// Exempts a recording from retention, or, with `keep` false, not any more.
#[utoipa::path(
    post, path = "/api/recordings/{id}/keep", tag = "recordings", operation_id = "keep_recording",
    params(("id" = i64, Path, description = "Its number")),
    responses(
        (status = 200, body = Kept),
        (status = 404, description = "There is none", body = Problem),
        (status = 409, description = "It is just being joined or deleted", body = Problem),
        (status = 422, description = "`keep` is no flag", body = Problem),
    )
)]
#[allow(dead_code, reason = "a place for its description")]
pub(super) fn keep() {}

/// What happens to sessions and recordings, as server-sent events.
#[utoipa::path(
    get, path = "/api/events", tag = "operations", operation_id = "events",
    params(("Last-Event-ID" = Option<String>, Header, description = "Go on after this event")),
    responses((status = 200, description = "Events without end", body = String, content_type = "text/event-stream"))
)]
#[allow(dead_code, reason = "a place for its description")]
pub(super) fn events() {}
