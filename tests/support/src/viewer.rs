//! Viewers as a frontend has them: clients of both WebSocket protocols.

use crate::{
    error::{Result, RigError},
    picture::{self, Reading},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, protocol::CloseFrame},
};

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// Frames that wait to be decoded. When decoding falls behind by this much, the viewer reads slower, and
/// the server drops frames for it.
const DECODE_QUEUE: usize = 120;

/// Which of the two protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// JSON text messages with base64.
    Json,
    /// JPEG as binary messages, sound and status as prefixed text.
    Binary,
}

impl Protocol {
    /// The path of a session's stream; `key` is percent-encoded.
    pub fn path(self, key: &str) -> String {
        let mut path = String::from(match self {
            Self::Json => "/api/live-sessions/stream/",
            Self::Binary => "/api/live-sessions/ws/live/",
        });
        for byte in key.bytes() {
            // Characters that a path segment may hold as they are (RFC 3986, section 3.3).
            if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
                path.push(char::from(byte));
            } else {
                path.push_str(&format!("%{byte:02X}"));
            }
        }
        path
    }
}

/// A frame that a viewer got.
#[derive(Clone, Debug)]
pub struct ViewedFrame {
    /// When its last byte arrived.
    pub at: Instant,
    /// Size of the JPEG.
    pub bytes: usize,
    /// Pixels; 0 where the JPEG couldn't be decoded.
    pub width: u32,
    /// Pixels; 0 where the JPEG couldn't be decoded.
    pub height: u32,
    /// What it shows; `None` where the JPEG couldn't be decoded.
    pub reading: Option<Reading>,
    /// The message without its picture (JSON protocol), else null.
    pub fields: Value,
}

/// A chunk of sound that a viewer got.
#[derive(Clone, Debug)]
pub struct ViewedSound {
    /// When its last byte arrived.
    pub at: Instant,
    /// S16LE.
    pub pcm: Vec<u8>,
    /// The message without its sound (JSON protocol), else null.
    pub fields: Value,
}

/// Everything that a viewer got.
#[derive(Clone, Debug, Default)]
pub struct Viewed {
    /// Frames, oldest first.
    pub frames: Vec<ViewedFrame>,
    /// The newest JPEG.
    pub last_jpeg: Vec<u8>,
    /// Sound, oldest first.
    pub sound: Vec<ViewedSound>,
    /// Status messages, oldest first.
    pub statuses: Vec<Value>,
    /// Other text messages, oldest first (`pong`).
    pub texts: Vec<String>,
    /// Code and reason of the close frame, once there was one.
    pub close: Option<(u16, String)>,
    /// Why the connection ended without a close frame.
    pub failure: Option<String>,
    /// Whether the connection is over.
    pub ended: bool,
}

impl Viewed {
    /// The counters that could be read, oldest first.
    pub fn counters(&self) -> Vec<u32> {
        self.frames
            .iter()
            .filter_map(|frame| frame.reading?.counter)
            .collect()
    }

    /// All sound in one piece.
    pub fn pcm(&self) -> Vec<u8> {
        self.sound
            .iter()
            .flat_map(|chunk| chunk.pcm.iter().copied())
            .collect()
    }
}

/// A connected viewer; reads all the time. Dropping it cuts the connection.
#[derive(Debug)]
pub struct Viewer {
    viewed: Arc<Mutex<Viewed>>,
    changed: watch::Receiver<u64>,
    send: mpsc::Sender<Message>,
    task: JoinHandle<()>,
}

impl Viewer {
    /// Connects to a session on a server (`http://127.0.0.1:PORT`).
    ///
    /// # Errors
    /// When the upgrade is refused.
    pub async fn connect(server: &str, protocol: Protocol, key: &str) -> Result<Self> {
        Self::connect_to(&format!("{server}{}", protocol.path(key)), protocol).await
    }

