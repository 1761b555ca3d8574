//! The media path: packets to frames.

use super::{Output, Room};
use crate::event::{Codec, ConnectionState, Frame, Kind, RoomEvent};
use crate::network::{LocalCandidate, Transport};
use crate::peer::PeerOutput;
use crate::superframe;
use crate::timeline::{Sample, SenderReport};
use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use str0m::format::CodecExtra;
use str0m::media::MediaData;

impl Room {
    pub(super) fn on_packet(
        &mut self,
        now: Instant,
        transport: Transport,
        source: SocketAddr,
        destination: SocketAddr,
        data: &[u8],
    ) {
        let Some(peer) = &mut self.peer else { return };
        match peer.receive(now, transport, source, destination, data) {
            Ok(()) => self.drain_peer(now),
            Err(error) => self.rejoin(now, &error.to_string()),
        }
    }

    pub(super) fn on_local(&mut self, now: Instant, candidate: &LocalCandidate) {
        let Some(peer) = &mut self.peer else { return };
        match peer.add_local_candidate(candidate) {
            Ok(None) => {}
            Ok(Some(sdp)) => {
                let init = serde_json::json!({
                    "candidate": sdp,
                    "sdpMid": "0",
                    "sdpMLineIndex": 0,
                });
                self.signal(Request::Trickle(proto::TrickleRequest {
                    candidate_init: init.to_string(),
                    target: proto::SignalTarget::Subscriber as i32,
                    r#final: false,
                }));
            }
            Err(error) => return self.rejoin(now, &error.to_string()),
        }
        self.drain_peer(now);
    }

    pub(super) fn on_local_lost(&mut self, now: Instant, candidate: &LocalCandidate) {
        let Some(peer) = &mut self.peer else { return };
        match peer.remove_local_candidate(candidate) {
            Ok(()) => self.drain_peer(now),
            Err(error) => self.rejoin(now, &error.to_string()),
        }
    }

    pub(super) fn advance_peer(&mut self, now: Instant) {
        let Some(peer) = &mut self.peer else { return };
        match peer.advance(now) {
            Ok(()) => self.drain_peer(now),
            Err(error) => self.rejoin(now, &error.to_string()),
        }
    }

    /// Takes everything the peer has until it waits, as it must be after each change.
    pub(super) fn drain_peer(&mut self, now: Instant) {
        while let Some(peer) = &mut self.peer {
            match peer.poll() {
                Ok(PeerOutput::Wait(at)) => {
                    self.peer_deadline = Some(at);
                    return;
                }
                Ok(PeerOutput::Remote(candidate)) => {
                    self.outputs.push_back(Output::Remote(candidate));
                }
                Ok(PeerOutput::Path(path)) => self.event(RoomEvent::Path(path)),
                Ok(PeerOutput::Transmit {
                    transport,
                    source,
                    destination,
                    data,
                }) => self.outputs.push_back(Output::Transmit {
                    transport,
                    source,
                    destination,
                    data,
                }),
                Ok(PeerOutput::Media(media)) => self.on_media(now, *media),
                Ok(PeerOutput::Stats(stats)) => {
                    let stats = self.holes.complete(*stats, |mid| peer.track(mid).cloned());
                    self.event(RoomEvent::Stats(stats));
                }
                Ok(PeerOutput::Data { reliable, packet }) => {
                    if let Some(message) = self.data.take(reliable, &packet) {
                        self.event(RoomEvent::Data(message));
                    }
                }
                Ok(PeerOutput::Connected) => tracing::debug!("media connection is up"),
                Ok(PeerOutput::Disconnected) => self.resume(now, "the media connection was lost"),
                Err(error) => return self.rejoin(now, &error.to_string()),
            }
        }
    }

