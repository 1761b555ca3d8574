//! Which rooms there are, and the tokens that open them.

use super::stream_info::StreamInfo;
use crate::{
    Error,
    config::LiveKit,
    db::SessionKind,
    error::Kind,
    pumpfun::{Catalogue, Joining},
};
use haven_wire::{RoomAccess, Source};
use livekit_api::access_token::{AccessToken, VideoGrants};
use pumpfun_api::Mint;
use std::{net::IpAddr, sync::Arc, time::Duration};

/// Key of the built-in room.
pub(crate) const DEMO: &str = "demo";
/// Long enough for a slow join; every join gets a fresh token.
const TOKEN_TTL: Duration = Duration::from_secs(15 * 60);
/// Longest room name, in characters.
const LONGEST_ROOM_NAME: usize = 256;

/// What a session shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A coin's livestream.
    Mint(Mint),
    /// Any room of the configured LiveKit server.
    Room(String),
    /// The built-in room.
    Demo,
}

impl Target {
    /// The session's key: one key space for all.
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Mint(mint) => mint.as_str(),
            Self::Room(name) => name,
            Self::Demo => DEMO,
        }
    }

    pub(crate) fn kind(&self) -> SessionKind {
        match self {
            Self::Mint(_) => SessionKind::Mint,
            Self::Room(_) => SessionKind::Room,
            Self::Demo => SessionKind::Demo,
        }
    }
}

/// Where rooms are found.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) pumpfun: Arc<Catalogue>,
    pub(crate) livekit: Option<LiveKit>,
    pub(crate) ice_addresses: Vec<IpAddr>,
    pub(crate) demo: bool,
}

impl Sources {
    /// The target that a request's `mint_id` names.
    ///
    /// # Errors
    /// Unprocessable for what is neither a mint nor the demo room.
    pub(crate) fn mint_target(&self, mint_id: &str) -> Result<Target, Error> {
        if mint_id == DEMO {
            return match self.demo {
                true => Ok(Target::Demo),
                false => Err(Error::field(
                    "mint_id",
                    "names the demo room, which is off: start the server with --demo",
                )),
            };
        }
        mint_id
            .parse()
            .map(Target::Mint)
            .map_err(|error| Error::field("mint_id", format_args!("is no mint: {error}")))
    }

    /// The target that a request's `room_name` names.
    ///
    /// # Errors
    /// Unprocessable for a name that is empty, too long or a mint's; bad request while no
    /// LiveKit server is configured.
    pub(crate) fn room_target(&self, room_name: &str) -> Result<Target, Error> {
        if !(1..=LONGEST_ROOM_NAME).contains(&room_name.chars().count()) {
            return Err(Error::field("room_name", "must have 1 to 256 characters"));
        }
        if looks_like_mint(room_name) || room_name == DEMO {
            return Err(Error::field(
                "room_name",
                "looks like a mint: start that session by `mint_id`",
            ));
        }
        if self.livekit.is_none() {
            return Err(Error::new(
                Kind::BadRequest,
                "livekit_not_configured",
                "No LiveKit credentials are configured: set LIVEKIT_URL, LIVEKIT_API_KEY and \
                 LIVEKIT_API_SECRET",
            ));
        }
        Ok(Target::Room(room_name.to_owned()))
    }

    /// What a worker is to run.
    ///
    /// # Errors
    /// Not found when the stream isn't live; bad gateway when nobody gives a token.
    pub(crate) async fn source(&self, target: &Target, joining: Joining) -> Result<Source, Error> {
        match self.access(target, joining).await? {
            Some(access) => Ok(Source::Room {
                access,
                ice_addresses: self.ice_addresses.clone(),
            }),
            None => Ok(Source::Demo),
        }
    }

    /// A fresh token; none for the demo room, which needs none.
    ///
    /// # Errors
    /// As [`Sources::source`].
    pub(crate) async fn access(
        &self,
        target: &Target,
        joining: Joining,
    ) -> Result<Option<RoomAccess>, Error> {
        match target {
            Target::Demo => Ok(None),
            Target::Room(room) => self.mint_token(room).map(Some),
            Target::Mint(mint) => match self.pumpfun.upstream().join(mint, joining).await {
                Ok(join) => Ok(Some(RoomAccess {
                    url: join.livekit_url,
                    token: join.token,
                })),
                Err(pumpfun_api::Error::NotLive) => Err(Error::new(
                    Kind::NotFound,
                    "stream_not_found",
                    format!("Stream not found or not live for mint_id: {mint}"),
                )),
                Err(error) => Err(token_unavailable(mint.as_str()).caused_by(error)),
            },
        }
    }

    /// How long nobody may be asked again for what opens the room.
    pub(crate) fn held_back(&self, target: &Target) -> Duration {
        match target {
            Target::Mint(_) => self.pumpfun.upstream().joins_paused_for(),
            Target::Room(_) | Target::Demo => Duration::ZERO,
        }
    }

    /// What is known of the stream, or becomes known within `limit`; never fails.
    pub(crate) async fn stream_info(&self, target: &Target, limit: Duration) -> StreamInfo {
        match target {
            Target::Mint(mint) => {
                let known = self.pumpfun.coin_within(mint, limit).await;
                StreamInfo::of_coin(mint.as_str(), known.map(|row| row.coin))
            }
            Target::Room(name) => StreamInfo::named(name, name),
            Target::Demo => StreamInfo::named(DEMO, "Demo room"),
        }
    }

