//! Writes the coin's symbol and market capitalisation into the picture, from the frames themselves.
//!
//! ```sh
//! cargo run -p gst-plugin-pumpfunmeta --example overlay -- MINT
//! ```
//!
//! Put `livekitsrc mint-id=MINT ! videoconvert` in place of the test picture for the livestream.

use gst::{meta::CustomMeta, prelude::*};
use std::error::Error;

/// The test picture, with the coin's text in its upper left corner.
const LINE: &str = "videotestsrc is-live=true ! pumpfunmeta name=meta ! queue \
    ! textoverlay name=text valignment=top halignment=left ! videoconvert";

fn main() -> Result<(), Box<dyn Error>> {
    gst::init()?;
    gstpumpfunmeta::plugin_register_static()?;
    let mint = std::env::args().nth(1).ok_or("say which coin: MINT")?;
    let pipeline = overlay(&mint, "autovideosink")?;
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
    let types = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::NONE, &types);
    pipeline.set_state(gst::State::Null)?;
    match end.as_ref().map(|end| end.view()) {
        Some(gst::MessageView::Error(error)) => Err(error.error().into()),
        _ => Ok(()),
    }
}

/// The pipeline, with `sink` at its end.
pub(crate) fn overlay(mint: &str, sink: &str) -> Result<gst::Pipeline, Box<dyn Error>> {
    let pipeline = gst::parse::launch(&format!("{LINE} ! {sink}"))?;
    let pipeline = pipeline
        .downcast::<gst::Pipeline>()
        .map_err(|_| "no pipeline")?;
    let meta = pipeline.by_name("meta").ok_or("no element meta")?;
    meta.set_property("mint-id", mint);
    let text = pipeline.by_name("text").ok_or("no element text")?;
    let pad = text.static_pad("video_sink").ok_or("no pad")?;
    pad.add_probe(gst::PadProbeType::BUFFER, |pad, info| {
        // The overlay is this pad's parent: the text is there for the frame that brought it.
        if let (Some(frame), Some(text)) = (info.buffer(), pad.parent_element())
            && let Ok(meta) = CustomMeta::from_buffer(frame, gstpumpfunmeta::meta::NAME)
        {
            text.set_property("text", caption(meta.structure()));
        }
        gst::PadProbeReturn::Ok
    });
    Ok(pipeline)
}

/// What is known of the coin, in a line.
fn caption(coin: &gst::StructureRef) -> String {
    let symbol = coin.get::<&str>("symbol").unwrap_or("?");
    match coin.get::<f64>("market-cap-usd") {
        Ok(usd) => format!("{symbol}  ${usd:.0}"),
        Err(_) => symbol.to_owned(),
    }
}
