//! What a recording makes of the streams.

use crate::formats::{FormatError, Formats, Recipe};
use haven_wire::{COPIED, ChosenEncoders, FormatProbe, NO_VIDEO};
use std::{collections::BTreeMap, path::Path};

/// The format that keeps the publisher's own encoding.
const SOURCE: &str = "source";
/// The format that keeps the sound alone.
const WAVE: &str = "wav";
/// The formats that need no description.
pub(crate) const BUILT_IN: [&str; 2] = [SOURCE, WAVE];
/// Bit rate of the mixed voices beside an untouched picture.
pub(super) const MIX_BPS: u32 = 128_000;
/// Fragments of a second: a file that was cut off plays up to the last whole one.
pub(super) const MP4_MUXER: &str =
    "mp4mux fragment-mode=first-moov-then-finalise fragment-duration=1000";
/// A WAV file's sizes have 32 bits: a longer recording goes on in another file before that.
pub(super) const LARGEST_WAVE_BYTES: u64 = 4_000_000_000;

/// What a recording makes of the streams.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// Encodes them, in one geometry from begin to end.
    Encode(Box<Recipe>),
    /// Keeps pictures as they were published.
    Copy,
    /// Keeps the sound alone.
    Wave,
}

impl Plan {
    /// The formats that need no description.
    fn built_in(format: &str) -> Option<Self> {
        match format {
            SOURCE => Some(Self::Copy),
            WAVE => Some(Self::Wave),
            _ => None,
        }
    }

    /// What a recording of this format and quality is. Descriptions are read anew each time: what
    /// the user adds or mends needs no restart.
    ///
    /// # Errors
    /// When there is no such format or quality, or nothing here can make it.
    pub(crate) fn choose(
        format: &str,
        quality: &str,
        encoders: &ChosenEncoders,
        formats_dir: Option<&Path>,
    ) -> Result<Self, FormatError> {
        if let Some(plan) = Self::built_in(format) {
            return Ok(plan);
        }
        let recipe = Formats::load(formats_dir)?.recipe(format, quality, encoders)?;
        Ok(Self::Encode(Box::new(recipe)))
    }

    /// The element that encodes pictures.
    pub(super) fn encoder(&self) -> Option<String> {
        match self {
            Self::Encode(recipe) => Some(recipe.video_encoder.clone()),
            Self::Copy | Self::Wave => None,
        }
    }
}

/// What this machine has for the formats that need no description, by their names.
pub(crate) fn probe(packages: &dyn Fn(&str) -> String) -> BTreeMap<String, FormatProbe> {
    let copy = FormatProbe {
        description: "The publisher's own encoding, untouched".into(),
        codec: COPIED.into(),
        audio_codec: "opus".into(),
        container: "mp4".into(),
        missing: missing(
            &[
                "mp4mux",
                "webmmux",
                "h264parse",
                "vp9parse",
                "av1parse",
                "opusparse",
                "opusenc",
                "capssetter",
            ],
            packages,
        ),
        ..FormatProbe::default()
    };
    let wave = FormatProbe {
        description: "The sound alone, not compressed".into(),
        codec: NO_VIDEO.into(),
        audio_codec: "pcm_s16le".into(),
        container: "wav".into(),
        missing: missing(&["wavenc"], packages),
        ..FormatProbe::default()
    };
    [(SOURCE.to_owned(), copy), (WAVE.to_owned(), wave)].into()
}

fn missing(elements: &[&str], packages: &dyn Fn(&str) -> String) -> BTreeMap<String, String> {
    elements
        .iter()
        .filter(|element| gst::ElementFactory::find(element).is_none())
        .map(|element| ((*element).to_owned(), packages(element)))
        .collect()
}
