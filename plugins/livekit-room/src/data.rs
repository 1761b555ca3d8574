//! Data messages of the room: packets of the data channels to whole messages; pure.

use crate::event::DataMessage;
use livekit_protocol as proto;
use prost::Message as _;
use proto::data_packet::Value;
use proto::data_stream::{Chunk, Header};
use std::collections::{BTreeMap, VecDeque};

/// Largest message that is passed on. LiveKit's clients send packets of up to 15 kB; longer texts
/// come in pieces.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// Messages in pieces that are put together at a time; the oldest gives way.
const MAX_STREAMS: usize = 16;

/// Senders whose place in their sequence is remembered.
const MAX_SENDERS: usize = 1024;

/// The topic under which LiveKit's clients chat.
const CHAT_TOPIC: &str = "lk.chat";

/// A message of which not all pieces have come.
#[derive(Debug)]
struct Stream {
    sender: String,
    header: Header,
    next_chunk: u64,
    content: Vec<u8>,
}

/// Puts messages together.
#[derive(Debug, Default)]
pub(crate) struct DataInbox {
    streams: VecDeque<Stream>,
    /// The newest reliable packet of each sender, by SID: after a resume the server sends again
    /// what it isn't sure about.
    received: BTreeMap<String, u32>,
}

impl DataInbox {
    /// A packet of the reliable or the lossy channel; a message if it makes one whole.
    pub(crate) fn take(&mut self, reliable: bool, packet: &[u8]) -> Option<DataMessage> {
        if packet.len() > 2 * MAX_MESSAGE_BYTES {
            tracing::debug!(bytes = packet.len(), "a data packet is too large");
            return None;
        }
        let packet = proto::DataPacket::decode(packet)
            .inspect_err(|error| tracing::debug!(%error, "a data packet can't be read"))
            .ok()?;
        if reliable && self.is_repeated(&packet) {
            return None;
        }
        let sender = packet.participant_identity;
        let (sender, topic, payload) = match packet.value? {
            Value::User(user) => (sender_of(sender, &user), user.topic, user.payload),
            Value::ChatMessage(chat) if !chat.deleted => {
                let payload = chat.message.into_bytes();
                (sender, Some(CHAT_TOPIC.to_owned()), payload)
            }
            Value::StreamHeader(header) => return self.begin(sender, header),
            Value::StreamChunk(chunk) => {
                self.append(&sender, &chunk);
                return None;
            }
            Value::StreamTrailer(trailer) => {
                return self.finish(&sender, &trailer.stream_id, reliable);
            }
            _ => return None,
        };
        message(sender, topic, payload, reliable)
    }

    /// What the server wants to know after a resume.
    pub(crate) fn receive_states(&self) -> Vec<proto::DataChannelReceiveState> {
        self.received
            .iter()
            .map(|(sid, last)| proto::DataChannelReceiveState {
                publisher_sid: sid.clone(),
                last_seq: *last,
            })
            .collect()
    }

    /// A new session numbers anew.
    pub(crate) fn clear(&mut self) {
        self.streams.clear();
        self.received.clear();
    }

    fn is_repeated(&mut self, packet: &proto::DataPacket) -> bool {
        let (sid, sequence) = (&packet.participant_sid, packet.sequence);
        if sequence == 0 || sid.is_empty() {
            return false;
        }
        if let Some(last) = self.received.get_mut(sid) {
            let repeated = sequence <= *last;
            *last = sequence.max(*last);
            return repeated;
        }
        if self.received.len() < MAX_SENDERS {
            self.received.insert(sid.clone(), sequence);
        }
        false
    }

    fn begin(&mut self, sender: String, mut header: Header) -> Option<DataMessage> {
        if header.compression != 0 || header.total_length > Some(MAX_MESSAGE_BYTES as u64) {
            return None;
        }
        // A short one may come with its content.
        if let Some(content) = header.inline_content.take() {
            return message(sender, Some(header.topic), content, true);
        }
        if self.streams.len() >= MAX_STREAMS {
            self.streams.pop_front();
        }
        self.streams.push_back(Stream {
            sender,
            header,
            next_chunk: 0,
            content: Vec::new(),
        });
        None
    }

    fn position(&self, sender: &str, id: &str) -> Option<usize> {
        self.streams
            .iter()
            .position(|stream| stream.sender == sender && stream.header.stream_id == id)
    }

    fn append(&mut self, sender: &str, chunk: &Chunk) {
        let Some(position) = self.position(sender, &chunk.stream_id) else {
            return;
        };
        let stream = &mut self.streams[position];
        let fits = stream.content.len() + chunk.content.len() <= MAX_MESSAGE_BYTES;
        if !fits || chunk.chunk_index != stream.next_chunk {
            self.streams.remove(position);
            return;
        }
        stream.next_chunk += 1;
        stream.content.extend_from_slice(&chunk.content);
    }

