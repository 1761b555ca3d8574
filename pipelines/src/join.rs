//! One file of several: what is in them is copied, one after the other, and not encoded again.

mod writer;

use crate::{
    measure::{Measured, is_unfinished_mp4, measure},
    output,
    unfit::ToolError,
};
use gst::prelude::*;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use writer::Writer;

/// A file that doesn't begin to play within this long is damaged.
const PREROLL: gst::ClockTime = gst::ClockTime::from_seconds(20);
/// After an error, what was read is written once nothing has waited or come for this long.
const SETTLED: gst::ClockTime = gst::ClockTime::from_seconds(1);
/// A copy that doesn't get on for this long is given up.
const STALL: gst::ClockTime = gst::ClockTime::from_seconds(30);
/// How often it is looked whether one stream waits for another.
const LOOK: gst::ClockTime = gst::ClockTime::from_mseconds(50);
/// What may wait for the other stream of the file: more than any muxer interleaves.
const MAX_WAITING_BYTES: u32 = 64 << 20;
/// A part whose index tells of this much more than could be read is damaged.
const DAMAGE: gst::ClockTime = gst::ClockTime::from_seconds(1);
/// A WAV file's sizes have 32 bits.
const LARGEST_WAV_BYTES: u64 = u32::MAX as u64;

/// Makes one file of the files at `parts`.
///
/// # Errors
/// Unfit when they don't go together, or one of them is damaged. Then there is no file at `output`, nor
/// is one that was there before touched.
pub(crate) fn join(output: &Path, parts: &[&Path]) -> Result<Measured, ToolError> {
    join_with(output, parts, MAX_WAITING_BYTES)
}

/// As [`join`]; so many bytes may wait in one place for the other stream.
fn join_with(output: &Path, parts: &[&Path], waiting: u32) -> Result<Measured, ToolError> {
    check_size(output, parts)?;
    output::create_private(output).map_err(ToolError::failed)?;
    copy_all(output, parts, waiting).inspect_err(|_| {
        if let Err(error) = fs::remove_file(output) {
            tracing::warn!(path = %output.display(), %error, "what was joined so far stays");
        }
    })
}

fn copy_all(output: &Path, parts: &[&Path], waiting: u32) -> Result<Measured, ToolError> {
    let mut writer: Option<Writer> = None;
    let mut offset = gst::ClockTime::ZERO;
    for (index, path) in parts.iter().enumerate() {
        let number = index + 1;
        let unfit = |error| ToolError::Unfit(format!("part {number}: {error}"));
        let reader = Reader::open(path, waiting).map_err(unfit)?;
        let writer = match &mut writer {
            Some(writer) => writer,
            None => writer.insert(Writer::create(output, &reader.streams, waiting)?),
        };
        writer.check(number, &reader.streams)?;
        let (length, problem) = reader.copy(writer, offset)?;
        reader.check(path, length, problem).map_err(unfit)?;
        offset += length;
    }
    let Some(writer) = writer else {
        return Err(ToolError::Unfit("there is nothing to join".into()));
    };
    writer.finish()?;
    measure(output).map_err(ToolError::failed)
}

/// Whether the container can hold all of them.
fn check_size(output: &Path, parts: &[&Path]) -> Result<(), ToolError> {
    let sizes = parts.iter().map(fs::metadata);
    let bytes: u64 = sizes.flatten().map(|file| file.len()).sum();
    if extension(output) == "wav" && bytes > LARGEST_WAV_BYTES {
        return Err(ToolError::Unfit(format!(
            "a WAV file holds 4 GiB at most, and these are {bytes} bytes"
        )));
    }
    Ok(())
}

/// A stream of a file, by its media type (`video`, `audio`).
type Streams = BTreeMap<String, (gst_app::AppSink, gst::Caps)>;

/// How much of each stream was read and isn't with the writer yet, by the names of the sinks.
type Ways = Arc<Mutex<BTreeMap<String, Arc<Way>>>>;

/// What was read of one stream, in buffers. What is in none of the elements is counted as well.
#[derive(Debug, Default)]
struct Way {
    entered: AtomicU64,
    left: AtomicU64,
}

impl Way {
    fn is_empty(&self) -> bool {
        // In this order: what enters and leaves between the two looks is seen in neither.
        let entered = self.entered.load(Ordering::Acquire);
        self.left.load(Ordering::Acquire) >= entered
    }

    /// Nothing more comes through, whatever is there.
    fn close(&self) {
        self.left.store(u64::MAX, Ordering::Release);
    }
}

/// A file that is being read, ready to play.
struct Reader {
    pipeline: gst::Pipeline,
    streams: Streams,
    ways: Ways,
    /// Where its index ends, if it has one.
    indexed: Option<gst::ClockTime>,
}

