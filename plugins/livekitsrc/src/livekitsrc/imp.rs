use super::messages::describe;
use super::properties::{
    self, ConnectionState, PROP_CONNECTION_STATE, PROP_ROOM_NAME, PROP_STATS, PROP_STREAMER_SID,
};
use crate::access::REQUEST_TOKEN_SIGNAL;
use crate::counters::Counters;
use crate::media;
use crate::session::{Session, StartError};
use crate::settings::{Settings, TrackChoice};
use crate::uri;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use livekit_room::{Choice, Kind, Track};
use parking_lot::Mutex;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "livekitsrc",
        gst::DebugColorFlags::empty(),
        Some("LiveKit room source"),
    )
});

/// Two clocks are read together this exactly, or once more.
const CLOCK_ERROR: Duration = Duration::from_millis(1);
/// How often they are read at most: on a machine that is that busy, any reading is as good.
const CLOCK_READINGS: u32 = 3;

const SELECT_TRACK_SIGNAL: &str = "select-track";

/// What the application may ask about the connection.
#[derive(Default)]
pub(super) struct Status {
    connection: ConnectionState,
    pub(super) room_name: Option<String>,
    streamer_sid: Option<String>,
}

/// Locks are taken one at a time and never held while anything of GStreamer is called.
#[derive(Default)]
pub struct LiveKitSrc {
    settings: Mutex<Settings>,
    session: Mutex<Option<Session>>,
    pub(super) status: Mutex<Status>,
    pub(super) counters: Counters,
    /// Between the changes to and from PLAYING: running time means something.
    playing: AtomicBool,
}

#[glib::object_subclass]
impl ObjectSubclass for LiveKitSrc {
    const NAME: &'static str = "GstLiveKitSrc";
    type Type = super::LiveKitSrc;
    type ParentType = gst::Bin;
    type Interfaces = (gst::URIHandler,);
}

impl ObjectImpl for LiveKitSrc {
    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        element.set_suppressed_flags(gst::ElementFlags::SOURCE | gst::ElementFlags::SINK);
        element.set_element_flags(gst::ElementFlags::SOURCE);
    }

    fn properties() -> &'static [glib::ParamSpec] {
        &properties::PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let limits = {
            let mut settings = self.settings.lock();
            properties::store(&mut settings, pspec.name(), value);
            settings.video_limits
        };
        if let Some(session) = &*self.session.lock() {
            session.set_video_limits(limits);
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            PROP_CONNECTION_STATE => self.status.lock().connection.to_value(),
            PROP_ROOM_NAME => self.status.lock().room_name.to_value(),
            PROP_STREAMER_SID => self.status.lock().streamer_sid.to_value(),
            PROP_STATS => self.counters.structure().to_value(),
            name => properties::load(&self.settings.lock(), name)
                .unwrap_or_else(|| pspec.default_value().clone()),
        }
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            vec![
                // Asks for a fresh token before each join after the first. The handler may block,
                // for 15 s at most; without one, or when it returns NULL, `token` is used again.
                glib::subclass::Signal::builder(REQUEST_TOKEN_SIGNAL)
                    .return_type::<Option<String>>()
                    .run_last()
                    .build(),
                // Asks what becomes of a track that somebody publishes. The handler gets a
                // structure with its sid, kind (video or audio), source (camera, microphone,
                // screen-share, screen-share-audio or unknown), identity, participant-name, name,
                // width and height, and must not block. With a handler connected before READY to
                // PAUSED nothing is taken unasked.
                glib::subclass::Signal::builder(SELECT_TRACK_SIGNAL)
                    .param_types([gst::Structure::static_type()])
                    .return_type::<TrackChoice>()
                    .run_last()
                    .build(),
            ]
        });
        &SIGNALS
    }
}

impl GstObjectImpl for LiveKitSrc {}

impl ElementImpl for LiveKitSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "LiveKit source",
                "Source/Network/WebRTC",
                "Receives a LiveKit room or a pump.fun livestream, encoded or raw, and stays in it",
                "The Haven developers",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            [("video_%u", Kind::Video), ("audio_%u", Kind::Audio)]
                .into_iter()
                .filter_map(|(name, kind)| {
                    gst::PadTemplate::new(
                        name,
                        gst::PadDirection::Src,
                        gst::PadPresence::Sometimes,
                        &media::template_caps(kind),
                    )
                    .ok()
                })
                .collect()
        });
        &TEMPLATES
    }

    /// The latency is the same with and without pads: a pipeline asks before there are any.
    fn query(&self, query: &mut gst::QueryRef) -> bool {
        let answered = self.parent_query(query);
        let gst::QueryViewMut::Latency(latency) = query.view_mut() else {
            return answered;
        };
        let (live, _, _) = latency.result();
        if !answered || !live {
            let own = gst::ClockTime::from_mseconds(self.settings.lock().latency_ms.into());
            latency.set(true, own, gst::ClockTime::NONE);
        }
        true
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::ReadyToPaused => self.start()?,
            gst::StateChange::PlayingToPaused => self.playing.store(false, Relaxed),
            gst::StateChange::PausedToReady => {
                if let Some(session) = &*self.session.lock() {
                    session.leave();
                }
            }
            _ => {}
        }
        let changed = self.parent_change_state(transition);
        match transition {
            gst::StateChange::ReadyToPaused if changed.is_err() => self.stop(),
            gst::StateChange::PausedToReady => self.stop(),
            gst::StateChange::PausedToPlaying => {
                self.playing.store(true, Relaxed);
                if let Some(session) = &*self.session.lock() {
                    session.request_keyframe();
                }
            }
            _ => {}
        }
        match (transition, changed?) {
            // A live source has nothing to show in PAUSED, even before its first pad.
            (gst::StateChange::ReadyToPaused | gst::StateChange::PlayingToPaused, _) => {
                Ok(gst::StateChangeSuccess::NoPreroll)
            }
            (_, success) => Ok(success),
        }
    }
}

