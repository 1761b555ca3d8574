//! A room that was deleted though nobody told us to leave; pure.
//!
//! On a busy machine livekit-server 1.13.5 loses about one in twenty of its last messages: it closes the
//! relay of a participant's messages while the `Leave` is still in it. The connection ends without a
//! word, the session is unknown to the resume, and a join makes the room anew: who joins it waits for
//! a publisher that was told to go.

use livekit_protocol as proto;
use proto::DisconnectReason as Reason;
use proto::participant_info::State;
use std::time::Duration;

/// How soon after a loss a new room tells that the old one was deleted. Later, the server may have
/// given us up by itself and closed an empty room, after 20 s by default (`departure_timeout`).
const TELLING: Duration = Duration::from_secs(5);

/// Which room it is, and of which run of which server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incarnation {
    /// A server that is started again has another one.
    node: String,
    sid: String,
}

impl Incarnation {
    /// None where the server doesn't say.
    pub(super) fn of(response: &proto::JoinResponse) -> Option<Self> {
        let node = &response.server_info.as_ref()?.node_id;
        let sid = &response.room.as_ref()?.sid;
        let is_known = !node.is_empty() && !sid.is_empty();
        is_known.then(|| Self {
            node: node.clone(),
            sid: sid.clone(),
        })
    }

    /// Whether this room was deleted: the same server has another one in its place, where nobody
    /// has followed, `lost_for` after we lost it. Where we had been alone, the room may just have been
    /// closed for being empty.
    pub(super) fn was_deleted(
        &self,
        response: &proto::JoinResponse,
        lost_for: Duration,
        had_company: bool,
    ) -> bool {
        let now = Self::of(response);
        had_company
            && lost_for < TELLING
            && response.other_participants.is_empty()
            && now.is_some_and(|now| now.node == self.node && now.sid != self.sid)
    }
}

/// Whether somebody was sent away because the room is deleted, which goes for all.
pub(super) fn is_told(participants: &[proto::ParticipantInfo]) -> bool {
    participants.iter().any(|participant| {
        participant.state() == State::Disconnected
            && matches!(
                participant.disconnect_reason(),
                Reason::RoomDeleted | Reason::RoomClosed
            )
    })
}
