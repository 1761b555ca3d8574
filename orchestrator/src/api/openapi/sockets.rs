//! The viewers' WebSockets, which OpenAPI knows only as requests for an upgrade.

use super::reply::Problem;

/// Frames of a session as JSON text messages: `video_frame`, `audio_frame`, `status`.
#[utoipa::path(
    get, path = "/api/live-sessions/stream/{mint_id}", tag = "live sessions",
    operation_id = "watch_json",
    params(
        ("mint_id" = String, Path, description = "A mint, or the name of a generic room, percent-encoded"),
        ("max_fps" = Option<f64>, Query, description = "At most so many pictures a second"),
        ("max_width" = Option<u32>, Query, description = "Pictures of at most this width: 320 or 640"),
        ("audio" = Option<String>, Query, description = "`off`, `44100` or `48000`"),
        ("channels" = Option<u32>, Query, description = "1 or 2"),
    ),
    responses(
        (status = 101, description = "A WebSocket; closed with 4404 where no such session runs, 1000 at the session's end, 1001 at the server's"),
        (status = 422, description = "A parameter is wrong", body = Problem),
        (status = 426, description = "No request for an upgrade", body = Problem),
        (status = 503, description = "`too_many_viewers`: as many watch as may, here or from this address", body = Problem),
    )
)]
#[allow(dead_code, reason = "a place for its description")]
pub(super) fn stream() {}

/// Frames of a session: a picture is a binary message, sound is text `audio:` and base64, status is
/// text `status:` and JSON.
#[utoipa::path(
    get, path = "/api/live-sessions/ws/live/{mint_id}", tag = "live sessions",
    operation_id = "watch_binary",
    params(
        ("mint_id" = String, Path, description = "A mint, or the name of a generic room, percent-encoded"),
        ("max_fps" = Option<f64>, Query, description = "At most so many pictures a second"),
        ("max_width" = Option<u32>, Query, description = "Pictures of at most this width: 320 or 640"),
        ("audio" = Option<String>, Query, description = "`off`, `44100` or `48000`"),
        ("channels" = Option<u32>, Query, description = "1 or 2"),
    ),
    responses(
        (status = 101, description = "A WebSocket; closed with 4404 where no such session runs, 1000 at the session's end, 1001 at the server's"),
        (status = 422, description = "A parameter is wrong", body = Problem),
        (status = 426, description = "No request for an upgrade", body = Problem),
        (status = 503, description = "`too_many_viewers`: as many watch as may, here or from this address", body = Problem),
    )
)]
#[allow(dead_code, reason = "a place for its description")]
pub(super) fn live() {}