impl BinImpl for LiveKitSrc {}

impl URIHandlerImpl for LiveKitSrc {
    const URI_TYPE: gst::URIType = gst::URIType::Src;

    fn protocols() -> &'static [&'static str] {
        uri::PROTOCOLS
    }

    fn uri(&self) -> Option<String> {
        let settings = self.settings.lock().clone();
        uri::describe(&settings)
    }

    fn set_uri(&self, uri: &str) -> Result<(), glib::Error> {
        let running =
            self.session.lock().is_some() || self.obj().current_state() > gst::State::Ready;
        if running {
            return Err(glib::Error::new(
                gst::URIError::BadState,
                "the URI can be changed only while the element is stopped",
            ));
        }
        let before = self.settings.lock().clone();
        let after = uri::apply(uri, &before)
            .map_err(|error| glib::Error::new(gst::URIError::BadUri, &error.to_string()))?;
        *self.settings.lock() = after.clone();
        for name in properties::differing(&before, &after) {
            self.obj().notify(name);
        }
        Ok(())
    }
}

impl LiveKitSrc {
    fn start(&self) -> Result<(), gst::StateChangeError> {
        let settings = self.settings.lock().clone();
        self.counters.reset();
        self.set_connection(ConnectionState::Connecting);
        match Session::start(&self.obj(), &settings) {
            Ok(session) => {
                *self.session.lock() = Some(session);
                Ok(())
            }
            Err(error) => {
                self.set_connection(ConnectionState::Disconnected);
                match &error {
                    StartError::Settings(_) => {
                        gst::element_imp_error!(self, gst::ResourceError::Settings, ("{error}"));
                    }
                    StartError::Threads(_) => {
                        gst::element_imp_error!(self, gst::ResourceError::NoSpaceLeft, ("{error}"))
                    }
                }
                Err(gst::StateChangeError)
            }
        }
    }

    fn stop(&self) {
        let session = self.session.lock().take();
        if let Some(session) = session {
            session.leave();
            session.join();
        }
        self.remove_pads();
        self.set_streamer(None);
        self.set_connection(ConnectionState::Disconnected);
    }

    /// The pads of this stay; the next one makes its own.
    fn remove_pads(&self) {
        let element = self.obj();
        for pad in element.src_pads() {
            let _ = pad.set_active(false);
            let _ = element.remove_pad(&pad);
        }
        for child in element.children() {
            let _ = child.set_state(gst::State::Null);
            let _ = element.remove(&child);
        }
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The running time at which this instant is, was or will be; none outside PLAYING.
    pub(crate) fn running_time_at(&self, instant: Instant) -> Option<gst::ClockTime> {
        if !self.playing.load(Relaxed) {
            return None;
        }
        let (now, running) = self.now()?;
        let distance =
            |duration: Duration| gst::ClockTime::from_nseconds(duration.as_nanos() as u64);
        Some(if instant > now {
            running + distance(instant - now)
        } else {
            running.saturating_sub(distance(now - instant))
        })
    }

    /// This instant, and its running time.
    fn now(&self) -> Option<(Instant, gst::ClockTime)> {
        for _ in 0..CLOCK_READINGS {
            let before = Instant::now();
            let running = self.obj().current_running_time()?;
            let after = Instant::now();
            // The thread may have to wait between the two, and all of it would be the frame's error.
            if after - before <= CLOCK_ERROR {
                return Some((before + (after - before) / 2, running));
            }
        }
        Some((Instant::now(), self.obj().current_running_time()?))
    }

    pub(super) fn set_connection(&self, state: ConnectionState) {
        let before = std::mem::replace(&mut self.status.lock().connection, state);
        if before != state {
            gst::info!(CAT, imp = self, "{before:?} -> {state:?}");
            self.obj().notify(PROP_CONNECTION_STATE);
        }
    }

    pub(super) fn set_streamer(&self, sid: Option<String>) {
        let before = std::mem::replace(&mut self.status.lock().streamer_sid, sid.clone());
        if before != sid {
            self.obj().notify(PROP_STREAMER_SID);
        }
    }

    /// Whether the application wants to be asked about tracks.
    pub(crate) fn has_chooser(&self) -> bool {
        glib::subclass::SignalId::lookup(SELECT_TRACK_SIGNAL, super::LiveKitSrc::static_type())
            .is_some_and(|signal| {
                glib::signal::signal_has_handler_pending(&*self.obj(), signal, None, true)
            })
    }

    /// What the application wants of a track.
    pub(crate) fn ask(&self, track: &Track) -> Choice {
        let answer = self
            .obj()
            .emit_by_name_with_values(SELECT_TRACK_SIGNAL, &[describe(track).build().to_value()])
            .and_then(|answer| answer.get::<TrackChoice>().ok());
        answer.unwrap_or_default().into()
    }
}
