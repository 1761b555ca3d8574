//! GStreamer plugin with `wsjpegsink`, a sink that shows JPEG and PCM to browsers over WebSocket.

// All that is public here is what `plugin_define!` makes, without documentation.
#![allow(missing_docs)]

mod chunker;
mod http;
mod jpeg;
mod listen;
mod roster;
mod server;
mod settings;
mod stream;
mod wsjpegsink;

use gst::glib;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    wsjpegsink::register(plugin)
}

gst::plugin_define!(
    wsjpegsink,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MIT/X11",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    "haven",
    env!("BUILD_REL_DATE")
);
