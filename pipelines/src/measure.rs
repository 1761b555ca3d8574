use gst::prelude::*;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A file that doesn't get on within this long is given up.
const STALL: gst::ClockTime = gst::ClockTime::from_seconds(10);

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Measured {
    /// Length of what can be played.
    pub(crate) duration_ms: u64,
    /// Size of the file.
    pub(crate) bytes: u64,
}

/// Why a file can't be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeasureError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} holds nothing that plays: {problem}")]
    Unplayable { path: PathBuf, problem: String },
}

/// Measures a recording, finalised or cut off: by its index where that is complete, else by
/// reading it through.
///
/// # Errors
/// When the file can't be read, or nothing in it plays.
pub(crate) fn measure(path: &Path) -> Result<Measured, MeasureError> {
    let failed = |source| MeasureError::Read {
        path: path.into(),
        source,
    };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    let cut_off = is_unfinished_mp4(path).map_err(failed)?;
    let reader = Reader::open(path)?;
    let by_index = if cut_off { None } else { reader.by_index()? };
    let duration = match by_index {
        Some(duration) => duration,
        None => reader.by_reading()?,
    };
    Ok(Measured {
        duration_ms: duration.mseconds(),
        bytes,
    })
}

/// Whether a file is an mp4 with fragments, or without its index: its header's duration isn't the
/// file's then. False for other containers.
pub(crate) fn is_unfinished_mp4(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut at = 0;
    let mut index = false;
    while let Some((kind, size)) = box_header(&mut file, at)? {
        match (&kind, at) {
            (b"ftyp", 0) => {}
            (_, 0) => return Ok(false),
            (b"moof", _) => return Ok(true),
            (b"moov", _) => index = at.saturating_add(size) <= len,
            _ => {}
        }
        at = at.saturating_add(size);
    }
    Ok(!index)
}

/// As [`measure`], after what a writer that died left at the end is cut off, where nobody writes the
/// file.
///
/// # Errors
/// When the file can't be read, or nothing in it plays.
pub(crate) fn mend_and_measure(path: &Path) -> Result<Measured, MeasureError> {
    // One that may not be changed, or that is being written, is measured as it is.
    if let Ok(mut file) = File::options().read(true).write(true).open(path)
        && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        && let Err(problem) = cut_off(&mut file)
    {
        tracing::warn!(%problem, "the end of a file can't be cut off");
    }
    measure(path)
}

/// Cuts off the end of an mp4 with fragments that was not written whole: players refuse a file that
/// ends within a fragment's head, which a full disk does. Other files stay as they are.
///
/// # Errors
/// When the file can't be read or shortened.
pub(crate) fn cut_off_incomplete(path: &Path) -> io::Result<()> {
    cut_off(&mut File::options().read(true).write(true).open(path)?)
}

fn cut_off(file: &mut File) -> io::Result<()> {
    let len = file.metadata()?.len();
    let (mut at, mut whole) = (0, None);
    while let Some((kind, size)) = box_header(file, at)? {
        let end = at.saturating_add(size);
        if end > len || (at == 0 && &kind != b"ftyp") {
            break;
        }
        match (&kind, whole) {
            // A fragment's head is worth nothing without the media behind it.
            (b"moof", _) => whole = whole.or(Some(at)),
            (_, Some(_)) => whole = Some(end),
            _ => {}
        }
        at = end;
    }
    match whole {
        Some(whole) if whole < len => file.set_len(whole),
        _ => Ok(()),
    }
}

/// Type and size of the box at this offset; ISO/IEC 14496-12, 4.2.
fn box_header(file: &mut File, at: u64) -> io::Result<Option<([u8; 4], u64)>> {
    let mut header = [0; 16];
    file.seek(SeekFrom::Start(at))?;
    let mut read = 0;
    while read < header.len() {
        match file.read(&mut header[read..])? {
            0 => break,
            more => read += more,
        }
    }
    let [s0, s1, s2, s3, k0, k1, k2, k3, large @ ..] = header;
    let size = match u32::from_be_bytes([s0, s1, s2, s3]) {
        _ if read < 8 => return Ok(None),
        0 => u64::MAX,
        1 if read < 16 => return Ok(None),
        1 => u64::from_be_bytes(large),
        size => u64::from(size),
    };
    // A box smaller than its header is damage: there is nothing after it to go to.
    Ok((size >= 8).then_some(([k0, k1, k2, k3], size)))
}

/// A pipeline that reads a file without decoding it.
struct Reader {
    path: PathBuf,
    pipeline: gst::Pipeline,
    end: Arc<AtomicU64>,
}

impl Reader {
    fn open(path: &Path) -> Result<Self, MeasureError> {
        let reader = Self {
            path: path.into(),
            pipeline: gst::Pipeline::new(),
            end: Arc::default(),
        };
        reader
            .build(path)
            .map_err(|error| reader.unplayable(error.to_string()))?;
        let _ = reader.pipeline.set_state(gst::State::Paused);
        Ok(reader)
    }

    fn build(&self, path: &Path) -> Result<(), gst::glib::BoolError> {
        let source = gst::ElementFactory::make("filesrc")
            .property("location", path.display().to_string())
            .build()?;
        let parse = gst::ElementFactory::make("parsebin").build()?;
        self.pipeline.add_many([&source, &parse])?;
        source.link(&parse)?;
        let pipeline = self.pipeline.downgrade();
        let end = self.end.clone();
        parse.connect_pad_added(move |_, pad| {
            if let Some(pipeline) = pipeline.upgrade()
                && let Err(error) = add_sink(&pipeline, pad, &end)
            {
                tracing::warn!(%error, "a stream is not measured");
            }
        });
        Ok(())
    }