    /// Connects to any URL (`http://…` or `ws://…`, with a query where wanted).
    ///
    /// # Errors
    /// When the upgrade is refused.
    pub async fn connect_to(url: &str, protocol: Protocol) -> Result<Self> {
        let url = url.replacen("http", "ws", usize::from(url.starts_with("http")));
        let (socket, _) = crate::within(
            format!("connecting to {url}"),
            CONNECT_LIMIT,
            connect_async(&url),
        )
        .await?
        .map_err(|error| RigError::unexpected(format!("connecting to {url}"), error))?;
        let viewed = Arc::new(Mutex::new(Viewed::default()));
        let (change, changed) = watch::channel(0);
        let (send, outgoing) = mpsc::channel(16);
        let recorder = Recorder {
            viewed: Arc::clone(&viewed),
            change: Arc::new(change),
            protocol,
        };
        let task = tokio::spawn(recorder.run(socket, outgoing));
        Ok(Self {
            viewed,
            changed,
            send,
            task,
        })
    }

    /// What it got so far, looked at in place.
    pub fn look<T>(&self, look: impl FnOnce(&Viewed) -> T) -> T {
        look(&self.viewed.lock())
    }

    /// Waits until what it got is as wanted.
    ///
    /// # Errors
    /// [`RigError::TimedOut`] with a summary; [`RigError::Unexpected`] when the connection ended before.
    pub async fn wait_until(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&Viewed) -> bool,
    ) -> Result<()> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            self.changed.borrow_and_update();
            let (done, ended) = self.look(|viewed| (wanted(viewed), viewed.ended));
            if done {
                return Ok(());
            }
            if ended {
                return Err(RigError::unexpected(
                    "the viewer's connection ended",
                    self.summary(),
                ));
            }
            if tokio::time::timeout_at(deadline, self.changed.changed())
                .await
                .is_err()
            {
                return Err(RigError::TimedOut {
                    what: "waiting for a viewer".into(),
                    limit,
                    detail: format!("; {}", self.summary()),
                });
            }
        }
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn send_text(&self, text: impl Into<String>) -> Result<()> {
        let message = Message::text(text.into());
        let gone = |_| RigError::unexpected("writing to the server", "the connection is over");
        self.send.send(message).await.map_err(gone)
    }

    /// Says goodbye and returns all that it got.
    pub async fn close(mut self) -> Viewed {
        let _ = self.send.send(Message::Close(None)).await;
        if tokio::time::timeout(CONNECT_LIMIT, &mut self.task)
            .await
            .is_err()
        {
            self.task.abort();
        }
        std::mem::take(&mut *self.viewed.lock())
    }

    fn summary(&self) -> String {
        self.look(|viewed| {
            format!(
                "{} frames, {} chunks of sound, statuses {:?}, close {:?}, failure {:?}",
                viewed.frames.len(),
                viewed.sound.len(),
                viewed.statuses,
                viewed.close,
                viewed.failure
            )
        })
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type UnreadFrame = (Instant, Vec<u8>, Value);

/// Takes a viewer's messages apart.
struct Recorder {
    viewed: Arc<Mutex<Viewed>>,
    change: Arc<watch::Sender<u64>>,
    protocol: Protocol,
}

impl Recorder {
    async fn run(self, mut socket: Socket, mut outgoing: mpsc::Receiver<Message>) {
        // Decoding on a thread of its own keeps arrival times true.
        let (frames, queue) = mpsc::channel(DECODE_QUEUE);
        let (viewed, change) = (Arc::clone(&self.viewed), Arc::clone(&self.change));
        let reader = tokio::task::spawn_blocking(move || read_frames(queue, &viewed, &change));
        let mut can_send = true;
        loop {
            let message = tokio::select! {
                message = socket.next() => message,
                message = outgoing.recv(), if can_send => {
                    can_send = match message {
                        Some(message) => socket.send(message).await.is_ok(),
                        None => false,
                    };
                    continue;
                }
            };
            match message {
                Some(Ok(message)) => self.take(message, &frames).await,
                Some(Err(error)) => {
                    let mut viewed = self.viewed.lock();
                    if viewed.close.is_none() {
                        viewed.failure = Some(error.to_string());
                    }
                    break;
                }
                None => break,
            }
        }
        drop(frames);
        let _ = reader.await;
        self.viewed.lock().ended = true;
        self.changed();
    }

    async fn take(&self, message: Message, frames: &mpsc::Sender<UnreadFrame>) {
        let at = Instant::now();
        match (self.protocol, message) {
            (Protocol::Json, Message::Text(text)) => match serde_json::from_str::<Value>(&text) {
                Ok(fields) => self.take_json(at, fields, frames).await,
                Err(_) => self.viewed.lock().texts.push(text.to_string()),
            },
            (Protocol::Binary, Message::Binary(jpeg)) => {
                let _ = frames.send((at, jpeg.to_vec(), Value::Null)).await;
            }
            (Protocol::Binary, Message::Text(text)) => self.take_prefixed(at, &text),
            (_, Message::Close(frame)) => {
                let close = |frame: CloseFrame| (u16::from(frame.code), frame.reason.to_string());
                self.viewed.lock().close = Some(frame.map_or((1005, String::new()), close));
            }
            (Protocol::Json, Message::Binary(bytes)) => {
                let text = format!("binary message of {} bytes", bytes.len());
                self.viewed.lock().texts.push(text);
            }
            _ => return,
        }
        self.changed();
    }

    async fn take_json(&self, at: Instant, mut fields: Value, frames: &mpsc::Sender<UnreadFrame>) {
        let kind = fields["type"].as_str().unwrap_or_default().to_owned();
        let payload = fields.get_mut("data").map(Value::take).unwrap_or_default();
        let payload = STANDARD.decode(payload.as_str().unwrap_or_default());
        match (&*kind, payload) {
            ("video_frame", Ok(jpeg)) => {
                let _ = frames.send((at, jpeg, fields)).await;
            }
            ("audio_frame", Ok(pcm)) => {
                self.viewed
                    .lock()
                    .sound
                    .push(ViewedSound { at, pcm, fields })
            }
            ("status", _) => self.viewed.lock().statuses.push(fields),
            _ => self.viewed.lock().texts.push(fields.to_string()),
        }
    }

    fn take_prefixed(&self, at: Instant, text: &str) {
        let mut viewed = self.viewed.lock();
        let sound = text
            .strip_prefix("audio:")
            .map(|encoded| STANDARD.decode(encoded));
        let status = text.strip_prefix("status:").map(serde_json::from_str);
        match (sound, status) {
            (Some(Ok(pcm)), _) => viewed.sound.push(ViewedSound {
                at,
                pcm,
                fields: Value::Null,
            }),
            (_, Some(Ok(status))) => viewed.statuses.push(status),
            _ => viewed.texts.push(text.to_owned()),
        }
    }

    fn changed(&self) {
        self.change.send_modify(|count| *count += 1);
    }
}

fn read_frames(
    mut queue: mpsc::Receiver<UnreadFrame>,
    viewed: &Mutex<Viewed>,
    change: &watch::Sender<u64>,
) {
    while let Some((at, jpeg, fields)) = queue.blocking_recv() {
        let read = picture::read_jpeg(&jpeg).ok();
        let frame = ViewedFrame {
            at,
            bytes: jpeg.len(),
            width: read.map_or(0, |read| read.width),
            height: read.map_or(0, |read| read.height),
            reading: read.map(|read| read.reading),
            fields,
        };
        let mut viewed = viewed.lock();
        viewed.frames.push(frame);
        viewed.last_jpeg = jpeg;
        drop(viewed);
        change.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_special_characters_is_encoded_once() {
        assert_eq!(
            Protocol::Json.path("a/b %:x"),
            "/api/live-sessions/stream/a%2Fb%20%25:x"
        );
        assert_eq!(
            Protocol::Binary.path("demo"),
            "/api/live-sessions/ws/live/demo"
        );
    }
}
