//! What viewers send: little of it means anything, and all of it is checked (RFC 6455 section 5).

use bytes::Bytes;
use std::io::Cursor;
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// The longest message a viewer may send; a longer one closes its connection with 1009.
pub(crate) const MAX_MESSAGE_BYTES: usize = 4096;
/// What is kept allocated for a viewer that sends nothing.
const KEPT_BYTES: usize = 64;

const PROTOCOL_ERROR: Inbound = Inbound::Violation(1002, "not the WebSocket protocol");
const TOO_BIG: Inbound = Inbound::Violation(1009, "message is longer than 4 KiB");

/// What a viewer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    /// A text message `ping`, to be answered by `pong`.
    TextPing,
    /// A WebSocket ping with its payload.
    Ping(Bytes),
    /// A WebSocket pong.
    Pong,
    /// A close, with the code to answer with where it has one.
    Close(Option<u16>),
    /// Nothing a viewer may send: the close code and the reason. Nothing after it is read.
    Violation(u16, &'static str),
}

/// Takes bytes as they come and gives what was said. Holds one frame at most.
#[derive(Debug, Default)]
pub(crate) struct InboundParser {
    buffer: Vec<u8>,
    /// The message so far, while one comes in fragments.
    fragments: Option<Fragments>,
    /// After a close or a violation everything else is passed over.
    ended: bool,
}

#[derive(Debug)]
struct Fragments {
    text: bool,
    payload: Vec<u8>,
}

impl InboundParser {
    /// Takes bytes in; ask [`Self::next`] until it has nothing more.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if !self.ended {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next thing that was said completely. Messages that mean nothing are passed over.
    pub(crate) fn next(&mut self) -> Option<Inbound> {
        while !self.ended {
            let mut cursor = Cursor::new(&self.buffer);
            let (header, length) = match FrameHeader::parse(&mut cursor) {
                Ok(Some(parsed)) => parsed,
                Ok(None) => break,
                Err(_) => return self.end(PROTOCOL_ERROR),
            };
            let Some(mask) = header.mask else {
                return self.end(PROTOCOL_ERROR);
            };
            if let Err(violation) = self.check(&header, length) {
                return self.end(violation);
            }
            let start = cursor.position() as usize;
            // Small enough since `check`.
            let end = start + length as usize;
            if self.buffer.len() < end {
                break;
            }
            let payload: Vec<u8> = self.buffer[start..end]
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask)
                .collect();
            self.buffer.drain(..end);
            match self.frame(&header, payload) {
                Some(last @ (Inbound::Close(_) | Inbound::Violation(..))) => return self.end(last),
                Some(said) => return Some(said),
                None => {}
            }
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
        }
        None
    }

    fn end(&mut self, last: Inbound) -> Option<Inbound> {
        self.ended = true;
        self.buffer = Vec::new();
        self.fragments = None;
        Some(last)
    }

    fn check(&self, header: &FrameHeader, length: u64) -> Result<(), Inbound> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(PROTOCOL_ERROR);
        }
        let before = self.fragments.as_ref().map(|message| message.payload.len());
        match header.opcode {
            OpCode::Control(_) if !header.is_final || length > 125 => return Err(PROTOCOL_ERROR),
            OpCode::Control(_) => return Ok(()),
            OpCode::Data(Data::Continue) if before.is_none() => return Err(PROTOCOL_ERROR),
            OpCode::Data(Data::Text | Data::Binary) if before.is_some() => {
                return Err(PROTOCOL_ERROR);
            }
            OpCode::Data(_) => {}
        }
        match length.saturating_add(before.unwrap_or(0) as u64) <= MAX_MESSAGE_BYTES as u64 {
            true => Ok(()),
            false => Err(TOO_BIG),
        }
    }

    fn frame(&mut self, header: &FrameHeader, payload: Vec<u8>) -> Option<Inbound> {
        match header.opcode {
            OpCode::Control(Control::Ping) => Some(Inbound::Ping(payload.into())),
            OpCode::Control(Control::Pong) => Some(Inbound::Pong),
            OpCode::Control(Control::Close) => Some(close(&payload)),
            OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => {
                Some(PROTOCOL_ERROR)
            }
            OpCode::Data(data) => {
                let mut message = self.fragments.take().unwrap_or_else(|| Fragments {
                    text: data == Data::Text,
                    payload: Vec::new(),
                });
                message.payload.extend_from_slice(&payload);
                if !header.is_final {
                    self.fragments = Some(message);
                    return None;
                }
                (message.text && message.payload == b"ping").then_some(Inbound::TextPing)
            }
        }
    }
}

