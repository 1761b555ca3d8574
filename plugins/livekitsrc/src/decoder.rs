//! Finds the elements that decode a stream.

use gst::prelude::*;

/// Parser and decoder, in this order, for encoded caps.
///
/// # Errors
/// A sentence that says what is missing.
pub(crate) fn decoder_chain(caps: &gst::Caps) -> Result<Vec<gst::Element>, String> {
    let mut chain = Vec::new();
    if let Some(parser) = best(gst::ElementFactoryType::PARSER, caps) {
        chain.push(parser);
    }
    let decoder = best(gst::ElementFactoryType::DECODER, caps).ok_or_else(|| {
        format!("no decoder for {caps} is installed; install gstreamer1.0-libav or gstreamer1.0-plugins-good")
    })?;
    chain.push(decoder);
    Ok(chain)
}

/// The highest-ranked element of this type that takes the caps and can be opened (a hardware
/// decoder may be installed where there is no such hardware).
fn best(class: gst::ElementFactoryType, caps: &gst::Caps) -> Option<gst::Element> {
    let factories = gst::ElementFactory::factories_with_type(class, gst::Rank::MARGINAL);
    factories
        .iter()
        .filter(|factory| factory.can_sink_any_caps(caps) && !takes_anything(factory))
        .find_map(|factory| {
            let element = factory.create().build().ok()?;
            let opened = element.set_state(gst::State::Ready).is_ok();
            if opened {
                return Some(element);
            }
            // Back to NULL, or its disposal would warn.
            let _ = element.set_state(gst::State::Null);
            None
        })
}

/// A bin such as `decodebin` takes any caps; we want the codec's own element.
fn takes_anything(factory: &gst::ElementFactory) -> bool {
    factory
        .static_pad_templates()
        .iter()
        .any(|template| template.direction() == gst::PadDirection::Sink && template.caps().is_any())
}
