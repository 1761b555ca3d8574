//! One upgraded connection: writes prepared bytes, and reads while it does.
//!
//! It writes to the connection itself and buffers nothing: the bytes belong to the frame that all
//! viewers share. That is what makes a viewer cost a few kilobytes.

use crate::{
    inbound::{Inbound, InboundParser},
    message::{OPCODE_PING, OPCODE_PONG, OPCODE_TEXT, close_frame, frame},
};
use bytes::{Buf, Bytes};
use std::{
    future::poll_fn,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, timeout},
};

/// Answers to text pings that may wait; more at once are answered by these.
const MAX_PONGS: u8 = 16;
const READ_BYTES: usize = 1024;

/// What happened on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Everything that was to be sent is.
    Sent,
    /// The viewer answered a ping.
    Pong,
    /// The viewer wants to close; the code to answer with.
    Close(Option<u16>),
    /// The viewer broke the protocol: close code and reason.
    Violation(u16, &'static str),
    /// The connection is gone.
    Gone,
}

/// An upgraded connection, seen from the server's side.
#[derive(Debug)]
pub(crate) struct Connection<IO> {
    io: IO,
    inbound: InboundParser,
    /// What is being written: the rest of a frame.
    out: Bytes,
    /// Written, and not flushed yet.
    unflushed: bool,
    /// When the message on its way met a full socket.
    blocked_at: Option<Instant>,
    /// When a byte was last accepted, or a message begun.
    progress: Instant,
    pings: bool,
    pong: Option<Bytes>,
    text_pongs: u8,
    close: Option<Bytes>,
    bytes: u64,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self {
            io,
            inbound: InboundParser::default(),
            out: Bytes::new(),
            unflushed: false,
            blocked_at: None,
            progress: Instant::now(),
            pings: false,
            pong: None,
            text_pongs: 0,
            close: None,
            bytes: 0,
        }
    }

    /// Nothing is on its way: a message may be given to [`Self::send`].
    pub(crate) fn is_idle(&self) -> bool {
        self.out.is_empty() && !self.unflushed && !self.has_control()
    }

    /// Begins to send a message's wire bytes. Only while idle.
    pub(crate) fn send(&mut self, wire: Bytes) {
        debug_assert!(self.is_idle());
        self.out = wire;
        self.blocked_at = None;
        self.progress = Instant::now();
    }

    /// For how long the last message has waited for room in the socket.
    pub(crate) fn blocked_for(&self) -> Duration {
        self.blocked_at.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Sends a ping once the message on its way is through.
    pub(crate) fn ping(&mut self) {
        self.begin_control();
        self.pings = true;
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// For how long something has been waiting to be written without a byte being accepted.
    pub(crate) fn stalled_for(&self, now: Instant) -> Duration {
        match self.is_idle() {
            true => Duration::ZERO,
            false => now.saturating_duration_since(self.progress),
        }
    }

    /// Goes on until something happens. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Event {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(event) = self.poll_read(cx) {
            return Poll::Ready(event);
        }
        match ready!(self.poll_write(cx)) {
            Ok(()) => Poll::Ready(Event::Sent),
            Err(_) => Poll::Ready(Event::Gone),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            while let Some(said) = self.inbound.next() {
                match said {
                    Inbound::TextPing => {
                        self.begin_control();
                        self.text_pongs = (self.text_pongs + 1).min(MAX_PONGS);
                    }
                    Inbound::Ping(payload) => {
                        // Only the latest ping needs an answer (RFC 6455 section 5.5.3).
                        self.begin_control();
                        self.pong = Some(frame(OPCODE_PONG, &[&payload]));
                    }
                    Inbound::Pong => return Poll::Ready(Event::Pong),
                    Inbound::Close(code) => return Poll::Ready(Event::Close(code)),
                    Inbound::Violation(code, reason) => {
                        return Poll::Ready(Event::Violation(code, reason));
                    }
                }
            }
            let mut space = [MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => self.inbound.feed(read.filled()),
                Ok(()) | Err(_) => return Poll::Ready(Event::Gone),
            }
        }
    }

    /// Ready when something was to be written, and all of it is.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            while !self.out.is_empty() {
                match Pin::new(&mut self.io).poll_write(cx, &self.out) {
                    Poll::Ready(Ok(0)) => {
                        return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
                    }
                    Poll::Ready(Ok(written)) => {
                        self.out.advance(written);
                        self.bytes += written as u64;
                        self.unflushed = true;
                        self.progress = Instant::now();
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        self.blocked_at.get_or_insert_with(Instant::now);
                        return Poll::Pending;
                    }
                }
            }
            // The frame's bytes are other viewers' too: don't hold them while waiting.
            self.out = Bytes::new();
            if let Some(control) = self.take_control() {
                self.out = control;
                continue;
            }
            if !self.unflushed {
                return Poll::Pending;
            }
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
            return Poll::Ready(Ok(()));
        }
    }

    fn has_control(&self) -> bool {
        self.pings || self.pong.is_some() || self.text_pongs > 0 || self.close.is_some()
    }

    fn begin_control(&mut self) {
        if self.is_idle() {
            self.progress = Instant::now();
        }
    }

    /// The next control message; the close comes last.
    fn take_control(&mut self) -> Option<Bytes> {
        if let Some(pong) = self.pong.take() {
            return Some(pong);
        }
        if self.text_pongs > 0 {
            self.text_pongs -= 1;
            return Some(frame(OPCODE_TEXT, &[b"pong"]));
        }
        if std::mem::take(&mut self.pings) {
            return Some(frame(OPCODE_PING, &[]));
        }
        self.close.take()
    }

    /// Finishes the message on its way, sends a close frame (none without a code), waits for the
    /// viewer's own where `wait` is set, and closes; all within `limit`, or it just ends.
    pub(crate) async fn close(mut self, frame: CloseFrame<'_>, wait: bool, limit: Duration) {
        self.begin_control();
        self.close = Some(match frame {
            CloseFrame::Empty => Bytes::from_static(&[0x88, 0]),
            CloseFrame::Code(code, reason) => close_frame(code, reason),
        });
        let closing = async {
            let mut answered = !wait;
            loop {
                match self.next().await {
                    Event::Gone => return,
                    Event::Close(_) => answered = true,
                    Event::Sent | Event::Pong | Event::Violation(..) => {}
                }
                if self.is_idle() && answered {
                    break;
                }
            }
            // What fails here is a viewer that is gone already.
            _ = self.io.shutdown().await;
        };
        _ = timeout(limit, closing).await;
    }
}

/// What a close frame says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CloseFrame<'a> {
    /// Nothing.
    Empty,
    /// A close code and a reason.
    Code(u16, &'a str),
}
