//! `/api/watch`: rules by which streams are recorded whenever they are live.

use super::{
    App,
    body::{Fields, fields},
    recordings,
    reply::{self, Problem},
    with,
};
use crate::{
    Error,
    autorecord::{self, LiveState, Subject},
    clock,
    error::Kind,
    recordings::Choice,
};
use haven_wire::AudioChoice;
use pumpfun_api::Mint;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use warp::{Filter, filters::BoxedFilter, path, reply::Response};

/// Whose streams are to be recorded, and how; what isn't said is what is configured at the time.
#[derive(Debug, ToSchema)]
#[allow(
    dead_code,
    reason = "the shape of a request, which is read field by field"
)]
pub(super) struct NewRule {
    /// A coin's address; or `creator`.
    mint_id: Option<String>,
    /// The address of somebody all of whose coins are meant; or `mint_id`.
    creator: Option<String>,
    output_format: Option<String>,
    video_quality: Option<String>,
    /// `mix` (default) or `streamer`.
    audio: Option<String>,
    /// 0: never.
    split_minutes: Option<f64>,
    /// 0: never.
    split_bytes: Option<u64>,
}

/// A rule, and what is done for it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rule {
    id: i64,
    /// The coin that it is about; null where it is about a creator.
    mint_id: Option<String>,
    /// The creator that it is about; null where it is about a coin.
    creator: Option<String>,
    /// Null: the configured one.
    output_format: Option<String>,
    /// Null: the configured one.
    video_quality: Option<String>,
    /// `mix` or `streamer`.
    audio: &'static str,
    /// Null: as configured; 0: never.
    split_minutes: Option<f64>,
    /// Null: as configured; 0: never.
    split_bytes: Option<u64>,
    /// RFC 3339.
    created_at: String,
    /// `waiting` while nothing of it is live, else what is furthest of `live`.
    state: &'static str,
    /// When pump.fun listed a coin of it last; null: never yet.
    last_seen_live: Option<String>,
    /// The last recording that was begun; it may be deleted by now.
    recording_id: Option<i64>,
    /// The session of what is recorded now.
    session_id: Option<i64>,
    /// Why something that is live isn't recorded, or wasn't the last time that it was tried.
    last_error: Option<String>,
    /// Its coins that are live.
    live: Vec<Live>,
}

/// A coin that is live.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Live {
    mint_id: String,
    state: LiveState,
    /// Since when it is seen live; RFC 3339.
    since: String,
    session_id: Option<i64>,
    recording_id: Option<i64>,
    error: Option<String>,
}

/// One rule.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OneRule {
    success: bool,
    /// Only, and true, where the rule was there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    already_watched: Option<bool>,
    rule: Rule,
}

/// Every rule.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rules {
    success: bool,
    /// Oldest first.
    rules: Vec<Rule>,
    upstream: Upstream,
}

/// How the looking at pump.fun's list goes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Upstream {
    /// Seconds between two looks, and up to a tenth more.
    interval_s: u64,
    /// When the list was fetched that was looked at last; null: not yet. RFC 3339.
    last_list_at: Option<String>,
    /// Coins on it that are live.
    live_coins: usize,
    /// Looks in a row that failed, up to now.
    failures: u32,
}

impl From<autorecord::Rule> for Rule {
    fn from(rule: autorecord::Rule) -> Self {
        let state = match rule.state() {
            None => "waiting",
            Some(LiveState::Dismissed) => "dismissed",
            Some(LiveState::Failing) => "failing",
            Some(LiveState::Starting) => "starting",
            Some(LiveState::Recording) => "recording",
        };
        let row = rule.row;
        let choice = row.choice;
        let last_error = rule.live.iter().find_map(|live| live.error.clone());
        let recorded = rule
            .live
            .iter()
            .find(|live| live.state == LiveState::Recording);
        Self {
            id: row.id,
            mint_id: row.mint,
            creator: row.creator,
            output_format: choice.output_format,
            video_quality: choice.video_quality,
            audio: match choice.audio {
                AudioChoice::Mix => "mix",
                AudioChoice::Streamer => "streamer",
            },
            split_minutes: choice.split_ms.map(|ms| clock::seconds(ms) / 60.0),
            split_bytes: choice.split_bytes,
            created_at: clock::rfc3339(row.created_at_ms),
            state,
            last_seen_live: row.seen_live_at_ms.map(clock::rfc3339),
            recording_id: row.recording_id,
            session_id: recorded.and_then(|live| live.session_id),
            last_error,
            live: rule.live.into_iter().map(Live::from).collect(),
        }
    }
}

impl From<autorecord::Shown> for Live {
    fn from(shown: autorecord::Shown) -> Self {
        Self {
            mint_id: shown.mint,
            state: shown.state,
            since: clock::rfc3339(shown.began_at_ms),
            session_id: shown.session_id,
            recording_id: shown.recording_id,
            error: shown.error,
        }
    }
}

