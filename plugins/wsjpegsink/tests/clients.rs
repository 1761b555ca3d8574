//! Each client by itself: what is known of it, what it may ask for, and how it is sent away.

// Clippy takes only the test functions themselves for tests, not their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use futures_util::SinkExt;
use gst::prelude::*;
use std::{
    io::{ErrorKind, Read},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use support::{
    Bench, DEADLINE, answer, close_code, next, next_picture, push, raw_client, refusal, run,
};
use tokio_tungstenite::tungstenite::Message;

/// The structures in `client-stats`.
fn client_stats(bench: &Bench) -> Vec<gst::Structure> {
    let stats = bench.sink.property::<gst::Structure>("stats");
    let clients = stats.get::<gst::Array>("client-stats").unwrap();
    clients.iter().map(|one| one.get().unwrap()).collect()
}

/// Waits until the connection ends; how.
fn end_of(stream: &mut TcpStream) -> Option<ErrorKind> {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut space = vec![0; 1 << 16];
    loop {
        match stream.read(&mut space) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(error.kind()),
        }
    }
}

#[test]
fn statistics_tell_of_each_client() {
    let bench = Bench::new().play();
    let source = bench.feed();
    run(async {
        let mut binary = bench.client("/ws").await;
        bench.wait_for_clients(1);
        let mut json = bench.client("/stream?max_fps=0.01").await;
        bench.wait_for_clients(2);
        for number in 0..20 {
            push(&source, number, 1_000);
            assert_eq!(next_picture(&mut binary).await, number);
        }
        while !matches!(next(&mut json).await, Message::Text(text) if text.contains("video_frame"))
        {
        }
        // A picture is counted when its last byte was taken, which may be after it was read.
        let counted = async || {
            loop {
                let [binary, json] = <[gst::Structure; 2]>::try_from(client_stats(&bench)).unwrap();
                let sent = |client: &gst::Structure| client.get::<u64>("frames-sent").unwrap();
                if (sent(&binary), sent(&json)) == (20, 1) {
                    return [binary, json];
                }
                tokio::task::yield_now().await;
            }
        };
        for (client, protocol) in counted().await.iter().zip(["binary", "json"]) {
            assert_eq!(client.get::<&str>("protocol"), Ok(protocol));
            let address = client.get::<&str>("address").unwrap();
            assert!(address.starts_with("127.0.0.1:"), "{address}");
            assert!(client.get::<u64>("bytes-sent").unwrap() > 1_000);
            assert_eq!(client.get::<u64>("audio-sent"), Ok(0));
            assert_eq!(client.get::<u64>("audio-lagged"), Ok(0));
            let connected = client.get::<gst::ClockTime>("connected-for").unwrap();
            assert!(connected > gst::ClockTime::ZERO && connected.seconds() < 30);
        }
        let [binary, json] = counted().await;
        let id = |client: &gst::Structure| client.get::<u64>("id").unwrap();
        assert!(id(&binary) < id(&json));
        assert_eq!(binary.get::<u64>("frames-skipped"), Ok(0));
    });
    let stats = bench.sink.property::<gst::Structure>("stats");
    assert_eq!(stats.get::<u64>("frames-published"), Ok(20));
    assert_eq!(stats.get::<u64>("frames-sent"), Ok(21));
    assert_eq!(stats.get::<u64>("messages-built"), Ok(21));
    assert!(stats.get::<u64>("bytes-sent").unwrap() > 21_000);
}

#[test]
fn a_client_can_be_dropped_by_its_number() {
    let bench = Bench::new().play();
    run(async {
        let mut first = bench.client("/ws").await;
        bench.wait_for_clients(1);
        let mut second = bench.client("/ws").await;
        bench.wait_for_clients(2);
        let id = client_stats(&bench)[0].get::<u64>("id").unwrap();
        assert!(bench.sink.emit_by_name::<bool>("drop-client", &[&id]));
        assert_eq!(close_code(&mut first).await, 1008);
        drop(first);
        bench.wait_for_clients(1);
        assert!(!bench.sink.emit_by_name::<bool>("drop-client", &[&id]));
        let source = bench.feed();
        push(&source, 1, 100);
        assert_eq!(next_picture(&mut second).await, 1);
    });
}

#[test]
fn a_client_that_takes_nothing_is_dropped_and_its_connection_reset() {
    let bench = Bench::new();
    bench.sink.set_property("client-timeout", 300u32);
    let bench = bench.play();
    let source = bench.feed();
    let mut stuck = raw_client(bench.port(), "/ws");
    bench.wait_for_clients(1);
    let begin = Instant::now();
    let mut number = 0;
    while bench.sink.property::<u32>("clients") > 0 {
        push(&source, number, 500_000);
        number += 1;
        assert!(begin.elapsed() < DEADLINE, "it is still there");
        std::thread::yield_now();
    }
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert_eq!(end_of(&mut stuck), Some(ErrorKind::ConnectionReset));
}

#[test]
fn a_dead_peer_is_found_by_its_missing_pongs() {
    let bench = Bench::new();
    bench.sink.set_property("ping-interval", 100u32);
    let bench = bench.play();
    let begin = Instant::now();
    // Reads, but answers nothing: as a peer whose program hangs, or whose machine is gone.
    let mut dead = raw_client(bench.port(), "/ws");
    bench.wait_for_clients(1);
    run(async {
        let mut alive = bench.client("/ws").await;
        let mut pings = 0;
        while bench.sink.property::<u32>("clients") != 1 || pings < 8 {
            pings += u32::from(matches!(next(&mut alive).await, Message::Ping(_)));
        }
    });
    assert!(begin.elapsed() >= Duration::from_millis(300));
    end_of(&mut dead);
}

