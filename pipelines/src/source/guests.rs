//! The voices beside the streamer's, which come and go.

use crate::{
    inbox::{Event, Inbox},
    tap::{Memory, Tap, tap_sink},
};
use gst::prelude::*;
use gstlivekitsrc::TrackChoice;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Guests that are heard at once. Rooms with more on the stage are rare, and each costs a decoder.
const MAX_GUESTS: usize = 16;

/// The guests' streams as published, by the names of their pads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guests(Arc<Mutex<Stage>>);

#[derive(Debug, Default)]
struct Stage {
    heard: BTreeMap<String, Arc<Tap>>,
    /// Those for whom there is no place, the first who came first.
    waiting: VecDeque<gst::glib::WeakRef<gst::Pad>>,
}

impl Guests {
    /// Who is there now.
    pub(crate) fn all(&self) -> Vec<(String, Arc<Tap>)> {
        let stage = self.0.lock();
        let heard = stage.heard.iter();
        heard
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

    /// A guest's pad has come. Beyond [`MAX_GUESTS`] it stays unlinked until a place is free: what it
    /// brings meanwhile is left out.
    pub(super) fn add(&self, pipeline: &gst::Pipeline, pad: &gst::Pad, inbox: &Inbox) {
        let name = pad.name().to_string();
        {
            let mut stage = self.0.lock();
            if stage.heard.len() >= MAX_GUESTS {
                tracing::warn!(pad = name, "so many guests can't be heard: this one waits");
                stage.waiting.push_back(pad.downgrade());
                return;
            }
        }
        let sink = tap_sink(&name, &gst::Caps::new_empty_simple("audio/x-opus"));
        let tap = Tap::new("guest", Memory::Nothing, || ());
        tap.feed_from(&sink);
        if let Err(error) = super::link(pipeline, pad, &sink) {
            tracing::error!(pad = name, %error, "a guest can't be heard");
            return;
        }
        self.0.lock().heard.insert(name, tap);
        inbox.notify(Event::SourceChanged);
    }

    /// A guest's pad is gone: one who waits takes its place.
    pub(super) fn remove(&self, pipeline: &gst::Pipeline, pad: &gst::Pad, inbox: &Inbox) {
        let name = pad.name();
        let next = {
            let mut stage = self.0.lock();
            let gone = |other: &gst::Pad| other == pad;
            stage
                .waiting
                .retain(|other| other.upgrade().is_some_and(|other| !gone(&other)));
            if stage.heard.remove(name.as_str()).is_none() {
                return;
            }
            stage.waiting.pop_front()
        };
        if let Some(sink) = pipeline.by_name(&name) {
            let _ = sink.set_state(gst::State::Null);
            let _ = pipeline.remove(&sink);
        }
        if let Some(next) = next.and_then(|next| next.upgrade()) {
            self.add(pipeline, &next, inbox);
        }
        inbox.notify(Event::SourceChanged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_found_no_place_is_heard_once_another_leaves() {
        gst::init().unwrap();
        let (guests, pipeline) = (Guests::default(), gst::Pipeline::new());
        let (inbox, _events) = Inbox::new();
        let pads: Vec<_> = (0..MAX_GUESTS + 3)
            .map(|number| {
                let pad =
                    gst::Pad::builder(gst::PadDirection::Src).name(format!("audio_{number:02}"));
                let pad = pad.build();
                guests.add(&pipeline, &pad, &inbox);
                pad
            })
            .collect();
        let heard = || -> Vec<_> { guests.all().into_iter().map(|(name, _)| name).collect() };
        assert_eq!(heard().len(), MAX_GUESTS);
        // The first who waits leaves, and then one who is heard.
        guests.remove(&pipeline, &pads[MAX_GUESTS], &inbox);
        guests.remove(&pipeline, &pads[3], &inbox);
        assert_eq!(heard().len(), MAX_GUESTS);
        assert!(heard().contains(&"audio_17".to_owned()), "{:?}", heard());
        assert!(!heard().contains(&"audio_03".to_owned()));
        for sink in pipeline.children() {
            sink.set_state(gst::State::Null).unwrap();
        }
    }

    #[test]
    fn a_guest_that_cannot_be_heard_leaves_nothing_in_the_pipeline() {
        gst::init().unwrap();
        let (guests, pipeline) = (Guests::default(), gst::Pipeline::new());
        let (inbox, _events) = Inbox::new();
        let pictures = gst::Caps::new_empty_simple("video/x-raw");
        let (direction, presence) = (gst::PadDirection::Src, gst::PadPresence::Always);
        let template = gst::PadTemplate::new("audio_1", direction, presence, &pictures);
        let pad = gst::Pad::from_template(&template.unwrap());
        guests.add(&pipeline, &pad, &inbox);
        assert!(guests.all().is_empty());
        assert!(pipeline.children().is_empty());
    }
}
