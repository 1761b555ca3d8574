//! The TURN server that livekit-server has inside, reached by each of its transports.

use crate::access::Keys;
use crate::certificate::Certificate;
use crate::error::{Result, RigError};
use crate::livekit_server::LiveKitServer;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Validity of the credentials that the rig makes.
const CREDENTIALS_TTL: Duration = Duration::from_secs(6 * 3600);

/// How clients reach the TURN server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnTransport {
    /// UDP; the server names it in its join responses.
    Udp,
    /// TCP.
    Tcp,
    /// TLS with a certificate of an authority of its own.
    Tls,
}

/// A TURN server of one transport on loopback: what livekit-server is told about it.
#[derive(Debug)]
pub struct Turn {
    /// Its port.
    pub port: u16,
    transport: TurnTransport,
    keys: Keys,
    folder: tempfile::TempDir,
}

impl Turn {
    /// Chooses a port, and makes a certificate for TLS.
    ///
    /// # Errors
    /// When there is no port, or the certificate can't be made or written.
    pub fn new(transport: TurnTransport) -> Result<Self> {
        let local = (Ipv4Addr::LOCALHOST, 0);
        let port = match transport {
            TurnTransport::Udp => UdpSocket::bind(local).and_then(|socket| socket.local_addr()),
            TurnTransport::Tcp | TurnTransport::Tls => {
                TcpListener::bind(local).and_then(|socket| socket.local_addr())
            }
        };
        let turn = Self {
            port: port
                .map_err(RigError::io("looking for a free port"))?
                .port(),
            transport,
            keys: Keys::random(),
            folder: tempfile::Builder::new()
                .prefix("haven-turn-")
                .tempdir()
                .map_err(RigError::io("making a folder for certificates"))?,
        };
        if transport == TurnTransport::Tls {
            Certificate::new(&["127.0.0.1"])?.write(&turn.certificate(), &turn.key())?;
        }
        Ok(turn)
    }

    /// The certificate, which is its own authority.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// `turn://user:password@127.0.0.1:PORT?transport=…`, as `livekitsrc` takes it; `port` is
    /// another one where something stands before the server.
    pub fn url(&self, port: u16) -> String {
        let (username, password) = self.credentials();
        let (scheme, transport) = match self.transport {
            TurnTransport::Udp => ("turn", "udp"),
            TurnTransport::Tcp => ("turn", "tcp"),
            TurnTransport::Tls => ("turns", "tcp"),
        };
        format!("{scheme}://{username}:{password}@127.0.0.1:{port}?transport={transport}")
    }

    /// Starts a livekit-server that has it and, but for UDP where it does so by itself, names it
    /// to whoever joins.
    ///
    /// # Errors
    /// As [`LiveKitServer::start`].
    pub async fn start(&self) -> Result<LiveKitServer> {
        LiveKitServer::start_with(&self.configuration()).await
    }

    /// The part of livekit-server's configuration that is about it.
    pub fn configuration(&self) -> Value {
        let (username, credential) = self.credentials();
        let mut turn = json!({
            "enabled": true,
            // Never looked up: the server would say port 443 with it.
            "domain": "turn.haven.invalid",
            "bind_addresses": ["127.0.0.1"],
            "allow_restricted_peer_cidrs": ["127.0.0.0/8"],
        });
        let port = match self.transport {
            TurnTransport::Udp => "udp_port",
            TurnTransport::Tcp | TurnTransport::Tls => "tls_port",
        };
        turn[port] = json!(self.port);
        let protocol = match self.transport {
            TurnTransport::Udp => {
                return json!({ "turn": turn, "keys": self.keys_entry() });
            }
            // TLS would be somebody else's work: what arrives is plain TCP.
            TurnTransport::Tcp => {
                turn["external_tls"] = json!(true);
                "tcp"
            }
            TurnTransport::Tls => {
                turn["cert_file"] = json!(self.certificate());
                turn["key_file"] = json!(self.key());
                "tls"
            }
        };
        let server = json!({
            "host": "127.0.0.1", "port": self.port, "protocol": protocol,
            "username": username, "credential": credential,
        });
        json!({
            "turn": turn,
            "rtc": { "turn_servers": [server] },
            "keys": self.keys_entry(),
        })
    }

    fn keys_entry(&self) -> Value {
        json!({ &*self.keys.key: self.keys.secret })
    }

    /// As livekit-server makes them for a participant (`pkg/service/turn.go` of v1.13.5).
    fn credentials(&self) -> (String, String) {
        let expiry = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .saturating_add(CREDENTIALS_TTL)
            .as_secs();
        let participant = "PA_rig";
        let username = base62(format!("{}|{participant}|{expiry}", self.keys.key).as_bytes());
        let password = format!("{}|{participant}|{expiry}", self.keys.secret);
        (username, base62(&Sha256::digest(password)))
    }
}

/// The variant of base 62 that livekit-server uses (`github.com/jxskiss/base62`): six bits a
/// character from the end, five where six would be 62 or more.
fn base62(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let bit = |position: usize| {
        let byte = bytes[bytes.len() - 1 - position / 8];
        usize::from(byte >> (position % 8) & 1)
    };
    let (mut taken, total) = (0, bytes.len() * 8);
    let mut text = String::new();
    while taken < total {
        let available = (total - taken).min(6);
        let mut value = (0..available).fold(0, |value, n| value | bit(taken + n) << n);
        let mut size = 6;
        if value & 0x1e == 0x1e && (total - taken > 6 || value > 0x1f) {
            (value, size) = (value & 0x1f, 5);
        }
        text.push(char::from(ALPHABET[value]));
        taken += size;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base62_is_the_servers() {
        // Made with github.com/jxskiss/base62 v1.1.0.
        assert_eq!(base62(b""), "");
        assert_eq!(base62(&[0]), "AA");
        assert_eq!(base62(&[0xff; 4]), "ffffffD");
        assert_eq!(base62(&[0xf8, 0x3e, 1]), "B4DeB");
        assert_eq!(
            base62(b"hello|PA_rig|1234567890"),
            "wkDO3YTN0MjMxw3ZpJ3XBBFfeGbsVGa"
        );
    }
}
