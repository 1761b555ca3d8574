//! GStreamer plugin with the element `livekitsrc`: a LiveKit room, or a pump.fun livestream, as a
//! live source of encoded or raw video and audio.
//!
//! See [`livekitsrc`] for the element.

mod access;
mod counters;
mod decoder;
mod drift;
mod flow;
mod funnel;
pub mod livekitsrc;
mod media;
pub mod mixer;
mod pads;
mod runtime;
mod session;
mod settings;
mod stream;
mod uri;

mod plugin {
    #![allow(
        missing_docs,
        reason = "plugin_define! makes the items, their documentation is GStreamer's"
    )]

    use crate::livekitsrc::register;

    gst::plugin_define!(
        livekitsrc,
        env!("CARGO_PKG_DESCRIPTION"),
        register,
        concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
        // GStreamer knows no name for the dual licence.
        "MIT/X11",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_NAME"),
        "Haven",
        env!("BUILD_REL_DATE")
    );
}

pub use plugin::plugin_register_static;
pub use settings::TrackChoice;
