//! What this machine has for the formats: which encoders are installed, take their options, and
//! encode when they are tried.

use super::{Encoder, Format, FormatError, Formats, join, syntax::elements};
use crate::inbox::Media;
use haven_wire::{ChosenEncoders, FormatProbe, QualityPreset};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Tries encoders. In another process: a driver or a codec may hang or crash.
pub(crate) trait Trials {
    /// Encodes a little with each of these chains.
    ///
    /// # Errors
    /// A phrase that says what went wrong.
    fn run(&mut self, media: Media, chains: &[String]) -> Result<(), String>;
}

/// What there is to say about an encoder on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Works,
    /// These elements aren't installed.
    NotInstalled(BTreeSet<String>),
    /// It is installed and of no use; why.
    Unfit(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("works"),
            Self::NotInstalled(missing) => write!(f, "{} not installed", join(missing, ", ")),
            Self::Unfit(why) => f.write_str(why),
        }
    }
}

/// An encoder of a format, and the verdict about it.
#[derive(Debug)]
pub(crate) struct Finding<'a> {
    pub(crate) format: &'a str,
    pub(crate) media: Media,
    pub(crate) encoder: &'a str,
    pub(crate) origin: String,
    pub(crate) verdict: Verdict,
}

impl Finding<'_> {
    /// What the user should know: why something that is installed isn't used.
    fn note(&self) -> Option<String> {
        match &self.verdict {
            Verdict::Unfit(why) => Some(format!(
                "{}: {} is passed over: {why}",
                self.origin, self.encoder
            )),
            _ => None,
        }
    }
}

impl Formats {
    /// Every format with what this machine has for it: encoders are tried in their order until
    /// one works.
    pub(crate) fn probe(&self, trials: &mut dyn Trials) -> BTreeMap<String, FormatProbe> {
        let formats = self.formats.iter();
        formats
            .map(|(name, format)| (name.clone(), self.probe_format(name, format, trials)))
            .collect()
    }

    fn probe_format(&self, name: &str, format: &Format, trials: &mut dyn Trials) -> FormatProbe {
        let video = self.try_encoders(name, format, Media::Video, false, trials);
        let audio = self.try_encoders(name, format, Media::Audio, false, trials);
        let muxer = self.judge_muxer(format);
        let working = |findings: &[Finding<'_>]| {
            let last = findings.last()?;
            (last.verdict == Verdict::Works).then(|| last.encoder.to_owned())
        };
        let chosen = ChosenEncoders {
            video: working(&video),
            audio: working(&audio),
        };
        let findings = video.iter().chain(&audio);
        let mut notes: Vec<_> = findings.filter_map(Finding::note).collect();
        let mut missing = BTreeSet::new();
        for (works, names) in [
            (&chosen.video, &format.video),
            (&chosen.audio, &format.audio),
        ] {
            if works.is_none() {
                missing.extend(self.missing(names));
            }
        }
        match &muxer {
            Verdict::Works => {}
            Verdict::NotInstalled(elements) => missing.extend(elements.iter().cloned()),
            Verdict::Unfit(why) => notes.push(format!("{}: {why}", format.muxer.place)),
        }
        // Without sound or a file, the pictures are of no use.
        let video = match (&chosen.audio, muxer) {
            (Some(_), Verdict::Works) => chosen.video.as_ref(),
            _ => None,
        };
        FormatProbe {
            description: format.description.clone(),
            codec: format.codec.clone(),
            audio_codec: format.audio_codec.clone(),
            container: format.container.clone(),
            aliases: format.aliases.clone(),
            encoder: video
                .and_then(|name| self.encoders.get(name))
                .map(|encoder| encoder.element.clone()),
            chosen,
            missing: self.with_packages(missing),
            notes,
            qualities: self.presets(format),
        }
    }

