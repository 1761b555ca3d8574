mod text;

use haven_wire::{FormatProbe, QualityPreset};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

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
    /// How much silence the audio encoder puts before what it is given.
    pub(crate) audio_delay: gst::ClockTime,
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
    delay: gst::ClockTime,
    origin: String,
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
            audio_delay: audio.delay,
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
        let parsed = text::parse(file, text)?;
        self.formats.extend(parsed.formats);
        self.qualities.extend(parsed.qualities);
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
mod tests;
