//! Where a room is, and the token that opens it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use livekit_api::access_token::{AccessToken, VideoGrants};
use parking_lot::Mutex;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How long a token that is made here is valid. Long enough for slow joins, short enough to be
/// worthless when it leaks; every join gets a fresh one and the server refreshes it meanwhile.
const TOKEN_TTL: Duration = Duration::from_secs(15 * 60);

/// A LiveKit server and a token for one of its rooms.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// `ws://…` or `wss://…`.
    pub url: String,
    /// A JWT. Secret: never shown by `Debug`.
    pub token: String,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Why no token could be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Whoever gives the tokens could not be asked; asking again may help.
    #[error("{0}")]
    Unavailable(String),
    /// The stream doesn't exist or isn't live.
    #[error("{0}")]
    NotFound(String),
    /// We may not join.
    #[error("{0}")]
    NotAuthorized(String),
}

/// What [`TokenSource::access`] returns.
pub type AccessFuture<'a> = Pin<Box<dyn Future<Output = Result<Access, AccessError>> + Send + 'a>>;

/// Gives a token for every join: the first, and each full reconnect.
pub trait TokenSource: Send + Sync {
    /// A token that is valid now.
    fn access(&self) -> AccessFuture<'_>;

    /// The server gave a newer token for the same room and identity, as it does every few
    /// minutes. A source that makes fresh tokens by itself needs none.
    fn refreshed(&self, _url: &str, _token: &str) {}

    /// Whether the server at `url` lists its regions at `/settings/regions`, to be tried when it
    /// can't be reached. By default only LiveKit Cloud is asked: the request carries the token.
    fn has_regions(&self, url: &str) -> bool {
        crate::signal::is_cloud(url)
    }
}

/// A token that somebody else made: it is used until the server gives one that lives longer.
///
/// Clones share what the server gave.
#[derive(Clone, Debug)]
pub struct FixedToken {
    given: Access,
    refreshed: Arc<Mutex<Option<Access>>>,
}

impl FixedToken {
    /// The server's URL and the token.
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            given: Access {
                url: url.into(),
                token: token.into(),
            },
            refreshed: Arc::default(),
        }
    }
}

impl TokenSource for FixedToken {
    fn access(&self) -> AccessFuture<'_> {
        let refreshed = self.refreshed.lock().clone();
        let access = match refreshed {
            Some(newer) if !outlives(&self.given.token, &newer.token) => newer,
            _ => self.given.clone(),
        };
        Box::pin(std::future::ready(Ok(access)))
    }

    fn refreshed(&self, _url: &str, token: &str) {
        *self.refreshed.lock() = Some(Access {
            // The region it came from may be gone at the next join.
            url: self.given.url.clone(),
            token: token.to_owned(),
        });
    }
}

/// Whether the first token says that it is valid for longer. This only chooses between two: a
/// server's word decides.
fn outlives(first: &str, second: &str) -> bool {
    match (expiry(first), expiry(second)) {
        (Some(first), Some(second)) => first > second,
        (None, Some(_)) => false,
        (first, None) => first.is_some(),
    }
}

/// The `exp` claim (RFC 7519) in seconds since 1970, without a look at the signature.
fn expiry(token: &str) -> Option<u64> {
    let claims = token.split('.').nth(1)?.trim_end_matches('=');
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    claims.get("exp")?.as_u64()
}

/// A key and secret of a LiveKit server, from which viewers' tokens are made.
#[derive(Clone)]
pub struct ApiKey {
    /// The key.
    pub key: String,
    /// Its secret.
    pub secret: String,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Makes a viewer's token from a key and its secret.
#[derive(Clone, Debug)]
pub struct ViewerToken {
    /// The server.
    pub url: String,
    /// What signs the token.
    pub api_key: ApiKey,
    /// The room to join.
    pub room: String,
    /// Our identity. Two participants of one room can't have the same.
    pub identity: String,
    /// The name other participants may show.
    pub name: String,
}

impl ViewerToken {
    /// A token that may subscribe and nothing else.
    ///
    /// `can_publish` and `can_publish_data` are set to false, not left out: the server reads an
    /// absent grant as true.
    ///
    /// # Errors
    /// When the token can't be signed.
    pub fn make(&self) -> Result<Access, AccessError> {
        let grants = VideoGrants {
            room_join: true,
            room: self.room.clone(),
            can_subscribe: Some(true),
            can_publish: Some(false),
            can_publish_data: Some(false),
            hidden: true,
            ..VideoGrants::default()
        };
        let token = AccessToken::with_api_key(&self.api_key.key, &self.api_key.secret)
            .with_identity(&self.identity)
            .with_name(&self.name)
            .with_ttl(TOKEN_TTL)
            .with_grants(grants)
            .to_jwt()
            .map_err(|error| AccessError::NotAuthorized(error.to_string()))?;
        Ok(Access {
            url: self.url.clone(),
            token,
        })
    }
}

impl TokenSource for ViewerToken {
    fn access(&self) -> AccessFuture<'_> {
        Box::pin(std::future::ready(self.make()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_in_debug_output() {
        let source = ViewerToken {
            url: "ws://127.0.0.1".into(),
            api_key: ApiKey {
                key: "key".into(),
                secret: "planted-secret".into(),
            },
            room: "room".into(),
            identity: "viewer".into(),
            name: "Viewer".into(),
        };
        let token = source.make().unwrap().token;
        let shown = format!(
            "{source:?} {:?} {:?}",
            source.make(),
            FixedToken::new("u", &token)
        );
        assert!(!shown.contains("planted-secret") && !shown.contains(&token));
    }
    #[tokio::test]
    async fn a_fixed_token_gives_way_to_one_that_lives_longer() {
        let token = |seconds| {
            AccessToken::with_api_key("key", "a-secret-of-thirty-two-characters")
                .with_ttl(Duration::from_secs(seconds))
                .to_jwt()
                .unwrap()
        };
        let (short, long) = (token(60), token(600));
        let source = FixedToken::new("ws://here", &short);
        source.clone().refreshed("ws://region", &long);
        let access = source.access().await.unwrap();
        assert_eq!((&*access.url, &access.token), ("ws://here", &long));

        let source = FixedToken::new("ws://here", &long);
        source.refreshed("ws://here", &short);
        assert_eq!(source.access().await.unwrap().token, long);
        // A token that can't be read is the server's business.
        source.refreshed("ws://here", "opaque");
        assert_eq!(source.access().await.unwrap().token, long);
        let source = FixedToken::new("ws://here", "opaque");
        source.refreshed("ws://here", "newer");
        assert_eq!(source.access().await.unwrap().token, "newer");
    }
}
