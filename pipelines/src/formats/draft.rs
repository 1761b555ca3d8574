//! Files of formats laid over each other, and what is wrong with the result.

use super::{
    BUILT_IN_NAME, Encoder, Format, Formats,
    checks::{Checks, problem},
    syntax::{check_chain, check_element, check_options},
    text::{EncoderText, FileText, FormatText, Located, Place, Problem, Source},
};
use crate::recording::BUILT_IN;
use gstlivekitsrc::mixer::SAMPLE_RATE;
use haven_wire::QualityPreset;
use std::collections::{BTreeMap, BTreeSet};

/// What an audio encoder puts before the sound is a few thousand samples, not seconds.
const LARGEST_DELAY_SAMPLES: u32 = SAMPLE_RATE;

/// What the files said so far.
#[derive(Default)]
pub(super) struct Draft {
    formats: BTreeMap<String, FormatDraft>,
    encoders: BTreeMap<String, EncoderDraft>,
    qualities: BTreeMap<String, Located<QualityPreset>>,
    packages: BTreeMap<String, String>,
    problems: Vec<Problem>,
}

struct FormatDraft {
    place: Place,
    description: Option<String>,
    codec: Option<String>,
    audio_codec: Option<String>,
    container: Option<Located<String>>,
    aliases: Vec<Located<String>>,
    muxer: Option<Located<String>>,
    video: Option<Vec<Located<String>>>,
    audio: Option<Vec<Located<String>>>,
    qualities: BTreeMap<String, Located<QualityPreset>>,
}

struct EncoderDraft {
    place: Place,
    element: Option<Located<String>>,
    hardware: bool,
    converter: Option<Located<String>>,
    options: Option<Located<String>>,
    parser: Option<Located<String>>,
    delay_samples: u32,
    without_bit_rate: bool,
    by_quality: BTreeMap<String, Located<String>>,
}

fn replace<T>(old: &mut Option<T>, new: Option<T>) {
    if new.is_some() {
        *old = new;
    }
}

impl Draft {
    /// Lays a file over what was said before.
    pub(super) fn add(&mut self, source: &Source<'_>) {
        let FileText {
            formats,
            encoders,
            qualities,
            packages,
        } = match source.parse() {
            Ok(file) => file,
            Err(problem) => return self.problems.push(problem),
        };
        for (name, text) in formats {
            self.add_format(source, name, source.locate(text));
        }
        for (name, text) in encoders {
            self.add_encoder(source, name, source.locate(text));
        }
        self.qualities.extend(presets(source, qualities));
        self.packages.extend(packages);
    }

    fn add_format(&mut self, source: &Source<'_>, name: String, text: Located<FormatText>) {
        let located = |list: Option<Vec<_>>| -> Option<Vec<Located<String>>> {
            Some(list?.into_iter().map(|item| source.locate(item)).collect())
        };
        let format = self.formats.entry(name).or_insert_with(|| FormatDraft {
            place: text.place.clone(),
            description: None,
            codec: None,
            audio_codec: None,
            container: None,
            aliases: Vec::new(),
            muxer: None,
            video: None,
            audio: None,
            qualities: BTreeMap::new(),
        });
        let text = text.value;
        replace(&mut format.description, text.description);
        replace(&mut format.codec, text.codec);
        replace(&mut format.audio_codec, text.audio_codec);
        replace(
            &mut format.container,
            text.container.map(|t| source.locate(t)),
        );
        replace(&mut format.muxer, text.muxer.map(|t| source.locate(t)));
        replace(&mut format.video, located(text.video));
        replace(&mut format.audio, located(text.audio));
        if let Some(aliases) = located(text.aliases) {
            format.aliases = aliases;
        }
        format.qualities.extend(presets(source, text.qualities));
    }

