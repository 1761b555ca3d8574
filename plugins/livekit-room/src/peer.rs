//! The subscriber's peer connection: str0m behind an interface that fits LiveKit; no sockets.

mod candidates;

use crate::network::{LocalCandidate, Path, RemoteCandidate, Transport};
use crate::sdp::main_ssrcs;
use livekit_protocol as proto;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::change::SdpOffer;
use str0m::channel::ChannelId;
use str0m::media::{KeyframeRequestKind, MediaData, Mid};
use str0m::net::{DatagramRecv, Receive};
use str0m::stats::MediaIngressStats;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

/// Packets str0m waits for before it gives a lost audio packet up. Audio has no retransmission
/// with LiveKit, so waiting longer only stalls the sound (350 ms by default).
const AUDIO_REORDERING: usize = 3;
/// Time after which a lost audio packet is given up even if none follows.
const AUDIO_REORDERING_TIME: Duration = Duration::from_millis(80);

/// Why the peer connection can't go on; a full reconnect makes a new one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("the offer can't be read: {0}")]
    Offer(String),
    #[error("local addresses came and went too often")]
    Candidates,
    #[error("the media engine failed: {0}")]
    Engine(String),
    /// str0m's rule is that a panic is a bug of its own; it must not become ours.
    #[error("the media engine panicked")]
    Panicked,
}

/// What the peer connection wants or has.
pub(crate) enum PeerOutput {
    /// The server can be reached at this address.
    Remote(RemoteCandidate),
    /// The way that media takes from now on.
    Path(Path),
    /// Send this datagram.
    Transmit {
        transport: Transport,
        source: SocketAddr,
        destination: SocketAddr,
        data: Vec<u8>,
    },
    /// ICE and DTLS are done.
    Connected,
    /// ICE has lost the server.
    Disconnected,
    /// A frame.
    Media(Box<MediaData>),
    /// What was measured in the last interval.
    Stats(Box<PeerStats>),
    /// A packet of the room's reliable or lossy data channel.
    Data { reliable: bool, packet: Vec<u8> },
    /// Nothing more until then.
    Wait(Instant),
}

/// The engine's figures of one moment.
pub(crate) struct PeerStats {
    pub(crate) path: Option<Path>,
    pub(crate) peer: str0m::stats::PeerStats,
    pub(crate) ingress: Vec<MediaIngressStats>,
}

/// A subscriber's peer connection.
pub(crate) struct Peer {
    rtc: Rtc,
    /// Comes in parts; whole when the engine has nothing more to say.
    stats: Option<PeerStats>,
    /// The track that each media section carries, from the newest offer.
    tracks: HashMap<Mid, Arc<str>>,
    ssrcs: HashMap<Mid, u32>,
    offer: Option<proto::SessionDescription>,
    answer: Option<proto::SessionDescription>,
    early_candidates: Vec<Candidate>,
    /// The room's data channels, with whether they are reliable.
    channels: HashMap<ChannelId, bool>,
    locals: Vec<LocalCandidate>,
    locals_made: usize,
    /// Of the present ICE session; those before `passed_on` are known outside.
    remotes: Vec<RemoteCandidate>,
    passed_on: usize,
    ice_ufrag: Option<String>,
    generation: u32,
    connected: bool,
    path: Option<Path>,
    /// Held back while the path that it takes is told.
    transmit: Option<PeerOutput>,
}

