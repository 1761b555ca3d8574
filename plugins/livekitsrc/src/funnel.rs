//! From the driver to the media thread: bounded, and the driver never waits.
//!
//! A frame whose pad is there already doesn't come this way: each thread that is woken for it costs
//! as much as receiving it.

use livekit_room::{EndReason, Frame, Kind, RoomEvent, Stopper};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Events that may wait for the media thread: six seconds of video and audio.
const MAX_EVENTS: usize = 512;
/// Places kept free of frames, for events that must not be lost.
const RESERVED_EVENTS: usize = 64;
/// How soon the last event is tried again where the media thread stands still.
const RETRY: Duration = Duration::from_millis(10);

/// The driver's side.
pub(crate) struct Funnel {
    events: SyncSender<Next>,
    waiting: Arc<AtomicUsize>,
    stopper: Stopper,
    /// Videos of which frames were left out.
    broken: HashSet<Arc<str>>,
    /// Gives a frame out at once; false where it has to go through the media thread.
    give_out: Box<dyn Fn(&Frame) -> bool + Send>,
}

/// The media thread's side.
pub(crate) struct Outlet {
    events: Receiver<Next>,
    waiting: Arc<AtomicUsize>,
    /// What was taken out last may still be worked on.
    busy: bool,
}

/// What comes out.
pub(crate) enum Next {
    Event(Box<RoomEvent>),
    Ended(EndReason),
    /// Nothing came for so long.
    Nothing,
    /// The driver was given up.
    Closed,
}

/// Both sides. `give_out` must not wait.
pub(crate) fn funnel(
    stopper: Stopper,
    give_out: impl Fn(&Frame) -> bool + Send + 'static,
) -> (Funnel, Outlet) {
    // Threads of the standard library wait for each other without the runtime's timers, each of
    // which would wake the thread that runs the sockets.
    let (sender, receiver) = sync_channel(MAX_EVENTS);
    let waiting = Arc::new(AtomicUsize::new(0));
    let funnel = Funnel {
        events: sender,
        waiting: waiting.clone(),
        stopper,
        broken: HashSet::new(),
        give_out: Box::new(give_out),
    };
    let outlet = Outlet {
        events: receiver,
        waiting,
        busy: false,
    };
    (funnel, outlet)
}

impl Funnel {
    /// Passes an event on, or leaves it out where too much waits.
    pub(crate) fn pass(&mut self, event: RoomEvent) {
        let waiting = self.waiting.load(Acquire);
        // A frame overtakes nothing: only when the media thread has done all it was given.
        if let RoomEvent::Frame(frame) = &event
            && waiting == 0
            && self.broken.is_empty()
            && (self.give_out)(frame)
        {
            return;
        }
        let crowded = waiting + RESERVED_EVENTS >= MAX_EVENTS;
        let passes = match &event {
            RoomEvent::Frame(frame) => self.has_place_for(frame, crowded),
            // A crowd that comes or talks must not push out what the pads need.
            RoomEvent::ParticipantJoined(_)
            | RoomEvent::ParticipantLeft(_)
            | RoomEvent::Data(_) => !crowded,
            RoomEvent::TrackEnded(track) => {
                self.broken.remove(&track.sid);
                true
            }
            _ => true,
        };
        if passes && self.send(Next::Event(Box::new(event))).is_err() {
            tracing::warn!("an event of the room was lost: the media thread stands still");
        }
    }

    /// Passes on that it is over, as soon as there is a place.
    pub(crate) async fn end(self, reason: EndReason) {
        let mut last = Next::Ended(reason);
        while let Err(TrySendError::Full(unsent)) = self.send(last) {
            last = unsent;
            tokio::time::sleep(RETRY).await;
        }
    }

    fn send(&self, next: Next) -> Result<(), TrySendError<Next>> {
        // Counted before it is there, so that the other side never counts below zero.
        self.waiting.fetch_add(1, Relaxed);
        self.events.try_send(next).inspect_err(|_| {
            self.waiting.fetch_sub(1, Relaxed);
        })
    }

    fn has_place_for(&mut self, frame: &Frame, crowded: bool) -> bool {
        let video = frame.codec.kind() == Kind::Video;
        if crowded {
            if video {
                self.broken.insert(frame.track.clone());
            }
            return false;
        }
        if video && !self.broken.is_empty() && self.broken.contains(&frame.track) {
            if !frame.key {
                self.stopper.request_keyframe();
                return false;
            }
            self.broken.remove(&frame.track);
        }
        true
    }
}

impl Outlet {
    /// The next event, or [`Next::Nothing`] after `patience`.
    pub(crate) fn next(&mut self, patience: Duration) -> Next {
        if std::mem::take(&mut self.busy) {
            self.waiting.fetch_sub(1, Release);
        }
        match self.events.recv_timeout(patience) {
            Ok(next) => {
                self.busy = true;
                next
            }
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::Closed,
        }
    }
}
