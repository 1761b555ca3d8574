//! Encodes only while somebody watches: `cargo run -p gst-plugin-wsjpegsink --example on_demand`,
//! then open the address that it prints, and close the page again.

use gst::prelude::*;
use std::error::Error;

const LAUNCH: &str = "videotestsrc is-live=true ! video/x-raw,width=640,height=360,framerate=30/1 \
     ! valve name=valve drop=true ! timeoverlay ! jpegenc name=encoder \
     ! wsjpegsink name=sink async=false";

fn main() -> Result<(), Box<dyn Error>> {
    gst::init()?;
    gstwsjpegsink::plugin_register_static()?;
    let pipeline = gst::parse::launch(LAUNCH)?;
    let pipeline = pipeline
        .downcast::<gst::Pipeline>()
        .map_err(|_| "no pipeline")?;
    let part = |name| pipeline.by_name(name).ok_or("no such element");
    let (valve, sink) = (part("valve")?, part("sink")?);

    // Notified on a thread of the sink's. Closing the valve before the encoder is all it takes: a
    // client that comes back meanwhile has the last picture at once.
    sink.connect_notify(Some("clients"), move |sink, _| {
        let clients = sink.property::<u32>("clients");
        valve.set_property("drop", clients == 0);
        println!("{clients} watch");
    });

    pipeline.set_state(gst::State::Playing)?;
    println!("http://127.0.0.1:{}/", sink.property::<u32>("port"));
    let bus = pipeline.bus().ok_or("no bus")?;
    let end = bus.timed_pop_filtered(
        gst::ClockTime::NONE,
        &[gst::MessageType::Error, gst::MessageType::Eos],
    );
    pipeline.set_state(gst::State::Null)?;
    match end.as_deref().map(gst::MessageRef::view) {
        Some(gst::MessageView::Error(error)) => Err(error.error().into()),
        _ => Ok(()),
    }
}