    fn finish(&mut self, sender: &str, id: &str, reliable: bool) -> Option<DataMessage> {
        let position = self.position(sender, id)?;
        let stream = self.streams.remove(position)?;
        let content = stream.content;
        let whole = stream.header.total_length;
        if whole.is_some_and(|length| length != content.len() as u64) {
            return None;
        }
        message(stream.sender, Some(stream.header.topic), content, reliable)
    }
}

fn message(
    identity: String,
    topic: Option<String>,
    payload: Vec<u8>,
    reliable: bool,
) -> Option<DataMessage> {
    if payload.len() > MAX_MESSAGE_BYTES {
        return None;
    }
    Some(DataMessage {
        identity,
        topic: topic.unwrap_or_default(),
        payload: payload.into(),
        reliable,
    })
}

/// Servers from before the field moved to the packet fill the old one.
#[allow(deprecated, reason = "older servers fill nothing else")]
fn sender_of(sender: String, user: &proto::UserPacket) -> String {
    if sender.is_empty() {
        user.participant_identity.clone()
    } else {
        sender
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(value: Value, sequence: u32) -> Vec<u8> {
        proto::DataPacket {
            participant_identity: "creator".into(),
            participant_sid: "PA_1".into(),
            sequence,
            value: Some(value),
            ..Default::default()
        }
        .encode_to_vec()
    }

    fn user(text: &str) -> Value {
        Value::User(proto::UserPacket {
            payload: text.into(),
            topic: Some("news".into()),
            ..Default::default()
        })
    }

    fn header(id: &str, total_length: Option<u64>) -> Value {
        Value::StreamHeader(Header {
            stream_id: id.into(),
            topic: CHAT_TOPIC.into(),
            total_length,
            ..Default::default()
        })
    }

    fn chunk(id: &str, chunk_index: u64, content: &[u8]) -> Value {
        Value::StreamChunk(Chunk {
            stream_id: id.into(),
            chunk_index,
            content: content.to_vec(),
            ..Default::default()
        })
    }

    fn trailer(id: &str) -> Value {
        Value::StreamTrailer(proto::data_stream::Trailer {
            stream_id: id.into(),
            ..Default::default()
        })
    }

    #[test]
    fn a_message_comes_with_its_sender_and_topic_and_only_once() {
        let mut inbox = DataInbox::default();
        let message = inbox.take(true, &packet(user("hello"), 7)).unwrap();
        assert_eq!((&*message.identity, &*message.topic), ("creator", "news"));
        assert_eq!((&*message.payload, message.reliable), (&b"hello"[..], true));
        assert_eq!(inbox.take(true, &packet(user("hello"), 7)), None);
        assert!(inbox.take(true, &packet(user("more"), 8)).is_some());
        assert_eq!(inbox.receive_states()[0].last_seq, 8);
        // The lossy channel has no sequence to go by.
        assert!(inbox.take(false, &packet(user("now"), 0)).is_some());
        inbox.clear();
        assert!(inbox.take(true, &packet(user("hello"), 1)).is_some());
    }

    #[test]
    fn a_text_in_pieces_is_put_together() {
        let mut inbox = DataInbox::default();
        let mut take = |value| inbox.take(true, &packet(value, 0));
        assert_eq!(take(header("a", Some(6))), None);
        assert_eq!(take(header("b", None)), None);
        assert_eq!(take(chunk("a", 0, b"one")), None);
        assert_eq!(take(chunk("b", 0, b"x")), None);
        assert_eq!(take(chunk("a", 1, b"two")), None);
        let message = take(trailer("a")).unwrap();
        assert_eq!(
            (&*message.topic, &*message.payload),
            (CHAT_TOPIC, &b"onetwo"[..])
        );
        assert_eq!(take(trailer("a")), None);
        // A piece that is missing spoils the message.
        assert_eq!(take(chunk("b", 2, b"z")), None);
        assert_eq!(take(trailer("b")), None);
    }

    #[test]
    fn what_is_too_large_or_makes_no_sense_is_dropped() {
        let mut inbox = DataInbox::default();
        let large = "x".repeat(MAX_MESSAGE_BYTES + 1);
        assert_eq!(inbox.take(true, &packet(user(&large), 1)), None);
        for id in 0..10 * MAX_STREAMS {
            inbox.take(true, &packet(header(&id.to_string(), None), 0));
        }
        assert_eq!(inbox.streams.len(), MAX_STREAMS);
        let last = (10 * MAX_STREAMS - 1).to_string();
        for index in 0..100 {
            inbox.take(true, &packet(chunk(&last, index, &[0; 4096]), 0));
        }
        assert_eq!(inbox.take(true, &packet(trailer(&last), 0)), None);
        let good = packet(user("hello"), 3);
        for end in 0..good.len() {
            inbox.take(true, &good[..end]);
        }
    }
}