    /// The duration the file's index gives, or what could be read before an error. None where only
    /// reading the file through tells.
    fn by_index(&self) -> Result<Option<gst::ClockTime>, MeasureError> {
        let types = [gst::MessageType::AsyncDone, gst::MessageType::Error];
        let bus = self.pipeline.bus();
        let message = bus.and_then(|bus| bus.timed_pop_filtered(STALL, &types));
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::AsyncDone(_)) => {
                let duration = self.pipeline.query_duration::<gst::ClockTime>();
                Ok(duration.filter(|duration| !duration.is_zero()))
            }
            Some(gst::MessageView::Error(error)) => match self.end.load(Ordering::Relaxed) {
                0 => Err(self.unplayable(error.error().to_string())),
                end => Ok(Some(gst::ClockTime::from_nseconds(end))),
            },
            _ => Ok(None),
        }
    }

    /// Where the last buffer ends; an error in the middle of a cut file is its end.
    fn by_reading(&self) -> Result<gst::ClockTime, MeasureError> {
        let bus = self
            .pipeline
            .bus()
            .ok_or_else(|| self.unplayable("no bus".into()))?;
        let _ = self.pipeline.set_state(gst::State::Playing);
        let types = [gst::MessageType::Eos, gst::MessageType::Error];
        let mut problem = "nothing could be read".to_owned();
        let mut before = 0;
        loop {
            let message = bus.timed_pop_filtered(STALL, &types);
            let end = self.end.load(Ordering::Relaxed);
            match message.as_ref().map(|message| message.view()) {
                None if end > before => {
                    before = end;
                    continue;
                }
                Some(gst::MessageView::Error(error)) => problem = error.error().to_string(),
                _ => {}
            }
            return if end > 0 {
                Ok(gst::ClockTime::from_nseconds(end))
            } else {
                Err(self.unplayable(problem))
            };
        }
    }

    fn unplayable(&self, problem: String) -> MeasureError {
        MeasureError::Unplayable {
            path: self.path.clone(),
            problem,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn add_sink(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    end: &Arc<AtomicU64>,
) -> Result<(), gst::glib::BoolError> {
    // A queue each: the demuxer gives both streams from one thread, and a sink blocks it until
    // the others have prerolled.
    let queue = gst::ElementFactory::make("queue").build()?;
    let sink = gst::ElementFactory::make("fakesink")
        .property("sync", false)
        .build()?;
    pipeline.add_many([&queue, &sink])?;
    queue.link(&sink)?;
    queue.sync_state_with_parent()?;
    sink.sync_state_with_parent()?;
    let input = queue
        .static_pad("sink")
        .ok_or_else(|| gst::glib::bool_error!("a queue without a sink pad"))?;
    let end = end.clone();
    input.add_probe(gst::PadProbeType::BUFFER, move |pad, probe| {
        if let Some(buffer) = probe.buffer()
            && let Some(stop) = end_time(pad, buffer)
        {
            end.fetch_max(stop.nseconds(), Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
    pad.link(&input)
        .map_err(|error| gst::glib::bool_error!("{error}"))?;
    Ok(())
}

/// When what a buffer holds is over, counted from the stream's beginning.
pub(crate) fn end_time(pad: &gst::Pad, buffer: &gst::Buffer) -> Option<gst::ClockTime> {
    let stop = buffer.pts()? + buffer.duration().unwrap_or_default();
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = event.segment().downcast_ref::<gst::ClockTime>()?;
    let stop = segment.stop().map_or(stop, |end| stop.min(end));
    segment.to_stream_time(stop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::tests::{Index, make};

    fn a_box(kind: &str, payload: usize) -> Vec<u8> {
        let size = u32::try_from(8 + payload).unwrap();
        let mut bytes = size.to_be_bytes().to_vec();
        bytes.extend(kind.as_bytes());
        bytes.resize(8 + payload, 1);
        bytes
    }

    #[test]
    fn what_is_left_of_a_fragment_is_cut_off_and_whole_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        let begin = [a_box("ftyp", 8), a_box("moov", 20)].concat();
        let fragment = [a_box("moof", 30), a_box("mdat", 100)].concat();
        let whole = [&begin[..], &fragment, &fragment].concat();
        let first = begin.len() + fragment.len();
        for length in begin.len()..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            cut_off_incomplete(&path).unwrap();
            let left = path.metadata().unwrap().len();
            let expected = match length {
                // Nothing of a fragment is known before its head is whole.
                _ if length < begin.len() + 38 => length,
                _ if length < first => begin.len(),
                _ if length < whole.len() => first,
                _ => whole.len(),
            };
            assert_eq!(left, expected as u64, "{length}");
        }
        let other = [&[26, 69, 223, 163][..], &whole].concat();
        std::fs::write(&path, &other).unwrap();
        cut_off_incomplete(&path).unwrap();
        assert_eq!(path.metadata().unwrap().len(), other.len() as u64);
    }

    #[test]
    fn what_a_dead_writer_left_is_cut_off_before_measuring_but_not_what_is_written() {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        make(&path, "mp4", (320, 240), 60, Index::None);
        let whole = std::fs::read(&path).unwrap();
        let last = whole.windows(4).rposition(|kind| kind == b"moof").unwrap() - 4;
        // All of a fragment's head but its last bytes.
        std::fs::write(&path, &whole[..last + 60]).unwrap();
        let length = || path.metadata().unwrap().len();
        let writer = File::open(&path).unwrap();
        flock(&writer, FlockOperation::LockExclusive).unwrap();
        let _ = mend_and_measure(&path);
        assert_eq!(length(), last as u64 + 60);
        drop(writer);
        let measured = mend_and_measure(&path).unwrap();
        assert_eq!(length(), last as u64);
        assert_eq!(measured.bytes, last as u64);
        assert!(measured.duration_ms >= 1400, "{measured:?}");
    }
}
