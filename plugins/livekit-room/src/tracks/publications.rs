//! Who publishes what, as the server tells it; pure.

use crate::event::{Kind, Participant, Role, Track, TrackSource};
use livekit_protocol as proto;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One participant as the server describes it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) participant: Participant,
    pub(crate) joined_at_ms: i64,
    version: u32,
    pub(crate) publications: Vec<Publication>,
}

/// A track in the room.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) track: Track,
    pub(crate) muted: bool,
    /// The sizes it comes in, where they are named.
    layers: Vec<Layer>,
}

/// One of the sizes that a video is published in, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) quality: proto::VideoQuality,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// What is published in the room, by whom.
///
/// An identity is there once. When somebody joins again under it the server throws the old self out,
/// and doesn't always say so (livekit-server 1.13.5 left it out after a publisher was killed): the
/// newer self replaces the older one.
#[derive(Debug, Default)]
pub(crate) struct Publications {
    own_sid: String,
    /// By identity; never has ourselves.
    participants: BTreeMap<String, Entry>,
}

impl Publications {
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
            let known = self.participants.get(&info.identity);
            let same = known.is_some_and(|known| known.participant.sid == info.sid);
            if info.state() == proto::participant_info::State::Disconnected {
                if same {
                    self.participants.remove(&info.identity);
                }
                continue;
            }
            let outdated = known.is_some_and(|known| match same {
                true => info.version != 0 && info.version < known.version,
                false => info.joined_at_ms < known.joined_at_ms,
            });
            if !outdated {
                self.participants.insert(info.identity.clone(), entry(info));
            }
        }
    }

    /// Everybody else in the room.
    pub(crate) fn participants(&self) -> impl Iterator<Item = &Entry> {
        self.participants.values()
    }

    /// Everything that is published.
    pub(crate) fn publications(&self) -> impl Iterator<Item = &Publication> {
        self.participants().flat_map(|entry| &entry.publications)
    }

    /// The participant with this identity.
    pub(crate) fn by_identity(&self, identity: &str) -> Option<&Entry> {
        self.participants.get(identity)
    }

    /// The sizes of the track with this SID.
    pub(crate) fn layers(&self, sid: &str) -> &[Layer] {
        self.publications()
            .find(|publication| &*publication.track.sid == sid)
            .map_or(&[], |publication| &publication.layers)
    }
}

impl Publication {
    pub(crate) fn taken_as(&self, role: Role) -> Self {
        let mut taken = self.clone();
        taken.track.role = role;
        taken
    }
}

fn entry(info: &proto::ParticipantInfo) -> Entry {
    let identity: Arc<str> = info.identity.as_str().into();
    let name: Arc<str> = info.name.as_str().into();
    let publications = info
        .tracks
        .iter()
        .filter_map(|track| publication(track, &identity, &name))
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

fn publication(
    info: &proto::TrackInfo,
    identity: &Arc<str>,
    participant_name: &Arc<str>,
) -> Option<Publication> {
    let kind = match info.r#type() {
        proto::TrackType::Video => Kind::Video,
        proto::TrackType::Audio => Kind::Audio,
        proto::TrackType::Data => return None,
    };
    Some(Publication {
        track: Track {
            sid: info.sid.as_str().into(),
            kind,
            source: source(info.source()),
            name: info.name.as_str().into(),
            role: Role::Main,
            identity: identity.clone(),
            participant_name: participant_name.clone(),
            width: info.width,
            height: info.height,
        },
        muted: info.muted,
        layers: layers(info),
    })
}

fn source(source: proto::TrackSource) -> TrackSource {
    match source {
        proto::TrackSource::Camera => TrackSource::Camera,
        proto::TrackSource::Microphone => TrackSource::Microphone,
        proto::TrackSource::ScreenShare => TrackSource::ScreenShare,
        proto::TrackSource::ScreenShareAudio => TrackSource::ScreenShareAudio,
        proto::TrackSource::Unknown => TrackSource::Unknown,
    }
}

/// The sizes of a track, of its first codec where they are named per codec.
#[expect(deprecated, reason = "older servers name the sizes only there")]
fn layers(track: &proto::TrackInfo) -> Vec<Layer> {
    let named = track
        .codecs
        .iter()
        .map(|codec| &codec.layers)
        .find(|layers| !layers.is_empty())
        .unwrap_or(&track.layers);
    named
        .iter()
        .filter(|layer| layer.quality() != proto::VideoQuality::Off)
        .map(|layer| Layer {
            quality: layer.quality(),
            width: layer.width,
            height: layer.height,
        })
        .collect()
}
