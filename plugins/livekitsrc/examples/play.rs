//! Shows a room in a window and says once a second how the connection does.
//!
//! ```sh
//! cargo run -p gst-plugin-livekitsrc --example play -- pumpfun://MINT
//! cargo run -p gst-plugin-livekitsrc --example play -- 'livekit://127.0.0.1:7880/room?token=JWT'
//! ```

use gst::prelude::*;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let uri = std::env::args()
        .nth(1)
        .ok_or("say what to play: pumpfun://MINT or livekit://host:port/room?token=JWT")?;
    gst::init()?;
    gstlivekitsrc::plugin_register_static()?;
    let player = gst::ElementFactory::make("playbin3")
        .property("uri", &uri)
        .build()?;
    let bus = player.bus().ok_or("the player has no bus")?;
    player.set_state(gst::State::Playing)?;
    let outcome = watch(&player, &bus);
    player.set_state(gst::State::Null)?;
    outcome
}

fn watch(player: &gst::Element, bus: &gst::Bus) -> Result<(), Box<dyn Error>> {
    loop {
        match bus.timed_pop(gst::ClockTime::SECOND) {
            None => report(player),
            Some(message) => match message.view() {
                gst::MessageView::Eos(_) => return Ok(()),
                gst::MessageView::Error(error) => return Err(error.error().into()),
                gst::MessageView::Element(element) => {
                    let said = element
                        .structure()
                        .filter(|said| said.name().starts_with("livekit-"));
                    if let Some(said) = said {
                        println!("{said}");
                    }
                }
                gst::MessageView::Latency(_) => {
                    player
                        .downcast_ref::<gst::Bin>()
                        .map(gst::Bin::recalculate_latency);
                }
                _ => {}
            },
        }
    }
}

/// Bit rate and losses of each track.
fn report(player: &gst::Element) {
    let Some(source) = player.downcast_ref::<gst::Bin>().and_then(|bin| {
        bin.iterate_all_by_element_factory_name("livekitsrc")
            .next()
            .ok()?
    }) else {
        return;
    };
    let stats = source.property::<gst::Structure>("stats");
    let tracks = stats.get::<gst::Array>("tracks").unwrap_or_default();
    for track in tracks
        .iter()
        .filter_map(|track| track.get::<gst::Structure>().ok())
    {
        println!(
            "{:>5} {:>9} bit/s, {} packets lost",
            track.get::<&str>("kind").unwrap_or("?"),
            track.get::<u64>("bitrate").unwrap_or(0),
            track.get::<u64>("packets-lost").unwrap_or(0),
        );
    }
}
