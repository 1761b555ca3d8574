//! From an HTTP request to a viewer.

use crate::{
    Error,
    error::Kind,
    limits::{Client, Limits},
    listener::Place,
    sessions::Registry,
    shutdown::Shutdown,
};
use http::{HeaderMap, Method, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use viewer_socket::{
    CloseReason, OriginPolicy, Protocol, UpgradeError, ViewerOptions, accept, close_with,
    serve_viewer,
};

/// What is known of a request for a WebSocket.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    /// Raw; empty without one.
    pub(crate) query: String,
    pub(crate) on_upgrade: Option<OnUpgrade>,
    /// The connection's, which becomes the viewer's.
    pub(crate) place: Option<Place>,
    /// Who asks.
    pub(crate) client: Client,
}

/// Why there is no WebSocket, with headers for the answer.
pub(crate) struct Refusal {
    pub(crate) error: Error,
    pub(crate) headers: Box<HeaderMap>,
}

/// Answers a request for a WebSocket and serves the viewer in a task of its own. Without a session
/// of this key the upgrade is accepted and closed with 4404: a browser can't see an HTTP status.
///
/// # Errors
/// When it is no proper upgrade, or asks for what there isn't; unavailable when there are as many
/// viewers as there may be.
pub(crate) fn open(
    registry: &Registry,
    shutdown: &Shutdown,
    (origins, limits): (&OriginPolicy, &Limits),
    (key, protocol): (String, Protocol),
    request: Request,
) -> Result<Response<()>, Refusal> {
    let query = Some(request.query.as_str()).filter(|query| !query.is_empty());
    let options = ViewerOptions::from_query(query).map_err(|error| {
        let error = Error::field(error.parameter, format_args!("must be {}", error.expected));
        plain(error)
    })?;
    let response = accept(&request.method, &request.headers, origins).map_err(refusal)?;
    let Some(on_upgrade) = request.on_upgrade else {
        return Err(refusal(UpgradeError::NotAnUpgrade));
    };
    let handle = registry.find(&key);
    // Who finds no session is no viewer.
    let seat = handle.as_ref().map(|_| limits.take_seat(&request.client));
    let seat = seat.transpose().map_err(plain)?;
    if let Some(handle) = &handle {
        handle.admit_viewer().map_err(plain)?;
    }
    let going_down = shutdown.token.clone();
    let place = request.place;
    shutdown.tasks.spawn(async move {
        let _held = (place, seat);
        let io = match on_upgrade.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => return tracing::debug!(key, %error, "a viewer left at the upgrade"),
        };
        match handle {
            None => {
                let close = CloseReason::not_found(format!("no active session: {key}"));
                close_with(io, close.code, &close.reason).await;
            }
            Some(handle) => {
                let gone = going_down.cancelled_owned();
                let hub = handle.screens.of(options.max_width);
                let end = serve_viewer(io, hub, protocol, &options, gone).await;
                tracing::debug!(key, ?end, "viewer");
            }
        }
    });
    Ok(response)
}

fn plain(error: Error) -> Refusal {
    Refusal {
        error,
        headers: Box::default(),
    }
}

fn refusal(error: UpgradeError) -> Refusal {
    let kind = match error.status() {
        StatusCode::METHOD_NOT_ALLOWED => Kind::MethodNotAllowed,
        StatusCode::FORBIDDEN => Kind::Forbidden,
        StatusCode::UPGRADE_REQUIRED => Kind::UpgradeRequired,
        _ => Kind::BadRequest,
    };
    Refusal {
        error: Error::new(kind, error.code(), sentence(&error.to_string())),
        headers: Box::new(error.headers()),
    }
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}
