//! Who is in the room, what they publish, and which of it is taken; pure.

pub(crate) mod publications;

use crate::event::{
    AudioMode, Choice, Choices, Kind, Participant, Role, Track, TrackSource, VideoSource,
};
use crate::room::RoomConfig;
use livekit_protocol as proto;
use publications::{Entry, Layer, Publication, Publications};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a streamer may be without tracks, or away, before another publisher takes its place.
/// A republish or a reconnect of the streamer takes less.
const STREAMER_GRACE: Duration = Duration::from_secs(5);

/// Identities with this word are viewers on pump.fun, whatever they are allowed to do.
const VIEWER_MARK: &str = "viewer";

/// Voices taken at once. Rooms with more people on the stage than that are rare, and each voice
/// costs its receiver a decoder.
const MAX_SPEAKERS: usize = 32;

/// A change of what is published or taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// A track is published from now on.
    Published(Track),
    /// A track is no longer published.
    Unpublished(Arc<str>),
    /// The streamer is another, or gone.
    Streamer(Option<Participant>),
    /// A track is taken from now on.
    Started(Track),
    /// A track is no longer taken, or no longer there.
    Ended(Track),
    /// A taken track was muted or unmuted.
    Muted(Track, bool),
}

/// The room's publications and what is taken of them.
#[derive(Debug)]
pub(crate) struct Tracks {
    /// Only this participant, if given.
    wanted_identity: Option<String>,
    video_source: VideoSource,
    audio: AudioMode,
    /// Take nothing before the application has said what it wants of it.
    ask: bool,
    choices: Choices,
    /// SIDs of the publications that were told.
    published: BTreeSet<Arc<str>>,
    room: Publications,
    streamer: Option<Participant>,
    /// Since when the streamer publishes nothing.
    streamer_idle_since: Option<Instant>,
    /// What is taken, with whether it is muted.
    taken: Vec<(Track, bool)>,
}

impl Tracks {
    pub(crate) fn new(config: &RoomConfig) -> Self {
        Self {
            wanted_identity: config.participant.clone(),
            video_source: config.video_source,
            audio: config.audio,
            ask: config.ask,
            choices: Choices::new(),
            published: BTreeSet::new(),
            room: Publications::default(),
            streamer: None,
            streamer_idle_since: None,
            taken: Vec::new(),
        }
    }

    /// The participants after a join; earlier ones are forgotten.
    pub(crate) fn reset(&mut self, own_sid: &str, others: &[proto::ParticipantInfo]) {
        self.room.reset(own_sid, others);
    }

    /// Participants that came, went or changed.
    pub(crate) fn update(&mut self, infos: &[proto::ParticipantInfo]) {
        self.room.update(infos);
    }

    /// The sizes that a published video comes in; empty where the server doesn't name them.
    pub(crate) fn layers(&self, sid: &str) -> &[Layer] {
        self.room.layers(sid)
    }

    /// What the application wants of published tracks.
    pub(crate) fn choose(&mut self, choices: Choices) {
        self.choices = choices;
    }

    /// Decides anew what is taken; says what that changes.
    pub(crate) fn select(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = self.publications_told();
        let streamer = self.choose_streamer(now);
        if streamer != self.streamer {
            self.streamer.clone_from(&streamer);
            changes.push(Change::Streamer(streamer));
        }
        let selected = self.choose_tracks();
        for (track, _) in &self.taken {
            let stays =
                |new: &Publication| new.track.sid == track.sid && new.track.role == track.role;
            if !selected.iter().any(stays) {
                changes.push(Change::Ended(track.clone()));
            }
        }
        for new in &selected {
            let same = |old: &Track| old.sid == new.track.sid && old.role == new.track.role;
            match self.taken.iter().find(|(old, _)| same(old)) {
                None => {
                    changes.push(Change::Started(new.track.clone()));
                    if new.muted {
                        changes.push(Change::Muted(new.track.clone(), true));
                    }
                }
                Some((_, muted)) if *muted != new.muted => {
                    changes.push(Change::Muted(new.track.clone(), new.muted));
                }
                Some(_) => {}
            }
        }
        self.taken = selected
            .into_iter()
            .map(|publication| (publication.track, publication.muted))
            .collect();
        changes
    }

    /// The taken track with this SID.
    pub(crate) fn taken(&self, sid: &str) -> Option<&Track> {
        self.taken
            .iter()
            .map(|(track, _)| track)
            .find(|track| &*track.sid == sid)
    }

    /// Whether this taken track is muted.
    pub(crate) fn is_muted(&self, sid: &str) -> bool {
        self.taken
            .iter()
            .any(|(track, muted)| *muted && &*track.sid == sid)
    }

    /// SIDs of all taken tracks.
    pub(crate) fn taken_sids(&self) -> Vec<String> {
        self.taken
            .iter()
            .map(|(track, _)| track.sid.to_string())
            .collect()
    }

    /// Whether any taken track should be delivering frames.
    pub(crate) fn expects_media(&self) -> bool {
        self.taken.iter().any(|(_, muted)| !muted)
    }

    /// Whether anything is taken.
    pub(crate) fn any_taken(&self) -> bool {
        !self.taken.is_empty()
    }

