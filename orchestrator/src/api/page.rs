//! The page at `/`: start a session and watch it.

use http::{HeaderValue, header};
use viewer_socket::page;
use warp::{Filter, Reply, filters::BoxedFilter, path, reply::Response};

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
/// Own scripts only; pictures also from where coins keep theirs.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob: https:; \
                      media-src 'self' blob:; worker-src 'self' blob:; \
                      connect-src 'self' ws: wss:; object-src 'none'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

pub(super) fn routes() -> BoxedFilter<(Response,)> {
    let index = path::end()
        .and(warp::get())
        .map(|| file("text/html; charset=utf-8", include_str!("page/index.html")));
    let script = path!("app.js")
        .and(warp::get())
        .map(|| file(JAVASCRIPT, include_str!("page/app.js")));
    let player = path!("player.js")
        .and(warp::get())
        .map(|| file(JAVASCRIPT, page::PLAYER_SCRIPT));
    let sound = path!("sound.js")
        .and(warp::get())
        .map(|| file(JAVASCRIPT, page::SOUND_SCRIPT));
    let style = path!("app.css")
        .and(warp::get())
        .map(|| file("text/css; charset=utf-8", include_str!("page/app.css")));
    let scripts = script.or(player).unify().or(sound).unify();
    index.or(scripts).unify().or(style).unify().boxed()
}

/// An embedded file, with the page's policy.
pub(super) fn file(content_type: &'static str, text: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
