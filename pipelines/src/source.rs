mod guests;
mod publishers;

pub(crate) use guests::Guests;
use publishers::Publishers;

use crate::{
    decode::describe,
    demo,
    inbox::{Event, Inbox, Media},
    tap::{Memory, Tap, tap_sink},
    timebase::Timebase,
    tokens::Tokens,
};
use gst::prelude::*;
use haven_wire::{
    EndReason, Publisher, RoomAccess, SessionConfig, SessionState, Source as SourceConfig,
};
use std::{net::IpAddr, sync::Arc};

/// The streamer's pads; others are of guests.
const VIDEO_PAD: &str = "video_0";
const AUDIO_PAD: &str = "audio_0";

/// Name and SID that the demo room shows where a LiveKit room has its own.
const DEMO_ROOM: &str = "demo";
const DEMO_SID: &str = "PA_demo";

/// Why a source can't be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("the source cannot be built: {0}")]
    Build(String),
    #[error("the source does not start")]
    Start(#[from] gst::StateChangeError),
}

impl From<gst::glib::BoolError> for SourceError {
    fn from(error: gst::glib::BoolError) -> Self {
        Self::Build(error.to_string())
    }
}

/// What the connection looks like now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connection {
    /// Its state.
    pub(crate) state: SessionState,
    /// The room that was really joined; empty before.
    pub(crate) room_name: String,
    /// The streamer, while somebody publishes.
    pub(crate) participant_sid: Option<String>,
}

/// The pipeline that brings a room's streams, as published, to their taps.
#[derive(Debug)]
pub(crate) struct Source {
    pipeline: gst::Pipeline,
    /// The element that is in the room; none in the demo.
    room: Option<gst::Element>,
    video: Arc<Tap>,
    audio: Arc<Tap>,
    guests: Guests,
    publishers: Publishers,
}

impl Source {
    /// Builds the pipeline; nothing flows before [`Source::play`].
    ///
    /// # Errors
    /// When an element is missing or refuses its settings.
    pub(crate) fn new(
        config: &SessionConfig,
        timebase: &Timebase,
        inbox: &Inbox,
        tokens: &Arc<Tokens>,
    ) -> Result<Self, SourceError> {
        let tap = |name, memory| {
            let inbox = inbox.clone();
            Tap::new(name, memory, move || inbox.notify(Event::CapsChanged))
        };
        let video = tap("video", Memory::Gop);
        let audio = tap("audio", Memory::Recent);
        let guests = Guests::default();
        let publishers = Publishers::default();
        let (pipeline, room) = match &config.source {
            SourceConfig::Demo => (demo_pipeline(&video, &audio)?, None),
            SourceConfig::Room {
                access,
                ice_addresses,
            } => {
                let element = room_element(access, ice_addresses, config.waiting_timeout_ms)?;
                answer_token_requests(&element, tokens);
                report_changes(&element, inbox);
                let pipeline = gst::Pipeline::new();
                pipeline.add(&element)?;
                Guests::invite(&element);
                connect_pads(&pipeline, &element, [&video, &audio]);
                connect_guests(&pipeline, &element, &guests, inbox);
                (pipeline, Some(element))
            }
        };
        timebase.adopt(&pipeline);
        watch_messages(&pipeline, inbox, &publishers);
        Ok(Self {
            pipeline,
            room,
            video,
            audio,
            guests,
            publishers,
        })
    }

    /// Joins the room.
    ///
    /// # Errors
    /// When an element can't start; the bus may have said why.
    pub(crate) fn play(&self) -> Result<(), SourceError> {
        self.pipeline.set_state(gst::State::Playing)?;
        Ok(())
    }

    /// The streams as published.
    pub(crate) fn tap(&self, media: Media) -> &Arc<Tap> {
        match media {
            Media::Video => &self.video,
            Media::Audio => &self.audio,
        }
    }

    /// The other voices.
    pub(crate) fn guests(&self) -> &Guests {
        &self.guests
    }

    /// Whose pictures and sound are taken.
    pub(crate) fn publishers(&self) -> Vec<Publisher> {
        self.publishers.list()
    }