pub(super) fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let add = path!("api" / "watch")
        .and(warp::post())
        .and(with(app))
        .and(fields())
        .then(|app, fields| async { reply::json(add(app, fields).await) });
    let list = path!("api" / "watch")
        .and(warp::get())
        .and(with(app))
        .map(|app: Arc<App>| reply::json(Ok(list(&app))));
    let delete = path!("api" / "watch" / String)
        .and(warp::delete())
        .and(with(app))
        .then(|id: String, app| async move { reply::json(delete(app, &id).await) });
    add.or(list).unify().or(delete).unify().boxed()
}

fn subject(fields: &Fields) -> Result<Subject, Error> {
    let address = |name: &'static str| -> Result<String, Error> {
        let text = fields.required_text(name)?;
        let address = text.parse::<Mint>();
        address
            .map(|address| address.to_string())
            .map_err(|error| Error::field(name, format_args!("is no address: {error}")))
    };
    match (fields.names("mint_id"), fields.names("creator")) {
        (true, false) => address("mint_id").map(Subject::Mint),
        (false, true) => address("creator").map(Subject::Creator),
        (false, false) => Err(Error::field("mint_id", "or `creator` is missing")),
        (true, true) => Err(Error::field(
            "creator",
            "can't be given beside `mint_id`: make a rule for each",
        )),
    }
}

/// What can't be recorded here is told now, not at night. Formats get their own names: who says it
/// otherwise says the same.
async fn possible(app: &App, mut choice: Choice) -> Result<Choice, Error> {
    let probe = recordings::probe(app).await;
    let plan = choice.plan(probe, &app.settings())?;
    if let Some(format) = &mut choice.output_format {
        *format = plan.format;
    }
    Ok(choice)
}

/// Has a coin's streams, or those of all coins of a creator, recorded whenever they are live.
#[utoipa::path(
    post, path = "/api/watch", tag = "watching", operation_id = "add_watch_rule",
    request_body = NewRule,
    responses(
        (status = 200, description = "The rule, new or from before", body = OneRule),
        (status = 400, description = "No JSON", body = Problem),
        (status = 409, description = "There is another rule about the same, or too many rules", body = Problem),
        (status = 413, description = "The body is larger than 64 KiB", body = Problem),
        (status = 422, description = "A field is missing or wrong", body = Problem),
        (status = 503, description = "This can't be recorded here", body = Problem),
    )
)]
pub(super) async fn add(app: Arc<App>, fields: Result<Fields, Error>) -> Result<OneRule, Error> {
    let fields = fields?;
    let subject = subject(&fields)?;
    let choice = possible(&app, recordings::choice(&fields)?).await?;
    let watcher = app.watcher.clone();
    let adding = async move { watcher.add_rule(subject, choice).await };
    let (rule, existed) = app.carry_through("adding the watch rule", adding).await?;
    Ok(OneRule {
        success: true,
        already_watched: existed.then_some(true),
        rule: rule.into(),
    })
}

/// The rules, and what is done for them.
#[utoipa::path(
    get, path = "/api/watch", tag = "watching", operation_id = "list_watch_rules",
    responses((status = 200, description = "The rules", body = Rules))
)]
pub(super) fn list(app: &App) -> Rules {
    let looks = app.watcher.looks();
    Rules {
        success: true,
        rules: app.watcher.rules().into_iter().map(Rule::from).collect(),
        upstream: Upstream {
            interval_s: app.settings().pumpfun_refresh.as_secs(),
            last_list_at: looks.fetched_at_ms.map(clock::rfc3339),
            live_coins: looks.coins,
            failures: looks.failures,
        },
    }
}

/// Deletes a rule. What is being recorded for it is recorded to its end.
#[utoipa::path(
    delete, path = "/api/watch/{id}", tag = "watching", operation_id = "delete_watch_rule",
    params(("id" = i64, Path, description = "The rule's number")),
    responses(
        (status = 200, description = "The rule as it was", body = OneRule),
        (status = 404, description = "There is none", body = Problem),
    )
)]
pub(super) async fn delete(app: Arc<App>, id: &str) -> Result<OneRule, Error> {
    let id = id.parse::<i64>().map_err(|_| {
        let message = "There is no such watch rule: its id is a number";
        Error::new(Kind::NotFound, "rule_not_found", message)
    })?;
    let watcher = app.watcher.clone();
    let deleting = async move { watcher.remove_rule(id).await };
    let rule = app
        .carry_through("deleting the watch rule", deleting)
        .await?;
    Ok(OneRule {
        success: true,
        already_watched: None,
        rule: rule.into(),
    })
}