    /// Every encoder of every format, each tried.
    pub(crate) fn findings(&self, trials: &mut dyn Trials) -> Vec<Finding<'_>> {
        let mut findings = Vec::new();
        for (name, format) in &self.formats {
            for media in [Media::Video, Media::Audio] {
                findings.extend(self.try_encoders(name, format, media, true, trials));
            }
        }
        findings
    }

    fn try_encoders<'a>(
        &'a self,
        name: &'a str,
        format: &'a Format,
        media: Media,
        all: bool,
        trials: &mut dyn Trials,
    ) -> Vec<Finding<'a>> {
        let presets = self.presets(format);
        let names = match media {
            Media::Video => &format.video,
            Media::Audio => &format.audio,
        };
        let mut findings = Vec::new();
        for encoder in names.iter().filter_map(|name| self.encoders.get(name)) {
            let verdict = match judge(encoder, &presets) {
                Verdict::Works => match trials.run(media, &chains(encoder, &presets)) {
                    Ok(()) => Verdict::Works,
                    Err(why) => Verdict::Unfit(why),
                },
                other => other,
            };
            let works = verdict == Verdict::Works;
            findings.push(Finding {
                format: name,
                media,
                encoder: &encoder.name,
                origin: encoder.place.to_string(),
                verdict,
            });
            if works && !all {
                break;
            }
        }
        findings
    }

    /// The first encoder that may be used without a trial; the chosen one was tried.
    pub(super) fn first_fit(
        &self,
        names: &[String],
        chosen: Option<&str>,
        presets: &BTreeMap<String, QualityPreset>,
    ) -> Option<&Encoder> {
        let chosen = names.iter().filter(|name| chosen == Some(name.as_str()));
        let tried = chosen.filter_map(|name| self.encoders.get(name));
        let others = names.iter().filter_map(|name| self.encoders.get(name));
        tried
            .chain(others.filter(|encoder| !encoder.hardware))
            .find(|encoder| judge(encoder, presets) == Verdict::Works)
    }

    pub(super) fn judge_muxer(&self, format: &Format) -> Verdict {
        let chain = &format.muxer.value;
        let missing = not_installed(elements(chain));
        if !missing.is_empty() {
            return Verdict::NotInstalled(missing);
        }
        try_to_build(chain).map_or_else(Verdict::Unfit, |()| Verdict::Works)
    }

    /// Why a format can't be used on this machine.
    pub(super) fn unavailable(&self, name: &str, format: &Format) -> FormatError {
        let presets = self.presets(format);
        let mut missing = not_installed(elements(&format.muxer.value));
        let mut unfit = Vec::new();
        if let Verdict::Unfit(why) = self.judge_muxer(format) {
            unfit.push(format!("{}: {why}", format.muxer.place));
        }
        for names in [&format.video, &format.audio] {
            if self.first_fit(names, None, &presets).is_some() {
                continue;
            }
            missing.extend(self.missing(names));
            for encoder in names.iter().filter_map(|name| self.encoders.get(name)) {
                if let Verdict::Unfit(why) = judge(encoder, &presets) {
                    unfit.push(format!("{}: {why}", encoder.place));
                }
            }
        }
        if missing.is_empty() {
            let why = join(unfit, "; ");
            return FormatError::Unfit {
                format: name.into(),
                why: if why.is_empty() {
                    "its encoders need hardware".into()
                } else {
                    why
                },
            };
        }
        let packages = self.with_packages(missing);
        FormatError::NotInstalled {
            format: name.into(),
            missing: join(
                packages
                    .iter()
                    .map(|(element, package)| match package.as_str() {
                        "" => element.clone(),
                        package => format!("{element} (package {package})"),
                    }),
                ", ",
            ),
        }
    }

    /// What would have to be installed for the preferred of these encoders. One in software:
    /// hardware can't be installed.
    fn missing(&self, names: &[String]) -> BTreeSet<String> {
        let encoders = || names.iter().filter_map(|name| self.encoders.get(name));
        let preferred = encoders()
            .find(|encoder| !encoder.hardware)
            .or_else(|| encoders().next());
        not_installed(preferred.map(all_elements).unwrap_or_default())
    }

    /// The Debian package that has an element; empty where that isn't known.
    pub(crate) fn package(&self, element: &str) -> String {
        self.packages.get(element).cloned().unwrap_or_default()
    }

    fn with_packages(&self, elements: BTreeSet<String>) -> BTreeMap<String, String> {
        let package = |element: &String| self.packages.get(element).cloned().unwrap_or_default();
        let pairs = elements.into_iter();
        pairs
            .map(|element| (element.clone(), package(&element)))
            .collect()
    }
}

/// Whether an encoder is installed and takes its options; not whether it works.
fn judge(encoder: &Encoder, presets: &BTreeMap<String, QualityPreset>) -> Verdict {
    let missing = not_installed(all_elements(encoder));
    if !missing.is_empty() {
        return Verdict::NotInstalled(missing);
    }
    let built = chains(encoder, presets);
    let outcome = built.iter().try_for_each(|chain| try_to_build(chain));
    outcome.map_or_else(Verdict::Unfit, |()| Verdict::Works)
}

/// The encoder for each quality.
fn chains(encoder: &Encoder, presets: &BTreeMap<String, QualityPreset>) -> Vec<String> {
    let mut chains: Vec<_> = presets
        .iter()
        .map(|(quality, preset)| encoder.chain(quality, *preset))
        .collect();
    chains.dedup();
    chains
}

fn try_to_build(chain: &str) -> Result<(), String> {
    let flags = gst::ParseFlags::FATAL_ERRORS;
    // Caps stand between elements only.
    let text = format!("identity ! {chain} ! identity");
    match gst::parse::bin_from_description_full(&text, false, None, flags) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.message().to_owned()),
    }
}

fn all_elements(encoder: &Encoder) -> Vec<String> {
    let mut all = elements(&encoder.converter);
    all.push(encoder.element.clone());
    all.extend(elements(&encoder.parser));
    all
}

fn not_installed(elements: Vec<String>) -> BTreeSet<String> {
    let missing = |element: &String| gst::ElementFactory::find(element).is_none();
    elements.into_iter().filter(missing).collect()
}
