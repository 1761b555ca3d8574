//! Which request is what: the viewers' addresses, the built-in page, and answers in JSON.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use std::net::IpAddr;
use viewer_socket::{OriginPolicy, Protocol, UpgradeError, page, relay};

/// Where the API serves each protocol; behind it any one segment, the session's name.
const JSON_PREFIX: &str = "/api/live-sessions/stream/";
const BINARY_PREFIX: &str = "/api/live-sessions/ws/live/";

/// The files of the built-in page.
static FILES: [File; 5] = [
    File {
        path: "/",
        content_type: "text/html; charset=utf-8",
        text: include_str!("../examples/viewer.html"),
    },
    File {
        path: "/viewer.css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("../examples/viewer.css"),
    },
    File {
        path: "/viewer.js",
        content_type: JAVASCRIPT,
        text: include_str!("../examples/viewer.js"),
    },
    File {
        path: "/player.js",
        content_type: JAVASCRIPT,
        text: page::PLAYER_SCRIPT,
    },
    File {
        path: "/sound.js",
        content_type: JAVASCRIPT,
        text: page::SOUND_SCRIPT,
    },
];
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
/// The page loads nothing from anywhere else and runs nothing inline.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src blob: data:; connect-src 'self' ws: wss:; frame-ancestors 'self'; base-uri 'none'";

/// A file of the built-in page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

/// What an address stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Watch(Protocol),
    Page(&'static File),
    /// The page's address lacks its slash.
    AddSlash,
    NotFound,
}

/// Finds the route of a request's path. `prefix` is the element's `path`; the relay protocol is
/// for those who share the Unix socket.
pub(crate) fn route(prefix: &str, path: &str, on_unix_socket: bool) -> Route {
    let prefix = prefix.trim_matches('/');
    let path = match prefix {
        "" => path,
        prefix => {
            let inside = path
                .strip_prefix('/')
                .and_then(|path| path.strip_prefix(prefix));
            match inside {
                Some("") => return Route::AddSlash,
                Some(inside) if inside.starts_with('/') => inside,
                _ => return Route::NotFound,
            }
        }
    };
    let is_name = |name: &str| !name.is_empty() && !name.contains('/');
    if path.strip_prefix(JSON_PREFIX).is_some_and(is_name) {
        return Route::Watch(Protocol::Json);
    }
    if path.strip_prefix(BINARY_PREFIX).is_some_and(is_name) {
        return Route::Watch(Protocol::Binary);
    }
    match path {
        "/stream" => Route::Watch(Protocol::Json),
        "/ws" => Route::Watch(Protocol::Binary),
        relay::PATH if on_unix_socket => Route::Watch(Protocol::Relay),
        path => match FILES.iter().find(|file| file.path == path) {
            Some(file) => Route::Page(file),
            None => Route::NotFound,
        },
    }
}

/// Whether the `Host` header may stand there. A foreign name that resolves to us is how a web page
/// gets around the origin check (DNS rebinding): names must be loopback's, this machine's, or of an
/// allowed origin. Addresses can't be rebound.
pub(crate) fn admits_host(headers: &HeaderMap, origins: &OriginPolicy, machine: &str) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let Some(authority) = host
        .to_str()
        .ok()
        .and_then(|host| host.parse::<http::uri::Authority>().ok())
    else {
        return false;
    };
    let name = authority.host().to_ascii_lowercase();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let local = machine.to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || (!local.is_empty() && (name == local || name == format!("{local}.local")))
        || origins.hosts().any(|allowed| allowed == name)
}

/// A file of the built-in page.
pub(crate) fn file(file: &File) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(file.text.as_bytes())));
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, file.content_type),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Sends a browser to the page's address with its slash.
pub(crate) fn add_slash(path: &str) -> Response<Full<Bytes>> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    // Relative, so that it stays right behind a proxy.
    if let Ok(location) = HeaderValue::try_from(format!("{name}/")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// An error in the API's shape.
pub(crate) fn error(status: StatusCode, code: &str, sentence: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({"success": false, "error": sentence, "code": code});
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// Another method than those with which the page is read.
pub(crate) fn method_not_allowed() -> Response<Full<Bytes>> {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let mut response = error(
        status,
        "method_not_allowed",
        "this is read with GET or HEAD",
    );
    let allowed = HeaderValue::from_static("GET, HEAD");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

/// A request that was no WebSocket's.
pub(crate) fn refusal(refused: &UpgradeError) -> Response<Full<Bytes>> {
    let mut response = error(refused.status(), refused.code(), &refused.to_string());
    response.headers_mut().extend(refused.headers());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_apis_addresses_and_the_short_ones_are_served() {
        for (path, protocol) in [
            ("/api/live-sessions/stream/demo", Protocol::Json),
            ("/api/live-sessions/stream/a%2Fb", Protocol::Json),
            ("/stream", Protocol::Json),
            ("/api/live-sessions/ws/live/room%3A1", Protocol::Binary),
            ("/ws", Protocol::Binary),
        ] {
            assert_eq!(route("", path, false), Route::Watch(protocol), "{path}");
            let below = format!("/cam/1{path}");
            assert_eq!(route("/cam/1/", &below, false), Route::Watch(protocol));
            assert_eq!(route("cam/1", path, false), Route::NotFound);
        }
        assert_eq!(route("", "/", false), Route::Page(&FILES[0]));
        assert_eq!(route("cam", "/cam", false), Route::AddSlash);
        assert_eq!(route("cam", "/cam/", false), Route::Page(&FILES[0]));
        assert_eq!(route("cam", "/cam/sound.js", false), Route::Page(&FILES[4]));
        assert_eq!(route("cam", "/camera/ws", false), Route::NotFound);
    }

    #[test]
    fn nothing_else_is_served() {
        for path in [
            "",
            "/api/live-sessions/stream/",
            "/api/live-sessions/stream/a/b",
            "/api/live-sessions/ws/live/",
            "/../etc/passwd",
            "*",
        ] {
            assert_eq!(route("", path, true), Route::NotFound, "{path}");
        }
    }

    #[test]
    fn the_relay_is_for_the_unix_socket_only() {
        assert_eq!(route("", "/relay", true), Route::Watch(Protocol::Relay));
        assert_eq!(route("", "/relay", false), Route::NotFound);
    }

    #[test]
    fn a_rebound_name_is_refused() {
        let origins = OriginPolicy::new(["https://tv.example"]).unwrap();
        let admits = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            admits_host(&headers, &origins, "Studio")
        };
        for host in [
            "localhost:8080",
            "127.0.0.1",
            "[::1]:80",
            "192.168.0.7:8000",
            "tv.example",
            "studio:8000",
            "studio.local",
        ] {
            assert!(admits(host), "{host}");
        }
        for host in ["evil.example:8080", "localhost.evil.example", "", "a b"] {
            assert!(!admits(host), "{host}");
        }
    }
}
