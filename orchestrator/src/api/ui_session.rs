//! The page's cookie: what a browser shows where it can't give a header.

use crate::{limits::Client, secret::Secret};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use warp::{Filter, Reply, filters::BoxedFilter, path, reply::Response};

const NAME: &str = "haven_ui";
/// A month; a browser that is used again gets it anew.
const MAX_AGE_S: u32 = 30 * 24 * 3600;

/// The page has what it asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UiSession {
    success: bool,
}

pub(super) fn routes() -> BoxedFilter<(Response,)> {
    let address = path!("api" / "ui-session").and(warp::ext::get::<Client>());
    let begin = address
        .and(warp::post())
        .and(warp::header::headers_cloned())
        .map(|client, headers| begin(client, &headers));
    let end = address.and(warp::delete()).map(end);
    begin.or(end).unify().boxed()
}

/// Gives the page a cookie for what takes no header: WebSockets, `/api/events`, files, pictures. It is
/// worth as long as the token that it was got with.
#[utoipa::path(
    post, path = "/api/ui-session", tag = "operations", operation_id = "begin_ui_session",
    responses((status = 200, description = "The cookie; none where no token is shown, since none is needed", body = UiSession))
)]
pub(super) fn begin(client: Client, headers: &HeaderMap) -> Response {
    // The gate has compared it.
    match bearer(headers) {
        Some(token) => answer(&client, &value(token), MAX_AGE_S),
        None => done(),
    }
}

/// Takes the page's cookie away.
#[utoipa::path(
    delete, path = "/api/ui-session", tag = "operations", operation_id = "end_ui_session",
    responses((status = 200, description = "The cookie is gone", body = UiSession))
)]
pub(super) fn end(client: Client) -> Response {
    answer(&client, "", 0)
}

fn answer(client: &Client, value: &str, max_age_s: u32) -> Response {
    // A browser would not give it back over HTTP without TLS.
    let secure = if client.secure { "; Secure" } else { "" };
    let cookie =
        format!("{NAME}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}");
    let mut response = done();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        let headers = response.headers_mut();
        headers.insert(header::SET_COOKIE, cookie);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

fn done() -> Response {
    warp::reply::json(&UiSession { success: true }).into_response()
}

/// The token of the header `Authorization`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, given) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| given.trim())
}

/// Whether a request has the cookie that was got with this token.
pub(super) fn is_shown(headers: &HeaderMap, token: &Secret) -> bool {
    let expected = Secret::new(value(token.expose()));
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut pairs = cookies.flat_map(|value| value.to_str().unwrap_or_default().split(';'));
    pairs.any(|pair| {
        let given = pair.trim().split_once('=');
        given.is_some_and(|(name, value)| name == NAME && expected.matches(value))
    })
}

/// Tells nothing of the token, and is another one with another token.
fn value(token: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"haven's page\0");
    hash.update(token);
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_worth_what_its_token_is() {
        let token = Secret::new("a token");
        let cookie = format!("{NAME}={}", value("a token"));
        let headers = |cookies: &[&str]| {
            let pairs = cookies.iter().map(|cookie| {
                let value = HeaderValue::from_str(cookie).unwrap();
                (header::COOKIE, value)
            });
            pairs.collect::<HeaderMap>()
        };
        for (cookies, shown) in [
            (&[&*cookie][..], true),
            (&[&format!("a=b; {cookie}; c=d")], true),
            (&["a=b", &cookie], true),
            (&[], false),
            (&[NAME], false),
            (&["haven_ui=a token"], false),
            (&[&format!("x{cookie}")], false),
            (&[&format!("{NAME}={}", value("another token"))], false),
        ] {
            assert_eq!(is_shown(&headers(cookies), &token), shown, "{cookies:?}");
        }
        assert!(!cookie.contains("token"));
    }
}
