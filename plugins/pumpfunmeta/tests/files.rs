//! Files that are made behind the element say which coin they are about.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use gst::prelude::*;
use haven_rig::media::{Probe, probe};
use std::path::Path;
use support::{Bench, Upstream, named};

const PICTURES: &str =
    "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1";
const H264: &str = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! h264parse";
const SOUND: &str = "audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! opusenc";

/// Records with a line whose muxer is called `mux`, for a second after the coin is known.
fn record(upstream: &Upstream, line: &str, file: &Path) -> Probe {
    let bench = Bench::launch(&format!(
        "{line} mux. ! filesink location={}",
        file.display()
    ));
    bench.play();
    bench.wait_for_any();
    let known = bench.stats().get::<u64>("buffers").unwrap();
    bench.wait_for_stats(|stats| stats.get::<u64>("buffers").unwrap() >= known + 30);
    bench.pipeline.send_event(gst::event::Eos::new());
    bench.wait_for_end();
    bench.stop();
    upstream.runtime.block_on(probe(file)).unwrap()
}

/// A tag as it was meant. GStreamer's muxer for Matroska writes texts in the form of its own launch
/// lines (1.22: `"Kindness\ Coin"`); others write them as they are.
fn tag(probed: &Probe, names: &[&str]) -> String {
    let mut tags = probed.tags.iter();
    let found = tags.find(|(name, _)| names.contains(&&**name));
    let (_, value) = found.unwrap_or_else(|| panic!("none of {names:?} in {:?}", probed.tags));
    if !value.starts_with('"') {
        return value.clone();
    }
    let text = gst::glib::Value::deserialize(value, String::static_type()).unwrap();
    text.get().unwrap()
}

#[test]
fn ffprobe_shows_the_coin_in_mp4_webm_and_matroska() {
    let upstream = Upstream::start();
    upstream.change(|coin| coin.name = "Ünï 🌍 Coin".into());
    let folder = tempfile::tempdir().unwrap();
    let element = upstream.element();
    let mint = &upstream.mint;
    for (name, line) in [
        (
            "plain.mp4",
            format!("{PICTURES} ! {H264} ! {element} ! mp4mux name=mux"),
        ),
        (
            "both.mp4",
            format!("{PICTURES} ! {element} ! {H264} ! mp4mux name=mux {SOUND} ! mux."),
        ),
        (
            "clip.webm",
            format!("{PICTURES} ! {element} ! vp8enc deadline=1 ! webmmux name=mux {SOUND} ! mux."),
        ),
        (
            "clip.mkv",
            format!("{PICTURES} ! {H264} ! {element} ! matroskamux name=mux"),
        ),
    ] {
        let probed = record(&upstream, &line, &folder.path().join(name));
        assert_eq!(tag(&probed, &["title"]), "Ünï 🌍 Coin (KIND)", "{name}");
        assert!(tag(&probed, &["artist"]).len() > 31, "{name}");
        let comment = tag(&probed, &["comment", "comments"]);
        assert!(
            comment.starts_with("KIND on pump.fun") && comment.contains(mint),
            "{name}"
        );
        assert!(
            tag(&probed, &["date", "date_released"]).starts_with("20"),
            "{name}"
        );
        // The muxer for Matroska knows no keywords.
        if name.ends_with("mp4") {
            assert_eq!(tag(&probed, &["keywords"]), "KIND", "{name}");
        }
        assert!(probed.duration_s > 0.5, "{name}: {probed:?}");
    }
}

#[test]
fn a_file_that_is_written_as_a_stream_has_what_was_known_at_its_start() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stream.mkv");
    let bench = Bench::launch(&format!(
        "{PICTURES} ! valve name=valve drop=true ! {H264} ! {} ! matroskamux streamable=true \
         ! filesink location={}",
        upstream.element(),
        file.display()
    ));
    bench.play();
    bench.wait_for_any();
    let valve = bench.pipeline.by_name("valve").unwrap();
    valve.set_property("drop", false);
    bench.wait_for_stats(|stats| stats.get::<u64>("buffers").unwrap() >= 30);
    bench.pipeline.send_event(gst::event::Eos::new());
    bench.wait_for_end();
    bench.stop();
    let probed = upstream.runtime.block_on(probe(&file)).unwrap();
    assert_eq!(tag(&probed, &["title"]), "KindnessCoin (KIND)");
}

