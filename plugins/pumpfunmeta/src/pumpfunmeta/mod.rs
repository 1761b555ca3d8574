//! `pumpfunmeta`: what is known of a pump.fun coin, beside the stream.
//!
//! The element attaches the newest facts about a coin to every buffer that flows through it (see
//! [`meta`](crate::meta)), sends them as tags for muxers, and tells the application when they change.
//! What flows is never held up, copied or changed, whatever pump.fun does.
//!
//! The meta is for elements and probes of this process: it goes neither into files nor over networks.
//! There, the tags are what is seen.
//!
//! ## Example pipeline
//! ```bash
//! gst-launch-1.0 -e livekitsrc mint-id=MINT name=s mp4mux name=m ! filesink location=coin.mp4 \
//!     s.video_0 ! queue ! pumpfunmeta ! h264parse ! m. \
//!     s.audio_0 ! queue ! opusparse ! m.
//! ```
//! records a livestream into a file that says which coin it is about.

pub(crate) mod imp;
mod known;
mod properties;
mod stream;

use gst::{glib, prelude::*};

pub(crate) use imp::CAT;
pub(crate) use known::FAILURES_OF_AN_OUTAGE;

glib::wrapper! {
    /// The element. See the module for what it does.
    pub struct PumpFunMeta(ObjectSubclass<imp::PumpFunMeta>)
        @extends gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "pumpfunmeta",
        gst::Rank::NONE,
        PumpFunMeta::static_type(),
    )
}
