//! What may be recorded: the contract's formats, and what the probe says of this machine.

use super::recording::{Config, Settings};
use crate::{Error, error::Kind};
use haven_wire::{AudioChoice, COPIED, FormatProbe, NO_VIDEO, Probe, QualityPreset, Split};
use std::collections::BTreeMap;

/// A format that the API promises.
struct Promised {
    name: &'static str,
    aliases: &'static [&'static str],
    description: &'static str,
    codec: &'static str,
    audio_codec: &'static str,
    container: &'static str,
}

/// What the API promises is listed on every machine, available or not.
const PROMISED: [Promised; 5] = [
    Promised {
        name: "av1",
        aliases: &[],
        description: "AV1 codec (recommended)",
        codec: "libaom-av1",
        audio_codec: "aac",
        container: "mp4",
    },
    Promised {
        name: "h264",
        aliases: &["mp4"],
        description: "H.264 codec",
        codec: "libx264",
        audio_codec: "aac",
        container: "mp4",
    },
    Promised {
        name: "vp9",
        aliases: &["webm"],
        description: "VP9 codec",
        codec: "libvpx-vp9",
        audio_codec: "opus",
        container: "webm",
    },
    Promised {
        name: "source",
        aliases: &[],
        description: "The publisher's own encoding, untouched",
        codec: COPIED,
        audio_codec: "opus",
        container: "mp4",
    },
    Promised {
        name: "wav",
        aliases: &[],
        description: "Uncompressed sound, without pictures",
        codec: NO_VIDEO,
        audio_codec: "pcm_s16le",
        container: "wav",
    },
];

/// The contract's quality presets: name, video and audio kbit/s.
const PRESETS: [(&str, u32, u32); 3] = [
    ("low", 1000, 64),
    ("medium", 2000, 128),
    ("high", 4000, 192),
];

/// What a recording will be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Name of the format, aliases resolved.
    pub(crate) format: String,
    pub(crate) config: Config,
    /// What the worker is told beside.
    pub(crate) settings: Settings,
}

impl Plan {
    /// The same with these voices, and split like this.
    pub(crate) fn with(mut self, audio: AudioChoice, split: Split) -> Self {
        self.settings.audio = audio;
        self.settings.split = split;
        self
    }
}

/// A format, and whether the worker has it at all.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) probe: FormatProbe,
    offered: bool,
}

impl Known {
    /// Whether a recording in this format can be made here. What is copied, and sound alone, need
    /// no encoder.
    pub(crate) fn available(&self) -> bool {
        self.offered && self.probe.available()
    }

    /// FFmpeg's name of the video codec; none for sound alone.
    pub(crate) fn video_codec(&self) -> Option<&str> {
        Some(self.probe.codec.as_str()).filter(|codec| *codec != NO_VIDEO)
    }
}

/// Whether a codec has no bit rate to be chosen.
fn has_no_rate(codec: &str) -> bool {
    matches!(codec, COPIED | NO_VIDEO) || codec.starts_with("pcm_")
}

/// Every format: those of the probe, and those promised that it doesn't have.
pub(crate) fn known_formats(probe: Option<&Probe>) -> BTreeMap<String, Known> {
    let offered = probe.map(|probe| probe.formats.clone()).unwrap_or_default();
    let offered = offered.into_iter().map(|(name, probe)| {
        let offered = true;
        (name, Known { probe, offered })
    });
    let mut formats: BTreeMap<_, _> = offered.collect();
    for promised in PROMISED {
        let probe = || FormatProbe {
            description: promised.description.to_owned(),
            codec: promised.codec.to_owned(),
            audio_codec: promised.audio_codec.to_owned(),
            container: promised.container.to_owned(),
            aliases: promised.aliases.iter().map(ToString::to_string).collect(),
            ..FormatProbe::default()
        };
        formats
            .entry(promised.name.to_owned())
            .or_insert_with(|| Known {
                probe: probe(),
                offered: false,
            });
    }
    formats
}

/// Whether a recording can be made in this format by default.
///
/// # Errors
/// Unprocessable; lists the known.
pub(crate) fn check_default_format(probe: Option<&Probe>, name: &str) -> Result<(), Error> {
    let formats = known_formats(probe);
    let known = formats.iter().any(|(known, format)| {
        known == name || format.probe.aliases.iter().any(|alias| alias == name)
    });
    if known {
        return Ok(());
    }
    let names: Vec<_> = formats.keys().map(String::as_str).collect();
    let message = format!("names no recording format: known are {}", names.join(", "));
    Err(Error::field("default_output_format", message))
}

/// Whether a recording can be made in this quality by default.
///
/// # Errors
/// Unprocessable; lists the known.
pub(crate) fn check_default_quality(name: &str) -> Result<(), Error> {
    if presets().any(|(known, _)| known == name) {
        return Ok(());
    }
    let names: Vec<_> = presets().map(|(name, _)| name).collect();
    let message = format!("names no video quality: known are {}", names.join(", "));
    Err(Error::field("default_video_quality", message))
}

/// The presets' bit rates, in the order of the contract.
pub(crate) fn presets() -> impl Iterator<Item = (&'static str, QualityPreset)> {
    PRESETS.into_iter().map(|(name, video_kbps, audio_kbps)| {
        let preset = QualityPreset {
            video_kbps,
            audio_kbps,
        };
        (name, preset)
    })
}

