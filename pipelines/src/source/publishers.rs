//! Whose pictures and sound are taken, as the room's element tells.

use haven_wire::{MAX_PUBLISHERS, PublishedTrack, Publisher};
use parking_lot::Mutex;
use std::sync::Arc;

/// Longest name that is told, in characters: a participant chooses it freely.
const LONGEST_NAME: usize = 256;

/// Most tracks that are known: who comes when so many are there is told once some have ended. More
/// than are told ([`MAX_PUBLISHERS`]), so that others take the place of those who leave.
const MAX_TRACKS: usize = 10 * MAX_PUBLISHERS;

/// The tracks that are taken now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Publishers(Arc<Mutex<Vec<Track>>>);

#[derive(Debug)]
struct Track {
    sid: String,
    of: Publisher,
}

impl Publishers {
    /// Who publishes them, the first [`MAX_PUBLISHERS`].
    pub(crate) fn list(&self) -> Vec<Publisher> {
        let mut all = Vec::new();
        for track in &*self.0.lock() {
            Publisher::add_all(&mut all, std::slice::from_ref(&track.of));
        }
        all
    }

    /// Takes note of a `livekit-track` message; whether it was one that changes anything.
    pub(super) fn note(&self, message: &gst::StructureRef) -> bool {
        if message.name() != "livekit-track" {
            return false;
        }
        let text = |field| {
            let text = message.get::<&str>(field).unwrap_or_default();
            text.chars().take(LONGEST_NAME).collect::<String>()
        };
        let sid = text("sid");
        let mut tracks = self.0.lock();
        let before = tracks.len();
        match message.get::<&str>("state") {
            Ok("ended") => tracks.retain(|track| track.sid != sid),
            Ok("started") if before < MAX_TRACKS => {
                tracks.retain(|track| track.sid != sid);
                let (kind, source) = (text("kind"), text("source"));
                tracks.push(Track {
                    sid,
                    of: Publisher {
                        identity: text("identity"),
                        name: text("participant-name"),
                        tracks: vec![PublishedTrack { kind, source }],
                    },
                });
                return true;
            }
            _ => {}
        }
        tracks.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sid: &str, identity: &str, kind: &str, state: &str) -> gst::Structure {
        gst::Structure::builder("livekit-track")
            .field("sid", sid)
            .field("kind", kind)
            .field("source", "camera")
            .field("identity", identity)
            .field("participant-name", "n".repeat(1000))
            .field("state", state)
            .build()
    }

    #[test]
    fn who_publishes_is_told_with_its_tracks_until_they_end() {
        gst::init().unwrap();
        let publishers = Publishers::default();
        for (sid, identity, kind) in [
            ("TR_1", "ann", "video"),
            ("TR_2", "bob", "audio"),
            ("TR_3", "ann", "audio"),
        ] {
            assert!(publishers.note(&message(sid, identity, kind, "started")));
        }
        assert!(!publishers.note(&message("TR_3", "ann", "audio", "muted")));
        let told = |publishers: &Publishers| -> Vec<(String, usize)> {
            let list = publishers.list().into_iter();
            list.map(|one| (one.identity, one.tracks.len())).collect()
        };
        assert_eq!(told(&publishers), [("ann".into(), 2), ("bob".into(), 1)]);
        assert_eq!(publishers.list()[0].name.len(), LONGEST_NAME);
        assert!(publishers.note(&message("TR_2", "bob", "audio", "ended")));
        assert!(!publishers.note(&message("TR_2", "bob", "audio", "ended")));
        assert_eq!(told(&publishers), [("ann".into(), 2)]);
        assert!(!publishers.note(&gst::Structure::new_empty("livekit-stats")));
    }

    #[test]
    fn who_came_when_too_many_were_there_is_told_once_others_leave() {
        gst::init().unwrap();
        let publishers = Publishers::default();
        let person = |number: usize, state| {
            let (sid, identity) = (format!("TR_{number}"), format!("guest {number:04}"));
            publishers.note(&message(&sid, &identity, "audio", state))
        };
        for number in 0..MAX_PUBLISHERS + 20 {
            assert!(person(number, "started"));
        }
        let told = || {
            let list = publishers.list().into_iter();
            list.map(|one| one.identity).collect::<Vec<_>>()
        };
        let last = format!("guest {:04}", MAX_PUBLISHERS + 19);
        assert_eq!(told().len(), MAX_PUBLISHERS);
        assert!(!told().contains(&last));
        for number in 0..20 {
            assert!(person(number, "ended"));
        }
        assert_eq!(told().len(), MAX_PUBLISHERS);
        assert!(told().contains(&last));
        for number in 0..2 * MAX_TRACKS {
            person(number, "started");
        }
        assert_eq!(publishers.0.lock().len(), MAX_TRACKS);
    }
}
