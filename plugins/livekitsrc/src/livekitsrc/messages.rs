//! What the element tells the application: messages, errors, and the properties that are notified.

use super::imp::{CAT, LiveKitSrc};
use super::properties::{ConnectionState, PROP_ROOM_NAME};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use livekit_room::{EndReason, Kind, Participant, RoomEvent, Track, TrackSource};

impl LiveKitSrc {
    pub(crate) fn on_room_event(&self, event: &RoomEvent) {
        self.counters.on_room_event(event);
        match event {
            RoomEvent::Joined(room) => {
                gst::info!(CAT, imp = self, "joined {} as {}", room.name, room.identity);
                self.status.lock().room_name = Some(room.name.clone());
                self.obj().notify(PROP_ROOM_NAME);
                self.post(
                    gst::Structure::builder("livekit-connected")
                        .field("room-name", &room.name)
                        .field("room-sid", &room.sid)
                        .field("identity", &room.identity),
                );
            }
            RoomEvent::State(state) => self.set_connection((*state).into()),
            RoomEvent::Streamer(streamer) => {
                self.set_streamer(streamer.as_ref().map(|streamer| streamer.sid.clone()));
                let streamer = streamer.as_ref();
                self.post(
                    gst::Structure::builder("livekit-participant")
                        .field("sid", streamer.map(|streamer| &streamer.sid))
                        .field("identity", streamer.map(|streamer| &streamer.identity))
                        .field("name", streamer.map(|streamer| &streamer.name)),
                );
            }
            RoomEvent::TrackStarted(track) => self.post_track(track, "started"),
            RoomEvent::TrackEnded(track) => self.post_track(track, "ended"),
            RoomEvent::TrackMuted { track, muted } => {
                self.post_track(track, if *muted { "muted" } else { "unmuted" });
            }
            RoomEvent::ParticipantJoined(participant) => self.post_presence(participant, "joined"),
            RoomEvent::ParticipantLeft(participant) => self.post_presence(participant, "left"),
            RoomEvent::Data(data) => self.post(
                gst::Structure::builder("livekit-data")
                    .field("identity", &data.identity)
                    .field("topic", &data.topic)
                    .field("payload", glib::Bytes::from(&*data.payload))
                    .field("reliable", data.reliable),
            ),
            RoomEvent::Path(path) => gst::info!(CAT, imp = self, "media comes by {path}"),
            RoomEvent::Reconnecting { reason, attempt } => {
                gst::warning!(CAT, imp = self, "reconnecting, attempt {attempt}: {reason}");
                self.post(
                    gst::Structure::builder("livekit-reconnecting")
                        .field("reason", reason)
                        .field("attempt", attempt),
                );
            }
            _ => {}
        }
    }

    /// The room is over: tells the application, as an end of stream where that makes sense.
    pub(crate) fn on_ended(&self, reason: &EndReason, has_pads: bool, ever_joined: bool) {
        gst::info!(CAT, imp = self, "ended: {reason}");
        self.set_streamer(None);
        let word = match reason {
            EndReason::Stopped => return,
            EndReason::RoomDeleted => "room-deleted",
            EndReason::Removed => "removed",
            EndReason::DuplicateIdentity => "duplicate-identity",
            EndReason::NoPublisher => "no-publisher",
            EndReason::NotAuthorized(_) => "not-authorized",
            EndReason::NotFound(_) => "not-found",
            EndReason::Connection(_) => "connection",
        };
        self.post(
            gst::Structure::builder("livekit-ended")
                .field("reason", word)
                .field("text", reason.to_string()),
        );
        self.set_connection(ConnectionState::Disconnected);
        match reason {
            EndReason::NotAuthorized(_) => {
                gst::element_imp_error!(self, gst::ResourceError::NotAuthorized, ("{reason}"));
            }
            EndReason::NotFound(_) => {
                gst::element_imp_error!(self, gst::ResourceError::NotFound, ("{reason}"));
            }
            EndReason::Connection(_) if ever_joined => {
                gst::element_imp_error!(self, gst::ResourceError::Read, ("{reason}"));
            }
            EndReason::Connection(_) => {
                gst::element_imp_error!(self, gst::ResourceError::OpenRead, ("{reason}"));
            }
            // Without pads there is nothing an end of stream could travel on.
            _ if !has_pads => {
                gst::element_imp_error!(
                    self,
                    gst::ResourceError::NotFound,
                    ("the room ended before anything was published: {reason}")
                );
            }
            _ => {}
        }
    }

    /// A task of ours panicked: the element can't go on.
    pub(crate) fn on_fault(&self) {
        self.set_streamer(None);
        self.set_connection(ConnectionState::Disconnected);
        gst::element_imp_error!(
            self,
            gst::LibraryError::Failed,
            ("a fault inside the element ended the stay in the room")
        );
    }

    fn post_track(&self, track: &Track, state: &str) {
        self.post(describe(track).field("state", state));
    }

    fn post_presence(&self, participant: &Participant, state: &str) {
        self.post(
            gst::Structure::builder("livekit-presence")
                .field("state", state)
                .field("sid", &participant.sid)
                .field("identity", &participant.identity)
                .field("name", &participant.name),
        );
    }

    fn post(&self, structure: gst::structure::Builder) {
        let element = self.obj();
        let message = gst::message::Element::builder(structure.build())
            .src(&*element)
            .build();
        let _ = element.post_message(message);
    }
}

/// A track for messages and signals.
pub(super) fn describe(track: &Track) -> gst::structure::Builder {
    let kind = match track.kind {
        Kind::Video => "video",
        Kind::Audio => "audio",
    };
    let source = match track.source {
        TrackSource::Unknown => "unknown",
        TrackSource::Camera => "camera",
        TrackSource::Microphone => "microphone",
        TrackSource::ScreenShare => "screen-share",
        TrackSource::ScreenShareAudio => "screen-share-audio",
    };
    gst::Structure::builder("livekit-track")
        .field("sid", &*track.sid)
        .field("kind", kind)
        .field("source", source)
        .field("identity", &*track.identity)
        .field("participant-name", &*track.participant_name)
        .field("name", &*track.name)
        .field("width", track.width)
        .field("height", track.height)
}
