//! What the element's tests share: pipelines, pictures, and clients.

// Each test binary uses some of it; a test's helpers may unwrap as the tests do.
#![allow(dead_code, clippy::unwrap_used)]

use futures_util::StreamExt;
use gst::prelude::*;
use gst_app::AppSrc;
use std::{future::Future, io::Read, net::TcpStream, time::Duration};
use tokio::time::timeout;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, http::Request},
};

/// Far more than anything here takes on a machine that does nothing else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) type Client = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

pub(crate) fn init() {
    gst::init().unwrap();
    // A second registration is the same plugin.
    _ = gstwsjpegsink::plugin_register_static();
}

/// Runs a test's asynchronous part with a deadline.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(async { timeout(DEADLINE, test).await })
        .expect("the test takes too long")
}

/// A picture of that size that is as much of a JPEG as the element looks at; the bytes behind the
/// header carry `number`.
pub(crate) fn picture(number: u32, bytes: usize) -> Vec<u8> {
    let mut jpeg = vec![
        0xFF, 0xD8, 0xFF, 0xC0, 0, 11, 8, 0, 48, 0, 64, 1, 1, 0x11, 0, 0xFF, 0xDA,
    ];
    jpeg.extend(number.to_be_bytes());
    jpeg.resize(bytes.max(jpeg.len()), 0x55);
    jpeg
}

pub(crate) fn number(jpeg: &[u8]) -> u32 {
    u32::from_be_bytes(jpeg[17..21].try_into().unwrap())
}

/// A pipeline of its own with a `wsjpegsink`, which an `AppSrc` may feed.
pub(crate) struct Bench {
    pub(crate) pipeline: gst::Pipeline,
    pub(crate) sink: gst::Element,
}

impl Bench {
    /// Not started. The sink needs no first picture to start, and keeps no time.
    pub(crate) fn new() -> Self {
        init();
        let pipeline = gst::Pipeline::new();
        let sink = gst::ElementFactory::make("wsjpegsink")
            .property("async", false)
            .property("sync", false)
            .build()
            .unwrap();
        pipeline.add(&sink).unwrap();
        Self { pipeline, sink }
    }

    pub(crate) fn play(self) -> Self {
        self.pipeline.set_state(gst::State::Playing).unwrap();
        self
    }

    /// A source of pictures, linked to the sink as it runs.
    pub(crate) fn feed(&self) -> AppSrc {
        let caps = gst::Caps::builder("image/jpeg").build();
        let source = AppSrc::builder()
            .caps(&caps)
            .format(gst::Format::Time)
            .is_live(true)
            .build();
        self.pipeline.add(&source).unwrap();
        source.link(&self.sink).unwrap();
        source.sync_state_with_parent().unwrap();
        source
    }

    /// Takes a source out again while the pipeline runs.
    pub(crate) fn remove(&self, source: AppSrc) {
        source.set_state(gst::State::Null).unwrap();
        source.unlink(&self.sink);
        self.pipeline.remove(&source).unwrap();
    }

    pub(crate) fn port(&self) -> u16 {
        u16::try_from(self.sink.property::<u32>("port")).unwrap()
    }

    pub(crate) async fn client(&self, path: &str) -> Client {
        connect(self.port(), path, &[]).await.unwrap()
    }

    /// Waits for a message of that type on the bus.
    pub(crate) fn wait_for(&self, kind: gst::MessageType) -> gst::Message {
        let deadline = gst::ClockTime::from_seconds(DEADLINE.as_secs());
        let bus = self.pipeline.bus().unwrap();
        bus.timed_pop_filtered(deadline, &[kind])
            .expect("no such message on the bus")
    }

    /// Waits until so many clients are there, by the property's own notification.
    pub(crate) fn wait_for_clients(&self, count: u32) {
        let (notify, notified) = std::sync::mpsc::channel();
        let handler = self.sink.connect_notify(Some("clients"), move |sink, _| {
            _ = notify.send(sink.property::<u32>("clients"));
        });
        let mut now = self.sink.property::<u32>("clients");
        while now != count {
            now = notified
                .recv_timeout(DEADLINE)
                .expect("clients never changed");
        }
        self.sink.disconnect(handler);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        _ = self.pipeline.set_state(gst::State::Null);
    }
}

pub(crate) fn push(source: &AppSrc, number: u32, bytes: usize) {
    let mut buffer = gst::Buffer::from_slice(picture(number, bytes));
    let pts = gst::ClockTime::from_mseconds(33) * u64::from(number);
    buffer.get_mut().unwrap().set_pts(pts);
    source.push_buffer(buffer).unwrap();
}

/// Connects as a browser's page or a program would.
pub(crate) async fn connect(
    port: u16,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<Client, Error> {
    let address = format!("ws://127.0.0.1:{port}{path}");
    let mut request: Request<()> = address.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    connect_async(request).await.map(|(client, _)| client)
}

/// A client by hand: upgraded, and from then on as rude as its test likes.
pub(crate) fn raw_client(port: u16, path: &str) -> TcpStream {
    use std::io::Write;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{head:?}");
    stream
}

/// The status of the answer that a refused upgrade got.
pub(crate) async fn refusal(port: u16, path: &str, headers: &[(&'static str, &str)]) -> u16 {
    match connect(port, path, headers).await {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn next(client: &mut Client) -> Message {
    client.next().await.expect("closed").expect("broken")
}

/// The number in the next picture.
pub(crate) async fn next_picture(client: &mut Client) -> u32 {
    loop {
        match next(client).await {
            Message::Binary(jpeg) => return number(&jpeg),
            Message::Text(_) | Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The close code, once everything before it was read.
pub(crate) async fn close_code(client: &mut Client) -> u16 {
    loop {
        if let Message::Close(close) = next(client).await {
            return close.expect("a close without code").code.into();
        }
    }
}

/// What the server answers to raw bytes, until it closes.
pub(crate) fn answer(port: u16, request: &[u8]) -> String {
    use std::io::Write;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request).unwrap();
    let mut all = Vec::new();
    // A server that resets instead of closing has said what it had to say.
    _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}
