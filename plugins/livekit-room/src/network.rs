//! Which ways media may take to the server, and the way it takes.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// How datagrams travel between us and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP, directly.
    Udp,
    /// TCP, directly (RFC 6544), where UDP is blocked.
    Tcp,
    /// A TURN server that is reached over UDP.
    TurnUdp,
    /// A TURN server that is reached over TCP.
    TurnTcp,
    /// A TURN server that is reached over TLS.
    TurnTls,
}

impl Transport {
    /// Lower-case name (`udp`, `tcp`, `turn-udp`, `turn-tcp`, `turn-tls`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::TurnUdp => "turn-udp",
            Self::TurnTcp => "turn-tcp",
            Self::TurnTls => "turn-tls",
        }
    }

    /// Whether a TURN server is in between.
    pub fn is_relay(self) -> bool {
        matches!(self, Self::TurnUdp | Self::TurnTcp | Self::TurnTls)
    }
}

/// Which ways are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TransportPolicy {
    /// UDP first; TCP and TURN if it doesn't connect.
    #[default]
    All,
    /// UDP only.
    Udp,
    /// TCP only, directly.
    Tcp,
    /// TURN only.
    Relay,
}

/// What the application says about the network, beside the local addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Which ways are tried. A server that wants TURN only has it, whatever this says.
    pub policy: TransportPolicy,
    /// TURN servers, tried before those that the LiveKit server names.
    pub turn_servers: Vec<TurnServer>,
}

/// A TURN server.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnServer {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How it is reached: one of the `Turn…` transports.
    pub transport: Transport,
    /// User name.
    pub username: String,
    /// Password; never shown.
    pub password: String,
}

impl fmt::Debug for TurnServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnServer")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

/// Why a TURN server's URL can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TurnUrlError {
    /// Another scheme, such as `stun:`.
    #[error("the scheme is neither turn nor turns")]
    Scheme,
    /// No host, or a port that is none.
    #[error("the host or the port can't be read")]
    Host,
    /// TURN over something that isn't supported: DTLS, for example.
    #[error("the transport isn't udp or tcp with turn, or tcp with turns")]
    Transport,
    /// A user name and a password are needed.
    #[error("the user name or the password is missing")]
    Credentials,
}

/// Ports of TURN and TURN over TLS (RFC 8656, section 3).
const TURN_PORT: u16 = 3478;
const TURNS_PORT: u16 = 5349;

impl TurnServer {
    /// Reads a URL as in RFC 7065 (`turn:host:port?transport=udp`), which carries no credentials.
    ///
    /// # Errors
    /// When it is no TURN server's URL, or one of a kind that isn't supported.
    pub fn from_url(url: &str, username: &str, password: &str) -> Result<Self, TurnUrlError> {
        let (scheme, rest) = url.split_once(':').ok_or(TurnUrlError::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "turn" => false,
            "turns" => true,
            _ => return Err(TurnUrlError::Scheme),
        };
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let transport = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("transport="))
            .map(str::to_ascii_lowercase);
        let transport = match (tls, transport.as_deref()) {
            (false, None | Some("udp")) => Transport::TurnUdp,
            (false, Some("tcp")) => Transport::TurnTcp,
            (true, None | Some("tcp")) => Transport::TurnTls,
            _ => return Err(TurnUrlError::Transport),
        };
        let (host, port) = split_authority(authority.trim_end_matches('/'))?;
        let default = if tls { TURNS_PORT } else { TURN_PORT };
        Ok(Self {
            host: host.to_owned(),
            port: port.unwrap_or(default),
            transport,
            username: username.to_owned(),
            password: password.to_owned(),
        })
    }
}

impl FromStr for TurnServer {
    type Err = TurnUrlError;

    /// Reads `turn(s)://user:password@host:port?transport=udp|tcp`; what isn't allowed in the user
    /// name and the password is percent-encoded.
    fn from_str(text: &str) -> Result<Self, TurnUrlError> {
        let (scheme, rest) = text.split_once(':').ok_or(TurnUrlError::Scheme)?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let Some((credentials, address)) = rest.rsplit_once('@') else {
            Self::from_url(&format!("{scheme}:{rest}"), "", "")?;
            return Err(TurnUrlError::Credentials);
        };
        let decode = |text| percent_encoding::percent_decode_str(text).decode_utf8();
        let (Some((Ok(username), Ok(password))), true) = (
            credentials
                .split_once(':')
                .map(|(username, password)| (decode(username), decode(password))),
            !credentials.starts_with(':'),
        ) else {
            return Err(TurnUrlError::Credentials);
        };
        Self::from_url(&format!("{scheme}:{address}"), &username, &password)
    }
}