    fn add_encoder(&mut self, source: &Source<'_>, name: String, text: Located<EncoderText>) {
        let encoder = self.encoders.entry(name).or_insert_with(|| EncoderDraft {
            place: text.place.clone(),
            element: None,
            hardware: false,
            converter: None,
            options: None,
            parser: None,
            delay_samples: 0,
            without_bit_rate: false,
            by_quality: BTreeMap::new(),
        });
        encoder.place = text.place;
        let text = text.value;
        replace(&mut encoder.element, text.element.map(|t| source.locate(t)));
        replace(
            &mut encoder.converter,
            text.converter.map(|t| source.locate(t)),
        );
        replace(&mut encoder.options, text.options.map(|t| source.locate(t)));
        replace(&mut encoder.parser, text.parser.map(|t| source.locate(t)));
        encoder.hardware = text.hardware.unwrap_or(encoder.hardware);
        encoder.delay_samples = text.delay_samples.unwrap_or(encoder.delay_samples);
        encoder.without_bit_rate = text.without_bit_rate.unwrap_or(encoder.without_bit_rate);
        let by_quality = text.by_quality.into_iter();
        encoder
            .by_quality
            .extend(by_quality.map(|(quality, t)| (quality, source.locate(t))));
    }

    /// The formats, if all is well.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(super) fn finish(mut self) -> Result<Formats, Vec<Problem>> {
        let mut problems = std::mem::take(&mut self.problems);
        self.check_names(&mut problems);
        self.check_qualities(&mut problems);
        self.check_bit_rates(&mut problems);
        let mut formats = Formats {
            packages: self.packages,
            qualities: values(self.qualities),
            ..Formats::default()
        };
        for (name, draft) in self.encoders {
            match draft.finish(&name) {
                Ok(encoder) => drop(formats.encoders.insert(name, encoder)),
                Err(more) => problems.extend(more),
            }
        }
        for (name, draft) in self.formats {
            match draft.finish() {
                Ok(format) => drop(formats.formats.insert(name, format)),
                Err(more) => problems.extend(more),
            }
        }
        if problems.is_empty() {
            Ok(formats)
        } else {
            Err(problems)
        }
    }

    /// Each name means one thing.
    fn check_names(&self, problems: &mut Vec<Problem>) {
        let mut taken: BTreeSet<_> = self.formats.keys().map(String::as_str).collect();
        let mut formats: Vec<_> = self.formats.values().collect();
        // The built-in names were there first, whatever the alphabet says.
        formats.sort_by_key(|format| !format.place.is_in(BUILT_IN_NAME));
        for (name, format) in &self.formats {
            if BUILT_IN.contains(&name.as_str()) {
                let text = format!("the format {name:?} is built in: choose another name");
                problems.push(problem(&format.place, text));
            }
        }
        taken.extend(BUILT_IN);
        for format in formats {
            for alias in &format.aliases {
                if !taken.insert(&alias.value) {
                    let text = format!("the name {:?} is taken by another format", alias.value);
                    problems.push(problem(&alias.place, text));
                }
            }
            for list in [&format.video, &format.audio].into_iter().flatten() {
                let mut seen = BTreeSet::new();
                for name in list {
                    if !self.encoders.contains_key(&name.value) {
                        let text = format!("there is no [encoders.{}]", name.value);
                        problems.push(problem(&name.place, text));
                    }
                    if !seen.insert(&name.value) {
                        let text = format!("the encoder {:?} is there twice", name.value);
                        problems.push(problem(&name.place, text));
                    }
                }
            }
        }
    }

    fn check_qualities(&self, problems: &mut Vec<Problem>) {
        let own = self.formats.values().flat_map(|format| &format.qualities);
        let all = || self.qualities.iter().chain(own.clone());
        for (name, preset) in all() {
            if preset.value.video_kbps == 0 || preset.value.audio_kbps == 0 {
                let text = format!("the quality {name:?} has a bit rate of 0");
                problems.push(problem(&preset.place, text));
            }
        }
        let known: BTreeSet<_> = all().map(|(name, _)| name).collect();
        for encoder in self.encoders.values() {
            for (quality, options) in &encoder.by_quality {
                if !known.contains(quality) {
                    let text = format!("there is no quality {quality:?}");
                    problems.push(problem(&options.place, text));
                }
            }
        }
    }

    /// An encoder that isn't told the bit rate of the quality would ignore what was asked for.
    fn check_bit_rates(&self, problems: &mut Vec<Problem>) {
        let used = |list: fn(&FormatDraft) -> &Option<Vec<Located<String>>>| {
            let names = self.formats.values().flat_map(list).flatten();
            names.map(|name| &name.value).collect::<BTreeSet<_>>()
        };
        for (media, names) in [
            ("video", used(|format| &format.video)),
            ("audio", used(|format| &format.audio)),
        ] {
            for encoder in names.into_iter().filter_map(|name| self.encoders.get(name)) {
                if !encoder.without_bit_rate && !encoder.takes_bit_rate(media) {
                    let text = format!(
                        "no option has {{{media}_kbps}} or {{{media}_bps}}; write \
                         without_bit_rate = true for an encoder that has no bit rate"
                    );
                    let options = encoder.options.as_ref();
                    let place = options.map_or(&encoder.place, |options| &options.place);
                    problems.push(problem(place, text));
                }
            }
        }
    }
}

