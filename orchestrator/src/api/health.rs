//! Whether the server lives, and whether it can work.

use super::{
    App,
    reply::{self, Problem},
    with,
};
use crate::{Error, error::Kind, folders};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;
use utoipa::ToSchema;
use warp::{Filter, filters::BoxedFilter, path, reply::Response};

/// Who asks wants an answer soon; the first look at the worker may take longer.
const LIMIT: Duration = Duration::from_secs(5);

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
    let (database, worker, folder) = tokio::join!(
        limited("the database can't be written to", context.db.check()),
        limited("haven-worker can't be run", async {
            context.workers.find()?;
            context.workers.probe().await
        }),
        limited("the recording directory can't be written to", folder(&app)),
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
    check: impl Future<Output = Result<T, Error>>,
) -> Result<T, &'static str> {
    let cause = match timeout(LIMIT, check).await {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.chain(),
        Err(elapsed) => elapsed.to_string(),
    };
    tracing::warn!(fault, cause, "not ready");
    Err(fault)
}

async fn folder(app: &App) -> Result<(), Error> {
    let dir = app.settings().recording_directory.clone();
    tokio::task::spawn_blocking(move || folders::check_writable(&dir))
        .await
        .map_err(|error| Error::internal("looking at the recording directory", error))?
        .map_err(|error| Error::internal("writing to the recording directory", error))
}
