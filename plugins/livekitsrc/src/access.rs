//! Where the element's tokens come from.

use crate::livekitsrc::LiveKitSrc;
use crate::settings::{Settings, SettingsError};
use gst::glib;
use gst::prelude::*;
use livekit_room::{
    Access, AccessError, AccessFuture, ApiKey, FixedToken, TokenSource, ViewerToken,
};
use pumpfun_api::{Client, Endpoints, Mint};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) const REQUEST_TOKEN_SIGNAL: &str = "request-token";

/// How long the handler of `request-token` may take.
const REQUEST_TOKEN_TIMEOUT: Duration = Duration::from_secs(15);

const WHERE: &str = "set mint-id, or url and token, or url, api-key, api-secret and room";

/// The token source that the settings describe.
///
/// # Errors
/// When they don't say where to go, or say it twice.
pub(crate) fn token_source(
    settings: &Settings,
    element: &LiveKitSrc,
) -> Result<Box<dyn TokenSource>, SettingsError> {
    match (&settings.mint_id, &settings.url) {
        (Some(_), Some(_)) => Err(SettingsError(
            "both mint-id and url are set; set one of them".into(),
        )),
        (None, None) => Err(SettingsError(format!("no room to join: {WHERE}"))),
        (Some(mint), None) => Ok(Box::new(PumpFun::new(mint)?)),
        (None, Some(url)) => with_url(url, settings, element),
    }
}

fn with_url(
    url: &str,
    settings: &Settings,
    element: &LiveKitSrc,
) -> Result<Box<dyn TokenSource>, SettingsError> {
    let parsed = url::Url::parse(url).ok().filter(url::Url::has_host);
    if !parsed.is_some_and(|url| matches!(url.scheme(), "ws" | "wss" | "http" | "https")) {
        return Err(SettingsError(format!(
            "url is '{url}', which is no LiveKit server; write it like wss://example.livekit.cloud"
        )));
    }
    if let Some(token) = &settings.token {
        return Ok(Box::new(RequestedToken {
            element: element.downgrade(),
            first: FixedToken::new(url, token),
            used: AtomicBool::new(false),
            url: url.to_owned(),
        }));
    }
    let (Some(key), Some(secret), Some(room)) =
        (&settings.api_key, &settings.api_secret, &settings.room)
    else {
        return Err(SettingsError(format!("no token for {url}: {WHERE}")));
    };
    Ok(Box::new(ViewerToken {
        url: url.to_owned(),
        api_key: ApiKey {
            key: key.clone(),
            secret: secret.clone(),
        },
        room: room.clone(),
        identity: settings.identity.clone().unwrap_or_else(own_identity),
        name: "Haven Player".into(),
    }))
}

/// Unique per process and element: two participants of one room can't share an identity.
fn own_identity() -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let started = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .subsec_nanos();
    format!(
        "haven-player-{}-{started:x}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Joins pump.fun for every token; they live about a quarter of an hour.
struct PumpFun {
    client: Client,
    mint: Mint,
}

impl PumpFun {
    fn new(mint: &str) -> Result<Self, SettingsError> {
        let parsed = mint.parse().map_err(|error| {
            SettingsError(format!("mint-id is '{mint}', which is no mint: {error}"))
        })?;
        let client = Endpoints::from_env().and_then(Client::new);
        Ok(Self {
            client: client.map_err(|error| SettingsError(error.to_string()))?,
            mint: parsed,
        })
    }
}

impl TokenSource for PumpFun {
    fn access(&self) -> AccessFuture<'_> {
        Box::pin(async {
            match self.client.join(&self.mint).await {
                Ok(join) => Ok(Access {
                    url: join.livekit_url,
                    token: join.token,
                }),
                Err(error @ pumpfun_api::Error::NotLive) => {
                    Err(AccessError::NotFound(format!("{error}: {}", self.mint)))
                }
                Err(error) => Err(AccessError::Unavailable(error.to_string())),
            }
        })
    }
}

/// The `token` property first; for later joins the application is asked.
struct RequestedToken {
    element: glib::WeakRef<LiveKitSrc>,
    first: FixedToken,
    used: AtomicBool,
    url: String,
}

impl TokenSource for RequestedToken {
    fn access(&self) -> AccessFuture<'_> {
        if !self.used.swap(true, Ordering::Relaxed) {
            return self.first.access();
        }
        Box::pin(async {
            let element = self.element.clone();
            // A handler may block, to ask somebody else.
            let asked = tokio::task::spawn_blocking(move || {
                let element = element.upgrade()?;
                element.emit_by_name::<Option<String>>(REQUEST_TOKEN_SIGNAL, &[])
            });
            let token = match tokio::time::timeout(REQUEST_TOKEN_TIMEOUT, asked).await {
                Ok(Ok(token)) => token,
                Ok(Err(_)) | Err(_) => {
                    return Err(AccessError::Unavailable(
                        "the application did not answer request-token in time".into(),
                    ));
                }
            };
            match token {
                Some(token) => Ok(Access {
                    url: self.url.clone(),
                    token,
                }),
                None => self.first.access().await,
            }
        })
    }
    fn refreshed(&self, url: &str, token: &str) {
        // For when the application doesn't answer: the server's newest outlives what it gave.
        self.first.refreshed(url, token);
    }
}
