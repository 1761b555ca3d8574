//! The element in pipelines, with real clients.

// Clippy takes only the test functions themselves for tests, not their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use gst::prelude::*;
use std::{collections::BTreeSet, process::Command, sync::mpsc};
use support::{
    Bench, Client, DEADLINE, answer, close_code, connect, init, next, next_picture, number,
    picture, push, raw_client, refusal, run,
};
use tokio_tungstenite::tungstenite::Message;

#[test]
fn a_fresh_element_has_its_declared_defaults() {
    init();
    let sink = gst::ElementFactory::make("wsjpegsink").build().unwrap();
    let own = sink.list_properties();
    let own = own
        .iter()
        .filter(|pspec| pspec.owner_type() == sink.type_());
    let mut seen = 0;
    for pspec in own.filter(|pspec| pspec.flags().contains(gst::glib::ParamFlags::WRITABLE)) {
        let (value, default) = (sink.property_value(pspec.name()), pspec.default_value());
        let same = format!("{value:?}") == format!("{default:?}");
        assert!(same, "{}: {value:?} is not {default:?}", pspec.name());
        assert!(pspec.blurb().is_some_and(|blurb| blurb.len() > 20));
        seen += 1;
    }
    assert!(seen >= 13, "{seen} properties");
}

#[test]
fn the_document_names_every_property_signal_and_statistic_with_its_default() {
    init();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/elements/wsjpegsink.md"
    );
    let document = std::fs::read_to_string(path).unwrap();
    let sink = gst::ElementFactory::make("wsjpegsink").build().unwrap();
    for pspec in sink.list_properties() {
        if pspec.owner_type() != sink.type_() {
            continue;
        }
        let row = format!("| `{}` |", pspec.name());
        let row = document.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("{} has no row", pspec.name()));
        if pspec.flags().contains(gst::glib::ParamFlags::WRITABLE) {
            let default = pspec.default_value();
            let default = match default.get::<Option<String>>() {
                Ok(None) => "NULL".to_owned(),
                Ok(Some(text)) if text.is_empty() => "empty".to_owned(),
                _ => default.serialize().unwrap().to_string(),
            };
            let written = row.split('|').nth(2).unwrap().trim().trim_matches('`');
            assert_eq!(written.replace(',', ""), default, "{row}");
        }
    }
    for signal in ["client-added", "client-removed", "drop-client"] {
        let known = gst::glib::subclass::SignalId::lookup(signal, sink.type_());
        assert!(
            known.is_some() && document.contains(&format!("- `{signal} (")),
            "{signal}"
        );
    }
    let bench = Bench::new().play();
    run(async {
        let _client = bench.client("/ws").await;
        bench.wait_for_clients(1);
        let stats = bench.sink.property::<gst::Structure>("stats");
        let clients = stats.get::<gst::Array>("client-stats").unwrap();
        let client = clients[0].get::<gst::Structure>().unwrap();
        for field in stats.fields().chain(client.fields()) {
            assert!(document.contains(&format!("| `{field}` |")), "{field}");
        }
    });
}

