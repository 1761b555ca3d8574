//! `/api/live-sessions`.

use super::{
    App,
    body::{Fields, fields},
    recordings, reply, with,
};
use crate::{
    Error, clock,
    error::Kind,
    sessions::{Handle, Phase, Started, View},
};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use warp::{Filter, filters::BoxedFilter, path, reply::Response};

pub(super) fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let start = path!("api" / "live-sessions" / "start")
        .and(warp::post())
        .and(with(app))
        .and(fields())
        .then(|app, fields| async { reply::json(start(app, fields).await) });
    let stop = path!("api" / "live-sessions" / "stop")
        .and(warp::post())
        .and(with(app))
        .and(fields())
        .then(|app, fields| async { reply::json(stop(app, fields).await) });
    let active = path!("api" / "live-sessions" / "active")
        .and(warp::get())
        .and(with(app))
        .map(|app: Arc<App>| reply::json(Ok(active(&app))));
    start.or(stop).unify().or(active).unify().boxed()
}

async fn start(app: Arc<App>, fields: Result<Fields, Error>) -> Result<Value, Error> {
    let fields = fields?;
    let record = fields.flag("record_session")?;
    let sources = &app.registry.context().sources;
    let target = match (fields.text("mint_id")?, fields.text("room_name")?) {
        // A generic session that runs is known by its room's name wherever a mint is asked for.
        (Some(key), _) => match sources.mint_target(key) {
            Err(_) if app.registry.find(key).is_some() => sources.room_target(key)?,
            target => target?,
        },
        (None, Some(room_name)) => sources.room_target(room_name)?,
        (None, None) => return Err(Error::field("mint_id", "is missing")),
    };
    // What can't be recorded is told before anything is started.
    let plan = match record {
        true => Some(recordings::default_plan(&app).await?),
        false => None,
    };
    let started = app.registry.start(&target).await?;
    let mut answer = started_json(&started, record);
    if let Some(plan) = plan {
        let path = record_started(&started, plan).await?;
        answer.insert("output_path".into(), path.into());
    }
    Ok(Value::Object(answer))
}

/// The file that the session is recorded to. A session that was started only for it doesn't
/// outlive a recording that can't begin.
async fn record_started(started: &Started, plan: crate::recordings::Plan) -> Result<String, Error> {
    let running = |handle: &Handle| {
        let recordings = handle.view().recordings;
        let same = recordings
            .iter()
            .find(|running| running.format == plan.format);
        same.map(|recording| recording.output_path())
    };
    if let Some(path) = running(&started.handle) {
        return Ok(path);
    }
    match started.handle.start_recording(plan.clone()).await {
        Ok(recording) => Ok(recording.output_path()),
        // Somebody else was faster.
        Err(error) if error.kind() == Kind::Conflict => running(&started.handle).ok_or(error),
        Err(error) => {
            if !started.already_active {
                started.handle.stop("stopped").await;
            }
            Err(error)
        }
    }
}

fn started_json(started: &Started, record: bool) -> Map<String, Value> {
    let view = &started.view;
    let mut answer = Map::new();
    answer.insert("success".into(), true.into());
    answer.insert("mint_id".into(), view.key.clone().into());
    answer.insert("room_name".into(), view.status.room_name.clone().into());
    answer.insert(
        "participant_sid".into(),
        view.status.participant_sid.clone().into(),
    );
    answer.insert("session_id".into(), view.session_id.into());
    answer.insert("record_session".into(), record.into());
    answer.insert("stream_info".into(), json!(view.stream_info));
    if started.already_active {
        answer.insert("already_active".into(), true.into());
    }
    answer
}

async fn stop(app: Arc<App>, fields: Result<Fields, Error>) -> Result<Value, Error> {
    let fields = fields?;
    let key = super::recordings::key_field(&fields)?;
    let mut answer = json!({"success": true, "mint_id": key});
    match app.registry.find(key) {
        Some(handle) => handle.stop("stopped").await,
        None => answer["already_stopped"] = true.into(),
    }
    Ok(answer)
}

fn active(app: &App) -> Value {
    let sessions: Map<String, Value> = app
        .registry
        .all()
        .iter()
        .map(|handle| (handle.view(), handle.hub.stats().viewers))
        .filter(|(view, _)| view.phase < Phase::Stopping)
        .map(|(view, viewers)| (view.key.clone(), session_json(&view, viewers)))
        .collect();
    json!({"success": true, "sessions": sessions})
}

fn session_json(view: &View, viewers: usize) -> Value {
    json!({
        "mint_id": view.key,
        "room_name": view.status.room_name,
        "participant_sid": view.status.participant_sid,
        "stream_data": view.stream_info,
        "session_id": view.session_id,
        "state": view.status.state,
        "viewers": viewers,
        "recording": !view.recordings.is_empty(),
        "started_at": clock::rfc3339(view.started_at_ms),
        "video": view.status.video,
        "audio": view.status.audio,
    })
}
