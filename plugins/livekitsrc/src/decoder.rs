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
///
/// Those that take all of the caps go before those that want more to be said: some of these need
/// only a parser before them that says it, but `vp8alphadecodebin`, ranked above `vp8dec`, wants
/// an alpha channel that no publisher sends.
fn best(class: gst::ElementFactoryType, caps: &gst::Caps) -> Option<gst::Element> {
    let factories = gst::ElementFactory::factories_with_type(class, gst::Rank::MARGINAL);
    let takes_all = |factory: &&gst::ElementFactory| factory.can_sink_all_caps(caps);
    let takes_some =
        |factory: &&gst::ElementFactory| !takes_all(factory) && factory.can_sink_any_caps(caps);
    factories
        .iter()
        .filter(takes_all)
        .chain(factories.iter().filter(takes_some))
        .filter(|factory| !takes_anything(factory))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media;
    use livekit_room::Codec;

    #[test]
    fn the_chain_of_every_codec_takes_what_publishers_send() {
        gst::init().unwrap();
        for codec in [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Opus] {
            let caps = media::caps(codec);
            let chain = decoder_chain(&caps).unwrap();
            let first = chain[0].factory().unwrap();
            assert!(
                first.can_sink_all_caps(&caps),
                "{}: {first:?}",
                codec.name()
            );
            for element in chain {
                element.set_state(gst::State::Null).unwrap();
            }
        }
    }
}
