//! Which web pages may use the server.
//!
//! A browser sends `Origin` with every WebSocket request, and nothing else keeps a foreign page
//! from opening one: the same-origin policy doesn't cover WebSockets.

use http::{HeaderMap, header};
use std::net::IpAddr;
use url::{Host, Origin, Url};

/// The rule for `Origin`: absent, the server's own, loopback, or listed.
#[derive(Clone, Debug, Default)]
pub struct OriginPolicy {
    allowed: Vec<Origin>,
}

/// A text that is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an origin: write it as https://host or http://host:port")]
pub struct InvalidOrigin(pub String);

impl OriginPolicy {
    /// A policy that admits `origins` beside loopback and the server's own.
    ///
    /// # Errors
    /// When one isn't `http://` or `https://` with a host, and at most a port.
    pub fn new<S: AsRef<str>>(origins: impl IntoIterator<Item = S>) -> Result<Self, InvalidOrigin> {
        let allowed = origins
            .into_iter()
            .map(|text| parse(text.as_ref()).ok_or_else(|| InvalidOrigin(text.as_ref().into())))
            .collect::<Result<_, _>>()?;
        Ok(Self { allowed })
    }

    /// Whether a request with these headers may go on.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else {
            // None at all is no browser; two are no browser's either, but a trick.
            return headers.get(header::ORIGIN).is_none();
        };
        let Some(origin) = origin.to_str().ok().and_then(parse) else {
            return false;
        };
        is_loopback(&origin) || self.allowed.contains(&origin) || is_own(&origin, headers)
    }

    /// The hosts of the listed origins, as they stand in a `Host` header (without port).
    pub fn hosts(&self) -> impl Iterator<Item = String> + '_ {
        self.allowed.iter().filter_map(|origin| match origin {
            Origin::Tuple(_, host, _) => Some(host.to_string()),
            Origin::Opaque(_) => None,
        })
    }
}

fn parse(text: &str) -> Option<Origin> {
    let url = Url::parse(text).ok()?;
    let bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let web = matches!(url.scheme(), "http" | "https");
    (bare && web).then(|| url.origin())
}

fn is_loopback(origin: &Origin) -> bool {
    match origin {
        Origin::Tuple(_, Host::Domain(name), _) => {
            name == "localhost" || name.ends_with(".localhost")
        }
        Origin::Tuple(_, Host::Ipv4(address), _) => address.is_loopback(),
        Origin::Tuple(_, Host::Ipv6(address), _) => {
            IpAddr::V6(*address).to_canonical().is_loopback()
        }
        Origin::Opaque(_) => false,
    }
}

/// The origin's host and port are those of the `Host` header. The scheme is left out: behind a
/// proxy that ends TLS the server doesn't know its own.
fn is_own(origin: &Origin, headers: &HeaderMap) -> bool {
    let (Origin::Tuple(scheme, host, port), Some(own)) = (origin, headers.get(header::HOST)) else {
        return false;
    };
    let own = own.to_str().ok();
    let own = own.and_then(|own| Url::parse(&format!("{scheme}://{own}")).ok());
    own.is_some_and(|own| {
        own.host().map(|own| own.to_owned()).as_ref() == Some(host)
            && own.port_or_known_default() == Some(*port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(allowed: &[&str], host: &str, origin: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        OriginPolicy::new(allowed).unwrap().admits(&headers)
    }

    #[test]
    fn a_request_without_origin_is_no_browser() {
        assert!(OriginPolicy::default().admits(&HeaderMap::new()));
    }

    #[test]
    fn two_origins_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(header::ORIGIN, "http://localhost".parse().unwrap());
        headers.append(header::ORIGIN, "http://evil.example".parse().unwrap());
        assert!(!OriginPolicy::default().admits(&headers));
    }

    #[test]
    fn loopback_pages_of_any_port_are_admitted() {
        for origin in [
            "http://localhost:3000",
            "https://localhost",
            "http://app.localhost:5173",
            "http://127.0.0.1:1",
            "http://127.8.9.10",
            "http://[::1]:8080",
        ] {
            assert!(admits(&[], "example.org", origin), "{origin}");
        }
    }

    #[test]
    fn the_servers_own_page_is_admitted() {
        for (host, origin) in [
            ("haven.example", "https://haven.example"),
            ("haven.example", "http://haven.example:80"),
            ("haven.example:8000", "http://haven.example:8000"),
            ("10.0.0.5:8000", "http://10.0.0.5:8000"),
            ("[fd00::1]:8000", "http://[fd00::1]:8000"),
        ] {
            assert!(admits(&[], host, origin), "{origin} on {host}");
        }
    }

    #[test]
    fn foreign_pages_are_refused() {
        for origin in [
            "http://evil.example",
            "https://haven.example:444",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://notlocalhost",
            "null",
            "file://",
            "chrome-extension://abc",
            "",
            "http://haven.example@evil.example",
        ] {
            assert!(!admits(&[], "haven.example", origin), "{origin}");
        }
    }

    #[test]
    fn listed_origins_are_compared_whole() {
        let allowed = ["https://App.Example", "http://other.example:8080/"];
        assert!(admits(&allowed, "haven", "https://app.example"));
        assert!(admits(&allowed, "haven", "http://other.example:8080"));
        assert!(!admits(&allowed, "haven", "http://app.example"));
        assert!(!admits(&allowed, "haven", "http://other.example"));
        assert!(OriginPolicy::new(["app.example"]).is_err());
        assert!(OriginPolicy::new(["*"]).is_err());
    }
}
