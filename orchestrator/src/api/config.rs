//! `/api/config`.

use super::{
    App,
    body::{Fields, fields},
    reply::{self, Problem},
    with,
};
use crate::{
    Error,
    config::{SHOWN_SECRET, Settings},
    recordings::{check_default_format, check_default_quality},
};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use warp::{Filter, filters::BoxedFilter, path, reply::Response};

/// The settings in force. Secrets are never shown.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Config {
    success: bool,
    /// LiveKit server of generic rooms.
    livekit_url: Option<String>,
    /// Key of the tokens for it.
    livekit_api_key: Option<String>,
    /// `set`, or null.
    livekit_api_secret: Option<&'static str>,
    /// Folder of the recordings.
    recording_directory: String,
    /// Format of recordings that name none.
    default_output_format: String,
    /// Quality of recordings that name none.
    default_video_quality: String,
    /// Seconds without a publisher after which a session ends; 0: never.
    waiting_timeout: u64,
    /// Free bytes on the recordings' disk below which nothing is recorded.
    disk_reserve_bytes: u64,
    /// Minutes after which a recording goes on in a new file; 0: never.
    split_minutes: u64,
    /// Bytes after which a recording goes on in a new file; 0: never.
    split_bytes: u64,
    /// Days after which a finished recording is deleted; 0: never.
    retain_days: u64,
    /// Bytes of all recordings above which the oldest are deleted; 0: no limit.
    retain_bytes: u64,
    /// Seconds between two requests for pump.fun's list of live coins.
    pumpfun_refresh: u64,
    /// Days after which an observation of a coin is forgotten; 0: never.
    history_days: u64,
    /// Observations of coins that are kept.
    history_rows: u64,
    /// Settings that the command line has fixed; in the answer to a change, those of them that it
    /// names: they are stored, and count once the option is gone.
    overridden: Vec<&'static str>,
}

/// Any subset of the settings; null gives one back to the environment, the file or the default.
#[derive(Debug, ToSchema)]
#[allow(
    dead_code,
    reason = "the shape of a request, which is read field by field"
)]
pub(super) struct ConfigChange {
    livekit_url: Option<String>,
    livekit_api_key: Option<String>,
    livekit_api_secret: Option<String>,
    /// Absolute, or beginning with `~/`; under a folder that the operator allows.
    recording_directory: Option<String>,
    default_output_format: Option<String>,
    default_video_quality: Option<String>,
    waiting_timeout: Option<u64>,
    disk_reserve_bytes: Option<u64>,
    split_minutes: Option<u64>,
    split_bytes: Option<u64>,
    retain_days: Option<u64>,
    retain_bytes: Option<u64>,
    pumpfun_refresh: Option<u64>,
    history_days: Option<u64>,
    history_rows: Option<u64>,
}

impl Config {
    fn new(settings: &Settings, overridden: Vec<&'static str>) -> Self {
        let given = &settings.given;
        Self {
            success: true,
            livekit_url: given.livekit_url.clone(),
            livekit_api_key: given.livekit_api_key.clone(),
            livekit_api_secret: given.livekit_api_secret.as_ref().map(|_| SHOWN_SECRET),
            recording_directory: settings.recording_directory.to_string_lossy().into_owned(),
            default_output_format: settings.default_output_format.clone(),
            default_video_quality: settings.default_video_quality.clone(),
            waiting_timeout: settings.waiting_timeout.as_secs(),
            disk_reserve_bytes: settings.disk_reserve_bytes,
            split_minutes: settings.split_minutes.unwrap_or(0),
            split_bytes: settings.split_bytes.unwrap_or(0),
            retain_days: settings.retain_days.unwrap_or(0),
            retain_bytes: settings.retain_bytes.unwrap_or(0),
            pumpfun_refresh: settings.pumpfun_refresh.as_secs(),
            history_days: settings.history_days.unwrap_or(0),
            history_rows: settings.history_rows,
            overridden,
        }
    }
}

pub(super) fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let show = path!("api" / "config")
        .and(warp::get())
        .and(with(app))
        .map(|app| reply::json(Ok(show(app))));
    let change = path!("api" / "config")
        .and(warp::put())
        .and(with(app))
        .and(fields())
        .then(|app, fields| async { reply::json(change(app, fields).await) });
    show.or(change).unify().boxed()
}

/// The settings in force.
#[utoipa::path(
    get, path = "/api/config", tag = "configuration", operation_id = "show_config",
    responses((status = 200, description = "The settings", body = Config))
)]
pub(super) fn show(app: Arc<App>) -> Config {
    Config::new(&app.settings(), app.store.fixed())
}

/// Changes settings, for sessions that are started afterwards: all that are named, or none.
#[utoipa::path(
    put, path = "/api/config", tag = "configuration", operation_id = "change_config",
    request_body = ConfigChange,
    responses(
        (status = 200, description = "The settings now", body = Config),
        (status = 400, description = "No JSON", body = Problem),
        (status = 422, description = "A setting is ill-typed, out of range or not allowed; nothing is changed", body = Problem),
    )
)]
pub(super) async fn change(app: Arc<App>, fields: Result<Fields, Error>) -> Result<Config, Error> {
    let fields = fields?;
    let changing = Arc::clone(&app);
    app.carry_through("changing the settings", async move {
        change_all(&changing, &fields).await
    })
    .await
}

async fn change_all(app: &App, fields: &Fields) -> Result<Config, Error> {
    let names_format = fields.names("default_output_format");
    let probe = match names_format {
        true => app.registry.context().workers.probe().await.ok(),
        false => None,
    };
    let check = |settings: &Settings| {
        if names_format {
            check_default_format(probe, &settings.default_output_format)?;
        }
        check_default_quality(&settings.default_video_quality)
    };
    let changed = app.store.change(fields.map(), check).await?;
    Ok(Config::new(&changed.settings, changed.overridden))
}
