//! From a URL and a token to an open WebSocket.

use super::proxy;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, error::CapacityError};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};
use url::Url;

/// An open signalling connection.
pub(super) type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Largest message we take. A participant is described in about a kilobyte, so this is a room of
/// several thousand that are not hidden.
pub(super) const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// Time before the next address of a host is tried beside the one before (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Addresses of one host that are tried.
const MAX_ADDRESSES: usize = 8;

/// Hosts whose addresses are remembered for when no name server answers.
const MAX_KNOWN_HOSTS: usize = 16;

/// What a name server gets of the time to connect, where earlier addresses are known.
const LOOKUP: Duration = Duration::from_millis(300);

/// How long a connection attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// Until TCP is connected.
    pub(super) connect: Duration,
    /// From there until the server's first message.
    pub(super) answer: Duration,
}

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the URL can't be used: {0}")]
    Url(String),
    #[error("the token can't be sent")]
    Token,
    /// The server answered, but not with a WebSocket.
    #[error("the server answers {status}: {said}")]
    Status { status: u16, said: String },
    /// The server can't be reached, or what comes from it is no answer.
    #[error("{0}")]
    Failed(String),
}

/// Opens connections; remembers what doesn't change between them.
#[derive(Default)]
pub(super) struct Dialer {
    tls: OnceCell<Arc<ClientConfig>>,
    /// Where each host was found last.
    known: Mutex<HashMap<(String, u16), Vec<SocketAddr>>>,
}

impl Dialer {
    /// Connects and upgrades.
    pub(super) async fn dial(
        &self,
        url: &Url,
        token: &str,
        patience: Patience,
    ) -> Result<WebSocket, DialError> {
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| DialError::Token)?;
        bearer.set_sensitive(true);
        let mut request = url
            .as_str()
            .into_client_request()
            .map_err(|error| DialError::Url(error.to_string()))?;
        request.headers_mut().insert(AUTHORIZATION, bearer);
        let connector = match url.scheme() {
            "wss" => Connector::Rustls(self.tls().await?),
            _ => Connector::Plain,
        };
        let stream = timeout(patience.connect, self.connect(url))
            .await
            .map_err(|_| unreachable(&"no connection in time"))?
            .map_err(|error| unreachable(&error))?;
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let upgrade = client_async_tls_with_config(request, stream, Some(limits), Some(connector));
        match timeout(patience.answer, upgrade).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(error)) => Err(upgrade_error(error)),
            Err(_) => Err(DialError::Failed(
                "the LiveKit server did not answer in time".into(),
            )),
        }
    }

    async fn connect(&self, url: &Url) -> io::Result<TcpStream> {
        let proxy = proxy::for_server(url);
        let next = proxy.as_ref().unwrap_or(url);
        let port = next.port_or_known_default().unwrap_or(443);
        let addresses = self.addresses(proxy::bare_host(next), port).await?;
        let mut stream = first_to_connect(&addresses).await?;
        if let Some(proxy) = &proxy {
            proxy::tunnel(&mut stream, proxy, url).await?;
        }
        // Signalling messages are small and wait for each other.
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let key = (host.to_owned(), port);
        let known = self.known.lock().get(&key).cloned();
        let lookup = lookup_host((host, port));
        let found = match &known {
            // An outage that takes the name server away as well must not cost the whole time.
            Some(known) => match timeout(LOOKUP, lookup).await {
                Ok(Ok(found)) => found.take(MAX_ADDRESSES).collect(),
                Ok(Err(_)) | Err(_) => known.clone(),
            },
            None => lookup.await?.take(MAX_ADDRESSES).collect::<Vec<_>>(),
        };
        let mut all = self.known.lock();
        if all.len() < MAX_KNOWN_HOSTS || known.is_some() {
            all.insert(key, found.clone());
        }
        Ok(found)
    }

    async fn tls(&self) -> Result<Arc<ClientConfig>, DialError> {
        // Reading the system's certificates takes tens of milliseconds: not between packets.
        let made = self.tls.get_or_try_init(|| async {
            tokio::task::spawn_blocking(tls_config)
                .await
                .map_err(|error| error.to_string())?
        });
        made.await
            .cloned()
            .map_err(|why| DialError::Failed(format!("no TLS: {why}")))
    }
}

/// The provider is named, since a process with two of them has no default and would panic.
fn tls_config() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a root certificate of the system can't be read");
    }
    roots.add_parsable_certificates(found.certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A host with a broken address among good ones is reached without waiting for its time-out.
async fn first_to_connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut attempts: FuturesUnordered<_> = addresses
        .iter()
        .zip(0..)
        .map(|(address, position)| async move {
            tokio::time::sleep(STAGGER * position).await;
            TcpStream::connect(address).await
        })
        .collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    while let Some(result) = attempts.next().await {
        match result {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn unreachable(why: &dyn std::fmt::Display) -> DialError {
    DialError::Failed(format!("the LiveKit server can't be reached: {why}"))
}

fn upgrade_error(error: WsError) -> DialError {
    match error {
        WsError::Http(response) => DialError::Status {
            status: response.status().as_u16(),
            said: response
                .body()
                .as_deref()
                .map(|body| String::from_utf8_lossy(&body[..body.len().min(1024)]).into_owned())
                .unwrap_or_default(),
        },
        WsError::Capacity(CapacityError::TooManyHeaders) => {
            DialError::Failed("the answer of the LiveKit server has too many headers".into())
        }
        other => DialError::Failed(format!(
            "the LiveKit server's answer can't be used: {other}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const PATIENCE: Patience = Patience {
        connect: Duration::from_secs(20),
        answer: Duration::from_secs(20),
    };

    #[tokio::test]
    async fn a_secure_server_is_greeted_with_tls_and_one_that_knows_none_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "wss://localhost:{}/rtc",
            listener.local_addr().unwrap().port()
        );
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let first = stream.read_u8().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad\r\n\r\n").await.unwrap();
            first
        };
        let dialer = Dialer::default();
        let url = Url::parse(&url).unwrap();
        let (first, result) = tokio::join!(server, dialer.dial(&url, "token", PATIENCE));
        assert_eq!(first, 22, "a TLS handshake, with no token in the clear");
        assert!(matches!(result, Err(DialError::Failed(_))), "{result:?}");
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_does_not_hide_one_that_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        // Refused at once, and never answered at all (RFC 5737).
        let refused = {
            let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        let silent = "192.0.2.1:9".parse().unwrap();
        let addresses = [refused, silent, good];
        let connecting = first_to_connect(&addresses);
        let connected = tokio::time::timeout(Duration::from_secs(20), connecting).await;
        let stream = connected.unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
    }

    #[tokio::test]
    async fn a_token_that_can_not_be_a_header_is_not_sent() {
        let url = Url::parse("ws://127.0.0.1:9/rtc").unwrap();
        let result = Dialer::default().dial(&url, "a\nb", PATIENCE).await;
        assert!(matches!(result, Err(DialError::Token)), "{result:?}");
    }
}
