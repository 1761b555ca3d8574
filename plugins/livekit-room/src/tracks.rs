//! Who is in the room, what they publish, and which of it is taken; pure.

use crate::event::{Kind, Participant, Track, VideoSource};
use livekit_protocol as proto;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a streamer may be without tracks, or away, before another publisher takes its place.
/// A republish or a reconnect of the streamer takes less.
const STREAMER_GRACE: Duration = Duration::from_secs(5);

/// Identities with this word are viewers on pump.fun, whatever they are allowed to do.
const VIEWER_MARK: &str = "viewer";

/// A change of what is taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// The streamer is another, or gone.
    Streamer(Option<Participant>),
    /// A track is taken from now on.
    Started(Track),
    /// A track is no longer taken, or no longer there.
    Ended(Track),
    /// A taken track was muted or unmuted.
    Muted(Track, bool),
}

/// One participant as the server describes it.
#[derive(Debug)]
struct Entry {
    participant: Participant,
    joined_at_ms: i64,
    version: u32,
    publications: Vec<Publication>,
}

#[derive(Clone, Debug)]
struct Publication {
    track: Track,
    source: proto::TrackSource,
    muted: bool,
}

/// The room's publications and what is taken of them.
#[derive(Debug)]
pub(crate) struct Tracks {
    /// Only this participant, if given.
    wanted_identity: Option<String>,
    video_source: VideoSource,
    /// By SID; never has ourselves.
    participants: BTreeMap<String, Entry>,
    own_sid: String,
    streamer: Option<Participant>,
    /// Since when the streamer publishes nothing.
    streamer_idle_since: Option<Instant>,
    /// What is taken, with whether it is muted.
    taken: Vec<(Track, bool)>,
}

impl Tracks {
    pub(crate) fn new(wanted_identity: Option<String>, video_source: VideoSource) -> Self {
        Self {
            wanted_identity,
            video_source,
            participants: BTreeMap::new(),
            own_sid: String::new(),
            streamer: None,
            streamer_idle_since: None,
            taken: Vec::new(),
        }
    }

    /// The participants after a join; earlier ones are forgotten.
    pub(crate) fn reset(&mut self, own_sid: &str, others: &[proto::ParticipantInfo]) {
        own_sid.clone_into(&mut self.own_sid);
        self.participants.clear();
        self.update(others);
    }

    /// Participants that came, went or changed.
    pub(crate) fn update(&mut self, infos: &[proto::ParticipantInfo]) {
        for info in infos {
            if info.sid == self.own_sid {
                continue;
            }
            let gone = info.state() == proto::participant_info::State::Disconnected;
            if gone {
                self.participants.remove(&info.sid);
                continue;
            }
            let outdated = self
                .participants
                .get(&info.sid)
                .is_some_and(|known| info.version != 0 && info.version < known.version);
            if !outdated {
                self.participants.insert(info.sid.clone(), entry(info));
            }
        }
    }