    /// What the connection looks like now.
    pub(crate) fn connection(&self) -> Connection {
        let Some(room) = &self.room else {
            return Connection {
                state: SessionState::Live,
                room_name: DEMO_ROOM.into(),
                participant_sid: Some(DEMO_SID.into()),
            };
        };
        let text = |property| room.property::<Option<String>>(property);
        let state = room.property_value("connection-state");
        let state = gst::glib::EnumValue::from_value(&state).map(|(_, value)| value.nick());
        Connection {
            state: match state {
                Some("live") => SessionState::Live,
                Some("waiting") => SessionState::Waiting,
                Some("reconnecting") => SessionState::Reconnecting,
                _ => SessionState::Connecting,
            },
            room_name: text("room-name").unwrap_or_default(),
            participant_sid: text("streamer-sid").filter(|sid| !sid.is_empty()),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Err(error) = self.pipeline.set_state(gst::State::Null) {
            tracing::warn!(%error, "the source does not stop");
        }
        self.pipeline.bus().inspect(|bus| bus.unset_sync_handler());
    }
}

fn demo_pipeline(video: &Arc<Tap>, audio: &Arc<Tap>) -> Result<gst::Pipeline, SourceError> {
    let pipeline = demo::build()?;
    for (name, tap) in [("video", video), ("audio", audio)] {
        let sink = pipeline
            .by_name(name)
            .and_then(|sink| sink.downcast::<gst_app::AppSink>().ok())
            .ok_or_else(|| SourceError::Build(format!("no appsink {name}")))?;
        sink.set_property("sync", false);
        sink.set_property("async", false);
        sink.set_max_buffers(8);
        sink.set_drop(true);
        sink.set_property("enable-last-sample", false);
        tap.feed_from(&sink);
    }
    Ok(pipeline)
}

fn room_element(
    access: &RoomAccess,
    ice_addresses: &[IpAddr],
    waiting_timeout_ms: u64,
) -> Result<gst::Element, SourceError> {
    let addresses: Vec<_> = ice_addresses.iter().map(IpAddr::to_string).collect();
    let element = gst::ElementFactory::make("livekitsrc")
        .property("url", &access.url)
        .property("token", &access.token)
        .build()?;
    if !addresses.is_empty() {
        element.set_property("ice-addresses", addresses.join(","));
    }
    let waiting_timeout_ms = u32::try_from(waiting_timeout_ms).unwrap_or(u32::MAX);
    element.set_property("waiting-timeout", waiting_timeout_ms);
    Ok(element)
}

/// The element asks on a thread of its own that may wait; the answer comes from the server.
fn answer_token_requests(element: &gst::Element, tokens: &Arc<Tokens>) {
    let tokens = Arc::downgrade(tokens);
    element.connect("request-token", false, move |_| {
        let access = tokens.upgrade().and_then(|tokens| tokens.ask());
        Some(access.map(|access| access.token).to_value())
    });
}

fn report_changes(element: &gst::Element, inbox: &Inbox) {
    for property in ["connection-state", "room-name", "streamer-sid"] {
        let inbox = inbox.clone();
        element.connect_notify(Some(property), move |_, _| {
            inbox.notify(Event::SourceChanged);
        });
    }
}

/// Links the streamer's pads to their taps. They stay when the publisher comes and goes, so
/// there is nothing to unlink.
fn connect_pads(pipeline: &gst::Pipeline, element: &gst::Element, taps: [&Arc<Tap>; 2]) {
    let pipeline = pipeline.downgrade();
    let [video, audio] = taps.map(Arc::clone);
    element.connect_pad_added(move |_, pad| {
        let Some(pipeline) = pipeline.upgrade() else {
            return;
        };
        let name = pad.name();
        let (sink_name, tap, caps) = match name.as_str() {
            VIDEO_PAD => ("video", &video, video_caps()),
            AUDIO_PAD => ("audio", &audio, gst::Caps::new_empty_simple("audio/x-opus")),
            _ => return,
        };
        let sink = tap_sink(sink_name, &caps);
        tap.feed_from(&sink);
        if let Err(error) = link(&pipeline, pad, &sink) {
            tracing::error!(pad = %name, %error, "a stream cannot be taken");
        }
    });
}

fn connect_guests(
    pipeline: &gst::Pipeline,
    element: &gst::Element,
    guests: &Guests,
    inbox: &Inbox,
) {
    let on_pad = |change: fn(&Guests, &gst::Pipeline, &gst::Pad, &Inbox)| {
        let (pipeline, guests, inbox) = (pipeline.downgrade(), guests.clone(), inbox.clone());
        move |_: &gst::Element, pad: &gst::Pad| {
            let name = pad.name();
            if name.starts_with("audio_")
                && name != AUDIO_PAD
                && let Some(pipeline) = pipeline.upgrade()
            {
                change(&guests, &pipeline, pad, &inbox);
            }
        }
    };
    element.connect_pad_added(on_pad(Guests::add));
    element.connect_pad_removed(on_pad(Guests::remove));
}

/// Takes what comes from `pad` into `sink`, which is in the pipeline only where that succeeds.
fn link(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    sink: &gst_app::AppSink,
) -> Result<(), gst::glib::BoolError> {
    pipeline.add(sink)?;
    link_added(pad, sink).inspect_err(|_| {
        let _ = sink.set_state(gst::State::Null);
        let _ = pipeline.remove(sink);
    })
}

fn link_added(pad: &gst::Pad, sink: &gst_app::AppSink) -> Result<(), gst::glib::BoolError> {
    sink.sync_state_with_parent()?;
    let input = sink
        .static_pad("sink")
        .ok_or_else(|| gst::glib::bool_error!("an appsink without a pad"))?;
    pad.link(&input)
        .map_err(|error| gst::glib::bool_error!("{error}"))?;
    Ok(())
}

/// What can be taken as published: nothing is decoded before somebody needs it.
fn video_caps() -> gst::Caps {
    gst::Caps::builder_full()
        .structure(
            gst::Structure::builder("video/x-h264")
                .field("stream-format", "byte-stream")
                .field("alignment", "au")
                .build(),
        )
        .structure(gst::Structure::new_empty("video/x-vp8"))
        .structure(gst::Structure::new_empty("video/x-vp9"))
        .structure(gst::Structure::new_empty("video/x-av1"))
        .build()
}

fn watch_messages(pipeline: &gst::Pipeline, inbox: &Inbox, publishers: &Publishers) {
    let Some(bus) = pipeline.bus() else { return };
    let (inbox, publishers) = (inbox.clone(), publishers.clone());
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::Error(error) => {
                inbox.notify(Event::SourceEnded(error_reason(error)));
            }
            gst::MessageView::Element(element) => {
                let said = element.structure();
                if said.is_some_and(|said| publishers.note(said)) {
                    inbox.notify(Event::SourceChanged);
                }
                if let Some(reason) = said.and_then(ended_reason) {
                    inbox.notify(Event::SourceEnded(reason));
                }
            }
            gst::MessageView::Eos(_) => inbox.notify(Event::SourceEnded(EndReason::Error {
                message: "the stream ended".into(),
            })),
            gst::MessageView::Warning(warning) => {
                tracing::warn!(warning = %warning.error(), "source");
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}

fn error_reason(error: &gst::message::Error) -> EndReason {
    let message = describe(error);
    let error = error.error();
    if error.matches(gst::ResourceError::NotAuthorized) {
        EndReason::NotAuthorized { message }
    } else if [
        gst::ResourceError::OpenRead,
        gst::ResourceError::NotFound,
        gst::ResourceError::Read,
    ]
    .into_iter()
    .any(|kind| error.matches(kind))
    {
        EndReason::Connection { message }
    } else {
        EndReason::Error { message }
    }
}

/// The reason in a `livekit-ended` message.
fn ended_reason(structure: &gst::StructureRef) -> Option<EndReason> {
    if structure.name() != "livekit-ended" {
        return None;
    }
    let word = structure.get::<&str>("reason").unwrap_or("unknown");
    let message = structure.get::<&str>("text").unwrap_or(word).to_owned();
    Some(match word {
        "room-deleted" => EndReason::RoomDeleted,
        "no-publisher" => EndReason::NoPublisher,
        "removed" | "not-authorized" => EndReason::NotAuthorized { message },
        "not-found" | "connection" => EndReason::Connection { message },
        _ => EndReason::Error { message },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_the_element_becomes_the_session_s() {
        gst::init().unwrap();
        let reason = |text: &str| {
            let structure = gst::Structure::builder("livekit-ended")
                .field("reason", text)
                .build();
            ended_reason(&structure).unwrap()
        };
        assert_eq!(reason("room-deleted"), EndReason::RoomDeleted);
        assert_eq!(reason("no-publisher"), EndReason::NoPublisher);
        for word in ["removed", "not-authorized"] {
            assert!(matches!(reason(word), EndReason::NotAuthorized { .. }));
        }
        for word in ["not-found", "connection"] {
            assert!(matches!(reason(word), EndReason::Connection { .. }));
        }
        for word in ["duplicate-identity", "a later word"] {
            assert!(matches!(reason(word), EndReason::Error { .. }));
        }
        assert_eq!(
            ended_reason(&gst::Structure::new_empty("livekit-stats")),
            None
        );
    }

    #[test]
    fn a_bus_error_becomes_the_fitting_reason() {
        gst::init().unwrap();
        let reason = |kind: gst::ResourceError| {
            let message = gst::message::Error::new(kind, "no");
            match message.view() {
                gst::MessageView::Error(error) => error_reason(error),
                _ => unreachable!(),
            }
        };
        use gst::ResourceError::{Busy, NotAuthorized, NotFound, OpenRead, Read};
        assert!(matches!(
            reason(NotAuthorized),
            EndReason::NotAuthorized { .. }
        ));
        for kind in [OpenRead, NotFound, Read] {
            assert!(matches!(reason(kind), EndReason::Connection { .. }));
        }
        assert!(matches!(reason(Busy), EndReason::Error { .. }));
    }
}
