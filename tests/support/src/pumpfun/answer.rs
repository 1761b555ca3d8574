use super::{Endpoint, Fault, Request, State};
use crate::access::{Role, random_name};
use serde_json::{Value, json};
use std::{collections::HashMap, time::Instant};
use warp::http::{HeaderMap, Method, Response, StatusCode, header};

type Answer = Response<String>;

/// Size of a huge answer.
const HUGE_BYTES: usize = 10_000_000;
/// Coins on a page where the client doesn't say, and at most.
const PAGE: usize = 60;
const HTML: &str =
    "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>";

/// Answers one request as the platform would, or fails as told to.
pub(super) async fn handle(
    state: &State,
    method: Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: impl AsRef<[u8]>,
) -> Answer {
    let endpoint = endpoint_of(&method, path);
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let separator = if query.is_empty() { "" } else { "?" };
    state.remember(Request {
        endpoint,
        uri: format!("{path}{separator}{query}"),
        body: String::from_utf8_lossy(body.as_ref()).into_owned(),
        origin: text(header::ORIGIN),
        at: Instant::now(),
    });
    let Some(endpoint) = endpoint else {
        return reply(
            StatusCode::NOT_FOUND,
            &json!({ "statusCode": 404, "message": format!("Cannot {method} {path}") }),
        );
    };
    let fault = state.faults.lock().next(endpoint);
    if let Some(fault) = fault {
        return fail(state, fault).await;
    }
    let query = parse_query(query);
    match endpoint {
        Endpoint::Join => {
            let browser = text(header::USER_AGENT).is_some_and(|agent| agent.contains("Mozilla/"));
            if text(header::ORIGIN).as_deref() != Some("https://pump.fun") || !browser {
                return html(StatusCode::FORBIDDEN);
            }
            join(state, body.as_ref())
        }
        Endpoint::Livestream => livestream(state, query.get("mintId").map_or("", String::as_str)),
        Endpoint::CurrentlyLive => currently_live(state, &query),
        Endpoint::Coin => coin(state, path.rsplit('/').next().unwrap_or_default()),
    }
}

fn endpoint_of(method: &Method, path: &str) -> Option<Endpoint> {
    match (method, path) {
        (&Method::POST, "/livestream/join") => Some(Endpoint::Join),
        (&Method::GET, "/livestream") => Some(Endpoint::Livestream),
        (&Method::GET, "/coins/currently-live") => Some(Endpoint::CurrentlyLive),
        (&Method::GET, path) if path.starts_with("/coins/") => Some(Endpoint::Coin),
        _ => None,
    }
}

fn join(state: &State, body: &[u8]) -> Answer {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let (Some(mint), Some("viewer")) = (request["mintId"].as_str(), request["role"].as_str())
    else {
        return reply(
            StatusCode::BAD_REQUEST,
            &json!({ "statusCode": 400, "message": ["mintId and role are wanted"] }),
        );
    };
    let room = state
        .coins
        .lock()
        .get(mint)
        .filter(|coin| coin.live)
        .map(|coin| coin.room.clone());
    let Some(room) = room else {
        return empty();
    };
    let ttl = *state.token_ttl.lock();
    let identity = format!("viewer-{}", random_name(12));
    match state.keys.token(&room, &identity, Role::Viewer, ttl) {
        Ok(token) => reply(StatusCode::CREATED, &json!({ "token": token })),
        Err(error) => reply(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({ "message": error.to_string() }),
        ),
    }
}

fn livestream(state: &State, mint: &str) -> Answer {
    let coins = state.coins.lock();
    match coins.get(mint).filter(|coin| coin.live) {
        Some(coin) => reply(StatusCode::OK, &coin.livestream()),
        None => empty(),
    }
}

fn currently_live(state: &State, query: &HashMap<String, String>) -> Answer {
    let number = |name: &str| {
        query
            .get(name)
            .and_then(|value| value.parse::<usize>().ok())
    };
    let nsfw = query
        .get("includeNsfw")
        .is_some_and(|value| value == "true");
    let coins = state.coins.lock();
    let mut live: Vec<_> = coins
        .values()
        .filter(|coin| coin.live && (nsfw || !coin.nsfw))
        .collect();
    live.sort_by_key(|coin| std::cmp::Reverse(coin.num_participants));
    let page = live
        .into_iter()
        .skip(number("offset").unwrap_or(0))
        .take(number("limit").unwrap_or(PAGE).min(PAGE));
    reply(StatusCode::OK, &page.map(super::Coin::listed).collect())
}

fn coin(state: &State, mint: &str) -> Answer {
    match state.coins.lock().get(mint) {
        Some(coin) => reply(StatusCode::OK, &coin.listed()),
        None => reply(
            StatusCode::NOT_FOUND,
            &json!({ "statusCode": 404, "message": "Coin not found" }),
        ),
    }
}

async fn fail(state: &State, fault: Fault) -> Answer {
    match fault {
        Fault::RateLimited { retry_after_s } => {
            let mut answer = reply(
                StatusCode::TOO_MANY_REQUESTS,
                &json!({ "message": "Too Many Requests" }),
            );
            if let Some(seconds) = retry_after_s {
                answer
                    .headers_mut()
                    .insert(header::RETRY_AFTER, seconds.into());
            }
            answer
        }
        Fault::ServerError => reply(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({ "statusCode": 500, "message": "Internal server error" }),
        ),
        Fault::Unavailable => html(StatusCode::SERVICE_UNAVAILABLE),
        Fault::Forbidden => html(StatusCode::FORBIDDEN),
        Fault::Html => html(StatusCode::OK),
        Fault::Hang => {
            let mut ending = state.ending.clone();
            let _ = ending.wait_for(|ending| *ending).await;
            empty()
        }
        Fault::Empty => empty(),
        Fault::WrongShape => reply(
            StatusCode::OK,
            &json!({ "unrelated": [1, 2, { "three": null }] }),
        ),
        Fault::Truncated => with_type(
            StatusCode::OK,
            "application/json",
            r#"{"token":"eyJ"#.into(),
        ),
        Fault::Huge => {
            let filler = "x".repeat(HUGE_BYTES);
            reply(StatusCode::OK, &json!({ "filler": filler, "token": "x" }))
        }
    }
}

fn reply(status: StatusCode, body: &Value) -> Answer {
    with_type(status, "application/json; charset=utf-8", body.to_string())
}

fn html(status: StatusCode) -> Answer {
    with_type(status, "text/html; charset=utf-8", HTML.into())
}

/// What the platform says of a stream that is offline.
fn empty() -> Answer {
    with_type(
        StatusCode::OK,
        "application/json; charset=utf-8",
        String::new(),
    )
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let content_type = header::HeaderValue::from_static(content_type);
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    answer
}

fn parse_query(query: &str) -> HashMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://localhost/?{query}"));
    url.map(|url| url.query_pairs().into_owned().collect())
        .unwrap_or_default()
}
