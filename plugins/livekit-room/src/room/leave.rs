//! What a server means by `Leave`; pure.

use crate::event::EndReason;
use livekit_protocol as proto;
use proto::DisconnectReason as Reason;
use proto::leave_request::Action;

/// What to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Connect anew to the same session.
    Resume(String),
    /// Join anew.
    Rejoin(String),
    /// Stay away.
    End(EndReason),
}

/// The action decides, except where it would have us do what can't work.
pub(super) fn verdict(leave: &proto::LeaveRequest) -> Verdict {
    let reason = leave.reason();
    // Two that reconnect for the same identity throw each other out for ever.
    if reason == Reason::DuplicateIdentity {
        return Verdict::End(EndReason::DuplicateIdentity);
    }
    match leave.action() {
        Action::Resume => Verdict::Resume(why("the server asked for a resume", reason)),
        Action::Reconnect => Verdict::Rejoin(why("the server asked for a new join", reason)),
        // Servers from before protocol 13 know no action.
        Action::Disconnect if leave.can_reconnect => {
            Verdict::Rejoin(why("the server asked for a new join", reason))
        }
        Action::Disconnect => match reason {
            Reason::RoomDeleted | Reason::RoomClosed => Verdict::End(EndReason::RoomDeleted),
            Reason::ParticipantRemoved => Verdict::End(EndReason::Removed),
            // The rest is the server's trouble, or about telephones and agents: we never said
            // goodbye and want to be in the room.
            other => Verdict::Rejoin(why("the server disconnected us", other)),
        },
    }
}

/// The addresses the server named.
pub(super) fn regions(leave: &proto::LeaveRequest) -> Vec<String> {
    let regions = leave.regions.as_ref().map(|all| all.regions.as_slice());
    regions
        .unwrap_or_default()
        .iter()
        .take(MAX_REGIONS)
        .map(|region| region.url.clone())
        .collect()
}

/// Regions that are taken from a server's list.
const MAX_REGIONS: usize = 8;

fn why(what: &str, reason: Reason) -> String {
    match reason {
        Reason::UnknownReason => what.to_owned(),
        known => format!("{what} ({})", known.as_str_name()),
    }
}
