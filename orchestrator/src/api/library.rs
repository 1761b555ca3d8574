//! `/api/recordings`: the library.

use super::{
    App,
    body::{Fields, fields},
    download,
    query::{Query, query},
    reply, with,
};
use crate::{
    Error,
    db::Filter as Listed,
    error::Kind,
    recordings::{Archive, REQUESTED, Recording, Which},
};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use std::sync::Arc;
use warp::{Filter, Rejection, Reply, filters::BoxedFilter, path, reply::Response};

/// Recordings in an answer that doesn't say how many.
const DEFAULT_LIMIT: u32 = 50;
const MOST: u32 = 500;
const STATES: [&str; 4] = ["recording", "finished", "interrupted", "failed"];

pub(super) fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let list = path!("api" / "recordings")
        .and(warp::get())
        .and(with(app))
        .and(query())
        .then(|app, query: Query| async move { reply::json(list(app, &query).await) });
    let one = path!("api" / "recordings" / ..)
        .and(id_segment())
        .and(warp::path::end())
        .and(warp::get())
        .and(with(app))
        .then(|id, app| async { reply::json(one(app, id).await) });
    let delete = path!("api" / "recordings" / ..)
        .and(id_segment())
        .and(warp::path::end())
        .and(warp::delete())
        .and(with(app))
        .then(|id, app| async { reply::json(delete(app, id).await) });
    list.or(one)
        .unify()
        .or(delete)
        .unify()
        .or(media(app))
        .unify()
        .or(changes(app))
        .unify()
        .boxed()
}

fn media(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let file = path!("api" / "recordings" / ..)
        .and(id_segment())
        .and(path!("file"))
        .and(warp::get())
        .and(with(app))
        .and(query())
        .and(warp::header::headers_cloned())
        .then(|id, app, query: Query, headers: HeaderMap| async move {
            file(app, id, &query, &headers)
                .await
                .unwrap_or_else(reply::problem)
        });
    let thumbnail = path!("api" / "recordings" / ..)
        .and(id_segment())
        .and(path!("thumbnail"))
        .and(warp::get())
        .and(with(app))
        .then(|id, app| async { thumbnail(app, id).await.unwrap_or_else(reply::problem) });
    file.or(thumbnail).unify().boxed()
}

fn changes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let join = path!("api" / "recordings" / ..)
        .and(id_segment())
        .and(path!("join"))
        .and(warp::post())
        .and(with(app))
        .then(|id, app| async { reply::json(join(app, id).await) });
    let keep = path!("api" / "recordings" / ..)
        .and(id_segment())
        .and(path!("keep"))
        .and(warp::post())
        .and(with(app))
        .and(optional_fields())
        .then(|id, app, fields| async { reply::json(keep(app, id, fields).await) });
    join.or(keep).unify().boxed()
}

/// A body that may be left out.
fn optional_fields()
-> impl Filter<Extract = (Option<Result<Fields, Error>>,), Error = Rejection> + Copy {
    let empty = warp::header::exact("content-length", "0").map(|| None);
    let absent = warp::header::optional::<String>("content-length")
        .and(warp::header::optional::<String>("transfer-encoding"))
        .and_then(async |length: Option<String>, encoding: Option<String>| {
            match length.or(encoding) {
                Some(_) => Err(warp::reject::not_found()),
                None => Ok(None),
            }
        });
    empty.or(absent).unify().or(fields().map(Some)).unify()
}

/// A recording's number in a path.
fn id_segment() -> impl Filter<Extract = (Result<i64, Error>,), Error = Rejection> + Copy {
    warp::path::param().map(|segment: String| {
        let id = segment.parse().ok().filter(|id| *id > 0);
        id.ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                "recording_not_found",
                "There is no such recording: its id is a number",
            )
        })
    })
}

