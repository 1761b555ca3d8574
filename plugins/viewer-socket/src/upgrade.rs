//! The HTTP request that becomes a WebSocket (RFC 6455 section 4.2).

use crate::OriginPolicy;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Why a request doesn't become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// 405.
    #[error("a WebSocket is opened with GET")]
    Method,
    /// 426: an ordinary request.
    #[error("this address speaks WebSocket: ask for an upgrade")]
    NotAnUpgrade,
    /// 426: another version than 13.
    #[error("only version 13 of the WebSocket protocol is spoken here")]
    Version,
    /// 400: no key, or none of 16 bytes.
    #[error("the Sec-WebSocket-Key header is missing or malformed")]
    Key,
    /// 403: a foreign page.
    #[error("this page's origin is not allowed to watch")]
    Origin,
}

impl UpgradeError {
    /// The HTTP status to answer with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAnUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Key => StatusCode::BAD_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
        }
    }

    /// The contract's stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Method => "method_not_allowed",
            Self::NotAnUpgrade => "upgrade_required",
            Self::Version => "websocket_version",
            Self::Key => "websocket_key",
            Self::Origin => "origin_not_allowed",
        }
    }

    /// Headers that belong into the answer: `Upgrade` and the version with 426, `Allow` with 405.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::Method => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
            }
            Self::NotAnUpgrade | Self::Version => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(
                    header::SEC_WEBSOCKET_VERSION,
                    HeaderValue::from_static("13"),
                );
            }
            Self::Key | Self::Origin => {}
        }
        headers
    }
}

/// The answer 101 to a WebSocket request. It never agrees to an extension: compressing JPEG costs
/// more than everything else and gains nothing.
///
/// # Errors
/// See [`UpgradeError`], which knows the status to answer with instead.
pub fn accept(
    method: &Method,
    headers: &HeaderMap,
    origins: &OriginPolicy,
) -> Result<Response<()>, UpgradeError> {
    if method != Method::GET {
        return Err(UpgradeError::Method);
    }
    let upgrades = has_token(headers, &header::UPGRADE, "websocket")
        && has_token(headers, &header::CONNECTION, "upgrade");
    if !upgrades {
        return Err(UpgradeError::NotAnUpgrade);
    }
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version.as_bytes().trim_ascii() != b"13") {
        return Err(UpgradeError::Version);
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .map(|key| key.as_bytes().trim_ascii())
        .filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16))
        .ok_or(UpgradeError::Key)?;
    if !origins.admits(headers) {
        return Err(UpgradeError::Origin);
    }
    let accept = HeaderValue::try_from(derive_accept_key(key)).map_err(|_| UpgradeError::Key)?;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// Whether a comma-separated header holds `token`, whatever its case.
fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::HOST, "127.0.0.1:8000"),
            (header::CONNECTION, "keep-alive, Upgrade"),
            (header::UPGRADE, "WebSocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            (header::SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        headers
    }

    fn refusal(change: impl FnOnce(&mut HeaderMap)) -> UpgradeError {
        let mut headers = request();
        change(&mut headers);
        accept(&Method::GET, &headers, &OriginPolicy::default()).unwrap_err()
    }

    #[test]
    fn the_rfcs_example_is_answered_without_an_extension() {
        let response = accept(&Method::GET, &request(), &OriginPolicy::default()).unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let headers = response.headers();
        assert_eq!(
            headers[header::SEC_WEBSOCKET_ACCEPT],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert!(!headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS));
    }

    #[test]
    fn each_fault_has_its_status() {
        let get = |error: UpgradeError| error.status().as_u16();
        assert_eq!(get(refusal(|h| _ = h.remove(header::UPGRADE))), 426);
        assert_eq!(get(refusal(|h| _ = h.remove(header::CONNECTION))), 426);
        let old = refusal(|h| _ = h.insert(header::SEC_WEBSOCKET_VERSION, "8".parse().unwrap()));
        assert_eq!(get(old), 426);
        assert_eq!(old.headers()[header::SEC_WEBSOCKET_VERSION], "13");
        assert_eq!(
            get(refusal(|h| _ = h.remove(header::SEC_WEBSOCKET_KEY))),
            400
        );
        let short = refusal(|h| _ = h.insert(header::SEC_WEBSOCKET_KEY, "AAAA".parse().unwrap()));
        assert_eq!(get(short), 400);
        let foreign =
            refusal(|h| _ = h.insert(header::ORIGIN, "http://evil.example".parse().unwrap()));
        assert_eq!(get(foreign), 403);
        let post = accept(&Method::POST, &request(), &OriginPolicy::default()).unwrap_err();
        assert_eq!(get(post), 405);
    }
}
