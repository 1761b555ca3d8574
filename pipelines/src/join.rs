//! One file of several: what is in them is copied, one after the other, and not encoded again.

use crate::{
    measure::{Measured, measure},
    unfit::ToolError,
};
use gst::prelude::*;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A file that doesn't begin to play within this long is damaged.
const PREROLL: gst::ClockTime = gst::ClockTime::from_seconds(20);
/// How often a copy that doesn't get on is looked at.
const STALL: gst::ClockTime = gst::ClockTime::from_seconds(30);
/// What may wait for the other stream of the file: more than any muxer interleaves.
const MAX_WAITING_BYTES: u32 = 64 << 20;
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

/// Makes one file of the files at `parts`.
///
/// # Errors
/// Unfit when they don't go together.
pub(crate) fn join(output: &Path, parts: &[&Path]) -> Result<Measured, ToolError> {
    let mut writer: Option<Writer> = None;
    let mut offset = gst::ClockTime::ZERO;
    for (index, path) in parts.iter().enumerate() {
        let number = index + 1;
        let reader = Reader::open(path)
            .map_err(|error| ToolError::Unfit(format!("part {number}: {error}")))?;
        let writer = match &mut writer {
            Some(writer) => writer,
            None => writer.insert(Writer::create(output, &reader.streams)?),
        };
        writer.check(number, &reader.streams)?;
        offset += reader.copy(writer, offset)?;
    }
    let Some(writer) = writer else {
        return Err(ToolError::Unfit("there is nothing to join".into()));
    };
    writer.finish()?;
    measure(output).map_err(ToolError::failed)
}

/// A stream of a file, by its media type (`video`, `audio`).
type Streams = BTreeMap<String, (gst_app::AppSink, gst::Caps)>;

/// A file that is being read, ready to play.
struct Reader {
    pipeline: gst::Pipeline,
    streams: Streams,
}

impl Reader {
    fn open(path: &Path) -> Result<Self, String> {
        let pipeline = gst::Pipeline::new();
        let reader = Self {
            pipeline,
            streams: Streams::new(),
        };
        reader.build(path).map_err(|error| error.to_string())?;
        let _ = reader.pipeline.set_state(gst::State::Paused);
        let types = [gst::MessageType::AsyncDone, gst::MessageType::Error];
        let message = reader
            .pipeline
            .bus()
            .and_then(|bus| bus.timed_pop_filtered(PREROLL, &types));
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::AsyncDone(_)) => reader.with_streams(),
            Some(gst::MessageView::Error(error)) => Err(error.error().to_string()),
            _ => Err("it holds nothing that plays".into()),
        }
    }

    fn build(&self, path: &Path) -> Result<(), gst::glib::BoolError> {
        let demuxer = match extension(path) {
            "mp4" => "qtdemux",
            "wav" => "wavparse",
            _ => "matroskademux",
        };
        let source = gst::ElementFactory::make("filesrc")
            .property("location", path.display().to_string())
            .build()?;
        let demuxer = gst::ElementFactory::make(demuxer).build()?;
        self.pipeline.add_many([&source, &demuxer])?;
        source.link(&demuxer)?;
        if let Some(pad) = demuxer.static_pad("src") {
            return add_sink(&self.pipeline, &pad);
        }
        let pipeline = self.pipeline.downgrade();
        demuxer.connect_pad_added(move |_, pad| {
            if let Some(pipeline) = pipeline.upgrade()
                && let Err(error) = add_sink(&pipeline, pad)
            {
                tracing::warn!(%error, "a stream can't be read");
            }
        });
        Ok(())
    }

    fn with_streams(mut self) -> Result<Self, String> {
        let sinks = self.pipeline.iterate_sinks();
        let sinks = sinks.into_iter().flatten();
        for sink in sinks.filter_map(|sink| sink.downcast::<gst_app::AppSink>().ok()) {
            let sample = sink.try_pull_preroll(gst::ClockTime::ZERO);
            let caps = sample.as_ref().and_then(|sample| sample.caps_owned());
            let caps = caps.ok_or("a stream of it is empty")?;
            let name = caps.structure(0).map(|caps| caps.name().to_string());
            let media = name.unwrap_or_default();
            let media = media.split('/').next().unwrap_or_default().to_owned();
            self.streams.insert(media, (sink, caps));
        }
        Ok(self)
    }

    /// Copies the whole file, `offset` later than it is; its length.
    fn copy(&self, writer: &Writer, offset: gst::ClockTime) -> Result<gst::ClockTime, ToolError> {
        let end = Arc::new(AtomicU64::new(0));
        for (media, (sink, _)) in &self.streams {
            let Some(source) = writer.sources.get(media).cloned() else {
                continue;
            };
            let end = end.clone();
            let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let (buffer, stop) = later(&sample, offset).ok_or(gst::FlowError::Error)?;
                end.fetch_max(stop.nseconds(), Ordering::Relaxed);
                source.push_buffer(buffer)
            });
            sink.set_callbacks(callbacks.build());
        }
        if self.pipeline.set_state(gst::State::Playing).is_err() {
            return Err(ToolError::failed("a part can't be read"));
        }
        let types = [gst::MessageType::Eos, gst::MessageType::Error];
        let bus = self
            .pipeline
            .bus()
            .ok_or_else(|| ToolError::failed("no bus"))?;
        let mut before = 0;
        loop {
            let message = bus.timed_pop_filtered(STALL, &types);
            writer.check_bus()?;
            let now = end.load(Ordering::Relaxed);
            match message.as_ref().map(|message| message.view()) {
                Some(gst::MessageView::Eos(_)) => break,
                // A cut file ends in the middle of something.
                Some(gst::MessageView::Error(error)) if now > 0 => {
                    tracing::warn!(error = %error.error(), "a part is cut off");
                    break;
                }
                Some(gst::MessageView::Error(error)) => {
                    return Err(ToolError::failed(error.error()));
                }
                None if now > before => before = now,
                _ => return Err(ToolError::failed("a part can't be read to its end")),
            }
        }
        let end = gst::ClockTime::from_nseconds(end.load(Ordering::Relaxed));
        Ok(end)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// A queue each: the demuxer gives all streams from one thread, and the muxer takes them in turn.
