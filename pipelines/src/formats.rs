use haven_wire::{FormatProbe, QualityPreset};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};
use toml::Spanned;

const BUILT_IN: &str = include_str!("../formats.toml");
const BUILT_IN_NAME: &str = "formats.toml";

/// Why a format can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    #[error("cannot read the recording formats in {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{file}:{line}: {problem}")]
    Malformed {
        file: String,
        line: usize,
        problem: String,
    },
    #[error("the recording format {name:?} is unknown; known are {known}")]
    UnknownFormat { name: String, known: String },
    #[error("the recording quality {name:?} is unknown; known are {known}")]
    UnknownQuality { name: String, known: String },
    #[error("recording as {format} needs {missing}, which is not installed")]
    NotInstalled { format: String, missing: String },
}

/// The recording formats: the built-in ones and the user's.
#[derive(Debug, Default)]
pub(crate) struct Formats {
    formats: BTreeMap<String, Format>,
    qualities: BTreeMap<String, QualityPreset>,
    packages: BTreeMap<String, String>,
}

/// What to build for one recording, in gst-launch syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// The element that encodes video, with its options apart.
    pub(crate) video_encoder: String,
    pub(crate) video_options: String,
    pub(crate) video_parser: String,
    pub(crate) audio_encoder: String,
    pub(crate) audio_parser: String,
    pub(crate) muxer: String,
    /// File and line where the video encoder is described.
    pub(crate) origin: String,
}

#[derive(Debug)]
struct Format {
    description: String,
    codec: String,
    audio_codec: String,
    container: String,
    aliases: Vec<String>,
    muxer: String,
    video: Vec<Candidate>,
    audio: Vec<Candidate>,
    qualities: BTreeMap<String, QualityPreset>,
}

#[derive(Debug)]
struct Candidate {
    encoder: String,
    parser: String,
    by_quality: BTreeMap<String, String>,
    origin: String,
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
    by_quality: BTreeMap<String, Spanned<String>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct QualityText {
    video_kbps: u32,
    audio_kbps: u32,
}

impl Formats {
    /// The built-in formats, and those of the user's folder, if there is one.
    ///
    /// # Errors
    /// When the folder or a file can't be read, or a file is malformed.
    pub(crate) fn load(folder: Option<&Path>) -> Result<Self, FormatError> {
        let mut formats = Self::default();
        formats.add(BUILT_IN_NAME, BUILT_IN)?;
        let Some(folder) = folder else {
            return Ok(formats);
        };
        for path in toml_files(folder)? {
            let text = fs::read_to_string(&path).map_err(|source| FormatError::Read {
                path: path.clone(),
                source,
            })?;
            formats.add(&path.display().to_string(), &text)?;
        }
        Ok(formats)
    }

    /// What to build for a format and a quality on this machine.
    ///
    /// # Errors
    /// When either is unknown, or no encoder for it is installed.
    pub(crate) fn recipe(&self, format: &str, quality: &str) -> Result<Recipe, FormatError> {
        let (name, format) = self.find(format)?;
        let presets = self.presets(format);
        let Some(preset) = presets.get(quality) else {
            return Err(FormatError::UnknownQuality {
                name: quality.into(),
                known: join(presets.keys()),
            });
        };
        let missing = missing(format);
        let (Some(video), Some(audio), true) = (
            installed(&format.video),
            installed(&format.audio),
            missing.is_empty(),
        ) else {
            return Err(FormatError::NotInstalled {
                format: name.into(),
                missing: join(
                    missing
                        .iter()
                        .map(|element| match self.packages.get(element) {
                            Some(package) => format!("{element} (package {package})"),
                            None => element.clone(),
                        }),
                ),
            });
        };
        let (element, options) = split(&video.encoder);
        let more = video.by_quality.get(quality).map_or("", String::as_str);
        Ok(Recipe {
            video_encoder: element.into(),
            video_options: fill_in(&format!("{options} {more}"), *preset),
            video_parser: video.parser.clone(),
            audio_encoder: fill_in(
                &format!(
                    "{} {}",
                    audio.encoder,
                    audio.by_quality.get(quality).map_or("", String::as_str)
                ),
                *preset,
            ),
            audio_parser: audio.parser.clone(),
            muxer: format.muxer.clone(),
            origin: video.origin.clone(),
        })
    }