/// Host and port; an IPv6 address stands in brackets, which are taken off.
fn split_authority(authority: &str) -> Result<(&str, Option<u16>), TurnUrlError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(TurnUrlError::Host)?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(TurnUrlError::Host),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port.map(str::parse) {
        None => None,
        Some(Ok(port)) if port > 0 => Some(port),
        Some(_) => return Err(TurnUrlError::Host),
    };
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        return Err(TurnUrlError::Host);
    }
    Ok((host, port))
}

/// An address that the server can reach us at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalCandidate {
    /// How datagrams travel.
    pub transport: Transport,
    /// Where they come from in the server's eyes, address translation apart: our address, or the
    /// one that the TURN server lends us.
    pub address: SocketAddr,
    /// The address of our own socket.
    pub base: SocketAddr,
}

impl LocalCandidate {
    /// A UDP socket.
    pub fn udp(address: SocketAddr) -> Self {
        Self {
            transport: Transport::Udp,
            address,
            base: address,
        }
    }
}

/// An address that the server can be reached at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RemoteCandidate {
    /// [`Transport::Udp`], or [`Transport::Tcp`] where the server waits for connections.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// Grows with each ICE restart. A TCP connection serves one generation only.
    pub generation: u32,
}

/// The way media takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// How datagrams travel.
    pub transport: Transport,
    /// Our address, or the one that the TURN server lends us.
    pub local: SocketAddr,
    /// The server's address.
    pub remote: SocketAddr,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            transport,
            local,
            remote,
        } = self;
        write!(f, "{} from {local} to {remote}", transport.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_server_are_read() {
        let read = |url| {
            TurnServer::from_url(url, "u", "p").map(|turn| (turn.host, turn.port, turn.transport))
        };
        let cases = [
            ("turn:a.example", "a.example", 3478, Transport::TurnUdp),
            (
                "turn:1.2.3.4:99?transport=udp",
                "1.2.3.4",
                99,
                Transport::TurnUdp,
            ),
            (
                "TURN:a.example:99?transport=tcp",
                "a.example",
                99,
                Transport::TurnTcp,
            ),
            ("turns:a.example", "a.example", 5349, Transport::TurnTls),
            (
                "turns:[::1]:443?transport=tcp",
                "::1",
                443,
                Transport::TurnTls,
            ),
        ];
        for (url, host, port, transport) in cases {
            assert_eq!(read(url), Ok((host.into(), port, transport)), "{url}");
        }
        let wrong = [
            ("stun:a.example", TurnUrlError::Scheme),
            ("a.example", TurnUrlError::Scheme),
            ("turn:", TurnUrlError::Host),
            ("turn:a:0", TurnUrlError::Host),
            ("turn:a:x", TurnUrlError::Host),
            ("turn:[::1", TurnUrlError::Host),
            ("turns:a?transport=udp", TurnUrlError::Transport),
            ("turn:a?transport=sctp", TurnUrlError::Transport),
        ];
        for (url, error) in wrong {
            assert_eq!(read(url), Err(error), "{url}");
        }
    }

    #[test]
    fn urls_of_people_carry_credentials() {
        let turn: TurnServer = "turns://us%40er:p%3Aw@turn.example:443?transport=tcp"
            .parse()
            .unwrap();
        assert_eq!(
            (turn.username.as_str(), turn.password.as_str()),
            ("us@er", "p:w")
        );
        assert_eq!((turn.host.as_str(), turn.port), ("turn.example", 443));
        assert!(!format!("{turn:?}").contains("p:w"));
        for (url, error) in [
            ("turn://host:1", TurnUrlError::Credentials),
            ("turn://user@host:1", TurnUrlError::Credentials),
            ("turn://:pw@host:1", TurnUrlError::Credentials),
            ("http://user:pw@host", TurnUrlError::Scheme),
        ] {
            assert_eq!(url.parse::<TurnServer>(), Err(error), "{url}");
        }
    }
}
