//! Where a room is, and the token that opens it.

use livekit_api::access_token::{AccessToken, VideoGrants};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
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
}

/// A token that somebody else made; the same for every join.
#[derive(Clone, Debug)]
pub struct FixedToken(Access);

impl FixedToken {
    /// The server's URL and the token.
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        Self(Access {
            url: url.into(),
            token: token.into(),
        })
    }
}

impl TokenSource for FixedToken {
    fn access(&self) -> AccessFuture<'_> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
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
}
