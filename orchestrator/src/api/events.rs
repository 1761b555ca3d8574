//! `/api/events`: what happens, as server-sent events.

use super::{App, with};
use crate::{
    events::{Events, Listener, Next},
    shutdown::Shutdown,
};
use futures_util::Stream;
use http::{HeaderValue, header};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::time::timeout;
use warp::{Filter, Reply, filters::BoxedFilter, path, reply::Response};

/// Proxies close what is silent for long, and a client's death is noticed only by writing.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The begin of every stream: how long a browser waits before it connects again.
const RETRY: &str = "retry: 2000\n: haven\n\n";

pub(super) fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    path!("api" / "events")
        .and(warp::get())
        .and(with(app))
        .and(warp::header::optional::<String>("last-event-id"))
        .map(|app: Arc<App>, last_id: Option<String>| {
            let events = app.registry.context().events.clone();
            answer(events, app.shutdown.clone(), last_id.as_deref())
        })
        .boxed()
}

fn answer(events: Events, shutdown: Shutdown, last_id: Option<&str>) -> Response {
    let listener = events.listen(last_id);
    let mut response = warp::reply::stream(lines(events, listener, shutdown)).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // nginx gathers an answer otherwise.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn lines(
    events: Events,
    listener: Listener,
    shutdown: Shutdown,
) -> impl Stream<Item = Result<String, Infallible>> + Send + Sync + 'static {
    let state = (events, listener, shutdown, true);
    futures_util::stream::unfold(state, async |(events, mut listener, shutdown, first)| {
        if first {
            return Some((Ok(RETRY.to_owned()), (events, listener, shutdown, false)));
        }
        let next = tokio::select! {
            () = shutdown.token.cancelled() => return None,
            next = timeout(KEEP_ALIVE, listener.next()) => next,
        };
        let text = match next {
            Err(_) => ":\n\n".to_owned(),
            Ok(None) => return None,
            Ok(Some(Next::Missed(missed))) => {
                format!("event: missed\ndata: {{\"type\":\"missed\",\"missed\":{missed}}}\n\n")
            }
            Ok(Some(Next::Event(event))) => format!(
                "id: {}\nevent: {}\ndata: {}\n\n",
                events.id(event.number),
                event.kind,
                event.text
            ),
        };
        Some((Ok(text), (events, listener, shutdown, false)))
    })
}
