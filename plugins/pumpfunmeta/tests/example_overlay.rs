//! The example draws what it says it draws.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

#[allow(dead_code, reason = "its main function is for people")]
#[path = "../examples/overlay.rs"]
mod overlay;

use gst::prelude::*;
use support::Upstream;

/// Pictures until one is as wanted.
fn wait_for_picture(sink: &gst_app::AppSink, wanted: impl Fn(&gst::Buffer) -> bool) {
    assert!(
        (0..900).any(|_| wanted(&support::pull(sink))),
        "no such picture in half a minute"
    );
}

#[test]
fn the_text_is_in_the_picture() {
    let upstream = Upstream::start();
    let sink = "video/x-raw,format=GRAY8,width=320,height=240 ! appsink name=out sync=false";
    let pipeline = overlay::overlay(&upstream.mint, sink).unwrap();
    let meta = pipeline.by_name("meta").unwrap();
    meta.set_property("frontend-url", upstream.pumpfun.url());
    // A black picture: what is bright is text.
    let source = pipeline.iterate_sources().next().unwrap().unwrap();
    source.set_property_from_str("pattern", "black");
    pipeline.set_state(gst::State::Playing).unwrap();
    let out = pipeline.by_name("out").unwrap();
    let out = out.downcast::<gst_app::AppSink>().unwrap();
    let bright = |picture: &gst::Buffer| {
        let bytes = picture.map_readable().unwrap();
        let upper = &bytes[..320 * 120];
        upper.iter().filter(|luma| **luma > 40).count()
    };
    wait_for_picture(&out, |picture| bright(picture) > 50);
    let text = pipeline.by_name("text").unwrap();
    assert_eq!(text.property::<String>("text"), "KIND  $101778");
    pipeline.set_state(gst::State::Null).unwrap();
}
