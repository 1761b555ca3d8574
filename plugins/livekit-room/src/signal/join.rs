//! One join: a token, a server, the first message.

use super::dial::{Dialer, Patience};
use super::link::{KeepAlive, Link};
use super::regions::{self, Servers};
use super::{Joined, Session, first_message, request};
use crate::access::{AccessError, TokenSource};
use crate::room::JoinError;
use livekit_protocol as proto;
use proto::signal_response::Message as Response;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a token may take; a source that asks a service has a shorter time-out of its own.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(20);

/// One join.
pub(super) struct Join {
    pub(super) tokens: Arc<dyn TokenSource>,
    pub(super) dialer: Arc<Dialer>,
    pub(super) patience: Patience,
    /// Try all servers, not just the one whose turn it is.
    pub(super) everywhere: bool,
}

impl Join {
    pub(super) async fn run(&self, servers: &mut Servers) -> Result<Joined, JoinError> {
        let access = match timeout(TOKEN_TIMEOUT, self.tokens.access()).await {
            Ok(access) => access.map_err(access_error)?,
            Err(_) => return Err(JoinError::Unavailable("no token came in time".into())),
        };
        let first = servers.next(&access.url);
        let mut error = match self.at(&first, &access.token).await {
            Err(error) if request::may_work_elsewhere(&error) => error,
            result => return result,
        };
        if servers.unasked() && self.tokens.has_regions(&access.url) {
            match regions::fetch(&access.url, &access.token).await {
                Ok(regions) => servers.discovered(regions),
                Err(why) => tracing::debug!(why, "no list of regions"),
            }
        }
        if !self.everywhere {
            return Err(error);
        }
        for server in servers.all(&access.url) {
            if server == first {
                continue;
            }
            tracing::info!(server, %error, "another region is tried");
            error = match self.at(&server, &access.token).await {
                Err(error) if request::may_work_elsewhere(&error) => error,
                result => return result,
            };
        }
        Err(error)
    }

    async fn at(&self, server: &str, token: &str) -> Result<Joined, JoinError> {
        let url = request::endpoint(server).map_err(request::join_error)?;
        let mut socket = self
            .dialer
            .dial(&url, token, self.patience)
            .await
            .map_err(request::join_error)?;
        let response = match first_message(&mut socket, self.patience.answer).await {
            Ok(Response::Join(response)) => response,
            Ok(Response::Leave(leave)) => return Err(JoinError::Left(Box::new(leave))),
            Ok(_) => {
                return Err(JoinError::Unavailable(
                    "the LiveKit server began with something else than the join".into(),
                ));
            }
            Err(error) => return Err(request::join_error(error)),
        };
        let participant_sid = match &response.participant {
            Some(own) if !own.sid.is_empty() => own.sid.clone(),
            _ => {
                return Err(JoinError::Unavailable(
                    "the LiveKit server does not say who we are".into(),
                ));
            }
        };
        let keep_alive = KeepAlive::of(&response);
        Ok(Joined {
            session: Session {
                url: server.to_owned(),
                token: token.to_owned(),
                participant_sid,
                keep_alive,
            },
            response: Box::new(response),
            link: Link::new(socket, keep_alive),
        })
    }
}

fn access_error(error: AccessError) -> JoinError {
    match error {
        AccessError::NotAuthorized(why) => JoinError::NotAuthorized(why),
        AccessError::NotFound(why) => JoinError::NotFound(why),
        AccessError::Unavailable(why) => JoinError::Unavailable(why),
    }
}
