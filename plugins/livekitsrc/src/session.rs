//! One stay in a room: the driver's task, and the thread that turns its events into pads, buffers
//! and messages.
//!
//! Two sides, because making elements may take hundreds of milliseconds when a plugin is loaded,
//! and handlers of `pad-added` belong to somebody else: the sockets must not wait for that.

use crate::livekitsrc::LiveKitSrc;
use crate::runtime;
use crate::settings::{Settings, SettingsError};
use crate::{access, stream};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use livekit_room::{Driver, EndReason, Frame, Kind, RoomEvent, Stopper};
use std::collections::HashSet;
use std::io;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use stream::{Stream, StreamError};
use tokio::sync::mpsc;

/// Events that may wait for the media thread: six seconds of video and audio.
const MAX_EVENTS: usize = 512;
/// Places kept free of frames, for events that must not be lost.
const RESERVED_EVENTS: usize = 64;

/// How long leaving the room may take: the goodbye's time-out and some.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// A kind that is published at all is published this soon after the other one.
const MORE_PADS_WITHIN: Duration = Duration::from_secs(1);

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
    left: std_mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Session {
    /// Begins to join.
    pub(crate) fn start(element: &LiveKitSrc, settings: &Settings) -> Result<Self, StartError> {
        let tokens = access::token_source(settings, element)?;
        let driver = Driver::new(settings.room_config()?, tokens);
        let stopper = driver.stopper();
        let (events, incoming) = mpsc::channel(MAX_EVENTS);
        let (leaving, left) = std_mpsc::channel();
        let mut media = Media {
            element: element.downgrade(),
            stopper: stopper.clone(),
            latency: gst::ClockTime::from_mseconds(settings.latency_ms.into()),
            video: None,
            audio: None,
            announced: HashSet::new(),
            broken: HashSet::new(),
            first_pad: None,
            no_more_pads: false,
            ever_joined: false,
        };
        let runtime = runtime::handle()?;
        let thread = std::thread::Builder::new()
            .name("livekitsrc:media".into())
            .spawn(move || media.run(incoming))?;
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
        })
    }

    /// Begins to leave the room. [`Session::join`] waits for the end of it.
    pub(crate) fn leave(&self) {
        self.stopper.stop();
    }

    /// Waits until everything has ended. The pads must be flushing by then.
    pub(crate) fn join(self) {
        let left = self.left.recv_timeout(STOP_TIMEOUT);
        if left == Err(std_mpsc::RecvTimeoutError::Timeout) {
            self.task.abort();
        }
        if self.thread.thread().id() == std::thread::current().id() {
            // A handler of `pad-added` or of a synchronous message stops the element: the thread
            // ends when the handler returns.
            tracing::warn!("stopped by its own media thread, which can't be waited for");
            return;
        }
        // Ends with the task: the channel between them is closed.
        let _ = self.thread.join();
    }

    pub(crate) fn request_keyframe(&self) {
        self.stopper.request_keyframe();
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
    latency: gst::ClockTime,
    video: Option<Stream>,
    audio: Option<Stream>,
    /// Kinds that are published now.
    announced: HashSet<Kind>,
    /// Kinds that can't be given out; an error has said why.
    broken: HashSet<Kind>,
    first_pad: Option<Instant>,
    no_more_pads: bool,
    ever_joined: bool,
}

impl Media {
    fn run(&mut self, mut incoming: mpsc::Receiver<Message>) {
        while let Some(message) = incoming.blocking_recv() {
            let Some(element) = self.element.upgrade() else {
                return;
            };
            match message {
                Message::Room(event) => self.on_event(&element, event),
                Message::Ended(reason) => return self.on_ended(&element, reason),
            }
        }
    }

    fn on_event(&mut self, element: &LiveKitSrc, event: RoomEvent) {
        match event {
            RoomEvent::Frame(frame) => self.on_frame(element, &frame),
            RoomEvent::TrackStarted(ref track) => {
                self.announced.insert(track.kind);
                element.imp().on_room_event(&event);
            }
            RoomEvent::TrackEnded(ref track) => {
                self.announced.remove(&track.kind);
                element.imp().on_room_event(&event);
            }
            RoomEvent::Joined(_) => {
                self.ever_joined = true;
                element.imp().on_room_event(&event);
            }
            _ => element.imp().on_room_event(&event),
        }
        self.announce_no_more_pads(element);
    }

    fn on_frame(&mut self, element: &LiveKitSrc, frame: &Frame) {
        let counters = element.imp().counters();
        counters.received(frame);
        let Some(running_time) = element.imp().running_time_at(frame.time) else {
            for stream in [&mut self.video, &mut self.audio].into_iter().flatten() {
                stream.leave_out();
            }
            return;
        };
        let kind = frame.codec.kind();
        if self.broken.contains(&kind) {
            return counters.dropped();
        }
        let pushed = self
            .stream(element, kind)
            .and_then(|stream| stream.push(frame, running_time));
        match pushed {
            Ok(true) => {}
            Ok(false) => counters.dropped(),
            Err(error) => {
                self.broken.insert(kind);
                post_stream_error(element, &error);
            }
        }
    }

    fn stream(&mut self, element: &LiveKitSrc, kind: Kind) -> Result<&mut Stream, StreamError> {
        let slot = match kind {
            Kind::Video => &mut self.video,
            Kind::Audio => &mut self.audio,
        };
        match slot {
            Some(stream) => Ok(stream),
            None => {
                self.first_pad.get_or_insert_with(Instant::now);
                let stream = Stream::new(element.upcast_ref(), kind, self.latency, &self.stopper)?;
                Ok(slot.insert(stream))
            }
        }
    }

    fn announce_no_more_pads(&mut self, element: &LiveKitSrc) {
        let has_pad = |kind: &Kind| match kind {
            Kind::Video => self.video.is_some(),
            Kind::Audio => self.audio.is_some(),
        };
        let settled = self.video.is_some() && self.audio.is_some()
            || self
                .first_pad
                .is_some_and(|first| first.elapsed() > MORE_PADS_WITHIN)
                && self.announced.iter().all(has_pad);
        if settled && !self.no_more_pads {
            self.no_more_pads = true;
            element.no_more_pads();
        }
    }

    fn on_ended(&self, element: &LiveKitSrc, reason: EndReason) {
        let streams = || [&self.video, &self.audio].into_iter().flatten();
        let has_pads = streams().next().is_some();
        // The reason first: who hears of the end of the stream knows it then.
        element.imp().on_ended(&reason, has_pads, self.ever_joined);
        for stream in streams() {
            stream.end();
        }
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
