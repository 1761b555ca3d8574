use crate::{formats::Recipe, measure};
use gst::prelude::*;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// The pipeline in gst-launch syntax. The sources aren't live: the muxer then goes by what it is
/// given, which the tracks keep complete, and not by the clock. Queues before the muxer are
/// bounded and wait: what can't be taken is left out, and counted, at the tracks' feeds.
pub(super) fn launch_text(recipe: &Recipe) -> String {
    let link = |text: &str| match text {
        "" => String::new(),
        text => format!("{text} ! "),
    };
    let source = "format=time is-live=false block=false max-bytes=0";
    let queue = "queue max-size-buffers=0 max-size-time=0 max-size-bytes=33554432";
    format!(
        "appsrc name=pictures {source} ! videoconvertscale add-borders=true ! \
         capsfilter name=geometry ! {converter}{video} name=encoder {options} ! {video_parser}{queue} ! mux. \
         appsrc name=sound {source} ! audioconvert ! audioresample ! \
         {audio} ! {audio_parser}{queue} ! mux. \
         {muxer} name=mux ! filesink name=file buffer-mode=unbuffered async=false sync=false",
        converter = link(&recipe.video_converter),
        video = recipe.video_encoder,
        options = recipe.video_options,
        video_parser = link(&recipe.video_parser),
        audio = recipe.audio_encoder,
        audio_parser = link(&recipe.audio_parser),
        muxer = recipe.muxer,
    )
}

/// Keeps `position` at the latest time the muxer was given.
pub(super) fn follow(muxer: &gst::Element, position: &Arc<AtomicU64>) {
    for pad in muxer.sink_pads() {
        let position = position.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, probe| {
            if let Some(buffer) = probe.buffer()
                && let Some(end) = measure::end_time(pad, buffer)
            {
                position.fetch_max(end.nseconds(), Ordering::Relaxed);
            }
            gst::PadProbeReturn::Ok
        });
    }
}

/// Sets `noticed` when the encoder has encoded something.
pub(super) fn notice_first_buffer(encoder: &gst::Element, noticed: &Arc<AtomicBool>) {
    let noticed = noticed.clone();
    if let Some(pad) = encoder.static_pad("src") {
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            noticed.store(true, Ordering::Relaxed);
            gst::PadProbeReturn::Remove
        });
    }
}
