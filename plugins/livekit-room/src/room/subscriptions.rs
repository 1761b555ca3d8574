//! Which tracks the server is asked for, and what is told of the others in the room.

use super::Room;
use super::connection::FRESH;
use crate::event::{Kind, RoomEvent};
use crate::keyframe::KeyframeGate;
use crate::participants::Presence;
use crate::stall::{Remedy, VideoWatch};
use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use std::sync::Arc;
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
            let track = self
                .tracks
                .taken(sid)
                .map(|track| (track.sid.clone(), track.kind));
            if let Some((sid, kind)) = track {
                self.expect(now, &sid, kind);
            }
        }
        if !still_taken.is_empty() {
            self.subscribe(&still_taken, true);
        }
    }

    /// Frames of this track come from now on, beginning with a key frame.
    pub(super) fn expect(&mut self, now: Instant, sid: &Arc<str>, kind: Kind) {
        self.gates.insert(sid.clone(), KeyframeGate::new(now));
        if kind == Kind::Video {
            self.watches.insert(sid.clone(), VideoWatch::new(now));
        }
    }

    /// A video that stopped is asked for again while the rest of the room goes on. When nothing
    /// comes at all, it's the connection that is mended.
    pub(super) fn on_silent_videos(&mut self, now: Instant) {
        let mut remedies = Vec::new();
        for (sid, watch) in &mut self.watches {
            if !self.tracks.is_muted(sid)
                && let Some(remedy) = watch.remedy(now)
            {
                remedies.push((sid.clone(), remedy));
            }
        }
        for (sid, remedy) in remedies {
            tracing::warn!(track = %sid, ?remedy, "a video stands still");
            match remedy {
                Remedy::KeyFrame => self.request_keyframe(now, &sid),
                Remedy::Unsubscribe => self.subscribe(&[sid.to_string()], false),
                Remedy::Subscribe => {
                    self.gates.insert(sid.clone(), KeyframeGate::new(now));
                    self.subscribe(&[sid.to_string()], true);
                }
            }
        }
        self.drain_peer(now);
    }

    /// When a silent video is to be looked after.
    pub(super) fn silent_video_deadline(&self, now: Instant) -> Option<Instant> {
        let others_flow = self.last_media + FRESH > now;
        self.watches
            .iter()
            .filter(|(sid, _)| others_flow && !self.tracks.is_muted(sid))
            .map(|(_, watch)| watch.due())
            .min()
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
