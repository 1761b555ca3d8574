//! What is measured about the connection and the tracks.

use crate::network::Path;
use crate::peer::PeerStats;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use str0m::media::MediaData;

/// How often the media engine is asked.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// The connection, and each track that is taken.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RoomStats {
    /// Round trip to the server, from the newest ICE check; none before the first.
    pub round_trip: Option<Duration>,
    /// The way media takes; none until ICE has chosen.
    pub path: Option<Path>,
    /// One entry for each taken track of which something has come.
    pub tracks: Vec<TrackStats>,
}

/// What the media engine knows about a track, in this connection.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TrackStats {
    /// SID of the track.
    pub track: Arc<str>,
    /// RTP packets that came, repeated ones included.
    pub packets: u64,
    /// Bytes of these packets' payloads.
    pub bytes: u64,
    /// Packets that are missing between the frames that were put together: those that were lost
    /// and not repeated in time, and those of frames that stayed incomplete for want of them.
    pub packets_lost: u64,
    /// Share of the packets (0 to 1) that were lost on the way in the last interval, before any
    /// was repeated; none before the first receiver report.
    pub loss: Option<f32>,
    /// Interarrival jitter (RFC 3550, section 6.4.1) of the last receiver report.
    pub jitter: Duration,
    /// Packets asked for again (NACK messages sent).
    pub nacks: u64,
    /// Key frames asked for (PLI messages sent).
    pub plis: u64,
}

/// Finds packets that are missing between the frames of a track.
#[derive(Debug, Default)]
pub(crate) struct Holes(HashMap<Arc<str>, Hole>);

#[derive(Debug)]
struct Hole {
    /// Sequence number after the last one that was part of a frame.
    next: u64,
    lost: u64,
    clock_rate: u32,
}

impl Holes {
    pub(crate) fn on_media(&mut self, track: &Arc<str>, media: &MediaData) {
        let (first, last) = (**media.seq_range.start(), **media.seq_range.end());
        let rate = media.time.denom();
        self.on_packets(track, first, last, rate);
    }

    fn on_packets(&mut self, track: &Arc<str>, first: u64, last: u64, clock_rate: u32) {
        match self.0.get_mut(track) {
            Some(hole) => {
                hole.lost += first.saturating_sub(hole.next);
                hole.next = hole.next.max(last + 1);
            }
            None => {
                let hole = Hole {
                    next: last + 1,
                    lost: 0,
                    clock_rate,
                };
                self.0.insert(track.clone(), hole);
            }
        }
    }

    pub(crate) fn remove(&mut self, track: &str) {
        self.0.remove(track);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The peer's figures with the tracks' names, for tracks of which frames have come.
    pub(crate) fn complete(
        &self,
        peer: PeerStats,
        track_of: impl Fn(str0m::media::Mid) -> Option<Arc<str>>,
    ) -> RoomStats {
        let pair = peer.peer.selected_candidate_pair;
        let tracks = peer.ingress.into_iter().filter_map(|media| {
            let track = track_of(media.mid)?;
            let hole = self.0.get(&track)?;
            Some(TrackStats {
                packets: media.packets,
                bytes: media.bytes,
                packets_lost: hole.lost,
                loss: media.loss,
                jitter: Duration::from_micros(
                    u64::from(media.jitter) * 1_000_000 / u64::from(hole.clock_rate.max(1)),
                ),
                nacks: media.nacks,
                plis: media.plis,
                track,
            })
        });
        RoomStats {
            tracks: tracks.collect(),
            round_trip: pair.as_ref().and_then(|pair| pair.current_round_trip_time),
            path: peer.path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_between_frames_are_counted_once_and_late_ones_never_below_zero() {
        let mut holes = Holes::default();
        let track: Arc<str> = "TR_1".into();
        for (first, last) in [(100, 103), (104, 104), (110, 112), (105, 106), (113, 113)] {
            holes.on_packets(&track, first, last, 90_000);
        }
        assert_eq!(holes.0[&track].lost, 5);
    }
}
