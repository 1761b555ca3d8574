//! Results as responses: the one place that knows HTTP statuses.

use super::openapi;
use crate::{Error, error::Kind, limits::Client};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};
use utoipa::ToSchema;
use warp::{Rejection, Reply, reply::Response};

/// What every failure is answered, whatever its status.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// False.
    success: bool,
    /// One sentence that a person can act on.
    error: String,
    /// What a program can tell it by.
    code: &'static str,
    /// What else there is to say, for programs: each code has its own fields.
    #[serde(flatten)]
    details: BTreeMap<&'static str, Value>,
}

/// A failure on its way out; [`finish`] words it.
#[derive(Clone)]
struct Unworded(Arc<Error>);

/// A handler's result as a response.
pub(super) fn json<T: Serialize>(result: Result<T, Error>) -> Response {
    match result {
        Ok(value) => warp::reply::json(&value).into_response(),
        Err(error) => problem(error),
    }
}

/// A failure as a response.
pub(super) fn problem(error: Error) -> Response {
    let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
    *response.status_mut() = status(error.kind());
    response.extensions_mut().insert(Unworded(Arc::new(error)));
    response
}

/// Words a failure for its path, and logs it. Everything else stays as it is.
pub(super) fn finish(path: &str, client: &Client, mut response: Response) -> Response {
    let Some(Unworded(error)) = response.extensions_mut().remove() else {
        return response;
    };
    log(path, client, response.status(), &error);
    let body = Problem {
        success: false,
        error: worded(path, error.message()),
        code: error.code(),
        details: error.details().clone(),
    };
    let (mut parts, _) = response.into_parts();
    let (body_parts, body) = warp::reply::json(&body).into_response().into_parts();
    parts.headers.extend(body_parts.headers);
    if let Some(wait) = error.wait() {
        parts.headers.insert(header::RETRY_AFTER, seconds(wait));
    }
    if error.kind() == Kind::Unauthorized {
        let bearer = HeaderValue::from_static("Bearer");
        parts.headers.insert(header::WWW_AUTHENTICATE, bearer);
    }
    if error.kind() == Kind::MethodNotAllowed {
        // RFC 9110, 15.5.6 wants them told with a 405.
        let methods = HeaderValue::from_static(openapi::allowed_methods(path));
        parts.headers.insert(header::ALLOW, methods);
    }
    Response::from_parts(parts, body)
}

/// One line for each failure. What passes by itself is no error of ours; and who is told to come later
/// and doesn't listen must not fill the log.
fn log(path: &str, client: &Client, status: StatusCode, error: &Error) {
    let (address, scheme) = (client.address, client.scheme());
    let (status, chain) = (status.as_u16(), error.chain());
    macro_rules! request {
        ($level:ident) => {
            tracing::$level!(path, status, error = chain, client = %address, scheme, "request")
        };
    }
    match error.kind() {
        Kind::TooManyRequests => request!(debug),
        _ if error.wait().is_some() => request!(info),
        _ if status >= 500 => request!(error),
        _ => request!(info),
    }
}

/// A wait as `Retry-After` has it (RFC 9110, 10.2.3): whole seconds, so that nobody comes too early.
fn seconds(wait: Duration) -> HeaderValue {
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    HeaderValue::from(whole.max(1))
}

/// Frontends look for the word in every error of the recording API.
fn worded(path: &str, message: &str) -> String {
    let of_recordings = path.starts_with("/api/recording/") || path.starts_with("/api/recordings");
    if of_recordings && !message.to_lowercase().contains("recording") {
        return format!("Can't do that recording request: {message}");
    }
    message.to_owned()
}

/// warp's own rejections: no route, or not with this method.
pub(super) async fn recover(rejection: Rejection) -> Result<Response, Infallible> {
    if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        return Ok(problem(Error::new(
            Kind::MethodNotAllowed,
            "method_not_allowed",
            "This path does not take this method",
        )));
    }
    if rejection.is_not_found() {
        return Ok(problem(Error::new(
            Kind::NotFound,
            "not_found",
            "There is nothing at this path",
        )));
    }
    Ok(problem(Error::new(
        Kind::BadRequest,
        "malformed_request",
        format!("The request can't be understood: {rejection:?}"),
    )))
}

fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::BadRequest => StatusCode::BAD_REQUEST,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Misdirected => StatusCode::MISDIRECTED_REQUEST,
        Kind::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        Kind::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
        Kind::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Kind::BadGateway => StatusCode::BAD_GATEWAY,
        Kind::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::InsufficientStorage => StatusCode::INSUFFICIENT_STORAGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn a_failure_tells_when_to_ask_again_and_what_programs_want_to_know() {
        let error = Error::new(Kind::Unavailable, "busy", "Come back later")
            .retry_after(Duration::from_millis(2_100))
            .detail("needed", 2.5)
            .detail("used", serde_json::json!({"cpu": 4}));
        let client = Client {
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            forwarded: false,
            secure: false,
        };
        let response = finish("/api/live-sessions/start", &client, problem(error));
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let expected = serde_json::json!({
            "success": false,
            "error": "Come back later",
            "code": "busy",
            "needed": 2.5,
            "used": {"cpu": 4},
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn waits_are_whole_seconds_and_never_none() {
        let waits = [
            (0, "1"),
            (1, "1"),
            (1_000, "1"),
            (1_001, "2"),
            (60_000, "60"),
        ];
        for (ms, expected) in waits {
            assert_eq!(seconds(Duration::from_millis(ms)), expected, "{ms}");
        }
    }

    #[test]
    fn errors_of_the_recording_api_say_recording() {
        let text = worded("/api/recording/start", "There is nothing at this path");
        assert!(text.contains("recording"));
        assert_eq!(
            worded("/api/recording/stop", "No recording"),
            "No recording"
        );
        assert_eq!(worded("/api/live-sessions/start", "x"), "x");
    }
}
