//! Which tracks the server is asked for, and what is told of the others in the room.

use super::Room;
use crate::event::RoomEvent;
use crate::keyframe::KeyframeGate;
use crate::participants::Presence;
use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use std::time::Instant;

impl Room {
    pub(super) fn subscribe(&mut self, sids: &[String], subscribe: bool) {
        self.signal(Request::Subscription(proto::UpdateSubscription {
            track_sids: sids.to_vec(),
            subscribe,
            participant_tracks: Vec::new(),
        }));
    }

    /// A new session knows nothing of what the old one had.
    pub(super) fn resubscribe(&mut self, now: Instant, kept: &[String]) {
        let still_taken: Vec<String> = self
            .tracks
            .taken_sids()
            .into_iter()
            .filter(|sid| kept.contains(sid))
            .collect();
        for sid in &still_taken {
            let gate = KeyframeGate::new(now);
            self.gates.insert(sid.as_str().into(), gate);
        }
        if !still_taken.is_empty() {
            self.subscribe(&still_taken, true);
        }
    }

    pub(super) fn tell_presence(&mut self, changes: Vec<Presence>) {
        for change in changes {
            self.event(match change {
                Presence::Joined(participant) => RoomEvent::ParticipantJoined(participant),
                Presence::Left(participant) => RoomEvent::ParticipantLeft(participant),
            });
        }
    }
}
