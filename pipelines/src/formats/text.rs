//! A file of formats as it is written.

use haven_wire::QualityPreset;
use serde::Deserialize;
use std::{collections::BTreeMap, fmt, sync::Arc};
use toml::Spanned;

/// Where something is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    file: Arc<str>,
    line: usize,
}

impl Place {
    pub(super) fn is_in(&self, file: &str) -> bool {
        *self.file == *file
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Something, and where it is written.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// What is wrong in a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(super) place: Place,
    pub(super) text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileText {
    #[serde(default)]
    pub(super) formats: BTreeMap<String, Spanned<FormatText>>,
    #[serde(default)]
    pub(super) encoders: BTreeMap<String, Spanned<EncoderText>>,
    #[serde(default)]
    pub(super) qualities: BTreeMap<String, Spanned<QualityText>>,
    #[serde(default)]
    pub(super) packages: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FormatText {
    pub(super) description: Option<String>,
    pub(super) codec: Option<String>,
    pub(super) audio_codec: Option<String>,
    pub(super) container: Option<Spanned<String>>,
    pub(super) aliases: Option<Vec<Spanned<String>>>,
    pub(super) muxer: Option<Spanned<String>>,
    pub(super) video: Option<Vec<Spanned<String>>>,
    pub(super) audio: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) qualities: BTreeMap<String, Spanned<QualityText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EncoderText {
    pub(super) element: Option<Spanned<String>>,
    pub(super) hardware: Option<bool>,
    pub(super) converter: Option<Spanned<String>>,
    pub(super) options: Option<Spanned<String>>,
    pub(super) parser: Option<Spanned<String>>,
    pub(super) delay_samples: Option<u32>,
    pub(super) without_bit_rate: Option<bool>,
    #[serde(default)]
    pub(super) by_quality: BTreeMap<String, Spanned<String>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QualityText {
    video_kbps: u32,
    audio_kbps: u32,
}

impl From<QualityText> for QualityPreset {
    fn from(text: QualityText) -> Self {
        Self {
            video_kbps: text.video_kbps,
            audio_kbps: text.audio_kbps,
        }
    }
}

/// A file's name and text, for places.
pub(super) struct Source<'a> {
    pub(super) file: Arc<str>,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// Reads the text.
    ///
    /// # Errors
    /// When it is no TOML, or has unknown keys or wrong types.
    pub(super) fn parse(&self) -> Result<FileText, Problem> {
        toml::from_str(self.text).map_err(|error| Problem {
            place: self.place(error.span().map_or(0, |span| span.start)),
            // Several lines at times: the first says it, what follows is advice.
            text: error.message().replace('\n', "; "),
        })
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        Place {
            file: self.file.clone(),
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
        }
    }

    pub(super) fn locate<T>(&self, spanned: Spanned<T>) -> Located<T> {
        Located {
            place: self.place(spanned.span().start),
            value: spanned.into_inner(),
        }
    }
}
