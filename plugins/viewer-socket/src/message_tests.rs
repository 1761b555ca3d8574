use super::*;
use crate::{MalformedRelay, RelayMessage, decode_relay, relay_codec::RELAY_HEADER_BYTES};

fn video_wire(frame: VideoFrame, protocol: Protocol, name: &str) -> Bytes {
    VideoMessage::new(frame).wire(protocol, name, &AtomicU64::new(0))
}

fn video(size: usize) -> VideoFrame {
    VideoFrame {
        jpeg: (0..size).map(|n| n as u8).collect::<Vec<_>>().into(),
        width: 1280,
        height: 720,
        pts: Duration::from_millis(1_234),
        timestamp: "2026-11-21T12:00:00.5Z".parse().unwrap(),
        seq: 42,
    }
}

fn audio() -> AudioChunk {
    AudioChunk {
        pcm: Bytes::from(vec![7u8; 1764]),
        sample_rate: 44_100,
        channels: 1,
        pts: Duration::from_millis(20),
        timestamp: "2026-11-21T12:00:00Z".parse().unwrap(),
    }
}

/// The opcode and payload of one complete frame, by the letter of RFC 6455.
fn take_apart(wire: &Bytes) -> (u8, Bytes) {
    assert_eq!(wire[0] & 0xF0, 0x80, "final, no extension bits");
    let (start, length) = match wire[1] {
        127 => (
            10,
            u64::from_be_bytes(wire[2..10].try_into().unwrap()) as usize,
        ),
        126 => (4, usize::from(u16::from_be_bytes([wire[2], wire[3]]))),
        short => (2, usize::from(short)),
    };
    assert_eq!(wire.len(), start + length);
    (wire[0] & 0x0F, wire.slice(start..))
}

#[test]
fn json_video_has_the_contracts_fields() {
    for size in [0, 1, 2, 3, 50, 126, 40_000, 100_000] {
        let frame = video(size);
        let wire = video_wire(frame.clone(), Protocol::Json, "a\"b");
        let (opcode, payload) = take_apart(&wire);
        assert_eq!(opcode, OPCODE_TEXT);
        let object: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        let expected = serde_json::json!({
            "type": "video_frame", "data": STANDARD.encode(&frame.jpeg), "mint_id": "a\"b",
            "timestamp": "2026-11-21T12:00:00.500Z", "width": 1280, "height": 720,
            "pts_ms": 1234, "seq": 42,
        });
        assert_eq!(object, expected);
    }
}

#[test]
fn json_audio_has_the_contracts_fields() {
    let (_, payload) = take_apart(&AudioMessage::new(audio()).wire(Protocol::Json, "demo"));
    let object: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    let expected = serde_json::json!({
        "type": "audio_frame", "data": STANDARD.encode(audio().pcm), "mint_id": "demo",
        "timestamp": "2026-11-21T12:00:00.000Z", "sample_rate": 44100, "channels": 1, "pts_ms": 20,
    });
    assert_eq!(object, expected);
}

#[test]
fn binary_video_is_the_jpeg_itself() {
    for size in [0, 125, 126, 65_535, 65_536] {
        let (opcode, payload) = take_apart(&video_wire(video(size), Protocol::Binary, "demo"));
        assert_eq!((opcode, payload), (OPCODE_BINARY, video(size).jpeg));
    }
}

#[test]
fn binary_audio_and_status_are_prefixed_text() {
    let (opcode, payload) = take_apart(&AudioMessage::new(audio()).wire(Protocol::Binary, "demo"));
    assert_eq!(opcode, OPCODE_TEXT);
    let encoded = payload.strip_prefix(b"audio:").unwrap();
    assert_eq!(STANDARD.decode(encoded).unwrap(), audio().pcm);

    let wire = status_wire(&State::Reconnecting.into(), Protocol::Binary, "demo");
    let (opcode, payload) = take_apart(&wire);
    assert_eq!(opcode, OPCODE_TEXT);
    let object: serde_json::Value =
        serde_json::from_slice(payload.strip_prefix(b"status:").unwrap()).unwrap();
    let expected =
        serde_json::json!({"type": "status", "state": "reconnecting", "mint_id": "demo"});
    assert_eq!(object, expected);
}

#[test]
fn a_message_is_built_once() {
    let message = VideoMessage::new(video(5_000));
    let built = AtomicU64::new(0);
    for (count, protocol) in [Protocol::Json, Protocol::Binary, Protocol::Relay]
        .into_iter()
        .enumerate()
    {
        let first = message.wire(protocol, "demo", &built);
        let second = message.wire(protocol, "demo", &built);
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_eq!(built.load(Ordering::Relaxed), count as u64 + 1);
    }
}

#[test]
fn relay_messages_survive_the_wire_without_a_copy() {
    let wire = video_wire(video(9_000), Protocol::Relay, "demo");
    let (_, payload) = take_apart(&wire);
    let decoded = decode_relay(&payload).unwrap();
    assert_eq!(decoded, RelayMessage::Video(video(9_000)));
    if let RelayMessage::Video(frame) = decoded {
        assert_eq!(frame.jpeg.as_ptr(), payload[RELAY_HEADER_BYTES..].as_ptr());
    }
    let (_, payload) = take_apart(&AudioMessage::new(audio()).wire(Protocol::Relay, "demo"));
    assert_eq!(decode_relay(&payload), Ok(RelayMessage::Audio(audio())));
}

#[test]
fn every_cut_and_every_flipped_byte_of_a_relay_message_is_survived() {
    for wire in [
        video_wire(video(100), Protocol::Relay, ""),
        AudioMessage::new(audio()).wire(Protocol::Relay, ""),
    ] {
        let (_, payload) = take_apart(&wire);
        for end in 0..payload.len() {
            let decoded = decode_relay(&payload.slice(..end));
            if end < RELAY_HEADER_BYTES {
                assert_eq!(decoded, Err(MalformedRelay::TooShort(end)));
            }
        }
        for at in 0..RELAY_HEADER_BYTES {
            for value in [0x00, 0x7F, 0x80, 0xFF] {
                let mut bytes = payload.to_vec();
                bytes[at] = value;
                let _ = decode_relay(&bytes.into());
            }
        }
    }
}

#[test]
fn a_long_close_reason_is_cut_between_characters() {
    let (opcode, payload) = take_apart(&close_frame(4404, &"é".repeat(100)));
    assert_eq!(opcode, OPCODE_CLOSE);
    assert!(payload.len() <= 125);
    assert_eq!(payload[..2], 4404u16.to_be_bytes());
    assert_eq!(std::str::from_utf8(&payload[2..]).unwrap(), "é".repeat(61));
}

#[test]
fn a_status_with_further_fields_is_read_back() {
    let mut status = Status::from(State::Ended);
    status.extra.insert("reason".into(), "stopped".into());
    let (_, payload) = take_apart(&status_wire(&status, Protocol::Relay, "demo"));
    let read: Status = serde_json::from_slice(&payload).unwrap();
    assert_eq!(read.state, State::Ended);
    assert_eq!(read.extra["reason"], "stopped");
}
