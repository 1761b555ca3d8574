//! Any number of voices, which come and go, as one continuous stream of sound.
//!
//! ```text
//! voice: appsrc ─ opusdec ─ audioconvert ─ audioresample ─ (drift) ┐
//! voice: …                                                        ├ audiomixer ─ src
//! silence (audiotestsrc) ─────────────────────────────────────────┘
//! ```
//!
//! The silence is always there, so the mix has no gap from the first sample to the last, and a
//! voice that joins or leaves changes nothing but itself. Without it, audiomixer 1.22 begins its
//! time at 0, however late it was started, and gives its second block the first one's time stamp.

use crate::decoder::decoder_chain;
use crate::drift;
use gst::prelude::*;
use std::collections::HashMap;

/// Sampling rate of the mix in hertz: what Opus decodes to.
pub const SAMPLE_RATE: u32 = 48_000;
/// Bytes of one sample of the mix, both channels.
pub const FRAME_BYTES: usize = 4;

/// The mix is handed on in pieces of this length.
const BLOCK: gst::ClockTime = gst::ClockTime::from_mseconds(20);
/// Time stamps of one voice that differ by less than this from what they should be are smoothed
/// over by the mixer. They never do: see [`drift`].
const ALIGNMENT: gst::ClockTime = gst::ClockTime::from_mseconds(20);

/// What is mixed, and what comes out: 16-bit stereo at [`SAMPLE_RATE`].
pub fn caps() -> gst::Caps {
    gst::Caps::builder("audio/x-raw")
        .field("format", "S16LE")
        .field("layout", "interleaved")
        .field("rate", SAMPLE_RATE as i32)
        .field("channels", 2)
        .build()
}

/// What a voice takes.
pub(crate) fn voice_caps() -> gst::Caps {
    gst::Caps::builder("audio/x-opus")
        .field("channel-mapping-family", 0)
        .build()
}

/// Why a mixer or a voice can't be made.
#[derive(Debug, thiserror::Error)]
pub enum MixerError {
    /// No Opus decoder is installed.
    #[error("{0}")]
    NoDecoder(String),
    /// An element is missing or refuses its settings.
    #[error(transparent)]
    Internal(#[from] gst::glib::BoolError),
}

/// A bin with a `src` pad that gives the mix of its voices.
#[derive(Debug)]
pub struct Mixer {
    bin: gst::Bin,
    mixer: gst::Element,
    voices: HashMap<String, Voice>,
}

#[derive(Debug)]
struct Voice {
    source: gst_app::AppSrc,
    elements: Vec<gst::Element>,
    pad: gst::Pad,
}

impl Mixer {
    /// A mixer whose stream begins when it is set to PLAYING. Sound that is later than `latency`
    /// (beyond what its source says of itself) is replaced by silence.
    ///
    /// # Errors
    /// When an element is missing.
    pub fn new(latency: gst::ClockTime) -> Result<Self, MixerError> {
        let make = gst::ElementFactory::make;
        let silence = make("audiotestsrc")
            .property("is-live", true)
            .property_from_str("wave", "silence")
            .property(
                "samplesperbuffer",
                (SAMPLE_RATE / 1000) as i32 * BLOCK.mseconds() as i32,
            )
            .build()?;
        let quiet = make("capsfilter").property("caps", caps()).build()?;
        let mixer = make("audiomixer")
            .property("force-live", true)
            .property("ignore-inactive-pads", true)
            .property("latency", latency.nseconds())
            .property("output-buffer-duration", BLOCK.nseconds())
            .property("alignment-threshold", ALIGNMENT.nseconds())
            .property_from_str("start-time-selection", "first")
            .build()?;
        let format = make("capsfilter").property("caps", caps()).build()?;
        let bin = gst::Bin::new();
        let chain = [&silence, &quiet, &mixer, &format];
        bin.add_many(chain)?;
        gst::Element::link_many(chain)?;
        let target = format
            .static_pad("src")
            .ok_or_else(|| gst::glib::bool_error!("a capsfilter without a pad"))?;
        bin.add_pad(&gst::GhostPad::with_target(&target)?)?;
        Ok(Self {
            bin,
            mixer,
            voices: HashMap::new(),
        })
    }

    /// What belongs into a pipeline.
    pub fn bin(&self) -> &gst::Bin {
        &self.bin
    }

    /// Where the Opus packets of this voice go in, with their running time as PTS; a new voice
    /// where there is none of this name.
    ///
    /// # Errors
    /// When an element is missing.
    pub fn voice(&mut self, name: &str) -> Result<gst_app::AppSrc, MixerError> {
        if let Some(voice) = self.voices.get(name) {
            return Ok(voice.source.clone());
        }
        let voice = self.add_voice()?;
        let source = voice.source.clone();
        self.voices.insert(name.to_owned(), voice);
        Ok(source)
    }

    fn add_voice(&self) -> Result<Voice, MixerError> {
        let make = gst::ElementFactory::make;
        let source = gst_app::AppSrc::builder()
            .caps(&voice_caps())
            .format(gst::Format::Time)
            .is_live(true)
            .max_bytes(0)
            .build();
        let mut elements = vec![source.clone().upcast()];
        elements.extend(decoder_chain(&voice_caps()).map_err(MixerError::NoDecoder)?);
        for decoder in &elements {
            // What was lost is concealed, where the decoder can.
            if decoder.find_property("plc").is_some() {
                decoder.set_property("plc", true);
            }
        }
        elements.push(make("audioconvert").build()?);
        elements.push(make("audioresample").build()?);
        let format = make("capsfilter").property("caps", caps()).build()?;
        let out = format
            .static_pad("src")
            .ok_or_else(|| gst::glib::bool_error!("a capsfilter without a pad"))?;
        drift::follow(&out);
        elements.push(format);
        self.bin.add_many(&elements)?;
        gst::Element::link_many(&elements)?;
        let pad = self
            .mixer
            .request_pad_simple("sink_%u")
            .ok_or_else(|| gst::glib::bool_error!("a mixer without a free pad"))?;
        let voice = Voice {
            source,
            elements,
            pad,
        };
        let linked = out
            .link(&voice.pad)
            .map_err(|error| gst::glib::bool_error!("a voice can't be linked: {error}"));
        let started = linked.and_then(|_| {
            let mut elements = voice.elements.iter().rev();
            elements.try_for_each(|element| element.sync_state_with_parent())
        });
        if let Err(error) = started {
            self.take_out(voice);
            return Err(error.into());
        }
        Ok(voice)
    }

