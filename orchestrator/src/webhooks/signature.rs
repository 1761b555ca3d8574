//! How a receiver knows that a webhook is ours, and unchanged: the way of LiveKit's own.

use crate::{Error, secret::Secret};
use base64::{Engine, prelude::BASE64_STANDARD};
use livekit_api::access_token::AccessToken;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long a signature is valid; LiveKit's are for as long.
const TTL: Duration = Duration::from_secs(5 * 60);

/// A key with its secret.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) api_key: String,
    pub(crate) api_secret: Secret,
}

impl Key {
    /// The `Authorization` of a body: a token of this key (HS256) that holds the body's SHA-256.
    ///
    /// # Errors
    /// Internal; when the key or its secret is empty.
    pub(super) fn sign(&self, body: &str) -> Result<String, Error> {
        let digest = BASE64_STANDARD.encode(Sha256::digest(body));
        AccessToken::with_api_key(&self.api_key, self.api_secret.expose())
            .with_ttl(TTL)
            .with_sha256(&digest)
            .to_jwt()
            .map_err(|error| Error::internal("signing a webhook", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use livekit_api::access_token::TokenVerifier;

    #[test]
    fn a_signature_is_a_token_of_the_key_with_the_bodys_digest() {
        let secret = "a secret of at least 32 characters";
        let key = Key {
            api_key: "key".into(),
            api_secret: Secret::new(secret),
        };
        let token = key.sign("{}").unwrap();
        let claims = TokenVerifier::with_api_key("key", secret)
            .verify(&token)
            .unwrap();
        assert_eq!(claims.iss, "key");
        // `printf '{}' | openssl sha256 -binary | base64`
        let digest = "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=";
        assert_eq!(claims.sha256, digest);
        assert!(!claims.video.room_join && claims.sub.is_empty());
        let other = TokenVerifier::with_api_key("key", "another secret of 32 characters!");
        assert!(other.verify(&token).is_err());
    }
}