async fn list(app: Arc<App>, query: &Query) -> Result<Value, Error> {
    let state = match query.text("state") {
        None => None,
        Some(name) => {
            let known = STATES.into_iter().find(|state| *state == name);
            Some(known.ok_or_else(|| {
                let known = STATES.join(", ");
                Error::field(
                    "state",
                    format_args!("names no state of a recording: known are {known}"),
                )
            })?)
        }
    };
    let offset = query.number("offset", 0..=i32::MAX as u32, 0)?;
    let limit = query.number("limit", 1..=MOST, DEFAULT_LIMIT)?;
    let filter = Listed {
        key: query.text("mint_id").map(ToOwned::to_owned),
        state,
        offset,
        limit,
    };
    let archive = &app.registry.context().archive;
    let (rows, total) = archive.list(filter).await?;
    let running = running(&app);
    let recordings: Vec<_> = rows
        .into_iter()
        .map(|row| {
            let now = running.iter().find(|recording| recording.id == row.id);
            Archive::shown(row, now)
        })
        .collect();
    Ok(json!({
        "success": true,
        "total": total,
        "offset": offset,
        "limit": limit,
        "recordings": recordings,
    }))
}

/// What the sessions know of their recordings.
fn running(app: &App) -> Vec<Recording> {
    let handles = app.registry.all();
    handles
        .iter()
        .flat_map(|handle| handle.view().recordings)
        .collect()
}

async fn one(app: Arc<App>, id: Result<i64, Error>) -> Result<Value, Error> {
    let id = id?;
    let row = app.registry.context().archive.row(id).await?;
    let running = running(&app);
    let now = running.iter().find(|recording| recording.id == id);
    Ok(json!({"success": true, "recording": Archive::shown(row, now)}))
}

async fn file(
    app: Arc<App>,
    id: Result<i64, Error>,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let id = id?;
    let which = match query.text("part") {
        Some("joined") => Which::Joined,
        Some(_) => Which::Part(query.number("part", 1..=u32::MAX, 1)?),
        None => Which::First,
    };
    let save = query.text("download").is_some();
    let served = app.registry.context().archive.open(id, which).await?;
    let tag = format!("{id}-{}", served.part);
    Ok(download::answer(served, headers, &tag, save))
}

async fn thumbnail(app: Arc<App>, id: Result<i64, Error>) -> Result<Response, Error> {
    let jpeg = app.registry.context().archive.thumbnail(id?).await?;
    let mut response = jpeg.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "image/jpeg"),
        (header::CACHE_CONTROL, "private, max-age=60"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

async fn delete(app: Arc<App>, id: Result<i64, Error>) -> Result<Value, Error> {
    let id = id?;
    let archive = app.registry.context().archive.clone();
    app.carry_through("deleting the recording", async move {
        archive.delete(id, REQUESTED).await
    })
    .await?;
    Ok(json!({"success": true, "recording_id": id}))
}

/// Goes on to its end also when the client doesn't wait for it: the next one who asks finds it done.
async fn join(app: Arc<App>, id: Result<i64, Error>) -> Result<Value, Error> {
    let id = id?;
    let archive = app.registry.context().archive.clone();
    let ending = app.shutdown.token.clone();
    app.carry_through("joining the recording", async move {
        tokio::select! {
            joined = archive.join(id) => joined,
            () = ending.cancelled() => Err(Error::new(
                Kind::Unavailable,
                "shutting_down",
                "The server is shutting down: join the recording again after it",
            )),
        }
    })
    .await?;
    one(app, Ok(id)).await
}

async fn keep(
    app: Arc<App>,
    id: Result<i64, Error>,
    fields: Option<Result<Fields, Error>>,
) -> Result<Value, Error> {
    let id = id?;
    let kept = match fields {
        Some(fields) => fields?.flag_or("keep", true)?,
        None => true,
    };
    let archive = app.registry.context().archive.clone();
    app.carry_through("keeping the recording", async move {
        archive.keep(id, kept).await
    })
    .await?;
    Ok(json!({"success": true, "recording_id": id, "kept": kept}))
}
