use serde::{Deserialize, Serialize};

/// Most participants and tracks that are told or kept of one session: rooms with more on the stage
/// are none that anybody could follow.
pub const MAX_PUBLISHERS: usize = 100;

/// A participant whose pictures or sound are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publisher {
    /// The name that its token carries.
    pub identity: String,
    /// The name to show; may be empty.
    #[serde(default)]
    pub name: String,
    /// What is taken of it, in [`PublishedTrack`]'s order once [`add_all`](Self::add_all) went over
    /// it: which was subscribed to first is chance.
    #[serde(default)]
    pub tracks: Vec<PublishedTrack>,
}

/// A track that is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedTrack {
    /// `video` or `audio`.
    pub kind: String,
    /// `camera`, `microphone`, `screen-share`, `screen-share-audio` or `unknown`.
    pub source: String,
}

impl Publisher {
    /// Adds those of `others` to `all`, each identity and each of its tracks once, up to
    /// [`MAX_PUBLISHERS`]. Whether anything is new.
    pub fn add_all(all: &mut Vec<Self>, others: &[Self]) -> bool {
        let mut changed = false;
        for other in others {
            let known = all.iter().position(|one| one.identity == other.identity);
            let index = known.unwrap_or(all.len());
            if known.is_none() {
                if all.len() >= MAX_PUBLISHERS {
                    continue;
                }
                changed = true;
                all.push(Self {
                    tracks: Vec::new(),
                    ..other.clone()
                });
            }
            let one = &mut all[index];
            if !other.name.is_empty() && one.name != other.name {
                one.name.clone_from(&other.name);
                changed = true;
            }
            for track in &other.tracks {
                if !one.tracks.contains(track) && one.tracks.len() < MAX_PUBLISHERS {
                    one.tracks.push(track.clone());
                    changed = true;
                }
            }
            one.tracks.sort();
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher(identity: &str, name: &str, kinds: &[&str]) -> Publisher {
        let track = |kind: &&str| PublishedTrack {
            kind: (*kind).into(),
            source: "camera".into(),
        };
        Publisher {
            identity: identity.into(),
            name: name.into(),
            tracks: kinds.iter().map(track).collect(),
        }
    }

    #[test]
    fn everybody_is_there_once_with_all_tracks_and_the_newest_name() {
        let mut all = Vec::new();
        let ann = publisher("ann", "", &["video"]);
        assert!(Publisher::add_all(&mut all, std::slice::from_ref(&ann)));
        assert!(!Publisher::add_all(&mut all, &[ann]));
        let others = [
            publisher("ann", "Ann", &["video", "audio"]),
            publisher("bob", "", &[]),
        ];
        assert!(Publisher::add_all(&mut all, &others));
        let expected = [
            publisher("ann", "Ann", &["audio", "video"]),
            publisher("bob", "", &[]),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_crowd_is_bounded() {
        let crowd: Vec<_> = (0..2 * MAX_PUBLISHERS)
            .map(|number| publisher(&number.to_string(), "", &[]))
            .collect();
        let mut all = Vec::new();
        assert!(Publisher::add_all(&mut all, &crowd));
        assert_eq!(all.len(), MAX_PUBLISHERS);
        assert!(!Publisher::add_all(&mut all, &crowd));
    }
}