/// The code to answer a close with: the viewer's own where it may be sent at all (section 7.4).
fn close(payload: &[u8]) -> Inbound {
    match payload {
        [] => Inbound::Close(None),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let sendable = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            match sendable && std::str::from_utf8(reason).is_ok() {
                true => Inbound::Close(Some(code)),
                false => PROTOCOL_ERROR,
            }
        }
        [_] => PROTOCOL_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..=125 => bytes.push(0x80 | length as u8),
            length => {
                bytes.push(0x80 | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        bytes
    }

    fn said(bytes: &[u8], piece: usize) -> Vec<Inbound> {
        let mut parser = InboundParser::default();
        let mut all = Vec::new();
        for piece in bytes.chunks(piece) {
            parser.feed(piece);
            assert!(parser.buffer.len() <= MAX_MESSAGE_BYTES + 14 + piece.len());
            all.extend(std::iter::from_fn(|| parser.next()));
        }
        all
    }

    #[test]
    fn what_is_said_does_not_depend_on_how_it_is_cut() {
        let mut bytes = masked(0x81, b"ping");
        bytes.extend(masked(0x81, b"hello"));
        bytes.extend(masked(0x89, b"are you there"));
        bytes.extend(masked(0x01, b"pi"));
        bytes.extend(masked(0x8A, b""));
        bytes.extend(masked(0x80, b"ng"));
        bytes.extend(masked(0x82, &[0; 4096]));
        bytes.extend(masked(0x82, b"ping"));
        bytes.extend(masked(0x88, &[0x03, 0xE8, b'b', b'y', b'e']));
        bytes.extend(masked(0x81, b"ping"));
        let expected = [
            Inbound::TextPing,
            Inbound::Ping(Bytes::from_static(b"are you there")),
            Inbound::Pong,
            Inbound::TextPing,
            Inbound::Close(Some(1000)),
        ];
        for piece in [1, 2, 3, 7, 1_000, bytes.len()] {
            assert_eq!(said(&bytes, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn too_long_a_message_is_1009_before_it_has_arrived() {
        assert_eq!(said(&masked(0x82, &[0; 4097])[..8], 8), [TOO_BIG]);
        let mut endless = vec![0x82, 0xFF];
        endless.extend([0xFF; 12]);
        assert_eq!(said(&endless, 14), [TOO_BIG]);
        let mut fragments = masked(0x02, &[0; 4000]);
        fragments.extend(masked(0x00, &[0; 97]));
        assert_eq!(said(&fragments, 100), [TOO_BIG]);
    }

    #[test]
    fn what_breaks_the_protocol_is_1002() {
        for bytes in [
            vec![0x81, 0x04, b'p', b'i', b'n', b'g'],
            masked(0xC1, b"ping"),
            masked(0x83, b""),
            masked(0x8B, b""),
            masked(0x09, b"fragmented"),
            masked(0x89, &[0; 126]),
            masked(0x80, b"nothing to continue"),
            [masked(0x01, b"a"), masked(0x81, b"b")].concat(),
            masked(0x88, &[3]),
            masked(0x88, &[0x03, 0xED]),
            masked(0x88, &[0x03, 0xE8, 0xFF]),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ] {
            assert_eq!(said(&bytes, 5), [PROTOCOL_ERROR], "{bytes:02x?}");
        }
    }

    #[test]
    fn garbage_of_any_kind_ends_or_waits() {
        let mut seed = 0x2545_F491_4F6C_DD1D_u64;
        for length in 0..600 {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    seed as u8
                })
                .collect();
            said(&bytes, 1 + length % 9);
        }
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                said(&[first, second, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 3);
            }
        }
    }
}
