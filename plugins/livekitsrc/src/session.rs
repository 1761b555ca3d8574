//! One stay in a room: the driver's task, and the thread that turns its events into pads, buffers
//! and messages.
//!
//! Two sides, because making elements may take hundreds of milliseconds when a plugin is loaded,
//! and handlers of `pad-added` belong to somebody else: the sockets must not wait for that.

use crate::access;
use crate::livekitsrc::LiveKitSrc;
use crate::pads::Pads;
use crate::runtime;
use crate::settings::{Settings, SettingsError};
use crate::stream::StreamError;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use livekit_room::{
    AudioMode, ConnectionState, Driver, EndReason, Frame, Kind, RoomEvent, Stopper, VideoLimits,
};
use std::io;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Events that may wait for the media thread: six seconds of video and audio.
const MAX_EVENTS: usize = 512;
/// Places kept free of frames, for events that must not be lost.
const RESERVED_EVENTS: usize = 64;

/// How long stopping may take: the goodbye's time-out and some, and handlers of the application.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// How often pads without media are looked after.
const TICK: Duration = Duration::from_millis(100);

/// Why a session can't begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("no threads for the room: {0}")]
    Threads(#[from] io::Error),
}

enum Message {
    Room(RoomEvent),
    Ended(EndReason),
}

/// A running session.
pub(crate) struct Session {
    stopper: Stopper,
    task: tokio::task::JoinHandle<()>,
    /// Closed when the task has ended.
    left: std_mpsc::Receiver<()>,
    thread: JoinHandle<()>,
    /// Closed when the thread has ended.
    idle: std_mpsc::Receiver<()>,
}

impl Session {
    /// Begins to join.
    pub(crate) fn start(element: &LiveKitSrc, settings: &Settings) -> Result<Self, StartError> {
        let tokens = access::token_source(settings, element)?;
        let mut config = settings.room_config()?;
        config.ask = element.imp().has_chooser();
        let driver = Driver::new(config.clone(), tokens);
        let stopper = driver.stopper();
        let (events, incoming) = mpsc::channel(MAX_EVENTS);
        let (leaving, left) = std_mpsc::channel();
        let (working, idle) = std_mpsc::channel();
        let mut media = Media {
            element: element.downgrade(),
            stopper: stopper.clone(),
            pads: Pads::new(
                element.clone().upcast(),
                stopper.clone(),
                gst::ClockTime::from_mseconds(settings.latency_ms.into()),
                config.audio == AudioMode::Everyone,
            ),
            asks: config.ask,
            live: false,
            ever_joined: false,
        };
        let runtime = runtime::handle()?;
        let thread = std::thread::Builder::new()
            .name("livekitsrc:media".into())
            .spawn({
                let runtime = runtime.clone();
                move || {
                    media.run(&runtime, incoming);
                    // What it holds of the element goes before it is said that it has ended.
                    drop(media);
                    drop(working);
                }
            })?;
        let mut funnel = Funnel::new(events.clone(), stopper.clone());
        let task = runtime.spawn(async move {
            let reason = driver.run(|event| funnel.pass(event)).await;
            // Waits for a place: the media thread takes events until this one.
            let _ = events.send(Message::Ended(reason)).await;
            drop(leaving);
        });
        Ok(Self {
            stopper,
            task,
            left,
            thread,
            idle,
        })
    }

    /// Begins to leave the room. [`Session::join`] waits for the end of it.
    pub(crate) fn leave(&self) {
        self.stopper.stop();
    }

    /// Waits until everything has ended, [`STOP_TIMEOUT`] at most. The pads must be flushing by
    /// then.
    pub(crate) fn join(self) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        let timed_out = |ended: &std_mpsc::Receiver<()>| {
            let patience = deadline.saturating_duration_since(Instant::now());
            ended.recv_timeout(patience) == Err(std_mpsc::RecvTimeoutError::Timeout)
        };
        if timed_out(&self.left) {
            self.task.abort();
        }
        if self.thread.thread().id() == std::thread::current().id() {
            // A handler of `pad-added` or of a synchronous message stops the element: the thread
            // ends when the handler returns.
            tracing::warn!("stopped by its own media thread, which can't be waited for");
            return;
        }
        if timed_out(&self.idle) {
            // A handler may itself wait for the state change that we are in. The thread does
            // nothing more when it comes back, and ends.
            tracing::warn!("a handler of the application keeps the media thread from ending");
            return;
        }
        let _ = self.thread.join();
    }

    pub(crate) fn request_keyframe(&self) {
        self.stopper.request_keyframe();
    }

    pub(crate) fn set_video_limits(&self, limits: VideoLimits) {
        self.stopper.set_video_limits(limits);
    }
}

/// From the driver to the media thread, without ever waiting.
struct Funnel {
    events: mpsc::Sender<Message>,
    stopper: Stopper,
    video_needs_key: bool,
}

