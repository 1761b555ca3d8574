//! `/api/webhooks`: who is told what happens.

use super::{
    App,
    body::{Fields, fields},
    reply::{self, Problem},
    with,
};
use crate::{Error, clock, error::Kind, webhooks::Receiver};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use warp::{Filter, filters::BoxedFilter, path, reply::Response};

/// Who is to be told what.
#[derive(Debug, ToSchema)]
#[allow(
    dead_code,
    reason = "the shape of a request, which is read field by field"
)]
pub(super) struct NewWebhook {
    /// `https://…` or `http://…`.
    url: String,
    /// Kinds of events, as `recording.finished`; absent or empty: every.
    events: Option<Vec<String>>,
}

/// Who is told what happens.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Webhook {
    id: i64,
    /// Scheme, host and port: the path of a hook is its secret mostly.
    url: String,
    /// Empty: every.
    events: Vec<String>,
    /// It is in the server's configuration, and deleted there.
    configured: bool,
    /// RFC 3339.
    created_at: String,
    /// Events that it has taken.
    delivered: u64,
    /// Events that it is still to be told.
    waiting: u64,
    /// Events that it will never be told: too many waited.
    dropped: u64,
    /// RFC 3339.
    last_delivered_at: Option<String>,
    /// Why the last try failed; null when it was well.
    last_error: Option<String>,
}

/// One webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OneWebhook {
    success: bool,
    /// Only, and true, where it was there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    already_added: Option<bool>,
    webhook: Webhook,
}

/// Every webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Webhooks {
    success: bool,
    /// Whether there is a key to sign with; without one nothing is sent.
    can_sign: bool,
    /// Oldest first.
    webhooks: Vec<Webhook>,
}

impl From<Receiver> for Webhook {
    fn from(receiver: Receiver) -> Self {
        let url = receiver.shown_url();
        let row = receiver.row;
        Self {
            id: row.id,
            url,
            events: row.events,
            configured: row.configured,
            created_at: clock::rfc3339(row.created_at_ms),
            delivered: row.delivered,
            waiting: row.waiting,
            dropped: row.dropped,
            last_delivered_at: row.last_delivered_at_ms.map(clock::rfc3339),
            last_error: row.last_error,
        }
    }
}

pub(super) fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let add = path!("api" / "webhooks")
        .and(warp::post())
        .and(with(app))
        .and(fields())
        .then(|app, fields| async { reply::json(add(app, fields).await) });
    let list = path!("api" / "webhooks")
        .and(warp::get())
        .and(with(app))
        .then(|app| async { reply::json(list(app).await) });
    let delete = path!("api" / "webhooks" / String)
        .and(warp::delete())
        .and(with(app))
        .then(|id: String, app| async move { reply::json(delete(app, &id).await) });
    add.or(list).unify().or(delete).unify().boxed()
}

/// Has an address told what happens.
#[utoipa::path(
    post, path = "/api/webhooks", tag = "operations", operation_id = "add_webhook",
    request_body = NewWebhook,
    responses(
        (status = 200, description = "The webhook, new or from before", body = OneWebhook),
        (status = 400, description = "No JSON; or there is no key to sign with", body = Problem),
        (status = 409, description = "The address is told other events already, or there are too many", body = Problem),
        (status = 413, description = "The body is larger than 64 KiB", body = Problem),
        (status = 422, description = "A field is missing or wrong, or the address leads to the server's own network", body = Problem),
    )
)]
pub(super) async fn add(app: Arc<App>, fields: Result<Fields, Error>) -> Result<OneWebhook, Error> {
    let fields = fields?;
    let (url, events) = (
        fields.required_text("url")?.to_owned(),
        fields.texts("events")?,
    );
    let webhooks = app.webhooks.clone();
    let adding = async move { webhooks.add(&url, events.unwrap_or_default()).await };
    let (receiver, existed) = app.carry_through("adding the webhook", adding).await?;
    Ok(OneWebhook {
        success: true,
        already_added: existed.then_some(true),
        webhook: receiver.into(),
    })
}

/// Who is told what happens, and how that goes.
#[utoipa::path(
    get, path = "/api/webhooks", tag = "operations", operation_id = "list_webhooks",
    responses((status = 200, description = "The webhooks", body = Webhooks))
)]
pub(super) async fn list(app: Arc<App>) -> Result<Webhooks, Error> {
    let receivers = app.webhooks.receivers().await?;
    Ok(Webhooks {
        success: true,
        can_sign: app.webhooks.can_sign(),
        webhooks: receivers.into_iter().map(Webhook::from).collect(),
    })
}

/// Has an address told nothing more.
#[utoipa::path(
    delete, path = "/api/webhooks/{id}", tag = "operations", operation_id = "delete_webhook",
    params(("id" = i64, Path, description = "The webhook's number")),
    responses(
        (status = 200, description = "The webhook as it was", body = OneWebhook),
        (status = 404, description = "There is none", body = Problem),
        (status = 409, description = "It is in the server's configuration", body = Problem),
    )
)]
pub(super) async fn delete(app: Arc<App>, id: &str) -> Result<OneWebhook, Error> {
    let id = id.parse::<i64>().map_err(|_| {
        let message = "There is no such webhook: its id is a number";
        Error::new(Kind::NotFound, "webhook_not_found", message)
    })?;
    let webhooks = app.webhooks.clone();
    let deleting = async move { webhooks.remove(id).await };
    let receiver = app.carry_through("deleting the webhook", deleting).await?;
    Ok(OneWebhook {
        success: true,
        already_added: None,
        webhook: receiver.into(),
    })
}