/// Takes five pictures and five chunks of sound by the binary protocol.
async fn watch_binary(binary: &mut Client) {
    let (mut pictures, mut sounds) = (0, 0);
    while pictures < 5 || sounds < 5 {
        match next(binary).await {
            Message::Binary(jpeg) => {
                assert!(jpeg.starts_with(&[0xFF, 0xD8]) && jpeg.ends_with(&[0xFF, 0xD9]));
                pictures += 1;
            }
            Message::Text(text) if text.starts_with("audio:") => {
                assert_eq!(text.len(), 6 + 2_352);
                sounds += 1;
            }
            Message::Text(text) => assert!(text.starts_with("status:{")),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn both_protocols_show_the_same_pictures_and_sound() {
    init();
    let pipeline = gst::parse::launch(
        "videotestsrc is-live=true ! video/x-raw,width=320,height=180,framerate=30/1 ! jpegenc \
         ! wsjpegsink name=s stream-name=demo \
         audiotestsrc is-live=true samplesperbuffer=1000 ! audio/x-raw,rate=44100,channels=1 ! s.audio",
    );
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("s").unwrap();
    let bench = Bench { pipeline, sink }.play();
    run(async {
        let mut json = bench.client("/api/live-sessions/stream/demo").await;
        let mut binary = bench.client("/api/live-sessions/ws/live/demo").await;
        let (mut seqs, mut times) = (Vec::new(), Vec::new());
        while seqs.len() < 10 || times.len() < 10 {
            let Message::Text(text) = next(&mut json).await else {
                continue;
            };
            let object: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(object["mint_id"], "demo");
            match object["type"].as_str().unwrap() {
                "video_frame" => {
                    assert_eq!(
                        (&object["width"], &object["height"]),
                        (&320.into(), &180.into())
                    );
                    assert!(object["data"].as_str().unwrap().starts_with("/9j/"));
                    seqs.push(object["seq"].as_u64().unwrap());
                }
                "audio_frame" => {
                    assert_eq!(object["sample_rate"], 44_100);
                    assert_eq!(object["data"].as_str().unwrap().len(), 2_352);
                    times.push(object["pts_ms"].as_u64().unwrap());
                }
                _ => assert!(["live", "waiting"].contains(&object["state"].as_str().unwrap())),
            }
        }
        assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{seqs:?}");
        assert!(
            times
                .windows(2)
                .all(|pair| (19..=21).contains(&(pair[1] - pair[0]))),
            "{times:?}"
        );
        watch_binary(&mut binary).await;
    });
    let stats = bench.sink.property::<gst::Structure>("stats");
    assert!(stats.get::<u64>("frames-sent").unwrap() >= 15);
    assert!(stats.get::<u64>("audio-chunks").unwrap() >= 15);
}

#[test]
fn a_late_joiner_gets_the_last_picture_at_once() {
    let bench = Bench::new().play();
    let source = bench.feed();
    run(async {
        let mut first = bench.client("/ws").await;
        push(&source, 7, 100);
        assert_eq!(next_picture(&mut first).await, 7);
        let mut late = bench.client("/ws").await;
        assert_eq!(next_picture(&mut late).await, 7);
    });
}

#[test]
fn a_stalled_client_does_not_hurt_others() {
    let bench = Bench::new().play();
    let source = bench.feed();
    let _stalled = raw_client(bench.port(), "/ws");
    bench.wait_for_clients(1);
    run(async {
        let mut other = bench.client("/ws").await;
        bench.wait_for_clients(2);
        // Some 30 MB: no kernel takes that for a client that reads nothing.
        for number in 0..150 {
            push(&source, number, 200_000);
            assert_eq!(next_picture(&mut other).await, number);
        }
    });
}

#[test]
fn a_port_in_use_is_one_error_that_names_it() {
    let first = Bench::new().play();
    let second = Bench::new();
    second.sink.set_property("port", u32::from(first.port()));
    assert!(second.pipeline.set_state(gst::State::Playing).is_err());
    let message = second.wait_for(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else {
        unreachable!();
    };
    assert!(error.error().matches(gst::ResourceError::Busy));
    let text = error.error().to_string();
    assert!(
        text.contains(&format!("127.0.0.1:{}", first.port())),
        "{text}"
    );
    drop(first);
    second.pipeline.set_state(gst::State::Null).unwrap();
    second.pipeline.set_state(gst::State::Playing).unwrap();
}

#[test]
fn an_origin_that_is_none_is_a_settings_error() {
    let bench = Bench::new();
    bench
        .sink
        .set_property("origins", "https://fine.example, nonsense");
    assert!(bench.pipeline.set_state(gst::State::Playing).is_err());
    let message = bench.wait_for(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else {
        unreachable!();
    };
    assert!(error.error().matches(gst::LibraryError::Settings));
    assert!(error.error().to_string().contains("nonsense"));
}

#[test]
fn bytes_that_are_no_request_end_their_connection_only() {
    let bench = Bench::new().play();
    let source = bench.feed();
    let port = bench.port();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"\r\n\r\nnonsense\r\n\r\n",
    ] {
        let answer = answer(port, bytes);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    let long = [b"GET /".to_vec(), vec![b'a'; 100_000]].concat();
    let refused = answer(port, &long);
    assert!(
        refused.is_empty() || refused.starts_with("HTTP/1.1 4"),
        "{refused}"
    );
    run(async {
        let mut client = bench.client("/ws").await;
        push(&source, 1, 100);
        assert_eq!(next_picture(&mut client).await, 1);
    });
}

#[test]
fn foreign_pages_and_foreign_names_are_refused() {
    let bench = Bench::new();
    bench.sink.set_property("origins", "https://tv.example");
    let bench = bench.play();
    let port = bench.port();
    run(async {
        let origin = |origin| [("origin", origin)];
        assert_eq!(
            refusal(port, "/ws", &origin("http://evil.example")).await,
            403
        );
        assert_eq!(refusal(port, "/ws", &origin("null")).await, 403);
        let own = format!("http://127.0.0.1:{port}");
        for allowed in ["https://tv.example", "http://localhost:5173", &own] {
            connect(port, "/ws", &origin(allowed)).await.unwrap();
        }
        let rebound = [("host", "evil.example"), ("origin", "http://evil.example")];
        assert_eq!(refusal(port, "/ws", &rebound).await, 421);
        assert_eq!(refusal(port, "/nothing", &[]).await, 404);
        assert_eq!(refusal(port, "/relay", &[]).await, 404);
        assert_eq!(refusal(port, "/ws?max_fps=0", &[]).await, 422);
    });
}

#[test]
fn the_page_is_served_with_its_policy_and_errors_are_json() {
    let bench = Bench::new().play();
    let get = |path: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        answer(bench.port(), request.as_bytes())
    };
    let page = get("/");
    assert!(page.starts_with("HTTP/1.1 200"));
    assert!(page.contains("content-security-policy: default-src 'none'"));
    assert!(page.contains("<canvas") && page.contains("viewer.js"));
    assert!(get("/viewer.js").contains("text/javascript"));
    assert!(get("/viewer.css").contains("text/css"));
    let missing = get("/etc/passwd");
    assert!(missing.starts_with("HTTP/1.1 404"));
    assert!(missing.contains(r#""success":false"#) && missing.contains(r#""code":"not_found""#));
    assert!(get("/ws").starts_with("HTTP/1.1 426"));
}

#[test]
fn a_path_of_ones_own_is_honoured() {
    let bench = Bench::new();
    bench.sink.set_property("path", "/cam/1");
    let bench = bench.play();
    run(async {
        bench.client("/cam/1/ws").await;
        bench.client("/cam/1/api/live-sessions/stream/x").await;
        assert_eq!(refusal(bench.port(), "/ws", &[]).await, 404);
    });
}

#[test]
fn the_end_of_the_stream_sends_viewers_away_and_a_flush_begins_anew() {
    let bench = Bench::new().play();
    let source = bench.feed();
    run(async {
        let mut client = bench.client("/ws").await;
        push(&source, 1, 100);
        assert_eq!(next_picture(&mut client).await, 1);
        source.end_of_stream().unwrap();
        let Message::Text(status) = next(&mut client).await else {
            panic!("no status before the close");
        };
        assert!(status.contains(r#""state":"ended""#), "{status}");
        assert_eq!(close_code(&mut client).await, 1000);
        let mut late = bench.client("/ws").await;
        assert_eq!(close_code(&mut late).await, 1000);

        bench.wait_for(gst::MessageType::Eos);
        bench.remove(source);
        let pad = bench.sink.static_pad("sink").unwrap();
        assert!(pad.send_event(gst::event::FlushStart::new()));
        assert!(pad.send_event(gst::event::FlushStop::new(true)));
        let source = bench.feed();
        push(&source, 2, 100);
        // Until it has arrived, a client may still be told that the stream has ended.
        let mut again = loop {
            let mut client = bench.client("/ws").await;
            if matches!(next(&mut client).await, Message::Text(text) if text.contains("live")) {
                break client;
            }
        };
        assert_eq!(next_picture(&mut again).await, 2);
    });
}

#[test]
fn clients_are_known_while_no_data_flows_and_inputs_come_and_go() {
    let bench = Bench::new().play();
    let (state, _, _) = bench.pipeline.state(gst::ClockTime::NONE);
    state.unwrap();
    run(async {
        let mut client = bench.client("/ws").await;
        bench.wait_for_clients(1);
        let mut shown = 0;
        for _ in 0..3 {
            let source = bench.feed();
            for _ in 0..3 {
                shown += 1;
                push(&source, shown, 100);
                assert_eq!(next_picture(&mut client).await, shown);
            }
            bench.remove(source);
        }
        drop(client);
        bench.wait_for_clients(0);
    });
}

#[test]
fn an_audio_pad_comes_and_goes_while_pictures_flow() {
    let bench = Bench::new().play();
    let source = bench.feed();
    run(async {
        let mut client = bench.client("/ws").await;
        for round in 0..3 {
            let caps = "audio/x-raw,format=S16LE,layout=interleaved,rate=48000,channels=2";
            let tone = gst::parse::bin_from_description(
                &format!("audiotestsrc is-live=true ! capsfilter caps={caps}"),
                true,
            );
            let tone = tone.unwrap();
            bench.pipeline.add(&tone).unwrap();
            let pad = bench.sink.request_pad_simple("audio").unwrap();
            tone.static_pad("src").unwrap().link(&pad).unwrap();
            tone.sync_state_with_parent().unwrap();
            let (mut picture, mut sound) = (false, false);
            push(&source, round, 100);
            while !picture || !sound {
                match next(&mut client).await {
                    Message::Binary(_) => picture = true,
                    Message::Text(text) => sound |= text.starts_with("audio:"),
                    other => panic!("{other:?}"),
                }
            }
            tone.set_state(gst::State::Null).unwrap();
            bench.pipeline.remove(&tone).unwrap();
            bench.sink.release_request_pad(&pad);
            assert_eq!(bench.sink.pads().len(), 1);
        }
    });
}

#[test]
fn what_is_no_picture_is_passed_over() {
    let bench = Bench::new().play();
    let source = bench.feed();
    run(async {
        let mut client = bench.client("/ws").await;
        bench.wait_for_clients(1);
        for bytes in [&b""[..], b"no picture", &picture(1, 0)[..10]] {
            source
                .push_buffer(gst::Buffer::from_slice(bytes.to_vec()))
                .unwrap();
        }
        push(&source, 2, 100);
        assert_eq!(next_picture(&mut client).await, 2);
    });
    let stats = bench.sink.property::<gst::Structure>("stats");
    assert_eq!(stats.get::<u64>("frames-malformed"), Ok(3));
}

#[test]
fn signals_tell_of_every_client() {
    let bench = Bench::new();
    let (events, received) = mpsc::channel();
    for name in ["client-added", "client-removed"] {
        let events = events.clone();
        bench.sink.connect(name, false, move |values| {
            let (id, address): (u64, String) = (values[1].get().unwrap(), values[2].get().unwrap());
            events.send((name, id, address)).unwrap();
            None
        });
    }
    let bench = bench.play();
    run(async {
        let clients = [bench.client("/ws").await, bench.client("/stream").await];
        let added: Vec<_> = (0..2)
            .map(|_| received.recv_timeout(DEADLINE).unwrap())
            .collect();
        assert!(added.iter().all(|(name, _, address)| {
            *name == "client-added" && address.starts_with("127.0.0.1:")
        }));
        drop(clients);
        let removed: Vec<_> = (0..2)
            .map(|_| received.recv_timeout(DEADLINE).unwrap())
            .collect();
        assert!(removed.iter().all(|(name, ..)| *name == "client-removed"));
        let ids = |events: &[(&str, u64, String)]| {
            events.iter().map(|(_, id, _)| *id).collect::<BTreeSet<_>>()
        };
        assert_eq!(ids(&added), ids(&removed));
        assert_eq!(ids(&added).len(), 2);
    });
}

#[test]
fn when_all_places_are_taken_the_next_is_closed_with_1013() {
    let bench = Bench::new();
    bench.sink.set_property("max-clients", 1u32);
    let bench = bench.play();
    run(async {
        let first = bench.client("/ws").await;
        bench.wait_for_clients(1);
        assert_eq!(close_code(&mut bench.client("/ws").await).await, 1013);
        drop(first);
        bench.wait_for_clients(0);
        let source = bench.feed();
        push(&source, 1, 100);
        assert_eq!(next_picture(&mut bench.client("/ws").await).await, 1);
    });
}

#[test]
fn a_stop_closes_viewers_with_1001() {
    let bench = Bench::new().play();
    run(async {
        let mut client = bench.client("/ws").await;
        bench.wait_for_clients(1);
        let pipeline = bench.pipeline.clone();
        let stop = tokio::task::spawn_blocking(move || pipeline.set_state(gst::State::Null));
        assert_eq!(close_code(&mut client).await, 1001);
        drop(client);
        stop.await.unwrap().unwrap();
        assert_eq!(bench.sink.property::<u32>("clients"), 0);
    });
}

#[test]
fn gst_launch_shows_a_picture() {
    // The plugin as it is installed: cargo puts it beside the folder of this test.
    let test = std::env::current_exe().unwrap();
    let plugins = test.parent().and_then(|deps| deps.parent()).unwrap();
    assert!(plugins.join("libgstwsjpegsink.so").exists(), "{plugins:?}");
    let folder = tempfile::tempdir().unwrap();
    let launch = "videotestsrc num-buffers=5 ! jpegenc ! wsjpegsink sync=false";
    let output = Command::new("gst-launch-1.0")
        .args(launch.split(' '))
        .env("GST_PLUGIN_PATH", plugins)
        .env("GST_REGISTRY", folder.path().join("registry.bin"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("Got EOS"), "{text}");
    assert_eq!(number(&picture(5, 100)), 5);
}