impl Reader {
    fn open(path: &Path, waiting: u32) -> Result<Self, String> {
        let pipeline = gst::Pipeline::new();
        let mut reader = Self {
            pipeline,
            streams: Streams::new(),
            ways: Ways::default(),
            indexed: None,
        };
        reader
            .build(path, waiting)
            .map_err(|error| error.to_string())?;
        let _ = reader.pipeline.set_state(gst::State::Paused);
        let types = [gst::MessageType::AsyncDone, gst::MessageType::Error];
        let message = reader
            .pipeline
            .bus()
            .and_then(|bus| bus.timed_pop_filtered(PREROLL, &types));
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::AsyncDone(_)) => {
                // An mp4 that is cut off has an index of what was there when it began.
                if !is_unfinished_mp4(path).unwrap_or(true) || extension(path) != "mp4" {
                    reader.indexed = reader.pipeline.query_duration();
                }
                reader.with_streams()
            }
            Some(gst::MessageView::Error(error)) => Err(error.error().to_string()),
            _ => Err("it holds nothing that plays".into()),
        }
    }

    fn build(&self, path: &Path, waiting: u32) -> Result<(), gst::glib::BoolError> {
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
            return add_sink(&self.pipeline, &pad, &self.ways, waiting);
        }
        let (pipeline, ways) = (self.pipeline.downgrade(), self.ways.clone());
        demuxer.connect_pad_added(move |_, pad| {
            if let Some(pipeline) = pipeline.upgrade()
                && let Err(error) = add_sink(&pipeline, pad, &ways, waiting)
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

    /// Copies the whole file, `offset` later than it is; its length, and what went wrong where it
    /// couldn't be read to its end.
    fn copy(
        &self,
        writer: &Writer,
        offset: gst::ClockTime,
    ) -> Result<(gst::ClockTime, Option<String>), ToolError> {
        let end = Arc::new(AtomicU64::new(0));
        for (media, (sink, _)) in &self.streams {
            let Some(lane) = writer.lanes.get(media).cloned() else {
                continue;
            };
            let end = end.clone();
            let way = self.way(sink).unwrap_or_default();
            let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let taken = later(&sample, offset).ok_or(gst::FlowError::Error);
                let taken = taken.and_then(|(buffer, stop)| {
                    end.fetch_max(stop.nseconds(), Ordering::Relaxed);
                    lane.push(buffer, stop + offset)
                });
                match taken {
                    Ok(_) => _ = way.left.fetch_add(1, Ordering::AcqRel),
                    Err(_) => way.close(),
                }
                taken
            });
            sink.set_callbacks(callbacks.build());
        }
        if self.pipeline.set_state(gst::State::Playing).is_err() {
            return Err(ToolError::failed("a part can't be read"));
        }
        let problem = self.wait(writer, &end).inspect_err(|_| writer.abort())?;
        let end = gst::ClockTime::from_nseconds(end.load(Ordering::Relaxed));
        Ok((end, problem))
    }

    /// Waits for the end of the file, and keeps one stream from waiting for the other for ever. What was
    /// read before an error is copied as well.
    fn wait(&self, writer: &Writer, end: &AtomicU64) -> Result<Option<String>, ToolError> {
        let types = [gst::MessageType::Eos, gst::MessageType::Error];
        let bus = self
            .pipeline
            .bus()
            .ok_or_else(|| ToolError::failed("no bus"))?;
        let (mut before, mut quiet) = (0, gst::ClockTime::ZERO);
        let mut problem = None;
        loop {
            let message = bus.timed_pop_filtered(LOOK, &types);
            writer.check_bus()?;
            match message.as_ref().map(|message| message.view()) {
                Some(gst::MessageView::Eos(_)) => break,
                // The first one says why; others follow from it.
                Some(gst::MessageView::Error(error)) => {
                    problem.get_or_insert_with(|| error.error().to_string());
                    continue;
                }
                _ => {}
            }
            let now = end.load(Ordering::Relaxed);
            let waits = self.streams.keys().any(|media| self.has_waiting(media));
            quiet = if now > before {
                gst::ClockTime::ZERO
            } else {
                quiet + LOOK
            };
            before = now;
            if problem.is_some() && quiet >= SETTLED && !waits {
                break;
            }
            if quiet >= STALL {
                return Err(ToolError::failed("a part can't be read to its end"));
            }
            writer.pass_over_pauses(|media| self.has_waiting(media));
        }
        match problem {
            Some(problem) if end.load(Ordering::Relaxed) == 0 => Err(ToolError::failed(problem)),
            problem => Ok(problem),
        }
    }

    /// Whether something of this stream was read that the writer doesn't have yet.
    fn has_waiting(&self, media: &str) -> bool {
        let way = self.streams.get(media).and_then(|(sink, _)| self.way(sink));
        way.is_some_and(|way| !way.is_empty())
    }

    fn way(&self, sink: &gst_app::AppSink) -> Option<Arc<Way>> {
        self.ways.lock().get(sink.name().as_str()).cloned()
    }

    /// Only a file that was cut off before it had its index may end in the middle of something.
    fn check(
        &self,
        path: &Path,
        length: gst::ClockTime,
        problem: Option<String>,
    ) -> Result<(), String> {
        let Some(indexed) = self.indexed else {
            if let Some(problem) = problem {
                tracing::warn!(path = %path.display(), problem, "a part is cut off");
            }
            return Ok(());
        };
        if problem.is_none() && length + DAMAGE >= indexed {
            return Ok(());
        }
        let problem = problem.unwrap_or_else(|| "the rest is missing".into());
        Err(format!(
            "it is damaged {} s after its beginning, of {} s: {problem}",
            length.seconds(),
            indexed.seconds()
        ))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// A queue each: the demuxer gives all streams from one thread, and the muxer takes them in turn.
fn add_sink(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    ways: &Ways,
    waiting: u32,
) -> Result<(), gst::glib::BoolError> {
    let queue = gst::ElementFactory::make("queue")
        .property("max-size-bytes", waiting)
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
    let way = Arc::<Way>::default();
    ways.lock().insert(sink.name().into(), way.clone());
    input.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        way.entered.fetch_add(1, Ordering::AcqRel);
        gst::PadProbeReturn::Ok
    });
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

fn extension(path: &Path) -> &str {
    path.extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests;