    /// Every format with what this machine has for it.
    pub(crate) fn probe(&self) -> BTreeMap<String, FormatProbe> {
        self.formats
            .iter()
            .map(|(name, format)| {
                let missing = missing(format)
                    .into_iter()
                    .map(|element| {
                        let package = self.packages.get(&element).cloned().unwrap_or_default();
                        (element, package)
                    })
                    .collect();
                let probe = FormatProbe {
                    description: format.description.clone(),
                    codec: format.codec.clone(),
                    audio_codec: format.audio_codec.clone(),
                    container: format.container.clone(),
                    aliases: format.aliases.clone(),
                    encoder: installed(&format.video)
                        .map(|candidate| split(&candidate.encoder).0.to_owned()),
                    missing,
                    qualities: self.presets(format),
                };
                (name.clone(), probe)
            })
            .collect()
    }

    fn add(&mut self, file: &str, text: &str) -> Result<(), FormatError> {
        let parsed: FileText = toml::from_str(text).map_err(|error| FormatError::Malformed {
            file: file.into(),
            line: line_of(text, error.span().map_or(0, |span| span.start)),
            problem: error.message().to_owned(),
        })?;
        let source = SourceText { file, text };
        for (name, format) in parsed.formats {
            self.formats.insert(name, source.format(format)?);
        }
        let presets = |(name, quality): (String, QualityText)| (name, quality.into());
        self.qualities
            .extend(parsed.qualities.into_iter().map(presets));
        self.packages.extend(parsed.packages);
        Ok(())
    }

    fn find(&self, name: &str) -> Result<(&str, &Format), FormatError> {
        self.formats
            .iter()
            .find(|(known, format)| *known == name || format.aliases.iter().any(|a| a == name))
            .map(|(name, format)| (name.as_str(), format))
            .ok_or_else(|| FormatError::UnknownFormat {
                name: name.into(),
                known: join(self.formats.keys()),
            })
    }

    fn presets(&self, format: &Format) -> BTreeMap<String, QualityPreset> {
        let mut presets = self.qualities.clone();
        presets.extend(
            format
                .qualities
                .iter()
                .map(|(name, preset)| (name.clone(), *preset)),
        );
        presets
    }
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
            qualities: text
                .qualities
                .into_iter()
                .map(|(name, quality)| (name, quality.into()))
                .collect(),
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

fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, FormatError> {
    let failed = |source| FormatError::Read {
        path: folder.into(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

fn fill_in(text: &str, preset: QualityPreset) -> String {
    let bps = |kbps: u32| (u64::from(kbps) * 1000).to_string();
    text.replace("{video_kbps}", &preset.video_kbps.to_string())
        .replace("{video_bps}", &bps(preset.video_kbps))
        .replace("{audio_kbps}", &preset.audio_kbps.to_string())
        .replace("{audio_bps}", &bps(preset.audio_kbps))
}

/// An element and its options.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

/// The elements a piece of gst-launch syntax names; caps are passed over.
fn elements(text: &str) -> impl Iterator<Item = &str> {
    text.split('!')
        .map(|part| split(part).0)
        .filter(|name| !name.is_empty() && !name.contains(['/', ',']))
}

fn is_installed(element: &str) -> bool {
    gst::ElementFactory::find(element).is_some()
}

fn candidate_elements(candidate: &Candidate) -> impl Iterator<Item = &str> {
    elements(&candidate.encoder).chain(elements(&candidate.parser))
}

fn installed(candidates: &[Candidate]) -> Option<&Candidate> {
    candidates
        .iter()
        .find(|candidate| candidate_elements(candidate).all(is_installed))
}

/// What would have to be installed: the muxer, and of each kind the preferred encoder.
fn missing(format: &Format) -> BTreeSet<String> {
    let mut missing: BTreeSet<_> = elements(&format.muxer).collect();
    for candidates in [&format.video, &format.audio] {
        if installed(candidates).is_none() {
            missing.extend(candidates.iter().take(1).flat_map(candidate_elements));
        }
    }
    missing
        .into_iter()
        .filter(|element| !is_installed(element))
        .map(str::to_owned)
        .collect()
}

fn join(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<_> = names
        .into_iter()
        .map(|name| name.as_ref().to_owned())
        .collect();
    names.join(", ")
}

#[cfg(test)]
#[path = "formats_tests.rs"]
mod tests;