/// The tags of the whole stream that have left the element, in order.
fn titles(events: &std::sync::mpsc::Receiver<gst::Event>) -> Vec<String> {
    let tags = events.try_iter().filter_map(|event| match event.view() {
        gst::EventView::Tag(tag) => Some(tag.tag_owned()),
        _ => None,
    });
    let global = tags.filter(|tags| tags.scope() == gst::TagScope::Global);
    global
        .map(|tags| tags.get::<gst::tags::Title>().unwrap().get().to_owned())
        .collect()
}

fn watched(bench: &Bench) -> std::sync::mpsc::Receiver<gst::Event> {
    let (told, events) = std::sync::mpsc::channel();
    let pad = bench.element.static_pad("src").unwrap();
    let types = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::BUFFER;
    pad.add_probe(types, move |_, info| {
        match &info.data {
            Some(gst::PadProbeData::Event(event)) => {
                let _ = told.send(event.clone());
            }
            // Marks a buffer's place.
            Some(gst::PadProbeData::Buffer(_)) => {
                let _ = told.send(gst::event::Reconfigure::new());
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
    events
}

#[test]
fn tags_come_before_the_first_buffer_and_again_only_when_they_change() {
    let upstream = Upstream::start();
    let bench = Bench::launch(&format!(
        "appsrc name=in format=time caps=application/x-thing ! {} ! appsink name=out sync=false",
        upstream.element()
    ));
    let events = watched(&bench);
    bench.play();
    bench.wait_for_any();
    bench.pass();
    let order: Vec<_> = events.try_iter().map(|event| event.type_()).collect();
    assert_eq!(
        order,
        [
            gst::EventType::StreamStart,
            gst::EventType::Caps,
            gst::EventType::Segment,
            gst::EventType::Tag,
            gst::EventType::Reconfigure,
        ]
    );
    // Market capitalisation is no tag.
    upstream.change(|coin| coin.market_cap = 700.0);
    bench.wait_for(|coin| coin.get::<f64>("market-cap-sol") == Ok(700.0));
    bench.pass();
    assert!(titles(&events).is_empty());
    upstream.change(|coin| coin.name = "Other".into());
    bench.wait_for(named("Other"));
    bench.pass();
    assert_eq!(titles(&events), ["Other (KIND)"]);
    // A new stream begins without tags.
    let source = bench.element.static_pad("sink").unwrap();
    let start = gst::event::StreamStart::new("second");
    assert!(source.send_event(start));
    bench.pass();
    assert_eq!(titles(&events), ["Other (KIND)"]);
}

#[test]
fn tags_of_upstream_are_joined_with_the_coins() {
    let upstream = Upstream::start();
    let bench = Bench::simple(&upstream.element());
    let events = watched(&bench);
    bench.wait_for_any();
    bench.pass();
    assert_eq!(titles(&events), ["KindnessCoin (KIND)"]);
    let list = |scope, title: &str| {
        let mut list = gst::TagList::new();
        {
            let list = list.make_mut();
            list.set_scope(scope);
            list.add::<gst::tags::Title>(&title, gst::TagMergeMode::Replace);
            list.add::<gst::tags::Album>(&"album", gst::TagMergeMode::Replace);
        }
        gst::event::Tag::new(list)
    };
    for scope in [gst::TagScope::Global, gst::TagScope::Stream] {
        assert!(bench.source().send_event(list(scope, "upstream's")));
    }
    bench.pass();
    let tags: Vec<_> = events
        .try_iter()
        .filter_map(|event| match event.view() {
            gst::EventView::Tag(tag) => Some(tag.tag_owned()),
            _ => None,
        })
        .map(|tags| {
            let title = tags.get::<gst::tags::Title>().unwrap().get().to_owned();
            let album = tags.get::<gst::tags::Album>().unwrap().get().to_owned();
            assert_eq!(album, "album");
            (tags.scope(), title)
        })
        .collect();
    assert_eq!(
        tags,
        [
            (gst::TagScope::Global, "KindnessCoin (KIND)".into()),
            // A stream's own tags are its own.
            (gst::TagScope::Stream, "upstream's".to_owned()),
        ]
    );
}
