use gst::{glib, prelude::*};

mod clients;
mod imp;
mod media;
mod pads;
mod properties;

glib::wrapper! {
    /// The element; see its implementation for what it does.
    pub struct WsJpegSink(ObjectSubclass<imp::WsJpegSink>) @extends gst::Bin, gst::Element, gst::Object, @implements gst::ChildProxy;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "wsjpegsink",
        gst::Rank::NONE,
        WsJpegSink::static_type(),
    )
}
