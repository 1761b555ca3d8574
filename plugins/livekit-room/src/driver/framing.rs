//! Datagrams on a byte stream: what ICE over TCP and TURN over TCP put around them; pure.

use bytes::{Buf, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Messages that may wait for a connection that doesn't take them. What we send is small and rare
/// (checks, acknowledgements, reports), so this is seconds of it, and half a megabyte at most.
pub(super) const WRITE_QUEUE: usize = 256;

/// Bytes taken from a connection at once.
const READ_BYTES: usize = 16 * 1024;

/// How messages are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Two bytes of length before each message (RFC 4571), as ICE over TCP wants it (RFC 6544).
    Length,
    /// STUN messages and ChannelData say their lengths themselves; ChannelData is padded to four
    /// bytes on a stream (RFC 8656, section 12.5).
    Turn,
}

impl Framing {
    /// Takes the first whole message off the front; none while it is incomplete.
    ///
    /// # Errors
    /// When what comes is no such stream.
    pub(super) fn take(self, buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
        let Some((header, body, padding)) = self.measure(buffer)? else {
            return Ok(None);
        };
        if buffer.len() < header + body + padding {
            return Ok(None);
        }
        let message = match self {
            Self::Length => {
                buffer.advance(header);
                buffer.split_to(body)
            }
            Self::Turn => buffer.split_to(header + body),
        };
        buffer.advance(padding);
        Ok(Some(message.freeze()))
    }

    /// Bytes of header, body and padding of the first message.
    fn measure(self, buffer: &[u8]) -> io::Result<Option<(usize, usize, usize)>> {
        let length = |at: usize| {
            let bytes = buffer.get(at..at + 2)?;
            Some(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
        };
        Ok(match (self, buffer.first()) {
            (_, None) => None,
            (Self::Length, _) => length(0).map(|body| (2, body, 0)),
            (Self::Turn, Some(0x00..=0x3f)) => length(2).map(|body| (20, body, 0)),
            (Self::Turn, Some(0x40..=0x7f)) => {
                length(2).map(|body| (4, body, body.next_multiple_of(4) - body))
            }
            (Self::Turn, Some(_)) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "neither STUN nor ChannelData",
                ));
            }
        })
    }

    /// The message as it goes onto the stream; none if it is too long for that.
    pub(super) fn wrap(self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Length => {
                let length = u16::try_from(message.len()).ok()?;
                Some([&length.to_be_bytes(), message].concat())
            }
            Self::Turn => {
                let mut wrapped = message.to_vec();
                if matches!(message.first(), Some(0x40..=0x7f)) {
                    wrapped.resize(message.len().next_multiple_of(4), 0);
                }
                Some(wrapped)
            }
        }
    }
}

/// Reads messages from a stream.
pub(super) struct Messages<R> {
    reader: R,
    framing: Framing,
    /// Holds less than one message (64 KiB) and one reading.
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Messages<R> {
    pub(super) fn new(reader: R, framing: Framing) -> Self {
        Self {
            reader,
            framing,
            buffer: BytesMut::new(),
        }
    }

    /// The next message. Cancel-safe.
    ///
    /// # Errors
    /// When the stream breaks, ends, or makes no sense.
    pub(super) async fn next(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(message) = self.framing.take(&mut self.buffer)? {
                return Ok(message);
            }
            self.buffer.reserve(READ_BYTES);
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Writes what is queued until the queue is closed, then says goodbye.
pub(super) async fn write_queue(
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    while let Some(message) = queue.recv().await {
        writer.write_all(&message).await?;
        if queue.is_empty() {
            // TLS keeps what the socket didn't take at once.
            writer.flush().await?;
        }
    }
    writer.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A STUN message with a body of so many bytes.
    fn stun(body: u16) -> Vec<u8> {
        let mut message = vec![0, 1];
        message.extend(body.to_be_bytes());
        message.resize(20 + usize::from(body), 7);
        message
    }

    fn channel_data(body: &[u8]) -> Vec<u8> {
        let mut message = vec![0x40, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        message
    }

    /// Feeds the stream in pieces of every size; what comes out must be these messages.
    fn assert_reads(framing: Framing, messages: &[Vec<u8>]) {
        let stream: Vec<u8> = messages
            .iter()
            .flat_map(|message| framing.wrap(message).unwrap())
            .collect();
        for piece in 1..=stream.len() {
            let mut buffer = BytesMut::new();
            let mut read = Vec::new();
            for part in stream.chunks(piece) {
                buffer.extend_from_slice(part);
                while let Some(message) = framing.take(&mut buffer).unwrap() {
                    read.push(message.to_vec());
                }
            }
            assert_eq!(read, messages, "in pieces of {piece}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn messages_with_a_length_are_read_in_any_pieces() {
        assert_reads(
            Framing::Length,
            &[vec![], vec![1], vec![2; 300], vec![0x40, 0, 0]],
        );
    }

    #[test]
    fn stun_and_padded_channel_data_are_read_in_any_pieces() {
        let messages: Vec<_> = [&b""[..], b"a", b"ab", b"abc", b"abcd", b"abcde"]
            .into_iter()
            .flat_map(|body| [channel_data(body), stun(0), stun(8)])
            .collect();
        assert_reads(Framing::Turn, &messages);
    }

    #[test]
    fn channel_data_is_padded_on_the_wire_and_stun_is_not() {
        let wrapped = Framing::Turn.wrap(&channel_data(b"abcde")).unwrap();
        assert_eq!(wrapped, b"\x40\x00\x00\x05abcde\0\0\0");
        assert_eq!(Framing::Turn.wrap(&stun(8)).unwrap(), stun(8));
    }

    #[test]
    fn a_message_that_is_too_long_for_its_length_is_not_written() {
        assert!(Framing::Length.wrap(&vec![0; 65_535]).is_some());
        assert_eq!(Framing::Length.wrap(&vec![0; 65_536]), None);
    }

    #[test]
    fn a_stream_that_is_no_turn_is_an_error() {
        let mut buffer = BytesMut::from(&b"HTTP/1.1"[..]);
        // 'H' is 0x48, which may begin ChannelData: it is never complete, but harmless.
        assert!(Framing::Turn.take(&mut buffer).unwrap().is_none());
        let mut buffer = BytesMut::from(&[0x80, 0x60, 0, 0][..]);
        assert!(Framing::Turn.take(&mut buffer).is_err());
    }

    #[tokio::test]
    async fn the_end_of_a_stream_is_an_error_even_within_a_message() {
        for stream in [&b""[..], &[0, 5, 1, 2][..]] {
            let mut messages = Messages::new(stream, Framing::Length);
            let error = messages.next().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
