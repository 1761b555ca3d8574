//! The server's end of [`Protocol::Relay`](crate::Protocol::Relay): a worker's frames, published
//! again in a hub of our own.
//!
//! A worker serves its frames at [`PATH`] on a Unix socket, as a WebSocket like any other viewer's.
//! Being connected is what makes the worker encode pictures, so a relay runs only while somebody
//! watches.

use crate::{Hub, RelayMessage, Status, decode_relay};
use futures_util::StreamExt;
use std::{io, path::Path, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// Where a worker serves the relay protocol.
pub const PATH: &str = "/relay";

/// The longest message that is taken: a picture larger than this is none.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
const READ_BUFFER_BYTES: usize = 64 << 10;
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// The worker pings every 20 s; one that was silent for longer than this hangs.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// Why a relay could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens on the socket.
    #[error("the media socket can't be opened")]
    Io(#[from] io::Error),
    /// It isn't a worker that answered, or it refused.
    #[error("the media socket did not answer as a worker does")]
    Handshake(#[source] Box<tokio_tungstenite::tungstenite::Error>),
    /// It didn't answer within 5 s.
    #[error("the media socket did not answer in time")]
    TimedOut,
}

/// Why a relay ended.
#[derive(Debug)]
pub enum RelayEnd {
    /// The worker closed: its close code, where it gave one.
    Closed(Option<u16>),
    /// The connection broke: the worker is gone.
    Lost(Box<tokio_tungstenite::tungstenite::Error>),
    /// Not even a ping came for a minute: the worker hangs.
    Silent,
}

/// What a relay does with a worker's status messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatusFrom {
    /// Nothing: the caller sets the hub's status, from what it knows better.
    #[default]
    Caller,
    /// They are the hub's status.
    Worker,
}

/// A connection to a worker.
#[derive(Debug)]
pub struct Relay<IO = UnixStream> {
    socket: WebSocketStream<IO>,
}

impl Relay {
    /// Connects to a worker's media socket.
    ///
    /// # Errors
    /// See [`ConnectError`]. A worker that is only starting gives [`ConnectError::Io`]: try again.
    pub async fn connect(path: &Path) -> Result<Self, ConnectError> {
        Self::over(UnixStream::connect(path).await?).await
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Relay<IO> {
    /// Speaks to a worker over a connection that is open already.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn over(io: IO) -> Result<Self, ConnectError> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES))
            .read_buffer_size(READ_BUFFER_BYTES);
        let address = format!("ws://localhost{PATH}");
        let handshake = client_async_with_config(address, io, Some(config));
        let (socket, _) = timeout(HANDSHAKE_LIMIT, handshake)
            .await
            .map_err(|_| ConnectError::TimedOut)?
            .map_err(|error| ConnectError::Handshake(Box::new(error)))?;
        Ok(Self { socket })
    }

    /// Publishes in `hub` what the worker sends, until the connection ends. Dropping the future
    /// disconnects.
    pub async fn run(mut self, hub: &Hub, status: StatusFrom) -> RelayEnd {
        loop {
            let message = match timeout(SILENCE_LIMIT, self.socket.next()).await {
                Err(_) => return RelayEnd::Silent,
                Ok(None) => return RelayEnd::Closed(None),
                Ok(Some(Err(error))) => return RelayEnd::Lost(Box::new(error)),
                Ok(Some(Ok(message))) => message,
            };
            match message {
                Message::Binary(bytes) => match decode_relay(&bytes) {
                    Ok(RelayMessage::Video(frame)) => hub.publish_video(frame),
                    Ok(RelayMessage::Audio(chunk)) => hub.publish_audio(chunk),
                    Ok(RelayMessage::Unknown) => {}
                    Err(error) => tracing::warn!(%error, "a worker's message is passed over"),
                },
                Message::Text(text) if status == StatusFrom::Worker => {
                    match serde_json::from_str::<Status>(&text) {
                        Ok(status) => hub.set_status(status),
                        Err(error) => tracing::warn!(%error, "a worker's status is passed over"),
                    }
                }
                Message::Close(close) => {
                    return RelayEnd::Closed(close.map(|close| close.code.into()));
                }
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}