    /// When [`Tracks::select`] may decide otherwise though nothing was heard.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.streamer_idle_since.map(|since| since + STREAMER_GRACE)
    }

    fn choose_streamer(&mut self, now: Instant) -> Option<Participant> {
        let publishing = |entry: &&Entry| !entry.publications.is_empty();
        let current = self.streamer.as_ref().and_then(|streamer| {
            // The same person has another SID after a reconnect of its own.
            self.room.by_identity(&streamer.identity)
        });
        if let Some(entry) = current.filter(publishing) {
            self.streamer_idle_since = None;
            return Some(entry.participant.clone());
        }
        let next = self
            .room
            .participants()
            .filter(publishing)
            .filter(|entry| self.is_eligible(&entry.participant.identity))
            .min_by_key(|entry| {
                let has_video = entry
                    .publications
                    .iter()
                    .any(|publication| publication.track.kind == Kind::Video);
                (!has_video, entry.joined_at_ms)
            })
            .map(|entry| entry.participant.clone());
        if self.streamer.is_none() {
            self.streamer_idle_since = None;
            return next;
        }
        let idle_since = *self.streamer_idle_since.get_or_insert(now);
        if now.duration_since(idle_since) < STREAMER_GRACE {
            return self.streamer.clone();
        }
        self.streamer_idle_since = None;
        next
    }

    fn is_eligible(&self, identity: &str) -> bool {
        match &self.wanted_identity {
            Some(wanted) => identity == wanted,
            None => !identity.contains(VIEWER_MARK),
        }
    }

    /// What came and went since the last look.
    fn publications_told(&mut self) -> Vec<Change> {
        let mut now = BTreeSet::new();
        let mut changes = Vec::new();
        for publication in self.room.publications() {
            let track = &publication.track;
            if !self.published.contains(&track.sid) {
                changes.push(Change::Published(track.clone()));
            }
            now.insert(track.sid.clone());
        }
        let gone = self.published.difference(&now).cloned();
        changes.extend(gone.map(Change::Unpublished));
        self.published = now;
        changes
    }

    fn choice(&self, publication: &Publication) -> Option<Choice> {
        let choice = self.choices.get(&publication.track.sid).copied();
        choice.or_else(|| (!self.ask).then_some(Choice::Usual))
    }

    fn choose_tracks(&self) -> Vec<Publication> {
        let streamer = self
            .streamer
            .as_ref()
            .and_then(|streamer| self.room.by_identity(&streamer.identity));
        let mut chosen: Vec<Publication> = Vec::new();
        if let Some(entry) = streamer {
            chosen.extend(self.best(entry, &|publication| self.rank_video(publication)));
            if self.audio == AudioMode::Streamer {
                chosen.extend(self.best(entry, &rank_audio));
            }
        }
        if self.audio == AudioMode::Everyone {
            chosen.extend(self.speakers());
        }
        let asked_for: Vec<_> = self
            .room
            .publications()
            .filter(|publication| self.choice(publication) == Some(Choice::Take))
            .filter(|publication| {
                let sid = &publication.track.sid;
                chosen.iter().all(|known| known.track.sid != *sid)
            })
            .map(|publication| publication.taken_as(Role::Chosen))
            .collect();
        chosen.extend(asked_for);
        chosen
    }

    /// The participant's best publication by this rank, lower being better, of those that the
    /// application leaves to us or wants anyway.
    fn best(
        &self,
        entry: &Entry,
        rank: &dyn Fn(&Publication) -> Option<u8>,
    ) -> Option<Publication> {
        entry
            .publications
            .iter()
            .filter(|publication| {
                self.choice(publication)
                    .is_some_and(|choice| choice != Choice::Leave)
            })
            .filter_map(|publication| Some((rank(publication)?, publication)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, publication)| publication.taken_as(Role::Main))
    }

    /// Everybody's sound, who came first going first.
    fn speakers(&self) -> Vec<Publication> {
        let mut entries: Vec<_> = self.room.participants().collect();
        entries.sort_by_key(|entry| entry.joined_at_ms);
        entries
            .into_iter()
            .flat_map(|entry| &entry.publications)
            .filter(|publication| publication.track.kind == Kind::Audio)
            .filter(|publication| self.choice(publication) == Some(Choice::Usual))
            .take(MAX_SPEAKERS)
            .map(|publication| publication.taken_as(Role::Speaker))
            .collect()
    }

    /// Lower is better.
    fn rank_video(&self, publication: &Publication) -> Option<u8> {
        use TrackSource::{Camera, ScreenShare};
        if publication.track.kind != Kind::Video {
            return None;
        }
        match (self.video_source, publication.track.source) {
            (VideoSource::Any | VideoSource::Camera, Camera)
            | (VideoSource::ScreenShare | VideoSource::ScreenShareFirst, ScreenShare) => Some(0),
            (VideoSource::Any, ScreenShare) | (VideoSource::ScreenShareFirst, Camera) => Some(1),
            (VideoSource::Any | VideoSource::ScreenShareFirst, _) => Some(2),
            _ => None,
        }
    }
}

fn rank_audio(publication: &Publication) -> Option<u8> {
    if publication.track.kind != Kind::Audio {
        return None;
    }
    Some(match publication.track.source {
        TrackSource::Microphone => 0,
        TrackSource::ScreenShareAudio => 2,
        _ => 1,
    })
}

#[cfg(test)]
mod tests;