    fn on_media(&mut self, now: Instant, media: MediaData) {
        let Some(sid) = self
            .peer
            .as_ref()
            .and_then(|peer| peer.track(media.mid))
            .cloned()
        else {
            return;
        };
        // A track that isn't taken (any more) still delivers what was on its way, and the
        // server's freeze frames after an unpublish.
        let Some(track) = self.tracks.taken(&sid) else {
            return;
        };
        let Some(codec) = codec(media.params.spec().codec) else {
            return;
        };
        self.holes.on_media(&sid, &media);
        if self.is_made_by_server(codec, &media.data) {
            return;
        }
        let publisher = track.identity.clone();
        let Some(gate) = self.gates.get_mut(&sid) else {
            return;
        };
        let audio = codec.kind() == Kind::Audio;
        let key = audio || media.is_keyframe();
        if !media.contiguous {
            let packets = (**media.seq_range.start(), **media.seq_range.end());
            tracing::debug!(track = %sid, ?packets, key, "packets before this frame are missing");
        }
        let verdict = gate.judge(now, key, media.contiguous);
        if let Some(watch) = self.watches.get_mut(&sid) {
            watch.on_frame(now);
        }
        self.last_media = now;
        self.last_frame = Some(now);
        self.stalls = 0;
        let time = self.timeline.map(&publisher, &sid, &sample(&media));
        if verdict.request {
            self.request_keyframe(now, &sid);
        }
        if !verdict.pass {
            return;
        }
        if self.state == ConnectionState::Waiting {
            self.set_state(ConnectionState::Live);
        }
        self.event(RoomEvent::Frame(Frame {
            track: sid,
            codec,
            arrival: media.network_time,
            time,
            key,
            discontinuity: verdict.discontinuity || !media.contiguous,
            data: whole_picture(media),
        }));
    }

    /// What the server sends so that a decoder shows nothing of a track that has ended. It marks
    /// its frames by a trailer, which not every payload format brings through.
    fn is_made_by_server(&self, codec: Codec, data: &[u8]) -> bool {
        let marked = !self.sif_trailer.is_empty() && data.ends_with(&self.sif_trailer);
        marked || is_blank(codec, data)
    }

    pub(super) fn on_keyframe_wanted(&mut self, now: Instant) {
        let wanted: Vec<_> = self
            .gates
            .iter_mut()
            .filter(|(sid, _)| {
                self.tracks
                    .taken(sid)
                    .is_some_and(|track| track.kind == Kind::Video)
            })
            .filter_map(|(sid, gate)| gate.application_request(now).then(|| sid.clone()))
            .collect();
        for sid in wanted {
            self.request_keyframe(now, &sid);
        }
        self.drain_peer(now);
    }

    pub(super) fn request_keyframe(&mut self, now: Instant, sid: &str) {
        let Some(peer) = &mut self.peer else { return };
        tracing::debug!(track = sid, "a key frame is asked for");
        if let Err(error) = peer.request_keyframe(sid) {
            self.rejoin(now, &error.to_string());
        }
    }
}

/// The pictures of 2 × 2 or 8 × 8 pixels that end a track (livekit-server 1.13.5,
/// `H264KeyFrame2x2SPS` and `VP8KeyFrame8x8`).
fn is_blank(codec: Codec, data: &[u8]) -> bool {
    const H264_SPS: [u8; 24] = [
        0x67, 0x42, 0xc0, 0x1f, 0x0f, 0xd9, 0x1f, 0x88, 0x88, 0x84, 0x00, 0x00, 0x03, 0x00, 0x04,
        0x00, 0x00, 0x03, 0x00, 0xc8, 0x3c, 0x60, 0xc9, 0x20,
    ];
    const VP8_HEADER: [u8; 10] = [0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x08, 0x00, 0x08, 0x00];
    match codec {
        Codec::H264 => {
            // Parameter sets come first.
            let begin = &data[..data.len().min(4 * H264_SPS.len())];
            begin.windows(H264_SPS.len()).any(|bytes| bytes == H264_SPS)
        }
        Codec::Vp8 => data.starts_with(&VP8_HEADER),
        _ => false,
    }
}

/// The frame's bytes, made decodable where RTP has left out what a file has.
fn whole_picture(media: MediaData) -> Arc<[u8]> {
    match &media.codec_extra {
        CodecExtra::Vp9(extra) => {
            superframe::with_index(&media.data, &extra.layers_scheme).map_or(media.data, Into::into)
        }
        _ => media.data,
    }
}

fn codec(codec: str0m::format::Codec) -> Option<Codec> {
    use str0m::format::Codec as Engine;
    Some(match codec {
        Engine::H264 => Codec::H264,
        Engine::Vp8 => Codec::Vp8,
        Engine::Vp9 => Codec::Vp9,
        Engine::Av1 => Codec::Av1,
        Engine::Opus => Codec::Opus,
        _ => return None,
    })
}

fn sample(media: &MediaData) -> Sample {
    Sample {
        rtp: media.time.numer(),
        clock_rate: media.time.denom(),
        arrival: media.network_time,
        report: media.last_sender_info.map(|info| SenderReport {
            ntp: info.ntp_time,
            rtp: info.rtp_time.numer() as u32,
        }),
    }
}
