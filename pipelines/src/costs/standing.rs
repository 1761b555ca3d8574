//! A worker that stands ready.

use super::{
    bench::{PATIENCE, WARM_UP, preload, sample, text},
    footage::BLOCKS_PER_SECOND,
    gauge::Gauge,
    published::{Encoded, Published},
    usage,
};
use crate::{
    feed::{live_appsrc, take_everything},
    inbox::{Inbox, Media, Outbox},
    previews::Previews,
    source::Source,
    tap::{Tap, tap_sink},
    timebase::Timebase,
    tokens::Tokens,
};
use gst::prelude::*;
use haven_wire::{Cost, Costs, RoomAccess, SessionConfig, Source as SourceConfig};
use std::{net::TcpListener, path::Path, sync::Arc};

/// Passing a stream on takes so little that more of it is needed for a figure: so many times what
/// is enough for the others.
const LONGER: u32 = 20;

/// All of a session's parts, joining a room that never answers, and what comes from a room passed on
/// to where it can be had. What the room itself takes can't be measured without one: sockets,
/// decryption, putting packets together.
pub(super) fn session(pictures: u32, folder: &Path) -> Result<Cost, String> {
    preload()?;
    // Connections wait in its queue; nobody answers.
    let room = TcpListener::bind("127.0.0.1:0").map_err(text)?;
    let address = room.local_addr().map_err(text)?;
    let config = SessionConfig {
        session_id: 0,
        key: "costs".into(),
        source: SourceConfig::Room {
            access: RoomAccess {
                url: format!("ws://{address}"),
                token: "none".into(),
            },
            ice_addresses: Vec::new(),
        },
        media_socket: folder.join("media.sock"),
        waiting_timeout_ms: 0,
        formats_dir: None,
    };
    let (inbox, _events) = Inbox::new();
    let (outbox, _messages) = Outbox::new();
    let tokens = Arc::new(Tokens::new(outbox));
    let timebase = Timebase::start();
    let _previews = Previews::start(&config, &timebase, &inbox).map_err(text)?;
    let source = Source::new(&config, &timebase, &inbox, &tokens).map_err(text)?;
    source.play().map_err(text)?;
    let published = Published::read(folder).map_err(text)?;
    let (video, audio) = (&published.video, &published.audio);
    let cpu = pass(video, source.tap(Media::Video), Costs::FPS, pictures)?
        + pass(audio, source.tap(Media::Audio), BLOCKS_PER_SECOND, pictures)?;
    tokens.close();
    Ok(Cost {
        cpu,
        memory_bytes: usage::peak().map_err(text)?,
    })
}

/// Processor seconds for each second of a stream that flows into its tap.
fn pass(encoded: &Encoded, tap: &Arc<Tap>, rate: u32, units: u32) -> Result<f64, String> {
    let caps = encoded.caps()?;
    let units = units * LONGER;
    let (input, output) = (live_appsrc("room"), tap_sink("tap", &caps));
    tap.feed_from(&output);
    let gauge = Arc::new(Gauge::new(WARM_UP, units));
    let _measuring = tap.attach(gauge.clone());
    let pipeline = gst::Pipeline::new();
    take_everything(&pipeline, std::slice::from_ref(&input));
    let chain: [&gst::Element; 2] = [input.upcast_ref(), output.upcast_ref()];
    pipeline.add_many(chain).map_err(text)?;
    gst::Element::link_many(chain).map_err(text)?;
    pipeline.set_state(gst::State::Playing).map_err(text)?;
    for number in 0..WARM_UP + units {
        let unit = sample(encoded.unit(number), &caps, number, rate);
        // Refused where the pipeline fails: then too few come out.
        let _ = input.push_sample(&unit);
    }
    let cpu = gauge.per_buffer(PATIENCE);
    let _ = pipeline.set_state(gst::State::Null);
    Ok(cpu? * f64::from(rate))
}
