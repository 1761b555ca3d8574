use haven_wire::{EndReason, ServerMessage, WorkerMessage};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Room for events that the session hasn't looked at yet. They are rare (no media passes here);
/// the bound only keeps a fault from growing the process.
const INBOX_LEN: usize = 1024;
/// Room for messages the server hasn't read yet.
const OUTBOX_LEN: usize = 256;

/// A kind of media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// What a session decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// The pictures.
    Pictures,
    /// Everybody's sound.
    Voices,
    /// The streamer's sound alone.
    Streamer,
}

impl Decoded {
    /// Its kind.
    pub(crate) fn media(self) -> Media {
        match self {
            Self::Pictures => Media::Video,
            Self::Voices | Self::Streamer => Media::Audio,
        }
    }
}

/// What the session's thread is woken by.
#[derive(Debug)]
pub(crate) enum Event {
    /// The server said something.
    Server(ServerMessage),
    /// The server is gone, or the process was asked to end.
    Stop,
    /// A stream began, or its caps changed.
    CapsChanged,
    /// A property of the source changed.
    SourceChanged,
    /// The source is over.
    SourceEnded(EndReason),
    /// A decoding pipeline stopped.
    DecoderFailed {
        /// Which one.
        decoded: Decoded,
        /// Which of its runs.
        run: u64,
        /// What it said.
        error: String,
    },
    /// The number of viewers changed.
    ViewersChanged,
    /// The pipeline that serves viewers stopped.
    PreviewFailed {
        /// Which of its runs.
        run: u64,
        /// What it said.
        error: String,
    },
    /// A recording's thread is about to end.
    RecordingOver(i64),
}

/// Where events for the session go.
#[derive(Clone, Debug)]
pub(crate) struct Inbox(SyncSender<Event>);

impl Inbox {
    /// An inbox and the session's end of it.
    pub(crate) fn new() -> (Self, Receiver<Event>) {
        let (sender, receiver) = sync_channel(INBOX_LEN);
        (Self(sender), receiver)
    }

    /// Leaves an event, never waiting: this is called from streaming threads.
    pub(crate) fn notify(&self, event: Event) {
        match self.0.try_send(event) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(event)) => tracing::error!(?event, "the session is stuck"),
        }
    }
}

/// Where messages to the server go. Messages from one thread arrive in order.
#[derive(Clone, Debug)]
pub(crate) struct Outbox(SyncSender<WorkerMessage>);

impl Outbox {
    /// An outbox and the end from which messages are written to the server.
    pub(crate) fn new() -> (Self, Receiver<WorkerMessage>) {
        let (sender, receiver) = sync_channel(OUTBOX_LEN);
        (Self(sender), receiver)
    }

    /// Sends a message that must arrive. Waits while the server doesn't read.
    pub(crate) fn send(&self, message: WorkerMessage) {
        // Disconnected: the server is gone, and there is nobody to tell.
        let _ = self.0.send(message);
    }

    /// Sends a message that a later one replaces; false where there is no room for it.
    pub(crate) fn offer(&self, message: WorkerMessage) -> bool {
        self.0.try_send(message).is_ok()
    }
}