fn add_sink(pipeline: &gst::Pipeline, pad: &gst::Pad) -> Result<(), gst::glib::BoolError> {
    let queue = gst::ElementFactory::make("queue")
        .property("max-size-bytes", MAX_WAITING_BYTES)
        .property("max-size-buffers", 0u32)
        .property("max-size-time", 0u64)
        .build()?;
    let sink = gst_app::AppSink::builder()
        .sync(false)
        .max_buffers(1)
        .build();
    pipeline.add_many([&queue, sink.upcast_ref()])?;
    queue.link(&sink)?;
    queue.sync_state_with_parent()?;
    sink.sync_state_with_parent()?;
    let input = queue
        .static_pad("sink")
        .ok_or_else(|| gst::glib::bool_error!("a queue without a sink pad"))?;
    pad.link(&input)
        .map_err(|error| gst::glib::bool_error!("{error}"))?;
    Ok(())
}

/// A sample's buffer with its times in the joined file, and when it ends in its own.
fn later(sample: &gst::Sample, offset: gst::ClockTime) -> Option<(gst::Buffer, gst::ClockTime)> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?.clone();
    let mut buffer = sample.buffer_owned()?;
    let place = |time: Option<gst::ClockTime>| match segment.to_running_time_full(time?)? {
        gst::Signed::Positive(time) => Some(time),
        // Before the first picture: what decoders need, and nobody sees.
        gst::Signed::Negative(_) => Some(gst::ClockTime::ZERO),
    };
    let (pts, dts) = (place(buffer.pts()), place(buffer.dts()));
    let begin = pts.or(dts)?;
    let times = buffer.make_mut();
    times.set_pts(pts.map(|time| time + offset));
    times.set_dts(dts.map(|time| time + offset));
    let end = begin + buffer.duration().unwrap_or_default();
    Some((buffer, end))
}

/// The file that is being made.
struct Writer {
    pipeline: gst::Pipeline,
    sources: BTreeMap<String, gst_app::AppSrc>,
    caps: BTreeMap<String, gst::Caps>,
}

impl Writer {
    fn create(output: &Path, streams: &Streams) -> Result<Self, ToolError> {
        let muxer = match extension(output) {
            "mp4" => "mp4mux",
            "wav" => "wavenc",
            "webm" => "webmmux",
            _ => "matroskamux",
        };
        let writer = Self {
            pipeline: gst::Pipeline::new(),
            sources: streams
                .iter()
                .map(|(media, (_, caps))| (media.clone(), source(caps)))
                .collect(),
            caps: streams
                .iter()
                .map(|(media, (_, caps))| (media.clone(), caps.clone()))
                .collect(),
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
        for (media, source) in &self.sources {
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
    fn check(&self, number: usize, streams: &Streams) -> Result<(), ToolError> {
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

    fn check_bus(&self) -> Result<(), ToolError> {
        let types = [gst::MessageType::Error];
        let message = self.pipeline.bus().and_then(|bus| bus.pop_filtered(&types));
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => Err(ToolError::failed(error.error())),
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<(), ToolError> {
        for source in self.sources.values() {
            let _ = source.end_of_stream();
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
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn source(caps: &gst::Caps) -> gst_app::AppSrc {
    gst_app::AppSrc::builder()
        .caps(caps)
        .format(gst::Format::Time)
        .block(true)
        .max_bytes(u64::from(MAX_WAITING_BYTES))
        .build()
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

fn extension(path: &Path) -> &str {
    path.extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
}

#[cfg(test)]
#[path = "join_tests.rs"]
pub(crate) mod tests;
