//! What a recording format is: data, the built-in `formats.toml` and the user's files over it.
//! `docs/pipelines.md` describes the schema.

mod checks;
mod draft;
mod survey;
mod syntax;
mod text;

pub(crate) use survey::{Trials, Verdict};
pub(crate) use text::{Place, Problem};

use draft::Draft;
use haven_wire::{ChosenEncoders, QualityPreset};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};
use text::{Located, Source};

const BUILT_IN: &str = include_str!("../formats.toml");
const BUILT_IN_NAME: &str = "formats.toml";

/// Why a format can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    #[error("cannot read the recording formats in {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{}", join(.0.iter().map(ToString::to_string), "; "))]
    Malformed(Vec<Problem>),
    #[error("the recording format {name:?} is unknown; known are {known}")]
    UnknownFormat { name: String, known: String },
    #[error("the recording quality {name:?} is unknown; known are {known}")]
    UnknownQuality { name: String, known: String },
    #[error("recording as {format} needs {missing}, which is not installed")]
    NotInstalled { format: String, missing: String },
    #[error("recording as {format} is not possible here: {why}")]
    Unfit { format: String, why: String },
}

/// The recording formats: the built-in ones and the user's.
#[derive(Debug, Default)]
pub(crate) struct Formats {
    formats: BTreeMap<String, Format>,
    encoders: BTreeMap<String, Encoder>,
    qualities: BTreeMap<String, QualityPreset>,
    packages: BTreeMap<String, String>,
}

/// What to build for one recording, in gst-launch syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// What gives the video encoder the pixel format it takes; empty where it takes ours.
    pub(crate) video_converter: String,
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
    muxer: Located<String>,
    /// Names of encoders, the preferred first.
    video: Vec<String>,
    audio: Vec<String>,
    qualities: BTreeMap<String, QualityPreset>,
}

#[derive(Debug)]
struct Encoder {
    name: String,
    place: Place,
    element: String,
    hardware: bool,
    converter: String,
    options: String,
    parser: String,
    by_quality: BTreeMap<String, String>,
    delay: gst::ClockTime,
}

impl Encoder {
    /// Its options for a quality.
    fn options(&self, quality: &str, preset: QualityPreset) -> String {
        let more = self.by_quality.get(quality).map_or("", String::as_str);
        fill_in(&format!("{} {more}", self.options), preset)
    }

    /// The whole of it for a quality, converter to parser.
    fn chain(&self, quality: &str, preset: QualityPreset) -> String {
        let encoder = format!("{} {}", self.element, self.options(quality, preset));
        let links = [
            self.converter.as_str(),
            encoder.as_str(),
            self.parser.as_str(),
        ];
        join(
            links.into_iter().filter(|link| !link.trim().is_empty()),
            " ! ",
        )
    }
}

impl Formats {
    /// The built-in formats, with the files of the user's folder over them, if there is one.
    ///
    /// # Errors
    /// When the folder or a file can't be read, or something in a file is wrong.
    pub(crate) fn load(folder: Option<&Path>) -> Result<Self, FormatError> {
        let mut draft = Draft::default();
        draft.add(&Source {
            file: BUILT_IN_NAME.into(),
            text: BUILT_IN,
        });
        for path in folder.map(toml_files).transpose()?.unwrap_or_default() {
            let text = fs::read_to_string(&path).map_err(|source| FormatError::Read {
                path: path.clone(),
                source,
            })?;
            draft.add(&Source {
                file: path.display().to_string().into(),
                text: &text,
            });
        }
        draft.finish().map_err(FormatError::Malformed)
    }

    /// What to build for a format and a quality on this machine. Encoders that a probe chose come
    /// first. Others in hardware aren't taken: only a trial tells whether they work.
    ///
    /// # Errors
    /// When either is unknown, or nothing that is installed can make it.
    pub(crate) fn recipe(
        &self,
        format: &str,
        quality: &str,
        chosen: &ChosenEncoders,
    ) -> Result<Recipe, FormatError> {
        let (name, format) = self.find(format)?;
        let presets = self.presets(format);
        let Some(preset) = presets.get(quality).copied() else {
            return Err(FormatError::UnknownQuality {
                name: quality.into(),
                known: join(presets.keys(), ", "),
            });
        };
        let muxer = self.judge_muxer(format);
        let video = self.first_fit(&format.video, chosen.video.as_deref(), &presets);
        let audio = self.first_fit(&format.audio, chosen.audio.as_deref(), &presets);
        let (Some(video), Some(audio), Verdict::Works) = (video, audio, &muxer) else {
            return Err(self.unavailable(name, format));
        };
        Ok(Recipe {
            video_converter: video.converter.clone(),
            video_encoder: video.element.clone(),
            video_options: video.options(quality, preset),
            video_parser: video.parser.clone(),
            audio_encoder: format!("{} {}", audio.element, audio.options(quality, preset)),
            audio_parser: audio.parser.clone(),
            audio_delay: audio.delay,
            muxer: format.muxer.value.clone(),
            origin: video.place.to_string(),
        })
    }

    /// The names of the qualities that every format has.
    pub(crate) fn qualities(&self) -> Vec<String> {
        self.qualities.keys().cloned().collect()
    }

    fn find(&self, name: &str) -> Result<(&str, &Format), FormatError> {
        self.formats
            .iter()
            .find(|(known, format)| *known == name || format.aliases.iter().any(|a| a == name))
            .map(|(name, format)| (name.as_str(), format))
            .ok_or_else(|| FormatError::UnknownFormat {
                name: name.into(),
                known: join(self.formats.keys(), ", "),
            })
    }

    fn presets(&self, format: &Format) -> BTreeMap<String, QualityPreset> {
        let mut presets = self.qualities.clone();
        let own = format.qualities.iter();
        presets.extend(own.map(|(name, preset)| (name.clone(), *preset)));
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

fn join(names: impl IntoIterator<Item = impl AsRef<str>>, between: &str) -> String {
    let names: Vec<_> = names
        .into_iter()
        .map(|name| name.as_ref().to_owned())
        .collect();
    names.join(between)
}

#[cfg(test)]
mod tests;