impl FormatDraft {
    fn finish(self) -> Result<Format, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut checks = Checks(&mut problems);
        let place = &self.place;
        let description = checks.required(place, "description", self.description);
        let codec = checks.required(place, "codec", self.codec);
        let audio_codec = checks.required(place, "audio_codec", self.audio_codec);
        let container = checks.required(place, "container", self.container);
        let muxer = checks.required(place, "muxer", self.muxer);
        let video = checks.required(place, "video", self.video);
        let audio = checks.required(place, "audio", self.audio);
        if let Some(container) = &container
            && (container.value.is_empty()
                || !container.value.bytes().all(|b| b.is_ascii_alphanumeric()))
        {
            checks.add(&container.place, "the container is a file name's extension");
        }
        for (media, list) in [("video", &video), ("audio", &audio)] {
            if list.as_ref().is_some_and(Vec::is_empty) {
                checks.add(place, &format!("a format needs an encoder for {media}"));
            }
        }
        if let Some(muxer) = &muxer {
            checks.text(muxer, check_chain);
        }
        let format = || {
            let names = |list: Vec<Located<String>>| list.into_iter().map(|name| name.value);
            Some(Format {
                description: description?,
                codec: codec?,
                audio_codec: audio_codec?,
                container: container?.value,
                aliases: names(self.aliases).collect(),
                muxer: muxer?,
                video: names(video?).collect(),
                audio: names(audio?).collect(),
                qualities: values(self.qualities),
            })
        };
        match format() {
            Some(format) if problems.is_empty() => Ok(format),
            _ => Err(problems),
        }
    }
}

impl EncoderDraft {
    fn takes_bit_rate(&self, media: &str) -> bool {
        let has = |text: &Located<String>| {
            ["kbps", "bps"]
                .iter()
                .any(|unit| text.value.contains(&format!("{{{media}_{unit}}}")))
        };
        self.options.as_ref().is_some_and(has)
            || (!self.by_quality.is_empty() && self.by_quality.values().all(has))
    }

    fn finish(self, name: &str) -> Result<Encoder, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut checks = Checks(&mut problems);
        let element = self.element.unwrap_or_else(|| Located {
            value: name.to_owned(),
            place: self.place.clone(),
        });
        checks.text(&element, check_element);
        for options in self.options.iter().chain(self.by_quality.values()) {
            checks.text(options, check_options);
        }
        for chain in self.converter.iter().chain(&self.parser) {
            // Empty takes away what an earlier file said.
            if !chain.value.trim().is_empty() {
                checks.text(chain, check_chain);
            }
        }
        if self.delay_samples > LARGEST_DELAY_SAMPLES {
            checks.add(&self.place, "delay_samples is more than a second");
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let text = |text: Option<Located<String>>| text.map(|text| text.value).unwrap_or_default();
        Ok(Encoder {
            name: name.to_owned(),
            // What can be wrong with an encoder is its options.
            place: self
                .options
                .as_ref()
                .map_or(self.place, |options| options.place.clone()),
            element: element.value,
            hardware: self.hardware,
            converter: text(self.converter),
            options: text(self.options),
            parser: text(self.parser),
            by_quality: values(self.by_quality),
            delay: gst::ClockTime::from_nseconds(
                u64::from(self.delay_samples) * 1_000_000_000 / u64::from(SAMPLE_RATE),
            ),
        })
    }
}

fn presets(
    source: &Source<'_>,
    texts: BTreeMap<String, toml::Spanned<super::text::QualityText>>,
) -> impl Iterator<Item = (String, Located<QualityPreset>)> {
    texts.into_iter().map(|(name, text)| {
        let Located { value, place } = source.locate(text);
        let value = value.into();
        (name, Located { value, place })
    })
}

fn values<T>(located: BTreeMap<String, Located<T>>) -> BTreeMap<String, T> {
    let values = located.into_iter();
    values
        .map(|(name, located)| (name, located.value))
        .collect()
}