impl Peer {
    /// A peer that can be reached at these local UDP addresses.
    pub(crate) fn new(now: Instant, locals: &[SocketAddr]) -> Result<Self, PeerError> {
        let rtc = guard(|| {
            let rtc = RtcConfig::new()
                .clear_codecs()
                .set_stats_interval(Some(crate::stats::INTERVAL))
                .enable_opus(true, false)
                .enable_vp8(true)
                .enable_vp9(true)
                .enable_av1(true)
                .enable_h264(true)
                .set_reordering_size_audio(AUDIO_REORDERING)
                .set_reordering_timeout_audio(Some(AUDIO_REORDERING_TIME))
                .build(now);
            Ok(rtc)
        })?;
        let mut peer = Self {
            rtc,
            stats: None,
            tracks: HashMap::new(),
            ssrcs: HashMap::new(),
            offer: None,
            answer: None,
            early_candidates: Vec::new(),
            channels: HashMap::new(),
            locals: Vec::new(),
            locals_made: 0,
            remotes: Vec::new(),
            passed_on: 0,
            ice_ufrag: None,
            generation: 0,
            connected: false,
            path: None,
            transmit: None,
        };
        // Before the first offer, so that the answer carries them and nothing is trickled.
        for local in locals {
            peer.add_local_candidate(&LocalCandidate::udp(*local))?;
        }
        Ok(peer)
    }

    /// Takes the server's offer; returns our answer.
    pub(crate) fn accept_offer(
        &mut self,
        offer: proto::SessionDescription,
    ) -> Result<proto::SessionDescription, PeerError> {
        let answer = guard(|| {
            let parsed = SdpOffer::from_sdp_string(&offer.sdp)
                .map_err(|error| PeerError::Offer(error.to_string()))?;
            self.drop_replaced_media(&offer.sdp);
            let answer = self
                .rtc
                .sdp_api()
                .accept_offer(parsed)
                .map_err(|error| PeerError::Offer(error.to_string()))?;
            Ok(answer.to_sdp_string())
        })?;
        self.tracks = offer
            .mid_to_track_id
            .iter()
            .map(|(mid, track)| (Mid::from(mid.as_str()), track.as_str().into()))
            .collect();
        let answer = proto::SessionDescription {
            r#type: "answer".into(),
            sdp: answer,
            id: offer.id,
            ..Default::default()
        };
        self.note_ice_session(&offer.sdp);
        self.offer = Some(offer);
        self.answer = Some(answer.clone());
        for candidate in std::mem::take(&mut self.early_candidates) {
            self.note_remote(&candidate);
            guard(|| {
                self.rtc.add_remote_candidate(candidate);
                Ok(())
            })?;
        }
        Ok(answer)
    }

    /// A media section that is given to another track keeps its mid and gets another SSRC. str0m
    /// 0.25 would keep the old stream's depacketizer, sequence numbers included, and drop the new
    /// track's packets for good: take the section away, so that it is made anew.
    fn drop_replaced_media(&mut self, sdp: &str) {
        for (mid, ssrc) in main_ssrcs(sdp) {
            let mid = Mid::from(mid);
            let known = self.ssrcs.insert(mid, ssrc);
            if known.is_some_and(|known| known != ssrc) {
                self.rtc.direct_api().remove_media(mid);
            }
        }
    }

