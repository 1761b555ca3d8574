//! A second of what a streamer publishes, encoded once for all measurements.

use super::footage::{BLOCKS_PER_SECOND, Footage};
use crate::{decode::describe, demo};
use gst::prelude::*;
use haven_wire::Costs;
use serde::{Deserialize, Serialize};
use std::{fs, io, path::Path};

/// What stands in for the demo room's encoder of H.264 where that isn't installed: sessions need
/// its package for other things, so it always is.
const OTHER_VIDEO: &str =
    "vp8enc deadline=1 cpu-used=8 target-bitrate=2500000 keyframe-max-dist=30";
const FILE: &str = "published.json";

/// Pictures and sound of one second, as a room's streamer publishes them. They go on by repeating.
#[derive(Serialize, Deserialize)]
pub(super) struct Published {
    pub(super) video: Encoded,
    pub(super) audio: Encoded,
}

/// One of its streams, which begins with a key frame.
#[derive(Serialize, Deserialize)]
pub(super) struct Encoded {
    caps: String,
    /// Whether decoding can begin there, and the bytes.
    units: Vec<(bool, Vec<u8>)>,
}

impl Published {
    /// Encodes it.
    ///
    /// # Errors
    /// When there is no encoder, or it fails.
    pub(super) fn make(footage: &Footage) -> Result<Self, String> {
        let encoder = match gst::ElementFactory::find("x264enc") {
            Some(_) => demo::VIDEO_ENCODER,
            None => OTHER_VIDEO,
        };
        let pictures = (0..Costs::FPS).map(|number| footage.picture(number));
        let blocks = (0..BLOCKS_PER_SECOND).map(|number| footage.block(number));
        Ok(Self {
            video: encode(encoder, &Footage::picture_caps(), pictures, Costs::FPS)?,
            audio: encode(
                demo::AUDIO_ENCODER,
                &Footage::sound_caps(),
                blocks,
                BLOCKS_PER_SECOND,
            )?,
        })
    }

    /// Leaves it in a folder for other processes.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join(FILE), serde_json::to_vec(self)?)
    }

    /// What another process left there.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(folder.join(FILE))?)?)
    }
}

impl Encoded {
    /// What it is.
    ///
    /// # Errors
    /// When another process wrote something else.
    pub(super) fn caps(&self) -> Result<gst::Caps, String> {
        self.caps
            .parse()
            .map_err(|_| format!("no caps: {}", self.caps))
    }

    /// A buffer of it, without a time.
    pub(super) fn unit(&self, number: u32) -> gst::Buffer {
        let (key, bytes) = &self.units[number as usize % self.units.len()];
        let mut buffer = gst::Buffer::from_slice(bytes.clone());
        if !key {
            buffer.make_mut().set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        buffer
    }
}

/// Encodes buffers of which there are `rate` a second.
fn encode(
    encoder: &str,
    caps: &gst::Caps,
    buffers: impl Iterator<Item = gst::Buffer>,
    rate: u32,
) -> Result<Encoded, String> {
    let text = format!(
        "appsrc name=in format=time max-bytes=0 ! {encoder} ! appsink name=out sync=false async=false"
    );
    let pipeline = gst::parse::launch(&text)
        .map_err(|error| error.to_string())?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "not a pipeline".to_owned())?;
    let element = |name| pipeline.by_name(name).ok_or(format!("{name} is missing"));
    let input = element("in")?.downcast::<gst_app::AppSrc>();
    let input = input.map_err(|_| "not an appsrc".to_owned())?;
    let output = element("out")?.downcast::<gst_app::AppSink>();
    let output = output.map_err(|_| "not an appsink".to_owned())?;
    input.set_caps(Some(caps));
    let started = pipeline.set_state(gst::State::Playing);
    let encoded = started.map_err(|error| error.to_string()).and_then(|_| {
        let length = gst::ClockTime::SECOND / u64::from(rate);
        for (number, mut buffer) in buffers.enumerate() {
            let whole = buffer.make_mut();
            whole.set_pts(length * number as u64);
            whole.set_duration(length);
            input.push_buffer(buffer).map_err(|e| e.to_string())?;
        }
        input.end_of_stream().map_err(|error| error.to_string())?;
        pull(&output)
    });
    // The bus says more than what follows from it.
    let complaint = pipeline
        .bus()
        .and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    let _ = pipeline.set_state(gst::State::Null);
    match complaint.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => Err(describe(error)),
        _ => encoded,
    }
}

/// All that comes out.
fn pull(output: &gst_app::AppSink) -> Result<Encoded, String> {
    let mut encoded = Encoded {
        caps: String::new(),
        units: Vec::new(),
    };
    while let Ok(sample) = output.pull_sample() {
        let (Some(buffer), Some(caps)) = (sample.buffer(), sample.caps()) else {
            continue;
        };
        encoded.caps = caps.to_string();
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let bytes = buffer.map_readable().map_err(|error| error.to_string())?;
        encoded.units.push((key, bytes.to_vec()));
    }
    match encoded.units.first() {
        Some((true, _)) => Ok(encoded),
        Some(_) => Err("it begins with no key frame".into()),
        None => Err("it gave nothing out".into()),
    }
}
