//! Whether the server lives, and whether it can work.

use super::{
    App,
    reply::{self, Problem},
    with,
};
use crate::{
    Error,
    error::Kind,
    folders,
    lookups::{Lookups, result},
};
use serde::Serialize;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::time::timeout;
use utoipa::ToSchema;
use warp::{Filter, filters::BoxedFilter, path, reply::Response};

/// Who asks wants an answer soon; the first look at the worker may take longer.
const LIMIT: Duration = Duration::from_secs(5);
/// So long a check's result is the answer to everybody.
const SHARED_FOR: Duration = Duration::from_secs(2);

/// Checks that run or were just made. Anybody may ask, and as often as they like: each check is made
/// once at a time, also one that hangs.
#[derive(Default)]
pub(crate) struct Readiness {
    checks: Lookups<Check, Result<(), String>>,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Check {
    Database,
    Folder(PathBuf),
}

/// The server lives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alive {
    success: bool,
    /// `ok`
    status: &'static str,
}

/// The server can work.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ready {
    success: bool,
    /// `ready`
    status: &'static str,
    worker_version: String,
    gstreamer_version: String,
}

pub(super) fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let alive = path!("healthz")
        .or(path!("health"))
        .unify()
        .and(warp::get())
        .map(|| reply::json(Ok(alive())));
    let ready = path!("readyz")
        .and(warp::get())
        .and(with(app))
        .then(|app| async { reply::json(ready(app).await) });
    alive.or(ready).unify().boxed()
}

/// Whether the server lives.
#[utoipa::path(
    get, path = "/healthz", tag = "operations", security(()),
    responses((status = 200, description = "It does", body = Alive))
)]
pub(super) fn alive() -> Alive {
    Alive {
        success: true,
        status: "ok",
    }
}

/// Whether the server can work: its database and the folder of recordings can be written to, and
/// its worker can be run.
#[utoipa::path(
    get, path = "/readyz", tag = "operations", security(()),
    responses(
        (status = 200, description = "It can", body = Ready),
        (status = 503, description = "It can't; the error says what is wrong", body = Problem),
    )
)]
pub(super) async fn ready(app: Arc<App>) -> Result<Ready, Error> {
    let context = app.registry.context();
    let worker = async {
        context.workers.find().map_err(|error| error.chain())?;
        let probe = context.workers.probe().await;
        probe.map_err(|error| error.chain())
    };
    let folder = Check::Folder(app.settings().recording_directory.clone());
    let (database, worker, folder) = tokio::join!(
        limited(
            "the database can't be written to",
            checked(&app, Check::Database)
        ),
        limited("haven-worker can't be run", worker),
        limited(
            "the recording directory can't be written to",
            checked(&app, folder)
        ),
    );
    match (database, worker, folder) {
        (Ok(()), Ok(probe), Ok(())) => Ok(Ready {
            success: true,
            status: "ready",
            worker_version: probe.worker_version.clone(),
            gstreamer_version: probe.gstreamer_version.clone(),
        }),
        (database, worker, folder) => {
            let faults = [database.err(), worker.err(), folder.err()];
            let faults: Vec<_> = faults.into_iter().flatten().collect();
            let message = format!("Not ready: {}", faults.join("; "));
            Err(Error::new(Kind::Unavailable, "not_ready", message))
        }
    }
}

/// What a check comes to; its cause is for the log, since anybody may ask.
async fn limited<T>(
    fault: &'static str,
    check: impl Future<Output = Result<T, String>>,
) -> Result<T, &'static str> {
    let cause = match timeout(LIMIT, check).await {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(cause)) => cause,
        Err(elapsed) => elapsed.to_string(),
    };
    tracing::warn!(fault, cause, "not ready");
    Err(fault)
}

/// What a check comes to that is made now, or was just made.
async fn checked(app: &App, check: Check) -> Result<(), String> {
    let (db, made) = (app.registry.context().db.clone(), check.clone());
    let pending = app.readiness.checks.start(
        &check,
        &app.shutdown,
        |_| Some(SHARED_FOR),
        || async move {
            match made {
                Check::Database => db.check().await.map_err(|error| error.chain()),
                // On a dead network drive this takes for ever.
                Check::Folder(dir) => {
                    match tokio::task::spawn_blocking(move || folders::may_write(&dir)).await {
                        Ok(result) => result.map_err(|error| error.to_string()),
                        Err(error) => Err(error.to_string()),
                    }
                }
            }
        },
    );
    let given_up = || Err("the server is shutting down".to_owned());
    result(pending).await.unwrap_or_else(given_up)
}
