//! Whether the server lives, and whether it can work.

use super::{App, reply, with};
use crate::Error;
use serde_json::{Value, json};
use std::sync::Arc;
use warp::{Filter, filters::BoxedFilter, path, reply::Response};

pub(super) fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let alive = path!("healthz")
        .or(path!("health"))
        .unify()
        .and(warp::get())
        .map(|| reply::json(Ok(json!({"success": true, "status": "ok"}))));
    let ready = path!("readyz")
        .and(warp::get())
        .and(with(app))
        .then(|app| async { reply::json(ready(app).await) });
    alive.or(ready).unify().boxed()
}

/// Ready is who has a database that answers and a worker that can be run.
async fn ready(app: Arc<App>) -> Result<Value, Error> {
    let context = app.registry.context();
    context.db.check().await?;
    let probe = context.workers.probe().await?;
    Ok(json!({
        "success": true,
        "status": "ready",
        "worker_version": probe.worker_version,
        "gstreamer_version": probe.gstreamer_version,
    }))
}
