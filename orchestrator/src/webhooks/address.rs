//! Where a client may have webhooks sent: not into the network that the server stands in.

use crate::Error;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{net::lookup_host, time::timeout};
use url::{Host, Url};

/// A name that isn't found in this time is looked at when something is sent.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// A receiver's address.
///
/// # Errors
/// Unprocessable for what is no `http` or `https` address, or holds a password.
pub(crate) fn parse(text: &str) -> Result<Url, Error> {
    let refuse = |why: &str| Error::field("url", why);
    let url = Url::parse(text).map_err(|error| {
        refuse("must be a whole address, as https://example.org/hook").caused_by(error)
    })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(refuse("must begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse(
            "must hold no user and no password: the signature tells who sends",
        ));
    }
    Ok(url)
}

/// Refuses what leads to this machine or its network.
///
/// # Errors
/// Unprocessable.
pub(super) async fn check_public(url: &Url) -> Result<(), Error> {
    let addresses: Vec<IpAddr> = match url.host() {
        Some(Host::Ipv4(ip)) => vec![ip.into()],
        Some(Host::Ipv6(ip)) => vec![ip.into()],
        Some(Host::Domain(name)) => {
            let looked_up = timeout(LOOKUP_TIMEOUT, lookup_host((name, 0))).await;
            // What isn't known now is looked at whenever something is sent.
            let Ok(Ok(found)) = looked_up else {
                return Ok(());
            };
            found.map(|address| address.ip()).collect()
        }
        None => Vec::new(),
    };
    match addresses.iter().all(|address| is_public(*address)) {
        true => Ok(()),
        false => Err(Error::field(
            "url",
            "leads to this machine or its network, which the operator must allow \
             (--webhook-allow-private)",
        )),
    }
}

/// Whether an address literal leads outside; names are the resolver's business.
pub(super) fn is_public_literal(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => is_public(ip.into()),
        Some(Host::Ipv6(ip)) => is_public(ip.into()),
        Some(Host::Domain(_)) | None => true,
    }
}

/// Resolves names to public addresses alone, whenever a connection is made: what a name led to when
/// it was checked may be another thing by now.
#[derive(Debug)]
pub(super) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|one| is_public(one.ip())).collect();
            if public.is_empty() {
                return Err("the name leads to no public address".into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address belongs to the internet at large (IANA's registries of special addresses).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = match (a, b, c) {
        // This network; shared by carriers; protocol assignments; benchmarks; reserved.
        (0 | 240.., ..) | (100, 64..=127, _) | (192, 0, 0) | (198, 18 | 19, _) => true,
        _ => {
            ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_documentation()
                || ip.is_multicast()
        }
    };
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(mapped) = ip.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let segments = ip.segments();
    let [.., high, low] = segments;
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    let embedded = Ipv4Addr::new(a, b, c, d);
    match segments {
        // NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(embedded),
        // IPv4-compatible, unspecified, loopback; local NAT64; 6to4; Teredo; documentation.
        [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] | [0x2002, ..] | [0x2001, 0, ..] => false,
        [0x2001, 0xdb8, ..] => false,
        // Global unicast is 2000::/3 so far (RFC 4291, IANA).
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn addresses_of_this_machine_and_its_network_are_not_public() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2002:7f00:1::",
            "2001:db8::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["1.1.1.1", "100.128.0.1", "2606:4700::1", "64:ff9b::101:101"] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }

    #[tokio::test]
    async fn a_client_can_not_have_this_machine_asked() {
        for inside in [
            "http://127.0.0.1/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://localhost:8000/x",
            "http://[::1]:9/",
            "https://169.254.169.254/latest",
        ] {
            let url = parse(inside).unwrap();
            let error = check_public(&url).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Unprocessable, "{inside}");
        }
        assert!(
            check_public(&parse("https://1.1.1.1/x").unwrap())
                .await
                .is_ok()
        );
        let name = "localhost".parse::<Name>().unwrap();
        assert!(PublicOnly.resolve(name).await.is_err());
        assert!(!is_public_literal(&parse("http://[::1]/").unwrap()));
        assert!(is_public_literal(&parse("http://localhost/").unwrap()));
    }

    #[test]
    fn what_is_no_address_of_the_web_is_refused() {
        for wrong in [
            "",
            "example.org",
            "/hook",
            "ftp://example.org/",
            "file:///etc/passwd",
            "https://",
            "https://user:password@example.org/",
            "https://user@example.org/",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("http://example.org:81/hook?x=1").is_ok());
    }
}
