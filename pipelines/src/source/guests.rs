//! The voices beside the streamer's, which come and go.

use crate::{
    inbox::{Event, Inbox},
    tap::{Memory, Tap, tap_sink},
};
use gst::prelude::*;
use gstlivekitsrc::TrackChoice;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

/// Guests that are heard at once. Rooms with more on the stage are rare, and each costs a decoder.
const MAX_GUESTS: usize = 16;

/// The guests' streams as published, by the names of their pads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guests(Arc<Mutex<BTreeMap<String, Arc<Tap>>>>);

impl Guests {
    /// Who is there now.
    pub(crate) fn all(&self) -> Vec<(String, Arc<Tap>)> {
        let all = self.0.lock();
        all.iter()
            .map(|(name, tap)| (name.clone(), tap.clone()))
            .collect()
    }

    /// Has the room's element give out everybody's sound, each on a pad of its own. To be called
    /// before it starts.
    pub(super) fn invite(element: &gst::Element) {
        element.connect("select-track", false, |values| {
            let track = values.get(1)?.get::<gst::Structure>().ok()?;
            let choice = match track.get::<&str>("kind") {
                Ok("audio") => TrackChoice::Take,
                _ => TrackChoice::Usual,
            };
            Some(choice.to_value())
        });
    }

    /// A guest's pad has come. Pads beyond [`MAX_GUESTS`] stay unlinked: what they bring is left out.
    pub(super) fn add(&self, pipeline: &gst::Pipeline, pad: &gst::Pad, inbox: &Inbox) {
        let name = pad.name().to_string();
        if self.0.lock().len() >= MAX_GUESTS {
            tracing::warn!(pad = name, "so many guests can't be heard");
            return;
        }
        let sink = tap_sink(&name, &gst::Caps::new_empty_simple("audio/x-opus"));
        let tap = Tap::new("guest", Memory::Nothing, || ());
        tap.feed_from(&sink);
        if let Err(error) = super::link(pipeline, pad, &sink) {
            tracing::error!(pad = name, %error, "a guest can't be heard");
            return;
        }
        self.0.lock().insert(name, tap);
        inbox.notify(Event::SourceChanged);
    }

    /// A guest's pad is gone.
    pub(super) fn remove(&self, pipeline: &gst::Pipeline, pad: &gst::Pad, inbox: &Inbox) {
        let name = pad.name();
        if self.0.lock().remove(name.as_str()).is_none() {
            return;
        }
        if let Some(sink) = pipeline.by_name(&name) {
            let _ = sink.set_state(gst::State::Null);
            let _ = pipeline.remove(&sink);
        }
        inbox.notify(Event::SourceChanged);
    }
}
