//! Who is told what happens, by the operator.

use super::{FileConfig, file, invalid};
use crate::{Error, secret::Secret, webhooks};
use clap::{Args, builder::BoolishValueParser};
use std::path::PathBuf;
use url::Url;

/// Events that wait for a receiver at most; about 500 bytes each on the disk.
const DEFAULT_MOST_WAITING: u64 = 10_000;
const MOST_WAITING: std::ops::RangeInclusive<u64> = 1..=1_000_000;

/// Options of `haven serve` about webhooks.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct WebhookArgs {
    /// An address that is told what happens (repeatable)
    #[arg(
        long,
        env = "HAVEN_WEBHOOK_URLS",
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub(crate) webhook_url: Vec<String>,
    /// File (mode 0600) with the secret that signs webhooks; or set HAVEN_WEBHOOK_API_SECRET
    #[arg(long, env = "HAVEN_WEBHOOK_API_SECRET_FILE", value_name = "FILE")]
    pub(crate) webhook_api_secret_file: Option<PathBuf>,
    /// Let clients have webhooks sent to this machine and its network
    #[arg(long, env = "HAVEN_WEBHOOK_ALLOW_PRIVATE", num_args = 0..=1,
          default_missing_value = "true", require_equals = true, value_name = "BOOL",
          value_parser = BoolishValueParser::new())]
    pub(crate) webhook_allow_private: Option<bool>,
    /// Events that wait for a receiver that is down; beyond, the oldest are lost [default: 10000]
    #[arg(long, env = "HAVEN_WEBHOOK_QUEUE", value_name = "EVENTS")]
    pub(crate) webhook_queue: Option<u64>,
}

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
    pub(super) fn resolve(
        args: &WebhookArgs,
        env: &impl Fn(&str) -> Option<String>,
        file: &FileConfig,
    ) -> Result<Self, Error> {
        let urls = super::either(&args.webhook_url, &file.webhook_urls).iter();
        let urls = urls.map(|text| {
            // The address itself may hold what only its receiver should know.
            webhooks::parse_url(text).map_err(|error| {
                invalid(&format!("webhook_urls: {}", error.message())).caused_by(error)
            })
        });
        let most_waiting = args.webhook_queue.or(file.webhook_queue);
        if most_waiting.is_some_and(|most| !MOST_WAITING.contains(&most)) {
            let (least, most) = (MOST_WAITING.start(), MOST_WAITING.end());
            return Err(invalid(&format!(
                "webhook_queue must be from {least} to {most}"
            )));
        }
        Ok(Self {
            urls: urls.collect::<Result<_, _>>()?,
            key: key(args, env, file)?,
            allow_private: args
                .webhook_allow_private
                .or(file.webhook_allow_private)
                .unwrap_or(false),
            most_waiting: most_waiting.unwrap_or(DEFAULT_MOST_WAITING),
        })
    }
}

fn key(
    args: &WebhookArgs,
    env: &impl Fn(&str) -> Option<String>,
    file: &FileConfig,
) -> Result<Option<(String, Secret)>, Error> {
    let key = env("HAVEN_WEBHOOK_API_KEY").or_else(|| file.webhook_api_key.clone());
    let path = args.webhook_api_secret_file.as_ref();
    let secret = match (path, env("HAVEN_WEBHOOK_API_SECRET")) {
        (Some(path), _) => Some(file::read_secret(path)?),
        (None, Some(secret)) => Some(Secret::new(secret.trim())),
        (None, None) => match &file.webhook_api_secret_file {
            Some(path) => Some(file::read_secret(path)?),
            None => file.webhook_api_secret.clone(),
        },
    };
    match (key, secret) {
        (Some(key), Some(secret)) => Ok(Some((key, secret))),
        (None, None) => Ok(None),
        _ => Err(invalid(
            "webhooks are signed with a key and its secret: set webhook_api_key \
             (HAVEN_WEBHOOK_API_KEY) and webhook_api_secret (HAVEN_WEBHOOK_API_SECRET), or neither",
        )),
    }
}