/// Decides what a recording will be.
///
/// # Errors
/// Unprocessable for an unknown format or quality (with the known ones), unavailable where the
/// format can't be made here (with the elements that are missing).
pub(crate) fn plan(probe: Option<&Probe>, format: &str, quality: &str) -> Result<Plan, Error> {
    let formats = known_formats(probe);
    let found = formats
        .get_key_value(format)
        .or_else(|| {
            formats
                .iter()
                .find(|(_, known)| known.probe.aliases.iter().any(|alias| alias == format))
        })
        .ok_or_else(|| {
            let known: Vec<_> = formats.keys().map(String::as_str).collect();
            Error::field(
                "output_format",
                format_args!("names no recording format: known are {}", known.join(", ")),
            )
        })?;
    let (name, known) = found;
    let probe = &known.probe;
    let preset = preset(probe, quality)?;
    if !known.available() {
        return Err(unavailable(name, probe));
    }
    let rate = |codec: &str, kbps: u32| (!has_no_rate(codec)).then(|| format!("{kbps}k"));
    Ok(Plan {
        format: name.clone(),
        config: Config {
            video_codec: known.video_codec().map(ToOwned::to_owned),
            audio_codec: probe.audio_codec.clone(),
            video_bitrate: rate(&probe.codec, preset.video_kbps),
            audio_bitrate: rate(&probe.audio_codec, preset.audio_kbps),
            format: probe.container.clone(),
            encoder: probe.encoder.clone(),
        },
        settings: Settings {
            quality: quality.to_owned(),
            extension: probe.container.clone(),
            encoders: probe.chosen.clone(),
            ..Settings::default()
        },
    })
}

fn preset(probe: &FormatProbe, quality: &str) -> Result<QualityPreset, Error> {
    let known = presets().find(|(name, _)| *name == quality);
    probe
        .qualities
        .get(quality)
        .copied()
        .or(known.map(|(_, preset)| preset))
        .ok_or_else(|| {
            let known: Vec<_> = presets().map(|(name, _)| name).collect();
            Error::field(
                "video_quality",
                format_args!("names no recording quality: known are {}", known.join(", ")),
            )
        })
}

fn unavailable(name: &str, probe: &FormatProbe) -> Error {
    let missing: Vec<_> = probe
        .missing
        .iter()
        .map(|(element, package)| format!("{element} (package {package})"))
        .collect();
    let why = match (missing.as_slice(), probe.notes.as_slice()) {
        ([], []) => "this haven-worker does not offer it".to_owned(),
        ([], notes) => notes.join("; "),
        (missing, _) => format!("install {}", missing.join(", ")),
    };
    let message = format!("A recording as {name} can't be made here: {why}");
    Error::new(Kind::Unavailable, "format_unavailable", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use haven_wire::ChosenEncoders;

    fn probe() -> Probe {
        let h264 = FormatProbe {
            codec: "libx264".into(),
            audio_codec: "aac".into(),
            container: "mp4".into(),
            aliases: vec!["mp4".into()],
            encoder: Some("x264enc".into()),
            chosen: ChosenEncoders {
                video: Some("x264enc-slow".into()),
                audio: Some("avenc_aac".into()),
            },
            ..FormatProbe::default()
        };
        let av1 = FormatProbe {
            aliases: Vec::new(),
            encoder: None,
            missing: [("av1enc".to_owned(), "gstreamer1.0-plugins-bad".to_owned())].into(),
            ..h264.clone()
        };
        Probe {
            formats: [("h264".to_owned(), h264), ("av1".to_owned(), av1)].into(),
            ..Probe::default()
        }
    }

    #[test]
    fn an_alias_means_its_format() {
        let plan = plan(Some(&probe()), "mp4", "high").unwrap();
        assert_eq!(
            (plan.format.as_str(), plan.settings.extension.as_str()),
            ("h264", "mp4")
        );
        assert_eq!(plan.config.video_bitrate.as_deref(), Some("4000k"));
        assert_eq!(plan.config.audio_bitrate.as_deref(), Some("192k"));
        assert_eq!(plan.config.encoder.as_deref(), Some("x264enc"));
        assert_eq!(
            plan.settings.encoders.video.as_deref(),
            Some("x264enc-slow")
        );
    }

    #[test]
    fn what_is_unknown_is_answered_with_what_is_known() {
        let error = plan(Some(&probe()), "avi", "low").unwrap_err();
        assert_eq!(error.kind(), Kind::Unprocessable);
        assert!(
            error.message().contains("av1, h264, source, vp9, wav"),
            "{error}"
        );
        let error = plan(Some(&probe()), "h264", "best").unwrap_err();
        assert!(error.message().contains("low, medium, high"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = plan(Some(&probe()), "av1", "low").unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.message().contains("av1enc"), "{error}");
        let mut unfit = probe();
        let av1 = unfit.formats.get_mut("av1").unwrap();
        av1.missing.clear();
        av1.notes = vec!["formats.toml:7: av1enc is passed over: no property".into()];
        let error = plan(Some(&unfit), "av1", "low").unwrap_err();
        assert!(error.message().contains("formats.toml:7"), "{error}");
        for error in [
            plan(Some(&probe()), "source", "low"),
            plan(Some(&probe()), "wav", "low"),
            plan(None, "h264", "low"),
        ] {
            assert_eq!(error.unwrap_err().kind(), Kind::Unavailable);
        }
    }

    #[test]
    fn what_is_copied_needs_no_encoder_and_has_no_rate() {
        let mut offers = probe();
        for (name, codec, audio_codec) in
            [("source", COPIED, COPIED), ("wav", NO_VIDEO, "pcm_s16le")]
        {
            let format = FormatProbe {
                codec: codec.into(),
                audio_codec: audio_codec.into(),
                container: "x".into(),
                ..FormatProbe::default()
            };
            offers.formats.insert(name.into(), format);
            let plan = plan(Some(&offers), name, "low").unwrap();
            assert_eq!(plan.config.video_codec.is_some(), name == "source");
            let rates = (plan.config.video_bitrate, plan.config.audio_bitrate);
            assert_eq!(rates, (None, None));
        }
    }
}
