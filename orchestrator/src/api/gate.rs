//! Who may call: `Host`, `Origin` and token, before any route.

use super::{reply, ui_session};
use crate::{
    Error,
    config::Config,
    error::Kind,
    limits::{Limits, Peer},
    secret::Secret,
};
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{self, HeaderName},
    uri::Authority,
};
use hyper::body::Incoming;
use parking_lot::RwLock;
use std::{
    convert::Infallible,
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
};
use tower_service::Service as _;
use viewer_socket::OriginPolicy;
use warp::{filters::BoxedFilter, reply::Response};

/// Headers of answers that pages of other origins may read.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("warning, etag, content-range, content-disposition, retry-after");

/// Who asks where no connection is known.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The rules.
#[derive(Debug)]
pub(crate) struct Gate {
    token: Option<Secret>,
    origins: OriginPolicy,
    hosts: Vec<String>,
}

/// The rules in force; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct GateSlot(Arc<RwLock<Arc<Gate>>>);

impl GateSlot {
    /// Other rules for requests that come from now on.
    pub(crate) fn replace(&self, gate: Gate) {
        *self.0.write() = Arc::new(gate);
    }

    fn current(&self) -> Arc<Gate> {
        Arc::clone(&self.0.read())
    }
}

impl Gate {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            token: config.api_token.clone(),
            origins: config.origins.clone(),
            hosts: config
                .allowed_hosts
                .iter()
                .map(|host| host.to_lowercase())
                .collect(),
        }
    }

    /// Whether a request may go on.
    fn check<B>(&self, request: &Request<B>, local: IpAddr) -> Result<(), Error> {
        if !self.knows_host(request, local) {
            return Err(Error::new(
                Kind::Misdirected,
                "unknown_host",
                "The server is not known by this Host: add it with --allowed-host",
            ));
        }
        let upgrade = request.headers().contains_key(header::UPGRADE);
        if (upgrade || changes_state(request.method())) && !self.origins.admits(request.headers()) {
            return Err(Error::new(
                Kind::Forbidden,
                "origin_not_allowed",
                "This page's origin may not use the server: add it with --allowed-origin",
            ));
        }
        if !self.has_token(request, upgrade) {
            return Err(Error::new(
                Kind::Unauthorized,
                "unauthorized",
                "The API token is missing or wrong",
            ));
        }
        Ok(())
    }

    fn knows_host<B>(&self, request: &Request<B>, local: IpAddr) -> bool {
        let header = request.headers().get(header::HOST);
        // Who asks as of a proxy has the host in the URI.
        let authority = match (header, request.uri().authority()) {
            (Some(host), _) => host.to_str().ok().and_then(|host| host.parse().ok()),
            (None, authority) => authority.cloned(),
        };
        let Some(authority): Option<Authority> = authority else {
            return false;
        };
        let host = authority.host().to_ascii_lowercase();
        let literal = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        if let Ok(address) = literal
            && (address.is_loopback() || address == local.to_canonical())
        {
            return true;
        }
        host == "localhost"
            || host.ends_with(".localhost")
            || self
                .hosts
                .iter()
                .any(|known| *known == host || known.eq_ignore_ascii_case(authority.as_str()))
    }

    fn has_token<B>(&self, request: &Request<B>, upgrade: bool) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        if is_public(request.uri().path()) {
            return true;
        }
        let headers = request.headers();
        if ui_session::bearer(headers).is_some_and(|given| token.matches(given)) {
            return true;
        }
        // A browser can't give these a header.
        if !upgrade && !takes_token_from_query(request) {
            return false;
        }
        let query = request.uri().query().unwrap_or_default();
        let mut given = url::form_urlencoded::parse(query.as_bytes());
        given.any(|(name, given)| name == "token" && token.matches(&given))
            || ui_session::is_shown(headers, token)
    }

    /// Lets pages of other origins that may use the server read its answers.
    fn share(&self, asked: &HeaderMap, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = asked.get(header::ORIGIN)
            && self.origins.admits(asked)
        {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }

    /// The answer to a browser that asks whether it may ask.
    fn preflight(&self, asked: &HeaderMap) -> Response {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NO_CONTENT;
        if self.origins.admits(asked) {
            let allowed: [(HeaderName, &str); 3] = [
                (
                    header::ACCESS_CONTROL_ALLOW_METHODS,
                    "GET, POST, PUT, DELETE",
                ),
                (
                    header::ACCESS_CONTROL_ALLOW_HEADERS,
                    "authorization, content-type",
                ),
                (header::ACCESS_CONTROL_MAX_AGE, "600"),
            ];
            for (name, value) in allowed {
                response
                    .headers_mut()
                    .insert(name, HeaderValue::from_static(value));
            }
        }
        response
    }
}

fn changes_state(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// What pages put into `src`, and event streams.
fn takes_token_from_query<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    let of_recordings = path.strip_prefix("/api/recordings/");
    let is_media =
        of_recordings.is_some_and(|rest| rest.ends_with("/file") || rest.ends_with("/thumbnail"));
    !changes_state(request.method()) && (is_media || path == "/api/events")
}

fn is_public(path: &str) -> bool {
    matches!(
        path,
        "/" | "/app.js"
            | "/app.css"
            | "/player.js"
            | "/sound.js"
            | "/api/docs"
            | "/api/docs.js"
            | "/healthz"
            | "/health"
            | "/readyz"
    )
}

/// The routes behind the gate.
#[derive(Clone)]
pub(crate) struct Service {
    gate: GateSlot,
    limits: Limits,
    routes: BoxedFilter<(Response,)>,
}

impl Service {
    pub(crate) fn new(gate: Gate, limits: &Limits, routes: BoxedFilter<(Response,)>) -> Self {
        Self {
            gate: GateSlot(Arc::new(RwLock::new(Arc::new(gate)))),
            limits: limits.clone(),
            routes,
        }
    }

    /// Where the rules can be replaced.
    pub(crate) fn gate(&self) -> GateSlot {
        self.gate.clone()
    }

    async fn answer(self, mut request: Request<Incoming>) -> Response {
        let gate = self.gate.current();
        let path = request.uri().path().to_owned();
        let asked = request.headers().clone();
        let peer = request.extensions().get::<Peer>().copied();
        let peer = peer.unwrap_or(Peer {
            remote: NOBODY,
            local: NOBODY,
            secure: false,
        });
        let client = self.limits.client(&peer, &asked);
        request.extensions_mut().insert(client);
        // hyper leaves the body out of the answer to HEAD by itself. A WebSocket is for GET alone.
        if request.method() == Method::HEAD && !asked.contains_key(header::UPGRADE) {
            *request.method_mut() = Method::GET;
        }
        let response = match self.limits.count_request(&client) {
            Ok(()) => self.respond(&gate, peer.local.ip(), request).await,
            Err(error) => reply::problem(error),
        };
        let mut response = reply::finish(&path, &client, response);
        gate.share(&asked, response.headers_mut());
        response
    }

    async fn respond(self, gate: &Gate, local: IpAddr, request: Request<Incoming>) -> Response {
        let asked = request.headers();
        if request.method() == Method::OPTIONS
            && asked.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return gate.preflight(asked);
        }
        match gate.check(&request, local) {
            Err(error) => reply::problem(error),
            Ok(()) => {
                let Ok(response) = warp::service(self.routes).call(request).await;
                response
            }
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.answer(request).await) })
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