impl Funnel {
    fn new(events: mpsc::Sender<Message>, stopper: Stopper) -> Self {
        Self {
            events,
            stopper,
            video_needs_key: false,
        }
    }

    fn pass(&mut self, event: RoomEvent) {
        if let RoomEvent::Frame(frame) = &event
            && !self.has_place_for(frame)
        {
            return;
        }
        // A crowd that comes or talks must not push out what the pads need.
        let is_crowd = matches!(
            &event,
            RoomEvent::ParticipantJoined(_) | RoomEvent::ParticipantLeft(_) | RoomEvent::Data(_)
        );
        if is_crowd && self.events.capacity() <= RESERVED_EVENTS {
            return;
        }
        if self.events.try_send(Message::Room(event)).is_err() {
            tracing::warn!("an event of the room was lost: the media thread stands still");
        }
    }

    fn has_place_for(&mut self, frame: &Frame) -> bool {
        let video = frame.codec.kind() == Kind::Video;
        if self.events.capacity() <= RESERVED_EVENTS {
            self.video_needs_key |= video;
            return false;
        }
        if video && self.video_needs_key {
            self.video_needs_key = !frame.key;
            if self.video_needs_key {
                self.stopper.request_keyframe();
            }
            return frame.key;
        }
        true
    }
}

/// The media thread's own state.
struct Media {
    element: glib::WeakRef<LiveKitSrc>,
    stopper: Stopper,
    pads: Pads,
    /// The application is asked about each track.
    asks: bool,
    live: bool,
    ever_joined: bool,
}

impl Media {
    /// Takes events until the last one; looks around every [`TICK`].
    fn run(&mut self, runtime: &Handle, mut incoming: mpsc::Receiver<Message>) {
        let mut ticked = Instant::now();
        loop {
            let message = runtime.block_on(async { timeout(TICK, incoming.recv()).await });
            let Some(element) = self.element.upgrade() else {
                return;
            };
            // Nothing is said or shown any more, least of all in the next stay.
            if self.stopper.is_stopped() {
                return;
            }
            match message {
                Ok(Some(Message::Room(event))) => self.on_event(&element, event),
                Ok(Some(Message::Ended(reason))) => return self.on_ended(&element, reason),
                Ok(None) => return,
                Err(_nothing_came) => {}
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.pads
                    .tick(element.imp().running_time_at(ticked), self.live);
            }
            if self.pads.settles() {
                element.no_more_pads();
            }
        }
    }

    fn on_event(&mut self, element: &LiveKitSrc, event: RoomEvent) {
        match &event {
            RoomEvent::Frame(frame) => return self.on_frame(element, frame),
            RoomEvent::TrackPublished(track) if self.asks => {
                let choice = element.imp().ask(track);
                self.stopper.choose(track.sid.clone(), choice);
            }
            RoomEvent::TrackUnpublished(sid) => self.stopper.forget_choice(sid),
            RoomEvent::TrackStarted(track) => self.pads.track_started(track),
            RoomEvent::TrackMuted { track, muted } => self.pads.track_muted(track, *muted),
            RoomEvent::TrackEnded(track) => self.pads.track_ended(track),
            RoomEvent::State(state) => self.live = *state == ConnectionState::Live,
            RoomEvent::Joined(room) => {
                self.ever_joined = true;
                self.pads.set_room(&room.name);
            }
            _ => {}
        }
        element.imp().on_room_event(&event);
    }

    fn on_frame(&mut self, element: &LiveKitSrc, frame: &Frame) {
        let counters = element.imp().counters();
        counters.received(frame);
        let Some(running_time) = element.imp().running_time_at(frame.time) else {
            self.pads.leave_out();
            return;
        };
        match self.pads.push(frame, running_time) {
            Ok(true) => {}
            Ok(false) => counters.dropped(frame),
            // Elements were taken away in the middle of it.
            Err(_) if self.stopper.is_stopped() => {}
            Err(error) => post_stream_error(element, &error),
        }
    }

    fn on_ended(&self, element: &LiveKitSrc, reason: EndReason) {
        // The reason first: who hears of the end of the stream knows it then.
        let has_pads = !self.pads.is_empty();
        element.imp().on_ended(&reason, has_pads, self.ever_joined);
        self.pads.end();
    }
}

fn post_stream_error(element: &LiveKitSrc, error: &StreamError) {
    match error {
        StreamError::NotAccepted(_) => {
            gst::element_error!(element, gst::StreamError::WrongType, ("{error}"));
        }
        StreamError::NoDecoder(_) => {
            gst::element_error!(element, gst::StreamError::CodecNotFound, ("{error}"));
        }
        StreamError::Internal(_) => {
            gst::element_error!(element, gst::CoreError::Failed, ("{error}"));
        }
    }
}
