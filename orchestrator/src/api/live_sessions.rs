//! `/api/live-sessions`.

use super::{
    App,
    body::{Fields, fields},
    recordings,
    reply::{self, Problem},
    with,
};
use crate::{
    Error, clock,
    sessions::{self, Handle, Phase, StreamInfo, Trouble, View},
};
use haven_wire::{AudioStatus, SessionState, VideoStatus};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};
use utoipa::ToSchema;
use warp::{Filter, filters::BoxedFilter, path, reply::Response};

/// Which session to start: `mint_id`, or `room_name` of a generic room.
#[derive(Debug, ToSchema)]
pub(super) struct Start {
    /// A coin's address; or `demo` where the demo room is on.
    mint_id: Option<String>,
    /// Any room of the configured LiveKit server, 1 to 256 characters.
    room_name: Option<String>,
    /// Whether to record it in the default format; false by default.
    #[schema(required = false)]
    record_session: bool,
}

impl Start {
    fn read(fields: &Fields) -> Result<Self, Error> {
        Ok(Self {
            record_session: fields.flag("record_session")?,
            mint_id: fields.text("mint_id")?.map(str::to_owned),
            room_name: fields.text("room_name")?.map(str::to_owned),
        })
    }
}

/// Which session is meant: one of the two.
#[derive(Debug, ToSchema)]
#[allow(
    dead_code,
    reason = "the shape of a request, which is read field by field"
)]
pub(super) struct SessionKey {
    /// A mint, or the name of a generic room.
    mint_id: Option<String>,
    /// The name of a generic room.
    room_name: Option<String>,
}

/// A session that runs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Started {
    success: bool,
    /// The session's key: a mint, or a generic room's name.
    mint_id: String,
    /// The LiveKit room that was really joined.
    room_name: String,
    /// The streamer's; null while nobody publishes.
    participant_sid: Option<String>,
    session_id: i64,
    record_session: bool,
    stream_info: StreamInfo,
    /// Only, and true, where the session ran before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    already_active: Option<bool>,
    /// First file of the recording, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    output_path: Option<String>,
}

/// A session that runs no more.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stopped {
    success: bool,
    mint_id: String,
    /// Only, and true, where no such session ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    already_stopped: Option<bool>,
}

/// The sessions that run, by key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Active {
    success: bool,
    sessions: BTreeMap<String, Session>,
}

/// A session that runs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Session {
    mint_id: String,
    /// The LiveKit room that was really joined; empty before that.
    room_name: String,
    participant_sid: Option<String>,
    stream_data: StreamInfo,
    session_id: i64,
    #[schema(value_type = State)]
    state: SessionState,
    /// Why it is in this state, where that isn't plain.
    state_reason: Option<String>,
    /// How often its worker was replaced.
    restarts: u32,
    /// What is wrong with a session that goes on trying.
    problem: Option<Trouble>,
    /// WebSockets that show it.
    viewers: usize,
    /// Whether a recording of it runs.
    recording: bool,
    /// RFC 3339.
    started_at: String,
    /// The video as it arrives.
    #[schema(value_type = Option<Video>)]
    video: Option<VideoStatus>,
    /// The audio as it arrives.
    #[schema(value_type = Option<Audio>)]
    audio: Option<AudioStatus>,
}

/// State of a session's connection.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code, reason = "the shape of the worker's words")]
pub(super) enum State {
    Connecting,
    Live,
    Waiting,
    Reconnecting,
}

/// Video as the publisher sends it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "the shape of the worker's words")]
pub(super) struct Video {
    codec: String,
    width: u32,
    height: u32,
    fps: f64,
    /// Bits per second.
    bitrate: u64,
}

/// Audio as the publisher sends it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "the shape of the worker's words")]
pub(super) struct Audio {
    codec: String,
    sample_rate: u32,
    channels: u32,
    /// Bits per second.
    bitrate: u64,
}

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

