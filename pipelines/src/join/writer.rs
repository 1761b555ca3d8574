//! The joined file, as it is written.

use super::{STALL, Streams, extension};
use crate::{recording::SILENT_PACKET, unfit::ToolError};
use gst::prelude::*;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A stream this far behind another, of which nothing is on its way, pauses.
const PAUSE: gst::ClockTime = gst::ClockTime::from_seconds(2);
/// A pause of Opus has a packet of silence this often.
const SILENCE: gst::ClockTime = gst::ClockTime::from_mseconds(500);
/// What must be the same in all files: what a player is told once.
const SAME: [&str; 9] = [
    "width",
    "height",
    "codec_data",
    "stream-format",
    "rate",
    "channels",
    "format",
    "profile",
    "streamheader",
];

/// One stream of the file.
pub(super) struct Lane {
    source: gst_app::AppSrc,
    /// Up to where it is known, in nanoseconds.
    known: AtomicU64,
    /// Held by who adds something, be it what was read or a pause: neither comes between the other's
    /// look and its deed. Who adds may wait; who finds it held leaves the pause for later.
    turn: Mutex<()>,
    is_opus: bool,
}

impl Lane {
    /// Adds what ends at `end`. Waits while too much waits.
    pub(super) fn push(
        &self,
        buffer: gst::Buffer,
        end: gst::ClockTime,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let _turn = self.turn.lock();
        self.known.fetch_max(end.nseconds(), Ordering::Relaxed);
        self.source.push_buffer(buffer)
    }

    fn known(&self) -> gst::ClockTime {
        gst::ClockTime::from_nseconds(self.known.load(Ordering::Relaxed))
    }

    /// Nothing comes up to there, unless something did meanwhile, waits to be written, or is on its way,
    /// which `has_waiting` tells. Matroska's muxer waits for a stream whatever it is told of gaps: Opus
    /// then is silent, as its publishers do it.
    fn pass_over(&self, until: gst::ClockTime, has_waiting: impl Fn() -> bool) {
        let Some(_turn) = self.turn.try_lock() else {
            return;
        };
        let from = self.known();
        if from >= until || self.source.current_level_bytes() > 0 || has_waiting() {
            return;
        }
        self.known.fetch_max(until.nseconds(), Ordering::Relaxed);
        if self.is_opus {
            let mut at = from;
            while at < until {
                at = until.min(at + SILENCE);
                let mut packet = gst::Buffer::from_slice(SILENT_PACKET);
                packet.make_mut().set_pts(at);
                let _ = self.source.push_buffer(packet);
            }
            return;
        }
        let gap = gst::event::Gap::builder(from).duration(until - from);
        if !self.source.send_event(gap.build()) {
            tracing::debug!(source = %self.source.name(), "a gap is not taken");
        }
    }
}

/// The file that is being made.
pub(super) struct Writer {
    pipeline: gst::Pipeline,
    pub(super) lanes: BTreeMap<String, Arc<Lane>>,
    caps: BTreeMap<String, gst::Caps>,
    /// How much of a stream may wait for the others, in bytes.
    waiting: u64,
}

impl Writer {
    pub(super) fn create(
        output: &Path,
        streams: &Streams,
        waiting: u32,
    ) -> Result<Self, ToolError> {
        let muxer = match extension(output) {
            "mp4" => "mp4mux",
            "wav" => "wavenc",
            "webm" => "webmmux",
            _ => "matroskamux",
        };
        let writer = Self {
            pipeline: gst::Pipeline::new(),
            lanes: streams
                .iter()
                .map(|(media, (_, caps))| {
                    let lane = Lane {
                        source: source(caps, waiting),
                        known: AtomicU64::new(0),
                        turn: Mutex::new(()),
                        is_opus: is_opus(caps),
                    };
                    (media.clone(), Arc::new(lane))
                })
                .collect(),
            caps: streams
                .iter()
                .map(|(media, (_, caps))| (media.clone(), caps.clone()))
                .collect(),
            waiting: u64::from(waiting),
        };
        writer.build(output, muxer).map_err(ToolError::failed)?;
        if writer.pipeline.set_state(gst::State::Playing).is_err() {
            writer.check_bus()?;
            return Err(ToolError::failed("the joined file can't be written"));
        }
        Ok(writer)
    }

    fn build(&self, output: &Path, muxer: &str) -> Result<(), gst::glib::BoolError> {
        let muxer = gst::ElementFactory::make(muxer).build()?;
        let sink = gst::ElementFactory::make("filesink")
            .property("location", output.display().to_string())
            .build()?;
        self.pipeline.add_many([&muxer, &sink])?;
        muxer.link(&sink)?;
        for (media, lane) in &self.lanes {
            let source = &lane.source;
            self.pipeline.add(source)?;
            // The pad by its name: a source's own caps are any, and would fit the first one.
            let output = source.static_pad("src");
            let input = muxer
                .request_pad_simple(&format!("{media}_%u"))
                .or_else(|| muxer.static_pad("sink"));
            let linked = output.zip(input).map(|(output, input)| output.link(&input));
            if !matches!(linked, Some(Ok(_))) {
                return Err(gst::glib::bool_error!("the container takes no {media}"));
            }
        }
        Ok(())
    }

