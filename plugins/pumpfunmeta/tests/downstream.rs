//! How far the meta goes: through what else stands in pipelines, and where it ends.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use gst::prelude::*;
use support::{Bench, Upstream, name_on, pull};

const PICTURES: &str =
    "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1";
const SOUND: &str =
    "audiotestsrc is-live=true samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=2";

/// Plays a line with an appsink `out` until a buffer with the coin leaves it.
fn reaches_the_end(upstream: &Upstream, before: &str, after: &str) {
    let element = upstream.element();
    let line = format!("{before} ! {element} ! {after} ! appsink name=out sync=false");
    let bench = Bench::launch(&line);
    bench.play();
    bench.wait_for_any();
    let sink = bench.sink("out");
    // What was on its way before is without.
    let described = (0..300).find_map(|_| name_on(&pull(&sink)));
    assert_eq!(described.as_deref(), Some("KindnessCoin"), "{after}");
    // From then on each has it.
    for number in 0..10 {
        assert!(name_on(&pull(&sink)).is_some(), "{after}: buffer {number}");
    }
}

#[test]
fn it_goes_through_converters_and_encoders_of_pictures() {
    let upstream = Upstream::start();
    for after in [
        "queue",
        "videoconvert ! video/x-raw,format=RGB",
        "videoscale ! video/x-raw,width=160,height=120",
        "videoflip method=clockwise",
        "jpegenc",
        "jpegenc ! jpegdec",
        "x264enc tune=zerolatency speed-preset=ultrafast",
        "x264enc speed-preset=ultrafast bframes=2",
        "x264enc tune=zerolatency speed-preset=ultrafast ! h264parse ! avdec_h264",
        "vp8enc deadline=1 ! vp8dec",
        "vp9enc deadline=1 cpu-used=8",
    ] {
        reaches_the_end(&upstream, PICTURES, after);
    }
}

#[test]
fn it_goes_through_converters_and_encoders_of_sound() {
    let upstream = Upstream::start();
    for after in [
        "audioconvert ! audio/x-raw,channels=1",
        "volume volume=0.5",
        "opusenc ! opusdec",
    ] {
        reaches_the_end(&upstream, SOUND, after);
    }
}

#[test]
fn each_branch_of_a_tee_has_it_and_the_bytes_are_shared() {
    let upstream = Upstream::start();
    let bench = Bench::launch(&format!(
        "appsrc name=in format=time caps=application/x-thing ! {} ! tee name=tee \
         tee. ! queue ! appsink name=out sync=false tee. ! queue ! appsink name=other sync=false",
        upstream.element()
    ));
    bench.play();
    bench.wait_for_any();
    let one = bench.pass();
    let other = pull(&bench.sink("other"));
    assert!(name_on(&one).is_some() && name_on(&other).is_some());
    let address = |buffer: &gst::Buffer| buffer.map_readable().unwrap().as_ptr();
    assert_eq!(address(&one), address(&other));
}

#[test]
fn two_elements_in_a_row_leave_one_meta() {
    let upstream = Upstream::start();
    let other = haven_rig::pumpfun::Coin::new(haven_rig::pumpfun::random_mint());
    let first = other.mint.clone();
    upstream.pumpfun.add_coin(other);
    let url = upstream.pumpfun.url();
    let bench = Bench::launch(&format!(
        "appsrc name=in format=time caps=application/x-thing \
         ! pumpfunmeta name=first mint-id={first} frontend-url={url} ! {} \
         ! appsink name=out sync=false",
        upstream.element()
    ));
    let (told, first_knows) = std::sync::mpsc::channel();
    let element = bench.pipeline.by_name("first").unwrap();
    element.connect_notify(Some("coin"), move |_, _| {
        let _ = told.send(());
    });
    bench.play();
    bench.wait_for_any();
    first_knows.recv_timeout(support::DEADLINE).unwrap();
    let buffer = bench.pass();
    assert_eq!(buffer.iter_meta::<gst::Meta>().count(), 1);
    let meta = gst::meta::CustomMeta::from_buffer(&buffer, "PumpFunCoinMeta").unwrap();
    assert_eq!(meta.structure().get::<&str>("mint"), Ok(&*upstream.mint));
}

#[test]
fn caps_and_allocation_are_those_of_the_neighbours() {
    let upstream = Upstream::start();
    // The source makes RGB only because the element passes on what downstream accepts.
    let bench = Bench::launch(&format!(
        "videotestsrc ! {} ! video/x-raw,format=RGB,width=64,height=48 \
         ! fakevideosink name=sink sync=false",
        upstream.element()
    ));
    bench.play();
    bench.wait_for_any();
    bench.wait_for_stats(|stats| stats.get::<u64>("buffers").unwrap() > 0);
    let pad = bench.element.static_pad("sink").unwrap();
    let caps = pad.current_caps().unwrap();
    assert_eq!(caps.structure(0).unwrap().get::<&str>("format"), Ok("RGB"));
    // The sink takes pictures with a meta of their own layout, and says so.
    let mut query = gst::query::Allocation::new(Some(&caps), true);
    assert!(pad.query(&mut query));
    assert!(query.allocation_metas().count() > 0);
}
