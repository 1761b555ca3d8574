//! `livekitsrc`: a LiveKit room, or a pump.fun livestream, as a live source.
//!
//! The element joins a room as a viewer, takes the streamer's video and audio, and gives them out
//! as they were published: H.264, VP8, VP9 or AV1, and Opus. Where downstream accepts raw caps
//! only, it decodes. It stays in the room: a connection that breaks is resumed or made anew, and
//! the same pads go on.
//!
//! Use `livekitwebrtcsrc` of gst-plugins-rs instead where one element has to publish too, or where
//! a data channel is needed.
//!
//! ## Example pipelines
//! ```bash
//! gst-launch-1.0 livekitsrc mint-id=MINT name=s  s.video_0 ! queue ! videoconvert ! autovideosink \
//!     s.audio_0 ! queue ! audioconvert ! autoaudiosink
//! ```
//! shows a pump.fun livestream.
//! ```bash
//! gst-launch-1.0 -e livekitsrc url=wss://example.livekit.cloud token=JWT name=s \
//!     s.video_0 ! queue ! h264parse ! mp4mux name=m ! filesink location=room.mp4 \
//!     s.audio_0 ! queue ! m.
//! ```
//! records a room as it was published, without decoding.

mod imp;
mod messages;
pub(crate) mod properties;

use gst::glib;
use gst::prelude::*;

pub use crate::settings::{TransportChoice, VideoChoice};
pub use properties::ConnectionState;

glib::wrapper! {
    /// The element. See the module for what it does.
    pub struct LiveKitSrc(ObjectSubclass<imp::LiveKitSrc>)
        @extends gst::Bin, gst::Element, gst::Object,
        @implements gst::ChildProxy, gst::URIHandler;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "livekitsrc",
        gst::Rank::NONE,
        LiveKitSrc::static_type(),
    )
}