    /// Takes a voice out; the others aren't heard differently.
    pub fn remove_voice(&mut self, name: &str) {
        if let Some(voice) = self.voices.remove(name) {
            self.take_out(voice);
        }
    }

    /// How many voices there are, heard or not.
    pub fn voices(&self) -> usize {
        self.voices.len()
    }

    fn take_out(&self, voice: Voice) {
        // First the mixer's pad: a buffer that waits there would hold up the rest.
        self.mixer.release_request_pad(&voice.pad);
        for element in &voice.elements {
            let _ = element.set_state(gst::State::Null);
            let _ = self.bin.remove(element);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A pipeline of a mixer and a sink, and what comes out of it: time in ms and loudness.
    fn listen(mixer: &Mixer) -> (gst::Pipeline, mpsc::Receiver<(u64, f64)>) {
        let (send, heard) = mpsc::channel();
        let sink = gst_app::AppSink::builder().sync(false).build();
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
                    let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
                    let samples = map.chunks_exact(2);
                    let loudest = samples
                        .map(|bytes| i16::from_le_bytes([bytes[0], bytes[1]]).unsigned_abs())
                        .max();
                    let segment = sample
                        .segment()
                        .unwrap()
                        .downcast_ref::<gst::ClockTime>()
                        .unwrap();
                    let at = segment
                        .to_running_time(buffer.pts())
                        .map_or(0, gst::ClockTime::mseconds);
                    let loudness = f64::from(loudest.unwrap_or(0)) / 32_768.0;
                    let _ = send.send((at, loudness));
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
        let pipeline = gst::Pipeline::new();
        pipeline.add(mixer.bin()).unwrap();
        pipeline.add(&sink).unwrap();
        mixer.bin().link(&sink).unwrap();
        // As if it had played for a minute already.
        let clock = gst::SystemClock::obtain();
        pipeline.use_clock(Some(&clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(clock.time() - gst::ClockTime::from_seconds(60));
        pipeline.set_state(gst::State::Playing).unwrap();
        (pipeline, heard)
    }

    /// Opus packets of 20 ms of a tone.
    fn opus(packets: usize) -> Vec<gst::Buffer> {
        let text = format!(
            "audiotestsrc num-buffers={packets} samplesperbuffer=960 volume=0.3 \
             ! audio/x-raw,rate=48000,channels=2 ! opusenc ! appsink name=out sync=false"
        );
        let pipeline = gst::parse::launch(&text).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let sink = pipeline.by_name("out").unwrap();
        let sink = sink.downcast::<gst_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let mut packets = Vec::new();
        while let Ok(sample) = sink.pull_sample() {
            packets.push(sample.buffer_owned().unwrap());
        }
        pipeline.set_state(gst::State::Null).unwrap();
        packets
    }

    /// Says the packets from this time on, each at its time.
    fn say(pipeline: &gst::Pipeline, source: &gst_app::AppSrc, packets: &[gst::Buffer]) {
        let clock = pipeline.clock().unwrap();
        let base = pipeline.base_time().unwrap();
        let start = clock.time() - base;
        for (packet, n) in packets.iter().zip(0u64..) {
            let pts = start + gst::ClockTime::from_mseconds(20) * n;
            // "Early" is said of a wait that began too late.
            let _ = clock.new_single_shot_id(base + pts).wait();
            let mut packet = packet.copy();
            packet.make_mut().set_pts(pts);
            source.push_buffer(packet).unwrap();
        }
    }

    #[test]
    fn voices_come_and_go_and_the_stream_has_no_gap() {
        gst::init().unwrap();
        let packets = opus(30);
        let latency = gst::ClockTime::from_mseconds(300);
        let mut mixer = Mixer::new(latency).unwrap();
        let (pipeline, heard) = listen(&mixer);
        let limit = std::time::Duration::from_secs(20);
        let mut all = vec![heard.recv_timeout(limit).unwrap()];
        for name in ["one", "two"] {
            let source = mixer.voice(name).unwrap();
            say(&pipeline, &source, &packets);
            mixer.remove_voice(name);
        }
        assert_eq!(mixer.voices(), 0);
        // Silence again, behind the last voice.
        while all
            .iter()
            .rev()
            .take(30)
            .any(|(_, loudness)| *loudness > 0.01)
            || all.len() < 40
        {
            all.push(heard.recv_timeout(limit).unwrap());
        }
        pipeline.set_state(gst::State::Null).unwrap();
        assert!(
            all.windows(2).all(|pair| pair[1].0 - pair[0].0 == 20),
            "{all:?}"
        );
        assert!((60_000..80_000).contains(&all[0].0), "{all:?}");
        let loud = all.iter().filter(|(_, loudness)| *loudness > 0.1).count();
        // Of 60 packets a few are cut at a start or an end, or were late on a busy machine.
        assert!((40..=62).contains(&loud), "{loud}: {all:?}");
    }
}
