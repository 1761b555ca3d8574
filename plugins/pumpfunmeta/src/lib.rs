//! GStreamer plugin with the element `pumpfunmeta`: what is known of a pump.fun coin, attached to
//! every buffer, as tags, and as messages.
//!
//! See [`pumpfunmeta`] for the element and [`meta`] for what it attaches.

mod facts;
mod fetcher;
mod follow;
pub mod meta;
pub mod pumpfunmeta;
mod settings;
mod tags;

mod plugin {
    #![allow(
        missing_docs,
        reason = "plugin_define! makes the items, their documentation is GStreamer's"
    )]

    use gst::glib;

    fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
        crate::meta::register();
        crate::pumpfunmeta::register(plugin)
    }

    gst::plugin_define!(
        pumpfunmeta,
        env!("CARGO_PKG_DESCRIPTION"),
        plugin_init,
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
