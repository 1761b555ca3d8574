//! Through an HTTP proxy, as the environment says (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use std::io;
use std::net::IpAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

/// Longest answer of a proxy that is read.
const MAX_ANSWER_BYTES: usize = 16 << 10;

/// The proxy on the way to this server, if the environment names one.
pub(super) fn for_server(server: &Url) -> Option<Url> {
    let variable = |name: &str| {
        [name.to_ascii_uppercase(), name.to_ascii_lowercase()]
            .iter()
            .find_map(|name| std::env::var(name).ok())
            .filter(|value| !value.is_empty())
    };
    let name = match server.scheme() {
        "wss" => "https_proxy",
        _ => "http_proxy",
    };
    let exceptions = variable("no_proxy").unwrap_or_default();
    choose(server, variable(name).as_deref(), &exceptions)
}

/// A proxy's own loopback isn't ours, so it is never asked for that.
fn choose(server: &Url, proxy: Option<&str>, exceptions: &str) -> Option<Url> {
    let host = bare_host(server);
    let loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) || host == "localhost";
    let excepted = exceptions.split(',').map(str::trim).any(|exception| {
        let suffix = exception.trim_start_matches('.');
        let below = host.strip_suffix(suffix);
        exception == "*"
            || (!suffix.is_empty()
                && below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
    });
    if loopback || excepted {
        return None;
    }
    let proxy = Url::parse(proxy?).ok().filter(|url| url.scheme() == "http");
    if proxy.is_none() {
        tracing::warn!("the proxy of the environment is no http:// URL and not used");
    }
    proxy
}

/// The host without the brackets of an IPv6 address.
pub(super) fn bare_host(url: &Url) -> &str {
    let host = url.host_str().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Asks a proxy that was connected to for a way to the server.
///
/// # Errors
/// When the proxy refuses or answers nonsense.
pub(super) async fn tunnel(stream: &mut TcpStream, proxy: &Url, server: &Url) -> io::Result<()> {
    let host = server.host_str().unwrap_or_default();
    let port = server.port_or_known_default().unwrap_or(443);
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    if let Some(password) = proxy.password() {
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let user = format!("{}:{}", decoded(proxy.username()), decoded(password));
        let encoded = STANDARD.encode(user);
        request += &format!("Proxy-Authorization: Basic {encoded}\r\n");
    }
    request += "\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // One byte at a time: what follows the empty line belongs to the server.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_ANSWER_BYTES {
            return Err(io::Error::other("the proxy's answer has no end"));
        }
        answer.push(stream.read_u8().await?);
    }
    let status = std::str::from_utf8(&answer)
        .ok()
        .and_then(|text| text.split(' ').nth(1))
        .unwrap_or_default();
    match status {
        "200" => Ok(()),
        refused => Err(io::Error::other(format!("the proxy answers {refused:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn loopback_and_exceptions_go_around_the_proxy() {
        let proxy = Some("http://proxy:3128");
        let through = |server: &str, exceptions| {
            choose(&Url::parse(server).unwrap(), proxy, exceptions).is_some()
        };
        assert!(through("wss://a.example.com", ""));
        assert!(through("wss://a.example.com", "other.com, ,ample.com"));
        for exceptions in ["*", "a.example.com", "example.com", "x, .example.com"] {
            assert!(!through("wss://a.example.com", exceptions), "{exceptions}");
        }
        for own in ["ws://127.0.0.1:1", "ws://[::1]:1", "ws://localhost:1"] {
            assert!(!through(own, ""), "{own}");
        }
        let other = Url::parse("wss://a").unwrap();
        assert_eq!(choose(&other, Some("socks5://proxy"), ""), None);
        assert_eq!(choose(&other, None, ""), None);
    }

    #[tokio::test]
    async fn a_proxy_opens_the_way_or_says_why_not() {
        let answers: [(&[u8], bool); 4] = [
            (b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nserver", true),
            (b"HTTP/1.1 407 Who are you\r\n\r\n", false),
            (b"", false),
            (&[b'x'; 2 * MAX_ANSWER_BYTES], false),
        ];
        for (answer, good) in answers {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let proxy = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(stream.read_u8().await.unwrap());
                }
                // A client that has read enough may hang up.
                let _ = stream.write_all(answer).await;
                String::from_utf8(asked).unwrap()
            };
            let client = async {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let proxy = Url::parse("http://us%20er:pass@proxy").unwrap();
                let server = Url::parse("wss://livekit.example/rtc").unwrap();
                let result = tunnel(&mut stream, &proxy, &server).await;
                (result, stream)
            };
            let (asked, (result, mut stream)) = tokio::join!(proxy, client);
            assert!(asked.starts_with("CONNECT livekit.example:443 HTTP/1.1\r\n"));
            assert!(asked.contains("Basic dXMgZXI6cGFzcw=="), "{asked}");
            assert_eq!(result.is_ok(), good, "{result:?}");
            if good {
                let mut rest = String::new();
                stream.read_to_string(&mut rest).await.unwrap();
                assert_eq!(rest, "server");
            }
        }
    }
}
