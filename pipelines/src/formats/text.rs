use super::{Candidate, Format, FormatError, fill_in};
use gstlivekitsrc::mixer::SAMPLE_RATE;
use haven_wire::QualityPreset;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

/// What one file says.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) formats: BTreeMap<String, Format>,
    pub(super) qualities: BTreeMap<String, QualityPreset>,
    pub(super) packages: BTreeMap<String, String>,
}

/// Reads a file of formats; `file` is its name for messages.
///
/// # Errors
/// [`FormatError::Malformed`], with the line.
pub(super) fn parse(file: &str, text: &str) -> Result<Parsed, FormatError> {
    let parsed: FileText = toml::from_str(text).map_err(|error| FormatError::Malformed {
        file: file.into(),
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        problem: error.message().to_owned(),
    })?;
    let source = SourceText { file, text };
    Ok(Parsed {
        formats: parsed
            .formats
            .into_iter()
            .map(|(name, format)| Ok((name, source.format(format)?)))
            .collect::<Result<_, FormatError>>()?,
        qualities: presets(parsed.qualities),
        packages: parsed.packages,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    #[serde(default)]
    formats: BTreeMap<String, FormatText>,
    #[serde(default)]
    qualities: BTreeMap<String, QualityText>,
    #[serde(default)]
    packages: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FormatText {
    description: String,
    codec: String,
    audio_codec: String,
    container: Spanned<String>,
    #[serde(default)]
    aliases: Vec<String>,
    muxer: Spanned<String>,
    video: Vec<CandidateText>,
    audio: Vec<CandidateText>,
    #[serde(default)]
    qualities: BTreeMap<String, QualityText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CandidateText {
    encoder: Spanned<String>,
    parser: Option<Spanned<String>>,
    #[serde(default)]
    delay_samples: u32,
    #[serde(default)]
    by_quality: BTreeMap<String, Spanned<String>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct QualityText {
    video_kbps: u32,
    audio_kbps: u32,
}

/// A file of formats, for messages that name the line.
struct SourceText<'a> {
    file: &'a str,
    text: &'a str,
}

impl SourceText<'_> {
    fn format(&self, text: FormatText) -> Result<Format, FormatError> {
        let container = text.container.get_ref();
        if container.is_empty() || !container.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(self.error(&text.container, "the container is a file name's extension"));
        }
        let candidates = |list: Vec<CandidateText>| {
            list.into_iter()
                .map(|candidate| self.candidate(candidate))
                .collect::<Result<Vec<_>, _>>()
        };
        let at = text.muxer.clone();
        self.check(&text.muxer)?;
        let format = Format {
            description: text.description,
            codec: text.codec,
            audio_codec: text.audio_codec,
            container: text.container.into_inner(),
            aliases: text.aliases,
            muxer: text.muxer.into_inner(),
            video: candidates(text.video)?,
            audio: candidates(text.audio)?,
            qualities: presets(text.qualities),
        };
        if format.video.is_empty() || format.audio.is_empty() {
            return Err(self.error(&at, "a format needs an encoder for video and one for audio"));
        }
        Ok(format)
    }

    fn candidate(&self, text: CandidateText) -> Result<Candidate, FormatError> {
        self.check(&text.encoder)?;
        if text.encoder.get_ref().contains('!') {
            return Err(self.error(
                &text.encoder,
                "an encoder is one element; the rest is parser",
            ));
        }
        if let Some(parser) = &text.parser {
            self.check(parser)?;
        }
        for options in text.by_quality.values() {
            self.check_placeholders(options)?;
        }
        Ok(Candidate {
            origin: format!("{}:{}", self.file, self.line(&text.encoder)),
            encoder: text.encoder.into_inner(),
            delay: gst::ClockTime::from_nseconds(
                u64::from(text.delay_samples) * 1_000_000_000 / u64::from(SAMPLE_RATE),
            ),
            parser: text.parser.map(Spanned::into_inner).unwrap_or_default(),
            by_quality: text
                .by_quality
                .into_iter()
                .map(|(quality, options)| (quality, options.into_inner()))
                .collect(),
        })
    }

    fn check(&self, text: &Spanned<String>) -> Result<(), FormatError> {
        if text.get_ref().split('!').any(|part| part.trim().is_empty()) {
            return Err(self.error(text, "an element is missing"));
        }
        self.check_placeholders(text)
    }

    fn check_placeholders(&self, text: &Spanned<String>) -> Result<(), FormatError> {
        let filled = fill_in(text.get_ref(), QualityPreset::default());
        match filled.find(['{', '}']) {
            Some(at) => {
                let rest: String = filled[at..].chars().take(20).collect();
                Err(self.error(text, &format!("unknown placeholder at {rest:?}")))
            }
            None => Ok(()),
        }
    }

    fn error(&self, at: &Spanned<String>, problem: &str) -> FormatError {
        FormatError::Malformed {
            file: self.file.into(),
            line: self.line(at),
            problem: problem.into(),
        }
    }

    fn line(&self, at: &Spanned<String>) -> usize {
        line_of(self.text, at.span().start)
    }
}

impl From<QualityText> for QualityPreset {
    fn from(text: QualityText) -> Self {
        Self {
            video_kbps: text.video_kbps,
            audio_kbps: text.audio_kbps,
        }
    }
}

fn presets(texts: BTreeMap<String, QualityText>) -> BTreeMap<String, QualityPreset> {
    texts
        .into_iter()
        .map(|(name, text)| (name, text.into()))
        .collect()
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}
