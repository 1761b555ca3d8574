//! Whose request it is: who is connected, or whom a proxy names that is believed.

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// What one subscriber has of IPv6, the last 64 bits, is one address here (RFC 6177, RFC 4291 2.5.4).
const SUBSCRIBER: u128 = !0 << 64;

/// An address or a network, as `10.0.0.7` or `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network(IpNet);

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address and no network: write it as 10.0.0.7, 10.0.0.0/8 or fd00::/8")]
pub(crate) struct InvalidNetwork(String);

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let text = text.trim();
        let address = || text.parse::<IpAddr>().ok();
        let network = text.parse().ok();
        network
            .or_else(|| Some(IpNet::from(address()?.to_canonical())))
            .map(Self)
            .ok_or_else(|| InvalidNetwork(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

/// The two ends of a connection, in a request's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The other's address.
    pub(crate) remote: SocketAddr,
    /// Ours.
    pub(crate) local: SocketAddr,
    /// It is encrypted.
    pub(crate) secure: bool,
}

/// Who has sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// IPv4 as such, also where it came over an IPv6 socket.
    pub(crate) address: IpAddr,
    /// A trusted proxy has named it.
    pub(crate) forwarded: bool,
    /// It came over TLS: to us, or to that proxy.
    pub(crate) secure: bool,
}

impl Client {
    /// The rightmost address that isn't itself a trusted proxy's: what stands left of it, anybody
    /// may have written.
    pub(super) fn of(peer: &Peer, headers: &HeaderMap, trusted: &[Network]) -> Self {
        let is_trusted = |address| trusted.iter().any(|network| network.contains(address));
        let mut client = Self {
            address: peer.remote.ip().to_canonical(),
            forwarded: false,
            secure: peer.secure,
        };
        if !is_trusted(client.address) {
            return client;
        }
        let listed = |name| {
            // Several headers of a name are one list (RFC 9110, 5.3).
            let values = headers.get_all(name).iter().rev();
            values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','))
        };
        for named in listed(FORWARDED_FOR) {
            let Some(address) = address(named.trim()) else {
                break;
            };
            (client.address, client.forwarded) = (address, true);
            if !is_trusted(address) {
                break;
            }
        }
        match listed(FORWARDED_PROTO).next().map(str::trim) {
            Some("https" | "wss") => client.secure = true,
            Some("http" | "ws") => client.secure = false,
            _ => {}
        }
        client
    }

    /// What limits per address count it by. None for this machine's own programs, which don't
    /// have any.
    pub(super) fn source(&self) -> Option<IpAddr> {
        if self.address.is_loopback() && !self.forwarded {
            return None;
        }
        Some(match self.address {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & SUBSCRIBER).into(),
            v4 => v4,
        })
    }

    /// As it is logged: `https` or `http`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

/// An address as proxies write it: some with a port, some IPv6 ones in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse().ok();
    address
        .or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(remote: &str, headers: &[(&str, &str)]) -> Client {
        let trusted = ["127.0.0.1", "::1", "10.1.0.0/16"].map(|text| text.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        let peer = Peer {
            remote: SocketAddr::new(remote.parse().unwrap(), 1),
            local: "127.0.0.1:8000".parse().unwrap(),
            secure: false,
        };
        Client::of(&peer, &map, &trusted)
    }

    #[test]
    fn the_rightmost_address_counts_that_is_no_trusted_proxy() {
        for (remote, named, address) in [
            ("192.0.2.1", "1.1.1.1", "192.0.2.1"),
            ("127.0.0.1", "", "127.0.0.1"),
            ("127.0.0.1", "1.1.1.1", "1.1.1.1"),
            ("::ffff:127.0.0.1", "1.1.1.1", "1.1.1.1"),
            ("10.1.2.3", "9.9.9.9, 1.1.1.1 ,10.1.0.9", "1.1.1.1"),
            ("10.2.2.3", "1.1.1.1", "10.2.2.3"),
            ("::1", "2001:db8::1", "2001:db8::1"),
            ("::1", "[2001:db8::1]", "2001:db8::1"),
            ("::1", "[2001:db8::1]:443", "2001:db8::1"),
            ("::1", "1.1.1.1:9", "1.1.1.1"),
            ("::1", "::ffff:1.1.1.1", "1.1.1.1"),
            ("::1", "unknown, 10.1.0.9", "10.1.0.9"),
            ("::1", "1.1.1.1, evil", "::1"),
            ("::1", "10.1.0.8, 10.1.0.9", "10.1.0.8"),
        ] {
            let found = client(remote, &[("x-forwarded-for", named)]);
            assert_eq!(found.address.to_string(), address, "{remote}: {named}");
        }
    }

    #[test]
    fn several_headers_are_one_list() {
        let headers = [
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-for", "1.1.1.1, 10.1.0.9"),
        ];
        assert_eq!(client("::1", &headers).address.to_string(), "1.1.1.1");
    }

    #[test]
    fn only_trusted_proxies_say_what_was_encrypted() {
        for (remote, proto, scheme) in [
            ("::1", "https", "https"),
            ("::1", "http, https", "https"),
            ("::1", "https, http", "http"),
            ("::1", "gopher", "http"),
            ("192.0.2.1", "https", "http"),
        ] {
            let found = client(remote, &[("x-forwarded-proto", proto)]);
            assert_eq!(found.scheme(), scheme, "{remote}: {proto}");
        }
    }

    #[test]
    fn limits_count_a_subscriber_and_not_this_machine() {
        let source = |remote, named| {
            let source = client(remote, &[("x-forwarded-for", named)]).source();
            source.map(|source| source.to_string())
        };
        assert_eq!(source("127.0.0.1", ""), None);
        assert_eq!(source("127.0.0.2", "1.1.1.1"), None, "it isn't trusted");
        assert_eq!(source("127.0.0.1", "127.0.0.2").unwrap(), "127.0.0.2");
        assert_eq!(source("192.0.2.1", "").unwrap(), "192.0.2.1");
        let network = source("2001:db8:1:2:3:4:5:6", "").unwrap();
        assert_eq!(network, "2001:db8:1:2::");
    }

    #[test]
    fn networks_are_read_as_people_write_them() {
        for (text, shown) in [
            ("10.0.0.7", "10.0.0.7/32"),
            (" fd00::/8", "fd00::/8"),
            ("::ffff:10.0.0.7", "10.0.0.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), shown);
        }
        for text in ["", "proxy.example", "10.0.0.0/33", "10.0.0.7:80", "10.0.0"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
