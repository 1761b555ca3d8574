//! The viewers' WebSockets.

use super::{App, key_segment, reply, with};
use crate::{Error, limits::Client, listener::Place, watch::upgrade};
use http::{HeaderMap, Method};
use hyper::upgrade::OnUpgrade;
use std::sync::Arc;
use viewer_socket::Protocol;
use warp::{Filter, filters::BoxedFilter, path, reply::Response};

pub(super) fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let json = path!("api" / "live-sessions" / "stream" / ..);
    let binary = path!("api" / "live-sessions" / "ws" / "live" / ..);
    socket(app, json.boxed(), Protocol::Json)
        .or(socket(app, binary.boxed(), Protocol::Binary))
        .unify()
        .boxed()
}

fn socket(app: &Arc<App>, prefix: BoxedFilter<()>, protocol: Protocol) -> BoxedFilter<(Response,)> {
    prefix
        .and(key_segment())
        .and(warp::path::end())
        .and(warp::get())
        .and(with(app))
        .and(request())
        .map(move |key: Result<String, Error>, app: Arc<App>, request| {
            let key = match key {
                Ok(key) => key,
                Err(error) => return reply::problem(error),
            };
            let opened = upgrade::open(
                &app.registry,
                &app.shutdown,
                (&app.origins, &app.registry.context().limits),
                (key, protocol),
                request,
            );
            match opened {
                Ok(response) => {
                    let mut answer = Response::default();
                    *answer.status_mut() = response.status();
                    *answer.headers_mut() = response.into_parts().0.headers;
                    answer
                }
                Err(refusal) => {
                    let mut answer = reply::problem(refusal.error);
                    answer.headers_mut().extend(*refusal.headers);
                    answer
                }
            }
        })
        .boxed()
}

fn request() -> BoxedFilter<(upgrade::Request,)> {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::header::headers_cloned())
        .and(query)
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::ext::optional::<Place>())
        .and(warp::ext::get::<Client>())
        .map(
            |method: Method, headers: HeaderMap, query: String, on_upgrade, place, client| {
                upgrade::Request {
                    method,
                    headers,
                    query,
                    on_upgrade,
                    place,
                    client,
                }
            },
        )
        .boxed()
}
