//! What left a pad.

use gst::prelude::*;
use gst_video::prelude::*;
use haven_rig::media::{beep_onsets, samples_of};
use haven_rig::picture::{self, Grey, Reading};
use std::time::Instant;

/// Longer gaps between pictures hide when a flash began.
const MAX_FRAME_GAP_S: f64 = 0.1;

/// A buffer that left a pad.
#[derive(Clone, Debug)]
pub struct Left {
    /// When.
    pub at: Instant,
    /// Running time in seconds.
    pub time_s: f64,
    /// Bytes.
    pub bytes: usize,
    /// Whether a decoder can begin here.
    pub key: bool,
    /// Whether it says that something before it is missing.
    pub discontinuity: bool,
    /// Its first bytes, at most eight.
    pub head: Vec<u8>,
    /// Width and height of a decoded picture.
    pub size: Option<(u32, u32)>,
    /// What a decoded picture shows.
    pub reading: Option<Reading>,
}

impl Left {
    pub(super) fn new(pad: &gst::Pad, buffer: &gst::Buffer) -> Self {
        let running_time = pad
            .sticky_event::<gst::event::Segment>(0)
            .and_then(|event| {
                let segment = event.segment().downcast_ref::<gst::ClockTime>()?.clone();
                segment.to_running_time(buffer.pts()?)
            });
        let mut head = vec![0; buffer.size().min(8)];
        let _ = buffer.copy_to_slice(0, &mut head);
        let (size, reading) = picture_of(pad, buffer).unzip();
        Self {
            at: Instant::now(),
            time_s: running_time.map_or(f64::NAN, |time| time.nseconds() as f64 / 1e9),
            bytes: buffer.size(),
            key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            discontinuity: buffer.flags().contains(gst::BufferFlags::DISCONT),
            head,
            size,
            reading,
        }
    }
}

/// Everything that left one pad.
#[derive(Clone, Debug, Default)]
pub struct PadLog {
    /// The pad's name.
    pub name: String,
    /// Caps, in the order in which they came.
    pub caps: Vec<gst::Caps>,
    /// Buffers, oldest first.
    pub buffers: Vec<Left>,
    /// Gaps that were told.
    pub gaps: usize,
    /// Whether the end of the stream left.
    pub ended: bool,
    /// Samples of ±1, the first channel of decoded sound.
    samples: Vec<f32>,
    /// For each buffer of sound, the index of its first sample and its time.
    blocks: Vec<(usize, f64)>,
}

/// Rate of decoded Opus in hertz.
const SAMPLE_RATE: u32 = 48_000;

impl PadLog {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, left: Left, samples: &[f32]) {
        if !samples.is_empty() {
            self.blocks.push((self.samples.len(), left.time_s));
            self.samples.extend_from_slice(samples);
        }
        self.buffers.push(left);
    }

    pub(super) fn event(&mut self, event: &gst::Event) {
        match event.view() {
            gst::EventView::Caps(caps) => self.caps.push(caps.caps_owned()),
            gst::EventView::Eos(_) => self.ended = true,
            gst::EventView::Gap(_) => self.gaps += 1,
            _ => {}
        }
    }

    pub(super) fn forget(&mut self) {
        self.buffers.clear();
        self.samples.clear();
        self.blocks.clear();
    }

    /// The newest caps.
    pub fn newest_caps(&self) -> Option<&gst::CapsRef> {
        self.caps.last().map(AsRef::as_ref)
    }

    /// The counters of the pictures, oldest first.
    pub fn counters(&self) -> Vec<u32> {
        self.buffers
            .iter()
            .filter_map(|left| left.reading?.counter)
            .collect()
    }

    /// The first channel of decoded sound, as values of ±1 at 48 kHz.
    pub fn sound(&self) -> &[f32] {
        &self.samples
    }

    /// From the first buffer to the last, in seconds of running time.
    pub fn span_s(&self) -> f64 {
        match (self.buffers.first(), self.buffers.last()) {
            (Some(first), Some(last)) => last.time_s - first.time_s,
            _ => 0.0,
        }
    }

    /// When flashes begin, in seconds of running time.
    pub fn flashes_s(&self) -> Vec<f64> {
        let flash = |left: &Left| left.reading.is_some_and(|reading| reading.flash);
        self.buffers
            .windows(2)
            .filter(|pair| flash(&pair[1]) && !flash(&pair[0]))
            .filter(|pair| pair[1].time_s - pair[0].time_s < MAX_FRAME_GAP_S)
            .map(|pair| pair[1].time_s)
            .collect()
    }

    /// When beeps begin, in seconds of running time.
    pub fn beeps_s(&self) -> Vec<f64> {
        let to_time = |onset_s: f64| {
            let index = onset_s * f64::from(SAMPLE_RATE);
            let block = self
                .blocks
                .partition_point(|(first, _)| *first as f64 <= index);
            let (first, time_s) = self.blocks[block.saturating_sub(1)];
            time_s + (index - first as f64) / f64::from(SAMPLE_RATE)
        };
        beep_onsets(&self.samples, SAMPLE_RATE)
            .into_iter()
            .map(to_time)
            .collect()
    }

    /// For messages of failures.
    pub(super) fn summary(&self) -> String {
        format!(
            "{} buffers, the newest {:?}; caps {:?}",
            self.buffers.len(),
            self.buffers.last(),
            self.newest_caps()
        )
    }
}

/// Size and content of a decoded picture of which the first plane is grey.
fn picture_of(pad: &gst::Pad, buffer: &gst::Buffer) -> Option<((u32, u32), Reading)> {
    let caps = pad.current_caps()?;
    if caps.structure(0)?.name() != "video/x-raw" {
        return None;
    }
    let info = gst_video::VideoInfo::from_caps(&caps).ok()?;
    if !info.is_yuv() || info.comp_depth(0) != 8 {
        return None;
    }
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).ok()?;
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let stride = usize::try_from(*frame.plane_stride().first()?).ok()?;
    let mut pixels = Vec::with_capacity(width * height);
    for line in frame.plane_data(0).ok()?.chunks(stride).take(height) {
        pixels.extend_from_slice(line.get(..width)?);
    }
    let reading = picture::read(Grey {
        pixels: &pixels,
        width,
        height,
    });
    Some(((frame.width(), frame.height()), reading))
}

/// The first channel of a buffer of 16-bit sound; empty for anything else.
pub(super) fn samples(pad: &gst::Pad, buffer: &gst::Buffer) -> Vec<f32> {
    let caps = pad.current_caps();
    let channels = caps.as_ref().and_then(|caps| {
        let structure = caps.structure(0)?;
        (structure.name() == "audio/x-raw").then(|| structure.get::<i32>("channels").ok())?
    });
    match (channels, buffer.map_readable()) {
        (Some(channels), Ok(map)) => samples_of(&map, channels as usize),
        _ => Vec::new(),
    }
}
