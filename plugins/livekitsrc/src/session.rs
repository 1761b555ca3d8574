//! One stay in a room: the driver's task, and the thread that turns its events into pads, buffers
//! and messages.
//!
//! Two sides, because making elements may take hundreds of milliseconds when a plugin is loaded,
//! and handlers of `pad-added` belong to somebody else: the sockets must not wait for that.

use crate::access;
use crate::flow::{Flows, Pushed};
use crate::funnel::{Next, Outlet, funnel};
use crate::livekitsrc::LiveKitSrc;
use crate::pads::Pads;
use crate::runtime;
use crate::settings::{Settings, SettingsError};
use crate::stream::StreamError;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use livekit_room::{
    AudioMode, ConnectionState, Driver, EndReason, Frame, RoomEvent, Stopper, VideoLimits,
};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
        let pads = Pads::new(
            element.clone().upcast(),
            stopper.clone(),
            gst::ClockTime::from_mseconds(settings.latency_ms.into()),
            config.audio == AudioMode::Everyone,
        );
        let express = Express {
            element: element.downgrade(),
            stopper: stopper.clone(),
            flows: pads.flows().clone(),
        };
        let (mut funnel, mut incoming) =
            funnel(stopper.clone(), move |frame| express.give_out(frame));
        let (leaving, left) = std_mpsc::channel();
        let (working, idle) = std_mpsc::channel();
        let mut media = Media {
            element: element.downgrade(),
            stopper: stopper.clone(),
            pads,
            asks: config.ask,
            live: false,
            ever_joined: false,
        };
        media.pads.set_mint(settings.mint_id.as_deref());
        let runtime = runtime::handle()?;
        let thread = std::thread::Builder::new()
            .name("livekitsrc:media".into())
            .spawn(move || {
                media.guarded(|media| media.run(&mut incoming));
                // What it holds of the element goes before it is said that it has ended.
                drop((media, incoming));
                drop(working);
            })?;
        let task = runtime.spawn(async move {
            let reason = driver.run(|event| funnel.pass(event)).await;
            funnel.end(reason).await;
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

/// What the driver's own thread needs to give a frame out.
struct Express {
    element: glib::WeakRef<LiveKitSrc>,
    stopper: Stopper,
    flows: Flows,
}

impl Express {
    /// Whether the frame is done with. It isn't where anything but a push is to be done first.
    fn give_out(&self, frame: &Frame) -> bool {
        if self.stopper.is_stopped() {
            return false;
        }
        let (Some(flow), Some(element)) = (self.flows.of(&frame.track), self.element.upgrade())
        else {
            return false;
        };
        let Some(running_time) = element.imp().running_time_at(frame.time) else {
            return false;
        };
        let pushed = flow.lock().push(frame, running_time);
        if pushed == Pushed::NoRoute {
            return false;
        }
        let counters = element.imp().counters();
        counters.received(frame);
        if pushed == Pushed::LeftOut {
            counters.dropped(frame);
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
    /// Works; a panic in it ends the stream with an error.
    fn guarded(&mut self, work: impl FnOnce(&mut Self)) {
        if panic::catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            self.on_fault();
        }
    }

    /// The stream can't go on, since the task or the thread behind it panicked.
    fn on_fault(&self) {
        if self.stopper.is_stopped() {
            return;
        }
        self.stopper.stop();
        if let Some(element) = self.element.upgrade() {
            element.imp().on_fault();
        }
        self.pads.end();
    }

    /// Takes events until the last one; looks around every [`TICK`].
    fn run(&mut self, incoming: &mut Outlet) {
        let mut ticked = Instant::now();
        loop {
            let message = incoming.next(TICK);
            let Some(element) = self.element.upgrade() else {
                return;
            };
            // Nothing is said or shown any more, least of all in the next stay.
            if self.stopper.is_stopped() {
                return;
            }
            match message {
                Next::Event(event) => self.on_event(&element, *event),
                Next::Ended(reason) => return self.on_ended(&element, reason),
                // It says how it ended unless it panicked.
                Next::Closed => return self.on_fault(),
                Next::Nothing => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A media thread's state, its driver's and its thread's ends, and the element's messages.
    fn media() -> (Media, crate::funnel::Funnel, Outlet, gst::Bus, LiveKitSrc) {
        gst::init().unwrap();
        let element: LiveKitSrc = glib::Object::new();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let settings = Settings {
            url: Some("ws://127.0.0.1:1".into()),
            token: Some("none".into()),
            ..Settings::default()
        };
        let tokens = access::token_source(&settings, &element).unwrap();
        let stopper = Driver::new(settings.room_config().unwrap(), tokens).stopper();
        let (funnel, outlet) = funnel(stopper.clone(), |_| false);
        let latency = gst::ClockTime::ZERO;
        let media = Media {
            element: element.downgrade(),
            stopper: stopper.clone(),
            pads: Pads::new(element.clone().upcast(), stopper, latency, false),
            asks: false,
            live: false,
            ever_joined: true,
        };
        (media, funnel, outlet, bus, element)
    }

    fn errors(bus: &gst::Bus) -> usize {
        let types = [gst::MessageType::Error];
        std::iter::from_fn(|| bus.pop_filtered(&types)).count()
    }

    #[test]
    fn a_driver_that_panicked_is_one_error_of_the_element() {
        let (mut media, funnel, mut outlet, bus, _element) = media();
        // As a task that panics leaves it: without a last word.
        drop(funnel);
        media.guarded(|media| media.run(&mut outlet));
        assert_eq!(errors(&bus), 1);
        assert!(media.stopper.is_stopped());
    }

    #[test]
    fn a_panic_of_the_media_thread_is_one_error_and_the_driver_leaves() {
        let (mut media, _funnel, _outlet, bus, _element) = media();
        media.guarded(|_| panic!("for the test"));
        assert_eq!(errors(&bus), 1);
        assert!(media.stopper.is_stopped());
    }

    #[test]
    fn an_element_that_is_stopped_tells_of_no_fault() {
        let (mut media, funnel, mut outlet, bus, _element) = media();
        media.stopper.stop();
        drop(funnel);
        media.guarded(|media| media.run(&mut outlet));
        assert_eq!(errors(&bus), 0);
    }
}
