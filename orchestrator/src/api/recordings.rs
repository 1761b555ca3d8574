//! `/api/recording`.

use super::{
    App,
    body::{Fields, fields},
    key_segment, reply, with,
};
use crate::{
    Error, clock,
    config::{LEAST_SPLIT_BYTES, MOST_SPLIT_BYTES, MOST_SPLIT_MINUTES},
    error::Kind,
    recordings::{Choice, Known, Plan, Recording, known_formats, presets},
    sessions::Selector,
};
use haven_wire::{AudioChoice, Probe};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use warp::{Filter, filters::BoxedFilter, path, reply::Response};

/// Shortest split, in minutes: a file of six seconds has a few key frames.
const LEAST_SPLIT_MINUTES: f64 = 0.1;
/// How long the last recording of a session is still the answer to a stop.
const LAST_RECORDING_MS: i64 = 10 * 60 * 1000;

pub(super) fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let start = path!("api" / "recording" / "start")
        .and(warp::post())
        .and(with(app))
        .and(fields())
        .then(|app, fields| async { reply::json(start(app, fields).await) });
    let stop = path!("api" / "recording" / "stop")
        .and(warp::post())
        .and(with(app))
        .and(fields())
        .then(|app, fields| async { reply::json(stop(app, fields).await) });
    let status = path!("api" / "recording" / "status" / ..)
        .and(key_segment())
        .and(warp::path::end())
        .and(warp::get())
        .and(with(app))
        .map(|key: Result<String, Error>, app: Arc<App>| {
            reply::json(key.map(|key| status(&app, &key)))
        });
    let active = path!("api" / "recording" / "active")
        .and(warp::get())
        .and(with(app))
        .map(|app: Arc<App>| reply::json(Ok(active(&app))));
    let formats = path!("api" / "recording" / "formats")
        .and(warp::get())
        .and(with(app))
        .then(|app| async { reply::json(Ok(formats(app).await)) });
    start
        .or(stop)
        .unify()
        .or(status)
        .unify()
        .or(active)
        .unify()
        .or(formats)
        .unify()
        .boxed()
}

/// The session that a body means: `mint_id`, or `room_name` of a generic session.
pub(super) fn key_field(fields: &Fields) -> Result<&str, Error> {
    match fields.text("mint_id")? {
        Some(_) => fields.required_text("mint_id"),
        None => match fields.text("room_name")? {
            Some(_) => fields.required_text("room_name"),
            None => Err(Error::field("mint_id", "is missing")),
        },
    }
}

/// A recording in the configured default format and quality.
pub(super) async fn default_plan(app: &App) -> Result<Plan, Error> {
    Choice::default().plan(probe(app).await, &app.settings())
}

/// What this machine can record; none while that isn't known.
pub(super) async fn probe(app: &App) -> Option<&Probe> {
    match app.registry.context().workers.probe().await {
        Ok(probe) => Some(probe),
        Err(error) => {
            tracing::error!(error = error.chain(), "what can be recorded is not known");
            None
        }
    }
}

async fn start(app: Arc<App>, fields: Result<Fields, Error>) -> Result<Value, Error> {
    let fields = fields?;
    let key = key_field(&fields)?;
    let choice = choice(&fields)?;
    let plan = choice.plan(probe(&app).await, &app.settings());
    let Some(handle) = app.registry.find(key) else {
        // A wrong field is told even without a session; what this machine lacks is not.
        return Err(match plan {
            Err(error) if error.kind() == Kind::Unprocessable => error,
            _ => Error::new(
                Kind::NotFound,
                "session_not_found",
                format!("No active session to make a recording of: {key}"),
            ),
        });
    };
    let recording = handle.start_recording(plan?).await?;
    Ok(recording.started_json())
}

/// How something is to be recorded.
pub(super) fn choice(fields: &Fields) -> Result<Choice, Error> {
    let text = |name| Ok::<_, Error>(fields.text(name)?.map(str::to_owned));
    let (split_ms, split_bytes) = split_fields(fields)?;
    Ok(Choice {
        output_format: text("output_format")?,
        video_quality: text("video_quality")?,
        audio: audio_field(fields)?,
        split_ms,
        split_bytes,
    })
}

fn audio_field(fields: &Fields) -> Result<AudioChoice, Error> {
    match fields.text("audio")? {
        None | Some("mix") => Ok(AudioChoice::Mix),
        Some("streamer") => Ok(AudioChoice::Streamer),
        Some(_) => Err(Error::field(
            "audio",
            "names no choice of voices for a recording: known are mix, streamer",
        )),
    }
}