    /// Whether a part can follow the first one.
    pub(super) fn check(&self, number: usize, streams: &Streams) -> Result<(), ToolError> {
        let names = |first: Vec<&String>| first.into_iter().cloned().collect::<Vec<_>>().join(", ");
        if !streams.keys().eq(self.caps.keys()) {
            return Err(ToolError::Unfit(format!(
                "part {number} has {}, the first one {}",
                names(streams.keys().collect()),
                names(self.caps.keys().collect())
            )));
        }
        for (media, (_, caps)) in streams {
            if let Some(first) = self.caps.get(media)
                && let Some(what) = difference(first, caps)
            {
                return Err(ToolError::Unfit(format!(
                    "the {media} of part {number} differs from that of the first one: {what}"
                )));
            }
        }
        Ok(())
    }

    /// A muxer waits for the stream that is behind: where nothing of it comes while another is far
    /// ahead, it pauses, and that is said. `has_waiting` tells whether something is on its way.
    pub(super) fn pass_over_pauses(&self, has_waiting: impl Fn(&str) -> bool) {
        let lanes = || self.lanes.values();
        let farthest = lanes().map(|lane| lane.known()).max().unwrap_or_default();
        let is_held_up = lanes().any(|lane| lane.source.current_level_bytes() >= self.waiting);
        let until = if is_held_up {
            farthest
        } else {
            farthest.saturating_sub(PAUSE)
        };
        for (media, lane) in &self.lanes {
            lane.pass_over(until, || has_waiting(media));
        }
    }

    /// Takes nothing more: who waits to add something goes on.
    pub(super) fn abort(&self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }

    pub(super) fn check_bus(&self) -> Result<(), ToolError> {
        let types = [gst::MessageType::Error];
        let message = self.pipeline.bus().and_then(|bus| bus.pop_filtered(&types));
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => Err(ToolError::failed(error.error())),
            _ => Ok(()),
        }
    }

    pub(super) fn finish(self) -> Result<(), ToolError> {
        for lane in self.lanes.values() {
            let _ = lane.source.end_of_stream();
        }
        let types = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = self
            .pipeline
            .bus()
            .and_then(|bus| bus.timed_pop_filtered(STALL * 10, &types));
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Eos(_)) => Ok(()),
            Some(gst::MessageView::Error(error)) => Err(ToolError::failed(error.error())),
            _ => Err(ToolError::failed("the joined file is not complete in time")),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.abort();
    }
}

fn source(caps: &gst::Caps, waiting: u32) -> gst_app::AppSrc {
    gst_app::AppSrc::builder()
        .caps(caps)
        .format(gst::Format::Time)
        .block(true)
        .max_bytes(u64::from(waiting))
        .build()
}

fn is_opus(caps: &gst::Caps) -> bool {
    let structure = caps.structure(0);
    structure.is_some_and(|structure| structure.name() == "audio/x-opus")
}

/// What differs between two streams that a player would have to be told.
fn difference(first: &gst::Caps, other: &gst::Caps) -> Option<String> {
    let (first, other) = (first.structure(0)?, other.structure(0)?);
    if first.name() != other.name() {
        return Some(format!("{} after {}", other.name(), first.name()));
    }
    let value = |caps: &gst::StructureRef, name: &str| {
        let value = caps.value(name).ok();
        value.and_then(|value| value.serialize().ok())
    };
    let size = |caps: &gst::StructureRef| {
        let side = |name: &str| caps.get::<i32>(name).ok();
        side("width").zip(side("height"))
    };
    if let (Some((w, h)), Some((v, u))) = (size(first), size(other))
        && (w, h) != (v, u)
    {
        return Some(format!("{v}x{u} pixels after {w}x{h}"));
    }
    let mut differing = SAME
        .into_iter()
        .filter(|name| value(first, name) != value(other, name));
    differing
        .next()
        .map(|name| format!("its {name} is another"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_passed_over_only_where_nothing_came_meanwhile() {
        gst::init().unwrap();
        let second = gst::ClockTime::from_seconds;
        let caps = gst::Caps::new_empty_simple("audio/x-opus");
        let lane = Lane {
            source: source(&caps, 1000),
            known: AtomicU64::new(second(5).nseconds()),
            turn: Mutex::new(()),
            is_opus: true,
        };
        let pipeline = gst::Pipeline::new();
        pipeline.add(&lane.source).unwrap();
        pipeline.set_state(gst::State::Paused).unwrap();
        let nothing = || false;
        // It has come further than to where it seemed to pause.
        lane.pass_over(second(2), nothing);
        lane.pass_over(second(7), || true);
        let turn = lane.turn.lock();
        lane.pass_over(second(7), nothing);
        drop(turn);
        assert_eq!(lane.known(), second(5));
        assert_eq!(lane.source.current_level_bytes(), 0);
        lane.pass_over(second(7), nothing);
        assert_eq!(lane.known(), second(7));
        pipeline.set_state(gst::State::Null).unwrap();
    }
}