    /// A viewer's token for a generic room. What isn't granted is denied explicitly: LiveKit
    /// reads an absent grant as true.
    fn mint_token(&self, room: &str) -> Result<RoomAccess, Error> {
        let Some(livekit) = &self.livekit else {
            return Err(Error::internal("making a token", "no LiveKit credentials"));
        };
        let grants = VideoGrants {
            room_join: true,
            room: room.to_owned(),
            can_subscribe: Some(true),
            can_publish: Some(false),
            can_publish_data: Some(false),
            can_update_own_metadata: Some(false),
            hidden: true,
            ..VideoGrants::default()
        };
        let identity = format!("haven-player-{:08x}", rand::random::<u32>());
        let token = AccessToken::with_api_key(&livekit.api_key, livekit.api_secret.expose())
            .with_ttl(TOKEN_TTL)
            .with_identity(&identity)
            .with_name("Haven Player")
            .with_grants(grants)
            .to_jwt()
            .map_err(|error| Error::internal("making a token", error))?;
        Ok(RoomAccess {
            url: livekit.url.clone(),
            token,
        })
    }
}

fn token_unavailable(mint: &str) -> Error {
    Error::new(
        Kind::BadGateway,
        "token_unavailable",
        format!("Failed to get livestream token for mint_id: {mint}"),
    )
}

/// What a frontend takes for a mint: base58, 32 to 44 characters, whatever it stands for.
fn looks_like_mint(name: &str) -> bool {
    let base58 = |c: char| c.is_ascii_alphanumeric() && !matches!(c, '0' | 'O' | 'I' | 'l');
    (32..=44).contains(&name.len()) && name.chars().all(base58)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Layer, Layers},
        db::Db,
        pumpfun::Upstream,
        secret::Secret,
        shutdown::Shutdown,
    };
    use livekit_api::access_token::TokenVerifier;
    use pumpfun_api::{Client, Endpoints};
    use tokio::sync::watch;

    const MINT: &str = "5PJRpFL7ZH7HEnHPJiAymwuzGRLLPTDkfNTKFG1wpump";

    fn sources(demo: bool) -> Sources {
        let client = Client::new(Endpoints::from_lookup(|_| None).unwrap()).unwrap();
        let settings = Layers::default().settings(Layer::default()).unwrap();
        let (_, settings) = watch::channel(Arc::new(settings));
        let upstream = Upstream::new(client);
        let catalogue = Catalogue::new(upstream, Db::in_memory(), settings, Shutdown::default());
        Sources {
            pumpfun: Arc::new(catalogue),
            livekit: Some(LiveKit {
                url: "ws://127.0.0.1:7880".into(),
                api_key: "key".into(),
                api_secret: Secret::new("a secret of at least 32 characters"),
            }),
            ice_addresses: Vec::new(),
            demo,
        }
    }

    #[tokio::test]
    async fn mints_rooms_and_the_demo_share_one_key_space() {
        let with_demo = sources(true);
        assert_eq!(with_demo.mint_target("demo").unwrap(), Target::Demo);
        assert_eq!(with_demo.mint_target(MINT).unwrap().key(), MINT);
        assert_eq!(with_demo.room_target("a room/ü").unwrap().key(), "a room/ü");
        for (result, what) in [
            (sources(false).mint_target("demo"), "demo while it is off"),
            (with_demo.mint_target("not a mint"), "no mint"),
            (with_demo.room_target(MINT), "a room like a mint"),
            (
                with_demo.room_target(&MINT[..40]),
                "a room like a mint of too few bytes",
            ),
            (with_demo.room_target("demo"), "a room like the demo"),
            (with_demo.room_target(""), "an empty room"),
            (with_demo.room_target(&"x".repeat(257)), "a long room"),
        ] {
            assert_eq!(result.unwrap_err().kind(), Kind::Unprocessable, "{what}");
        }
        assert!(with_demo.room_target(&"ü".repeat(256)).is_ok());
        assert!(with_demo.room_target(&"0".repeat(40)).is_ok());
        let mut unconfigured = sources(true);
        unconfigured.livekit = None;
        let error = unconfigured.room_target("room").unwrap_err();
        assert_eq!(error.kind(), Kind::BadRequest);
    }

    #[tokio::test]
    async fn a_viewers_token_can_publish_nothing() {
        let target = Target::Room("room".into());
        let access = sources(true)
            .access(&target, Joining::Start)
            .await
            .unwrap()
            .unwrap();
        let claims = TokenVerifier::with_api_key("key", "a secret of at least 32 characters")
            .verify(&access.token)
            .unwrap();
        assert!(claims.sub.starts_with("haven-player-"));
        assert_eq!(claims.name, "Haven Player");
        assert_eq!(claims.video.can_publish, Some(false));
        assert_eq!(claims.video.can_publish_data, Some(false));
        assert_eq!(claims.video.can_subscribe, Some(true));
        assert!(claims.video.room_join && claims.video.hidden);
        assert_eq!(claims.video.room, "room");
    }
}
