use crate::error::{Result, RigError};
use livekit_api::access_token::{AccessToken, VideoGrants};
use std::time::Duration;

/// The key pair of a LiveKit server.
#[derive(Clone)]
pub struct Keys {
    /// Name of the key.
    pub key: String,
    /// Its secret.
    pub secret: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("key", &self.key).finish()
    }
}

/// What a participant may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Publishes and subscribes.
    Publisher,
    /// Subscribes only.
    Viewer,
}

impl Keys {
    /// A random pair.
    pub fn random() -> Self {
        Self {
            key: format!("API{}", random_name(12)),
            secret: random_name(40),
        }
    }

    /// A token to join `room`, valid for `ttl`.
    ///
    /// # Errors
    /// For an empty room or identity.
    pub fn token(&self, room: &str, identity: &str, role: Role, ttl: Duration) -> Result<String> {
        let publishes = role == Role::Publisher;
        let grants = VideoGrants {
            room_join: true,
            room: room.into(),
            can_subscribe: Some(true),
            // Absent means true to the server.
            can_publish: Some(publishes),
            can_publish_data: Some(publishes),
            ..VideoGrants::default()
        };
        self.sign(grants, identity, ttl)
    }

    /// A token for the room service; `room` is the room to manage.
    pub(crate) fn admin_token(&self, room: &str) -> Result<String> {
        let grants = VideoGrants {
            room_admin: true,
            room_create: true,
            room_list: true,
            room: room.into(),
            ..VideoGrants::default()
        };
        self.sign(grants, "rig", Duration::from_secs(60))
    }

    fn sign(&self, grants: VideoGrants, identity: &str, ttl: Duration) -> Result<String> {
        AccessToken::with_api_key(&self.key, &self.secret)
            .with_identity(identity)
            .with_name(identity)
            .with_ttl(ttl)
            .with_grants(grants)
            .to_jwt()
            .map_err(|error| RigError::unexpected("making a token", error))
    }
}

/// A random name of letters and digits.
pub(crate) fn random_name(length: usize) -> String {
    use rand::distr::{Alphanumeric, SampleString};
    Alphanumeric.sample_string(&mut rand::rng(), length)
}
