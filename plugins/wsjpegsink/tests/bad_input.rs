//! What comes in wrong, from the network and from the pipeline: it ends what sent it, and no more.

// Clippy takes only the test functions themselves for tests, not their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use gst::prelude::*;
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};
use support::{Bench, DEADLINE, init, next_picture, push, raw_client, run};

/// A masked frame of a client's.
fn frame(opcode: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode, 0x80 | 127];
    bytes.extend((length as u64).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.resize(bytes.len() + length, b'x');
    bytes
}

/// The close code in all that the server still says.
fn close_code(stream: &mut TcpStream) -> Option<u16> {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut said = Vec::new();
    // Reset, where the server doesn't read what comes after its close.
    _ = stream.read_to_end(&mut said);
    let close = said.windows(2).position(|two| two[0] == 0x88)?;
    let code = said.get(close + 2..close + 4)?;
    Some(u16::from_be_bytes([code[0], code[1]]))
}

/// Others watch on.
fn assert_watched(bench: &Bench) {
    let source = bench.feed();
    run(async {
        let mut client = bench.client("/ws?audio=off").await;
        push(&source, 7, 100);
        assert_eq!(next_picture(&mut client).await, 7);
    });
    bench.remove(source);
}

#[test]
fn a_client_that_hardly_says_a_byte_is_cut_off_before_it_is_one() {
    let bench = Bench::new().play();
    let begin = Instant::now();
    let mut slow = TcpStream::connect(("127.0.0.1", bench.port())).unwrap();
    slow.write_all(b"G").unwrap();
    let mut silent = TcpStream::connect(("127.0.0.1", bench.port())).unwrap();
    assert_watched(&bench);
    for stream in [&mut slow, &mut silent] {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // Cut off, with or without a word.
        _ = stream.read_to_end(&mut Vec::new());
    }
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(9), "{took:?}");
    assert!(took < DEADLINE, "{took:?}");
    assert_watched(&bench);
}

#[test]
fn ten_megabytes_in_one_message_are_closed_with_1009_and_not_kept() {
    let bench = Bench::new().play();
    let mut rude = raw_client(bench.port(), "/ws");
    bench.wait_for_clients(1);
    // The server says so after the header, and may hang up while the rest still comes.
    let mut copy = rude.try_clone().unwrap();
    let sender = std::thread::spawn(move || copy.write_all(&frame(2, 10 << 20)));
    assert_eq!(close_code(&mut rude), Some(1009));
    drop(rude);
    bench.wait_for_clients(0);
    _ = sender.join().unwrap();
    assert_watched(&bench);
}

#[test]
fn bytes_that_are_no_websocket_are_closed_with_1002() {
    let bench = Bench::new().play();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x81\x04ping",
        &[0xFF; 64],
        &frame(3, 4),
    ] {
        let mut rude = raw_client(bench.port(), "/stream");
        bench.wait_for_clients(1);
        rude.write_all(bytes).unwrap();
        assert_eq!(close_code(&mut rude), Some(1002), "{bytes:?}");
        drop(rude);
        bench.wait_for_clients(0);
    }
    assert_watched(&bench);
}

#[test]
fn a_body_that_never_comes_holds_nothing_up() {
    let bench = Bench::new().play();
    let mut stream = TcpStream::connect(("127.0.0.1", bench.port())).unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n")
        .unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut said = Vec::new();
    _ = stream.read_to_end(&mut said);
    assert!(said.starts_with(b"HTTP/1.1 405"), "{said:?}");
}

#[test]
fn wrong_caps_are_not_negotiated() {
    init();
    for launch in [
        "videotestsrc ! wsjpegsink",
        "videotestsrc ! pngenc ! wsjpegsink",
        "audiotestsrc ! audio/x-raw,format=F32LE ! wsjpegsink name=s s.audio",
    ] {
        // Either the link or the caps fail, and it is told on the bus of what is made.
        let Ok(pipeline) = gst::parse::launch(launch) else {
            continue;
        };
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let playing = pipeline.set_state(gst::State::Playing);
        let bus = pipeline.bus().unwrap();
        let limit = gst::ClockTime::from_seconds(DEADLINE.as_secs());
        let failed = bus.timed_pop_filtered(limit, &[gst::MessageType::Error]);
        pipeline.set_state(gst::State::Null).unwrap();
        assert!(failed.is_some(), "{launch}: {playing:?}");
    }
    let bench = Bench::new().play();
    let pad = bench.sink.static_pad("sink").unwrap();
    let caps = gst::Caps::builder("video/x-h264").build();
    assert!(!pad.query_accept_caps(&caps));
    let audio = bench.sink.request_pad_simple("audio").unwrap();
    for caps in [
        "audio/x-raw,format=F32LE,rate=48000,channels=2,layout=interleaved",
        "audio/x-raw,format=S16LE,rate=48000,channels=6,layout=interleaved",
        "audio/x-raw,format=S16LE,rate=48000,channels=2,layout=non-interleaved",
    ] {
        let caps: gst::Caps = caps.parse().unwrap();
        assert!(!audio.query_accept_caps(&caps), "{caps}");
    }
}
