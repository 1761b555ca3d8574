use crate::formats::{FormatError, Formats};
use haven_wire::Probe;
use std::path::Path;

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
    Ok(Probe {
        worker_version: env!("CARGO_PKG_VERSION").into(),
        gstreamer_version: gst::version_string().to_string(),
        formats: Formats::load(formats_dir)?.probe(),
        missing,
    })
}
