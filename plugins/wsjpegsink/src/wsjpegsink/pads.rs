//! The pads' templates, and how the sinks behind them are set up.

use crate::settings::Settings;
use gst::prelude::*;
use gst_app::AppSink;
use std::sync::LazyLock;

pub(super) const VIDEO_PAD: &str = "sink";
pub(super) const AUDIO_PAD: &str = "audio";

/// Pictures always, sound on request.
pub(super) fn templates() -> &'static [gst::PadTemplate] {
    static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
        let video = gst::Caps::builder("image/jpeg").build();
        let audio = gst_audio::AudioCapsBuilder::new_interleaved()
            .format(gst_audio::AudioFormat::S16le)
            .rate_range(8_000..=192_000)
            .channels_range(1..=2)
            .build();
        let template = |name, presence, caps: &gst::Caps| {
            gst::PadTemplate::new(name, gst::PadDirection::Sink, presence, caps)
        };
        [
            template(VIDEO_PAD, gst::PadPresence::Always, &video),
            template(AUDIO_PAD, gst::PadPresence::Request, &audio),
        ]
        .into_iter()
        .filter_map(Result::ok)
        .collect()
    });
    &TEMPLATES
}

/// Hands the settings that are the inner sinks' to them.
pub(super) fn apply(settings: &Settings, sink: &AppSink) {
    sink.set_sync(settings.sync);
    sink.set_property("async", settings.async_);
    sink.set_qos(settings.qos);
    // Sound that is late still has its place in the stream; only pictures replace each other.
    let is_video = sink.name().starts_with(VIDEO_PAD);
    sink.set_max_lateness(if is_video { settings.max_lateness } else { -1 });
}
