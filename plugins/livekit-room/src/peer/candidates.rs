//! Where the two sides can be reached, and the way that was chosen.

use super::{Peer, PeerError, PeerOutput, guard};
use crate::network::{LocalCandidate, Path, RemoteCandidate, Transport};
use crate::sdp::{candidates, ice_ufrag};
use str0m::Candidate;
use str0m::net::{Protocol, TcpType};

/// Candidates kept while there is no offer yet. A server sends a handful.
const MAX_EARLY_CANDIDATES: usize = 64;

/// Candidates of the server that are passed on in one ICE session.
const MAX_REMOTES: usize = 64;

/// Local candidates of one peer connection, lost ones included, which str0m 0.25 keeps. Each ICE
/// restart over TCP makes one.
const MAX_LOCALS: usize = 256;

impl Peer {
    /// Adds an address that the server can reach us at; returns what the server must be told.
    pub(crate) fn add_local_candidate(
        &mut self,
        local: &LocalCandidate,
    ) -> Result<Option<String>, PeerError> {
        if self.locals_made == MAX_LOCALS {
            return Err(PeerError::Candidates);
        }
        let Some(candidate) = candidate(local) else {
            return Ok(None);
        };
        self.locals_made += 1;
        self.locals.push(*local);
        // An active TCP candidate has no port that anybody could connect to, and an answer that
        // isn't written yet will carry the candidate itself.
        let told = local.transport != Transport::Tcp && self.answer.is_some();
        guard(|| {
            let added = self.rtc.add_local_candidate(candidate);
            Ok(added.filter(|_| told).map(Candidate::to_sdp_string))
        })
    }

    /// Removes an address that the server can't reach us at any more.
    pub(crate) fn remove_local_candidate(
        &mut self,
        local: &LocalCandidate,
    ) -> Result<(), PeerError> {
        self.locals.retain(|known| known != local);
        let Some(candidate) = candidate(local) else {
            return Ok(());
        };
        guard(|| {
            self.rtc.direct_api().invalidate_candidate(&candidate);
            Ok(())
        })
    }

    /// Whether ICE has found a way that works.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    pub(super) fn note_ice_session(&mut self, sdp: &str) {
        let ufrag = ice_ufrag(sdp);
        if ufrag != self.ice_ufrag.as_deref() {
            self.ice_ufrag = ufrag.map(str::to_owned);
            self.generation += 1;
            self.remotes.clear();
            self.passed_on = 0;
            self.connected = false;
        }
        for candidate in candidates(sdp) {
            if let Ok(candidate) = Candidate::from_sdp_string(candidate) {
                self.note_remote(&candidate);
            }
        }
    }

    pub(super) fn note_remote(&mut self, candidate: &Candidate) {
        let transport = match (candidate.proto(), candidate.tcptype()) {
            (Protocol::Udp, _) => Transport::Udp,
            (Protocol::Tcp, Some(TcpType::Passive)) => Transport::Tcp,
            _ => return,
        };
        let remote = RemoteCandidate {
            transport,
            address: candidate.addr(),
            generation: self.generation,
        };
        if self.remotes.len() < MAX_REMOTES && !self.remotes.contains(&remote) {
            self.remotes.push(remote);
        }
    }

    /// A candidate of the server, as signalled.
    pub(crate) fn add_remote_candidate(&mut self, candidate: &str) -> Result<(), PeerError> {
        guard(|| {
            let parsed = match Candidate::from_sdp_string(candidate) {
                Ok(parsed) => parsed,
                Err(error) => {
                    tracing::debug!(candidate, %error, "candidate not understood");
                    return Ok(());
                }
            };
            if self.offer.is_some() {
                self.note_remote(&parsed);
                self.rtc.add_remote_candidate(parsed);
            } else if self.early_candidates.len() < MAX_EARLY_CANDIDATES {
                self.early_candidates.push(parsed);
            }
            Ok(())
        })
    }

    /// None where the address it would come from is lost: str0m goes on with the chosen way until
    /// another is found.
    pub(super) fn on_transmit(&mut self, transmit: str0m::net::Transmit) -> Option<PeerOutput> {
        let transport = self
            .locals
            .iter()
            .find(|local| {
                protocol(local.transport) == transmit.proto && local.address == transmit.source
            })?
            .transport;
        let path = Path {
            transport,
            local: transmit.source,
            remote: transmit.destination,
        };
        // Connectivity checks go everywhere; DTLS and all that follows take the chosen way.
        let check = transmit.contents.first().is_none_or(|first| *first < 20);
        let output = PeerOutput::Transmit {
            transport,
            source: transmit.source,
            destination: transmit.destination,
            data: transmit.contents.into(),
        };
        if check || self.path == Some(path) {
            return Some(output);
        }
        self.path = Some(path);
        self.transmit = Some(output);
        Some(PeerOutput::Path(path))
    }
}

pub(super) fn protocol(transport: Transport) -> Protocol {
    match transport {
        Transport::Tcp => Protocol::Tcp,
        // What a relay sends and receives is UDP, however the relay is reached.
        Transport::Udp | Transport::TurnUdp | Transport::TurnTcp | Transport::TurnTls => {
            Protocol::Udp
        }
    }
}

/// str0m's form of a local candidate; none where it can't be one, as an address of all interfaces.
fn candidate(local: &LocalCandidate) -> Option<Candidate> {
    let candidate = match local.transport {
        Transport::Udp => Candidate::host(local.address, "udp"),
        Transport::Tcp => Candidate::builder()
            .tcp()
            .host(local.address)
            .tcptype(TcpType::Active)
            .build(),
        Transport::TurnUdp | Transport::TurnTcp | Transport::TurnTls => {
            Candidate::relayed(local.address, local.base, "udp")
        }
    };
    match candidate {
        Ok(candidate) => Some(candidate),
        Err(error) => {
            tracing::warn!(?local, %error, "address can't be a candidate");
            None
        }
    }
}