/// Starts a session, and answers once the room is joined.
#[utoipa::path(
    post, path = "/api/live-sessions/start", tag = "live sessions",
    request_body = Start,
    responses(
        (status = 200, description = "The session runs, since now or since before", body = Started),
        (status = 400, description = "No JSON; or a generic room while no LiveKit credentials are configured", body = Problem),
        (status = 404, description = "The coin is not live", body = Problem),
        (status = 409, description = "The session was stopped meanwhile", body = Problem),
        (status = 413, description = "The body is larger than 64 KiB", body = Problem),
        (status = 422, description = "A field is missing or wrong", body = Problem),
        (status = 500, description = "The worker failed", body = Problem),
        (status = 502, description = "No token, or no connection to LiveKit", body = Problem),
        (status = 503, description = "This can't be recorded here, as many sessions run as may (`too_many_sessions`), or the server ends", body = Problem),
        (status = 504, description = "No connection in time", body = Problem),
        (status = 507, description = "Not enough disk space for a recording", body = Problem),
    )
)]
pub(super) async fn start(app: Arc<App>, fields: Result<Fields, Error>) -> Result<Started, Error> {
    let request = Start::read(&fields?)?;
    let context = app.registry.current();
    let sources = &context.sources;
    let target = match (&request.mint_id, &request.room_name) {
        // A generic session that runs is known by its room's name wherever a mint is asked for.
        (Some(key), _) => match sources.mint_target(key) {
            Err(_) if app.registry.find(key).is_some() => sources.room_target(key)?,
            target => target?,
        },
        (None, Some(room_name)) => sources.room_target(room_name)?,
        (None, None) => return Err(Error::field("mint_id", "is missing")),
    };
    // What can't be recorded is told before anything is started.
    let plan = match request.record_session {
        true => Some(recordings::default_plan(&app).await?),
        false => None,
    };
    let registry = app.registry.clone();
    // Who asks for a recording gets it also when the connection breaks before the room is joined.
    let starting = async move {
        let started = registry.start(&target).await?;
        let output_path = match plan {
            Some(plan) => Some(record_started(&started, plan).await?),
            None => None,
        };
        Ok((started, output_path))
    };
    let (started, output_path) = app.carry_through("starting the session", starting).await?;
    let view = started.view;
    Ok(Started {
        success: true,
        mint_id: view.key,
        room_name: view.status.room_name,
        participant_sid: view.status.participant_sid,
        session_id: view.session_id,
        record_session: request.record_session,
        stream_info: view.stream_info,
        already_active: started.already_active.then_some(true),
        output_path,
    })
}

/// The file that the session is recorded to. A session that was started only for it doesn't
/// outlive a recording that can't begin.
async fn record_started(
    started: &sessions::Started,
    plan: crate::recordings::Plan,
) -> Result<String, Error> {
    let running = |handle: &Handle| {
        let recordings = handle.view().recordings;
        let same = recordings
            .iter()
            .find(|running| running.format == plan.format);
        same.map(|recording| recording.output_path())
    };
    let mut result = started.handle.start_recording(plan.clone()).await;
    if let Err(error) = &result
        && error.code() == sessions::RECORDING_ENDING
        && started.handle.recording_ended(&plan.format).await
    {
        // The one that ran was just being finished: another begins after it.
        result = started.handle.start_recording(plan.clone()).await;
    }
    match result {
        Ok(recording) => Ok(recording.output_path()),
        // Recorded already, or somebody else was faster.
        Err(error) if error.code() == sessions::ALREADY_RECORDING => {
            running(&started.handle).ok_or(error)
        }
        Err(error) => {
            if !started.already_active {
                started.handle.stop("stopped").await;
            }
            Err(error)
        }
    }
}

/// Stops a session; answers once its recordings are complete.
#[utoipa::path(
    post, path = "/api/live-sessions/stop", tag = "live sessions",
    request_body = SessionKey,
    responses(
        (status = 200, description = "The session runs no more", body = Stopped),
        (status = 400, description = "No JSON", body = Problem),
        (status = 413, description = "The body is larger than 64 KiB", body = Problem),
        (status = 422, description = "A field is missing or wrong", body = Problem),
    )
)]
pub(super) async fn stop(app: Arc<App>, fields: Result<Fields, Error>) -> Result<Stopped, Error> {
    let fields = fields?;
    let key = recordings::key_field(&fields)?;
    let already_stopped = match app.registry.find(key) {
        Some(handle) => {
            handle.stop("stopped").await;
            None
        }
        None => Some(true),
    };
    Ok(Stopped {
        success: true,
        mint_id: key.to_owned(),
        already_stopped,
    })
}

/// The sessions that run.
#[utoipa::path(
    get, path = "/api/live-sessions/active", tag = "live sessions",
    responses((status = 200, description = "The sessions", body = Active))
)]
pub(super) fn active(app: &App) -> Active {
    let handles = app.registry.all();
    let sessions = handles
        .iter()
        .map(|handle| (handle.view(), handle.screens.viewers()))
        .filter(|(view, _)| view.phase < Phase::Stopping)
        .map(|(view, viewers)| (view.key.clone(), session(view, viewers)));
    Active {
        success: true,
        sessions: sessions.collect(),
    }
}

fn session(view: View, viewers: usize) -> Session {
    Session {
        mint_id: view.key,
        room_name: view.status.room_name,
        participant_sid: view.status.participant_sid,
        stream_data: view.stream_info,
        session_id: view.session_id,
        state: view.status.state,
        state_reason: view.state_reason,
        restarts: view.restarts,
        problem: view.problem,
        viewers,
        recording: !view.recordings.is_empty(),
        started_at: clock::rfc3339(view.started_at_ms),
        video: view.status.video,
        audio: view.status.audio,
    }
}
