//! Who is told what happens, by the operator.

use super::{Options, invalid, secret};
use crate::{Error, secret::Secret, webhooks};
use std::path::Path;
use url::Url;

/// Events that wait for a receiver at most; about 500 bytes each on the disk.
const DEFAULT_MOST_WAITING: u64 = 10_000;
const MOST_WAITING: std::ops::RangeInclusive<u64> = 1..=1_000_000;

/// What is configured about webhooks.
#[derive(Clone, Debug)]
pub(crate) struct WebhookConfig {
    pub(crate) urls: Vec<Url>,
    /// Key and secret; none: those of the LiveKit server.
    pub(crate) key: Option<(String, Secret)>,
    pub(crate) allow_private: bool,
    /// Events that wait for a receiver at most.
    pub(crate) most_waiting: u64,
}

impl WebhookConfig {
    /// What `merged` says, with the secret of the first of `sources` that has one.
    pub(super) fn resolve(
        merged: &Options,
        sources: [&Options; 2],
        home: Option<&Path>,
    ) -> Result<Self, Error> {
        let urls = merged.webhook_urls.iter().map(|text| {
            // The address itself may hold what only its receiver should know.
            webhooks::parse_url(text).map_err(|error| {
                invalid(&format!("webhook_urls: {}", error.message())).caused_by(error)
            })
        });
        let most_waiting = merged.webhook_queue;
        if most_waiting.is_some_and(|most| !MOST_WAITING.contains(&most)) {
            let (least, most) = (MOST_WAITING.start(), MOST_WAITING.end());
            return Err(invalid(&format!(
                "webhook_queue must be from {least} to {most}"
            )));
        }
        Ok(Self {
            urls: urls.collect::<Result<_, _>>()?,
            key: key(merged.webhook_api_key.as_ref(), sources, home)?,
            allow_private: merged.webhook_allow_private.unwrap_or(false),
            most_waiting: most_waiting.unwrap_or(DEFAULT_MOST_WAITING),
        })
    }
}

fn key(
    key: Option<&String>,
    sources: [&Options; 2],
    home: Option<&Path>,
) -> Result<Option<(String, Secret)>, Error> {
    let of = |source: &Options| {
        (
            source.webhook_api_secret_file.clone(),
            source.webhook_api_secret.clone(),
        )
    };
    match (key, secret("webhook_api_secret", sources.map(of), home)?) {
        (Some(key), Some(secret)) if !key.trim().is_empty() => Ok(Some((key.clone(), secret))),
        (None, None) => Ok(None),
        _ => Err(invalid(
            "webhooks are signed with a key and its secret: set webhook_api_key \
             (HAVEN_WEBHOOK_API_KEY) and webhook_api_secret (HAVEN_WEBHOOK_API_SECRET), or neither",
        )),
    }
}