    /// A datagram that came to one of the local addresses.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        transport: Transport,
        source: SocketAddr,
        destination: SocketAddr,
        data: &[u8],
    ) -> Result<(), PeerError> {
        guard(|| {
            // What is neither STUN, DTLS nor RTP is noise on an open port.
            let Ok(contents) = DatagramRecv::try_from(data) else {
                return Ok(());
            };
            let receive = Receive {
                proto: candidates::protocol(transport),
                source,
                destination,
                contents,
            };
            let input = Input::Receive(now, receive);
            if !self.rtc.accepts(&input) {
                return Ok(());
            }
            self.rtc.handle_input(input).map_err(engine)
        })
    }

    /// The deadline of [`PeerOutput::Wait`] has come.
    pub(crate) fn advance(&mut self, now: Instant) -> Result<(), PeerError> {
        guard(|| self.rtc.handle_input(Input::Timeout(now)).map_err(engine))
    }

    /// The next thing to do. Must be called until [`PeerOutput::Wait`] after everything else.
    pub(crate) fn poll(&mut self) -> Result<PeerOutput, PeerError> {
        if let Some(transmit) = self.transmit.take() {
            return Ok(transmit);
        }
        loop {
            if let Some(remote) = self.remotes.get(self.passed_on) {
                self.passed_on += 1;
                return Ok(PeerOutput::Remote(*remote));
            }
            let event = match guard(|| self.rtc.poll_output().map_err(engine))? {
                Output::Timeout(at) => {
                    return Ok(match self.stats.take() {
                        Some(stats) => PeerOutput::Stats(Box::new(stats)),
                        None => PeerOutput::Wait(at),
                    });
                }
                Output::Transmit(transmit) => match self.on_transmit(transmit) {
                    Some(output) => return Ok(output),
                    None => continue,
                },
                Output::Event(event) => event,
            };
            match event {
                Event::MediaData(media) => return Ok(PeerOutput::Media(Box::new(media))),
                Event::Connected => return Ok(PeerOutput::Connected),
                Event::PeerStats(peer) => {
                    let ingress = Vec::new();
                    let path = self.path;
                    self.stats = Some(PeerStats {
                        path,
                        peer,
                        ingress,
                    });
                }
                Event::MediaIngressStats(media) => {
                    if let Some(stats) = &mut self.stats {
                        stats.ingress.push(media);
                    }
                }
                Event::ChannelOpen(id, label) => self.on_channel(id, &label),
                Event::ChannelClose(id) => {
                    self.channels.remove(&id);
                }
                Event::ChannelData(message) => {
                    if let Some(reliable) = self.channels.get(&message.id) {
                        return Ok(PeerOutput::Data {
                            reliable: *reliable,
                            packet: message.data,
                        });
                    }
                }
                Event::IceConnectionStateChange(state) => {
                    // While the first way is looked for, "disconnected" only says that no pair of
                    // candidates is known yet.
                    self.connected |= state.is_connected();
                    if state.is_disconnected() && std::mem::take(&mut self.connected) {
                        return Ok(PeerOutput::Disconnected);
                    }
                }
                _ => {}
            }
        }
    }

    /// The labels are part of LiveKit's protocol.
    fn on_channel(&mut self, id: ChannelId, label: &str) {
        let reliable = match label {
            "_reliable" => true,
            "_lossy" => false,
            _ => return,
        };
        self.channels.retain(|_, known| *known != reliable);
        self.channels.insert(id, reliable);
    }

    /// The track whose frames come in this media section.
    pub(crate) fn track(&self, mid: Mid) -> Option<&Arc<str>> {
        self.tracks.get(&mid)
    }

    /// Asks the publisher of this track for a key frame.
    pub(crate) fn request_keyframe(&mut self, track: &str) -> Result<(), PeerError> {
        let mids: Vec<Mid> = self
            .tracks
            .iter()
            .filter(|(_, sid)| &***sid == track)
            .map(|(mid, _)| *mid)
            .collect();
        guard(|| {
            for mid in mids {
                let Some(mut writer) = self.rtc.writer(mid) else {
                    continue;
                };
                // Refused while no stream of this section has begun; the server asks by itself
                // for the first key frame.
                if let Err(error) = writer.request_keyframe(None, KeyframeRequestKind::Pli) {
                    tracing::debug!(%mid, %error, "key frame not requested");
                }
            }
            Ok(())
        })
    }

    /// The newest offer and answer, which the server wants to hear after a resume.
    pub(crate) fn descriptions(
        &self,
    ) -> (
        Option<proto::SessionDescription>,
        Option<proto::SessionDescription>,
    ) {
        (self.offer.clone(), self.answer.clone())
    }
}

fn engine(error: str0m::error::RtcError) -> PeerError {
    PeerError::Engine(error.to_string())
}

/// A panic inside str0m ends this peer connection, never the process. The peer is dropped after
/// any error, so no half-changed state is seen again.
fn guard<T>(body: impl FnOnce() -> Result<T, PeerError>) -> Result<T, PeerError> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(Err(PeerError::Panicked))
}