/// When to go on in another file, in milliseconds and bytes; 0 is never.
fn split_fields(fields: &Fields) -> Result<(Option<u64>, Option<u64>), Error> {
    let minutes = fields.number("split_minutes", 0.0..=MOST_SPLIT_MINUTES as f64)?;
    if minutes.is_some_and(|minutes| minutes > 0.0 && minutes < LEAST_SPLIT_MINUTES) {
        let message = format_args!("must be 0 (never) or at least {LEAST_SPLIT_MINUTES}");
        return Err(Error::field("split_minutes", message));
    }
    let bytes = fields.bytes("split_bytes")?;
    let range = LEAST_SPLIT_BYTES..=MOST_SPLIT_BYTES;
    if bytes.is_some_and(|bytes| bytes > 0 && !range.contains(&bytes)) {
        let message =
            format_args!("must be 0 (never), or {LEAST_SPLIT_BYTES} to {MOST_SPLIT_BYTES}");
        return Err(Error::field("split_bytes", message));
    }
    Ok((minutes.map(milliseconds), bytes))
}

fn milliseconds(minutes: f64) -> u64 {
    let length = std::time::Duration::try_from_secs_f64(minutes * 60.0).unwrap_or_default();
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

async fn stop(app: Arc<App>, fields: Result<Fields, Error>) -> Result<Value, Error> {
    let fields = fields?;
    let key = key_field(&fields)?;
    let format = match fields.text("output_format")? {
        Some(name) => Some(format_name(probe(&app).await, name)?),
        None => None,
    };
    let selector = Selector {
        recording_id: fields.id("recording_id")?,
        format,
    };
    if let Some(handle) = app.registry.find(key) {
        match handle.stop_recording(selector.clone()).await {
            Ok(Some(recording)) => return Ok(recording.stopped_json()),
            Ok(None) => {}
            // The session has just ended, and its recordings with it.
            Err(error) if error.kind() == Kind::NotFound => handle.ended().await,
            Err(error) => return Err(error),
        }
    }
    let since = clock::now_ms() - LAST_RECORDING_MS;
    let db = &app.registry.context().db;
    db.last_recording(
        key.to_owned(),
        since,
        selector.recording_id,
        selector.format,
    )
    .await?
    .map(|row| Recording::from_row(row).stopped_json())
    .ok_or_else(|| {
        Error::new(
            Kind::NotFound,
            "recording_not_found",
            format!("No recording of this session is running or has just ended: {key}"),
        )
    })
}

/// The format that a name or an alias means.
fn format_name(probe: Option<&Probe>, name: &str) -> Result<String, Error> {
    let formats = known_formats(probe);
    let means = |(known, format): &(&String, &Known)| {
        *known == name || format.probe.aliases.iter().any(|alias| alias == name)
    };
    formats
        .iter()
        .find(means)
        .map(|(known, _)| known.clone())
        .ok_or_else(|| Error::field("output_format", "names no recording format"))
}

fn status(app: &App, key: &str) -> Value {
    let recordings = app
        .registry
        .find(key)
        .map(|handle| handle.view().recordings)
        .unwrap_or_default();
    status_of(&recordings).unwrap_or_else(|| json!({"mint_id": key, "is_recording": false}))
}

/// The longest-running recording's status; where several run, with all of them.
fn status_of(recordings: &[Recording]) -> Option<Value> {
    let mut status = recordings.first()?.status_json();
    if recordings.len() > 1 {
        status["recordings"] = recordings.iter().map(Recording::status_json).collect();
    }
    Some(status)
}

fn active(app: &App) -> Value {
    let recordings: Map<String, Value> = app
        .registry
        .all()
        .iter()
        .map(|handle| handle.view())
        .filter_map(|view| status_of(&view.recordings).map(|status| (view.key, status)))
        .collect();
    json!({"success": true, "recordings": recordings})
}

async fn formats(app: Arc<App>) -> Value {
    let formats: Map<String, Value> = known_formats(probe(&app).await)
        .into_iter()
        .map(|(name, format)| {
            let shown = json!({
                "description": format.probe.description,
                "codec": format.video_codec(),
                "audio_codec": format.probe.audio_codec,
                "container": format.probe.container,
                "aliases": format.probe.aliases,
                "available": format.available(),
                "encoder": format.probe.encoder,
                "missing": format.probe.missing,
            });
            (name, shown)
        })
        .collect();
    let presets: Map<String, Value> = presets()
        .map(|(name, preset)| {
            let shown = json!({
                "video_bitrate": format!("{}k", preset.video_kbps),
                "audio_bitrate": format!("{}k", preset.audio_kbps),
            });
            (name.to_owned(), shown)
        })
        .collect();
    json!({"success": true, "formats": formats, "quality_presets": presets})
}