#[test]
fn a_text_ping_is_answered_on_both_protocols() {
    let bench = Bench::new().play();
    run(async {
        for path in ["/ws", "/stream"] {
            let mut client = bench.client(path).await;
            client.send(Message::text("nonsense")).await.unwrap();
            client.send(Message::text("ping")).await.unwrap();
            while !matches!(next(&mut client).await, Message::Text(text) if text == "pong") {}
        }
    });
}

#[test]
fn a_client_gets_the_rate_of_pictures_and_the_sound_that_it_asked_for() {
    let launch = "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=50/1 \
         ! jpegenc ! wsjpegsink name=s async=false \
         audiotestsrc is-live=true samplesperbuffer=480 ! audio/x-raw,rate=48000,channels=1 ! s.audio";
    support::init();
    let pipeline = gst::parse::launch(launch).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("s").unwrap();
    let bench = Bench { pipeline, sink }.play();
    run(async {
        let mut quiet = bench.client("/ws?audio=off&max_fps=10&max_width=320").await;
        let mut rich = bench.client("/stream?audio=48000&channels=2").await;
        let (mut times, mut chunks) = (Vec::new(), 0);
        while times.len() < 6 || chunks < 20 {
            tokio::select! {
                message = next(&mut quiet) => match message {
                    Message::Binary(_) => times.push(Instant::now()),
                    Message::Text(text) => assert!(text.starts_with("status:"), "{text}"),
                    _ => {}
                },
                message = next(&mut rich) => {
                    let Message::Text(text) = message else { continue };
                    let object: serde_json::Value = serde_json::from_str(&text).unwrap();
                    if object["type"] == "audio_frame" {
                        assert_eq!((&object["sample_rate"], &object["channels"]), (&48_000.into(), &2.into()));
                        assert_eq!(object["data"].as_str().unwrap().len(), 5_120);
                        chunks += 1;
                    }
                }
            }
        }
        // Five steps of 100 ms; the first comes at once, a busy machine makes it longer only.
        let took = times[5] - times[0];
        assert!(took > Duration::from_millis(400), "{took:?}");
        let stats = client_stats(&bench);
        assert!(stats[0].get::<u64>("frames-skipped").unwrap() > 10);
        for query in ["max_fps=0", "max_width=100", "audio=on", "channels=3"] {
            let path = format!("/ws?{query}");
            assert_eq!(refusal(bench.port(), &path, &[]).await, 422);
        }
    });
}

#[test]
fn an_application_encodes_only_while_somebody_watches() {
    support::init();
    let launch = "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=100/1 \
         ! valve name=valve drop=true ! jpegenc name=encoder ! wsjpegsink name=s async=false";
    let pipeline = gst::parse::launch(launch).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let (valve, encoder) = (
        pipeline.by_name("valve").unwrap(),
        pipeline.by_name("encoder").unwrap(),
    );
    let sink = pipeline.by_name("s").unwrap();
    let bench = Bench { pipeline, sink };
    let into_encoder = encoder.static_pad("sink").unwrap();
    let encoded = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&encoded);
    into_encoder.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    let offered = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&offered);
    let into_valve = valve.static_pad("sink").unwrap();
    into_valve.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        seen.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    let gate = valve.clone();
    bench.sink.connect_notify(Some("clients"), move |sink, _| {
        gate.set_property("drop", sink.property::<u32>("clients") == 0);
    });
    let bench = bench.play();
    let ten_more = |counter: &AtomicU64| {
        let (begin, now) = (Instant::now(), counter.load(Ordering::Relaxed));
        while counter.load(Ordering::Relaxed) < now + 10 {
            assert!(begin.elapsed() < DEADLINE, "nothing flows");
            std::thread::yield_now();
        }
    };
    ten_more(&offered);
    assert_eq!(encoded.load(Ordering::Relaxed), 0);
    for _ in 0..3 {
        run(async {
            let mut client = bench.client("/ws").await;
            for _ in 0..5 {
                while !matches!(next(&mut client).await, Message::Binary(_)) {}
            }
        });
        bench.wait_for_clients(0);
        // One may have been past the valve.
        ten_more(&offered);
        let still = encoded.load(Ordering::Relaxed);
        ten_more(&offered);
        assert_eq!(encoded.load(Ordering::Relaxed), still);
    }
}

#[test]
fn other_methods_are_told_which_are_allowed() {
    let bench = Bench::new().play();
    let ask = |method: &str, path: &str| {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        answer(bench.port(), request.as_bytes())
    };
    let page = ask("POST", "/");
    assert!(page.starts_with("HTTP/1.1 405"), "{page}");
    assert!(page.contains("allow: GET, HEAD\r\n"), "{page}");
    let socket = ask("POST", "/ws");
    assert!(socket.starts_with("HTTP/1.1 405"), "{socket}");
    assert!(socket.contains("allow: GET\r\n"), "{socket}");
    let head = ask("HEAD", "/");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "no body: {head}");
}