    /// Decides anew what is taken; says what that changes.
    pub(crate) fn select(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let streamer = self.choose_streamer(now);
        if streamer != self.streamer {
            self.streamer.clone_from(&streamer);
            changes.push(Change::Streamer(streamer));
        }
        let selected = self.choose_tracks();
        for (track, _) in &self.taken {
            if !selected.iter().any(|new| new.track.sid == track.sid) {
                changes.push(Change::Ended(track.clone()));
            }
        }
        for new in &selected {
            match self.taken.iter().find(|(old, _)| old.sid == new.track.sid) {
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
            self.participants.get(&streamer.sid).or_else(|| {
                // The same person after a reconnect of its own: another SID.
                self.participants
                    .values()
                    .find(|entry| entry.participant.identity == streamer.identity)
            })
        });
        if let Some(entry) = current.filter(publishing) {
            self.streamer_idle_since = None;
            return Some(entry.participant.clone());
        }
        let next = self
            .participants
            .values()
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

    fn choose_tracks(&self) -> Vec<Publication> {
        let Some(entry) = self
            .streamer
            .as_ref()
            .and_then(|streamer| self.participants.get(&streamer.sid))
        else {
            return Vec::new();
        };
        let best = |rank: &dyn Fn(&Publication) -> Option<u8>| {
            entry
                .publications
                .iter()
                .filter_map(|publication| Some((rank(publication)?, publication)))
                .min_by_key(|(rank, _)| *rank)
                .map(|(_, publication)| publication.clone())
        };
        let video = best(&|publication| self.rank_video(publication));
        let audio = best(&rank_audio);
        video.into_iter().chain(audio).collect()
    }

    /// Lower is better.
    fn rank_video(&self, publication: &Publication) -> Option<u8> {
        use proto::TrackSource::{Camera, ScreenShare};
        if publication.track.kind != Kind::Video {
            return None;
        }
        match (self.video_source, publication.source) {
            (VideoSource::Any | VideoSource::Camera, Camera)
            | (VideoSource::ScreenShare, ScreenShare) => Some(0),
            (VideoSource::Any, ScreenShare) => Some(1),
            (VideoSource::Any, _) => Some(2),
            _ => None,
        }
    }
}

fn rank_audio(publication: &Publication) -> Option<u8> {
    use proto::TrackSource::{Microphone, ScreenShareAudio};
    if publication.track.kind != Kind::Audio {
        return None;
    }
    Some(match publication.source {
        Microphone => 0,
        ScreenShareAudio => 2,
        _ => 1,
    })
}

fn entry(info: &proto::ParticipantInfo) -> Entry {
    let identity: Arc<str> = info.identity.as_str().into();
    let publications = info
        .tracks
        .iter()
        .filter_map(|track| publication(track, &identity))
        .collect();
    Entry {
        participant: Participant {
            sid: info.sid.clone(),
            identity: info.identity.clone(),
            name: info.name.clone(),
        },
        joined_at_ms: info.joined_at_ms,
        version: info.version,
        publications,
    }
    .without_duplicates()
}

impl Entry {
    /// A server that names a SID twice must not make two tracks of it.
    fn without_duplicates(mut self) -> Self {
        let mut seen = Vec::new();
        self.publications.retain(|publication| {
            let fresh = !seen.contains(&publication.track.sid);
            seen.push(publication.track.sid.clone());
            fresh
        });
        self
    }
}

fn publication(info: &proto::TrackInfo, identity: &Arc<str>) -> Option<Publication> {
    let kind = match info.r#type() {
        proto::TrackType::Video => Kind::Video,
        proto::TrackType::Audio => Kind::Audio,
        proto::TrackType::Data => return None,
    };
    Some(Publication {
        track: Track {
            sid: info.sid.as_str().into(),
            kind,
            identity: identity.clone(),
            width: info.width,
            height: info.height,
        },
        source: info.source(),
        muted: info.muted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::TrackSource;

    fn track(sid: &str, source: TrackSource) -> proto::TrackInfo {
        let video = matches!(source, TrackSource::Camera | TrackSource::ScreenShare);
        proto::TrackInfo {
            sid: sid.into(),
            r#type: if video {
                proto::TrackType::Video
            } else {
                proto::TrackType::Audio
            } as i32,
            source: source as i32,
            ..Default::default()
        }
    }

    fn person(sid: &str, identity: &str, tracks: &[proto::TrackInfo]) -> proto::ParticipantInfo {
        proto::ParticipantInfo {
            sid: sid.into(),
            identity: identity.into(),
            state: proto::participant_info::State::Active as i32,
            tracks: tracks.to_vec(),
            ..Default::default()
        }
    }

    fn room() -> Tracks {
        Tracks::new(None, VideoSource::Any)
    }

    fn sids(tracks: &Tracks) -> Vec<String> {
        tracks.taken_sids()
    }

    #[test]
    fn viewers_are_never_the_streamer() {
        let mut tracks = room();
        let camera = [track("v", TrackSource::Camera)];
        tracks.reset("me", &[person("a", "viewer-1", &camera)]);
        assert_eq!(tracks.select(Instant::now()), []);
        tracks.update(&[person("b", "creator", &camera)]);
        tracks.select(Instant::now());
        assert_eq!(tracks.streamer.as_ref().unwrap().sid, "b");
    }

    #[test]
    fn the_camera_is_preferred_and_the_screen_share_follows() {
        let mut tracks = room();
        let both = [
            track("s", TrackSource::ScreenShare),
            track("c", TrackSource::Camera),
            track("m", TrackSource::Microphone),
        ];
        tracks.reset("me", &[person("a", "creator", &both)]);
        tracks.select(Instant::now());
        assert_eq!(sids(&tracks), ["c", "m"]);
        tracks.update(&[person("a", "creator", &both[..1])]);
        tracks.select(Instant::now());
        assert_eq!(sids(&tracks), ["s"]);
    }

    #[test]
    fn a_guest_does_not_take_over_while_the_streamer_republishes() {
        let mut tracks = room();
        let start = Instant::now();
        let camera = [track("c", TrackSource::Camera)];
        let guest = [track("g", TrackSource::Camera)];
        tracks.reset(
            "me",
            &[
                person("a", "creator", &camera),
                person("b", "guest", &guest),
            ],
        );
        tracks.select(start);
        tracks.update(&[person("a", "creator", &[])]);
        tracks.select(start);
        assert_eq!(sids(&tracks), Vec::<String>::new());
        let again = [track("c2", TrackSource::Camera)];
        tracks.update(&[person("a", "creator", &again)]);
        tracks.select(start + Duration::from_secs(2));
        assert_eq!(sids(&tracks), ["c2"]);
        tracks.update(&[person("a", "creator", &[])]);
        tracks.select(start + Duration::from_secs(3));
        assert_eq!(tracks.deadline(), Some(start + Duration::from_secs(8)));
        tracks.select(start + Duration::from_secs(8));
        assert_eq!(sids(&tracks), ["g"]);
    }

    #[test]
    fn a_streamer_that_returns_with_another_sid_is_still_the_streamer() {
        let mut tracks = room();
        let start = Instant::now();
        let guest = [track("g", TrackSource::Camera)];
        tracks.reset(
            "me",
            &[person("a", "creator", &[track("c", TrackSource::Camera)])],
        );
        tracks.select(start);
        let mut gone = person("a", "creator", &[]);
        gone.state = proto::participant_info::State::Disconnected as i32;
        tracks.update(&[gone, person("b", "guest", &guest)]);
        tracks.select(start);
        tracks.update(&[person("a2", "creator", &[track("c2", TrackSource::Camera)])]);
        tracks.select(start + Duration::from_secs(1));
        assert_eq!(sids(&tracks), ["c2"]);
    }

    #[test]
    fn mute_is_told_and_expected_media_follows_it() {
        let mut tracks = room();
        let mut camera = track("c", TrackSource::Camera);
        tracks.reset("me", &[person("a", "creator", &[camera.clone()])]);
        tracks.select(Instant::now());
        assert!(tracks.expects_media());
        camera.muted = true;
        tracks.update(&[person("a", "creator", &[camera])]);
        let changes = tracks.select(Instant::now());
        assert!(matches!(&changes[..], [Change::Muted(_, true)]));
        assert!(!tracks.expects_media() && tracks.any_taken());
    }

    #[test]
    fn a_named_participant_is_taken_though_it_is_called_viewer() {
        let mut tracks = Tracks::new(Some("viewer-9".into()), VideoSource::Any);
        let camera = [track("c", TrackSource::Camera)];
        let mine = [track("d", TrackSource::Camera)];
        tracks.reset(
            "me",
            &[
                person("a", "creator", &camera),
                person("b", "viewer-9", &mine),
            ],
        );
        tracks.select(Instant::now());
        assert_eq!(sids(&tracks), ["d"]);
    }
}
