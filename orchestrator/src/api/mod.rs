//! The HTTP API.

mod body;
mod config;
mod download;
mod events;
mod gate;
mod health;
mod library;
mod live_sessions;
mod metrics;
mod openapi;
mod page;
mod pumpfun;
mod query;
mod range;
mod recordings;
mod reply;
mod ui_session;
mod watch;
mod watch_rules;
mod webhooks;

pub(crate) use gate::{Gate, GateSlot, Service};
pub(crate) use health::Readiness;

use crate::{
    Error,
    autorecord::Watcher,
    config::{Settings, Store},
    error::Kind,
    sessions::Registry,
    shutdown::Shutdown,
    webhooks::Webhooks,
};
use percent_encoding::percent_decode_str;
use std::{convert::Infallible, sync::Arc};
use viewer_socket::OriginPolicy;
use warp::{Filter, Rejection, filters::BoxedFilter, reply::Response};

/// What handlers work on.
pub(crate) struct App {
    pub(crate) registry: Registry,
    pub(crate) shutdown: Shutdown,
    pub(crate) origins: OriginPolicy,
    pub(crate) store: Arc<Store>,
    pub(crate) watcher: Watcher,
    pub(crate) readiness: Readiness,
    pub(crate) webhooks: Webhooks,
}

impl App {
    /// The settings in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.store.current()
    }

    /// Does what changes something to its end, also when the client doesn't wait for it: a request
    /// whose connection breaks is dropped wherever it stands.
    ///
    /// # Errors
    /// Those of `work`; internal when it panics.
    async fn carry_through<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let done = self.shutdown.tasks.spawn(work).await;
        done.map_err(|error| Error::internal(doing, error))?
    }
}

/// Every route. The answer to what is none of them is a JSON error too.
pub(crate) fn routes(app: Arc<App>) -> BoxedFilter<(Response,)> {
    live_sessions::routes(&app)
        .or(recordings::routes(&app))
        .unify()
        .or(library::routes(&app))
        .unify()
        .or(events::routes(&app))
        .unify()
        .or(ui_session::routes())
        .unify()
        .or(watch::routes(&app))
        .unify()
        .or(watch_rules::routes(&app))
        .unify()
        .or(webhooks::routes(&app))
        .unify()
        .or(health::routes(&app))
        .unify()
        .or(pumpfun::routes(&app))
        .unify()
        .or(config::routes(&app))
        .unify()
        .or(metrics::routes(&app))
        .unify()
        .or(openapi::routes())
        .unify()
        .or(page::routes())
        .unify()
        .recover(reply::recover)
        .unify()
        .boxed()
}

/// Hands the application to a handler.
fn with(app: &Arc<App>) -> impl Filter<Extract = (Arc<App>,), Error = Infallible> + Clone + use<> {
    let app = Arc::clone(app);
    warp::any().map(move || Arc::clone(&app))
}

/// A path segment as a session's key: percent-decoded once, since warp hands it over raw.
fn key_segment() -> impl Filter<Extract = (Result<String, Error>,), Error = Rejection> + Copy {
    warp::path::param().map(|segment: String| {
        percent_decode_str(&segment)
            .decode_utf8()
            .map(|text| text.into_owned())
            .map_err(|error| {
                Error::new(Kind::BadRequest, "malformed_path", "The path is not UTF-8")
                    .caused_by(error)
            })
    })
}
