use crate::{
    formats::{FormatError, Formats},
    inbox::Media,
    recording,
    trial::ProcessTrials,
};
use gst::prelude::*;
use haven_wire::Probe;
use std::{
    io,
    path::Path,
    thread::{self, JoinHandle},
};

/// Elements that every session needs, with the Debian package that has each.
const NEEDED: [(&str, &str); 16] = [
    ("appsink", "gstreamer1.0-plugins-base"),
    ("appsrc", "gstreamer1.0-plugins-base"),
    ("audioconvert", "gstreamer1.0-plugins-base"),
    ("audiomixer", "gstreamer1.0-plugins-base"),
    ("audioresample", "gstreamer1.0-plugins-base"),
    ("av1dec", "gstreamer1.0-plugins-bad"),
    ("avdec_h264", "gstreamer1.0-libav"),
    ("filesink", "libgstreamer1.0-0"),
    ("h264parse", "gstreamer1.0-plugins-bad"),
    ("jpegenc", "gstreamer1.0-plugins-good"),
    ("opusdec", "gstreamer1.0-plugins-base"),
    ("parsebin", "gstreamer1.0-plugins-base"),
    ("videoconvertscale", "gstreamer1.0-plugins-base"),
    ("vp8dec", "gstreamer1.0-plugins-good"),
    ("vp9dec", "gstreamer1.0-plugins-good"),
    ("vp9parse", "gstreamer1.0-plugins-bad"),
];

/// What this machine can do.
///
/// # Errors
/// When a file of formats is malformed.
pub(crate) fn probe(formats_dir: Option<&Path>) -> Result<Probe, FormatError> {
    let missing = NEEDED
        .iter()
        .filter(|(element, _)| gst::ElementFactory::find(element).is_none())
        .map(|(element, package)| ((*element).to_owned(), (*package).to_owned()))
        .collect();
    let described = Formats::load(formats_dir)?;
    let mut formats = recording::probe(&|element| described.package(element));
    formats.extend(described.probe(&mut ProcessTrials::new()));
    Ok(Probe {
        worker_version: env!("CARGO_PKG_VERSION").into(),
        gstreamer_version: gst::version_string().to_string(),
        formats,
        missing,
    })
}

/// What there is to say of every format and every encoder, for people: one line each.
///
/// # Errors
/// What is wrong with the files of formats, one line each.
pub(crate) fn check_formats(formats_dir: Option<&Path>) -> Result<String, String> {
    let formats = Formats::load(formats_dir).map_err(|error| match error {
        FormatError::Malformed(problems) => {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            lines.join("\n")
        }
        other => other.to_string(),
    })?;
    let mut text = String::new();
    for finding in formats.findings(&mut ProcessTrials::new()) {
        let media = match finding.media {
            Media::Video => "video",
            Media::Audio => "audio",
        };
        text += &format!(
            "{}: {} {media} {}: {}\n",
            finding.origin, finding.format, finding.encoder, finding.verdict
        );
    }
    Ok(text)
}

/// Loads, on a thread of its own, the plug-ins that the first viewer and the first recording will
/// need: some take a third of a second, which would be missing from the start of a recording.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn preload() -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("preload".into()).spawn(|| {
        let recording = [
            "av1enc",
            "av1parse",
            "x264enc",
            "avenc_aac",
            "aacparse",
            "mp4mux",
        ];
        let needed = NEEDED.iter().map(|(element, _)| *element);
        for element in needed.chain(recording) {
            let loaded = gst::ElementFactory::find(element).map(|factory| factory.load());
            if let Some(Err(error)) = loaded {
                tracing::warn!(element, %error, "a plug-in does not load");
            }
        }
    })
}
