//! What clients get while the pipeline runs, changes and ends.

use crate::support::{
    Bench, Client, close_code, init, next, next_picture, picture, push, raw_client, run,
};
use gst::prelude::*;
use tokio_tungstenite::tungstenite::Message;

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
