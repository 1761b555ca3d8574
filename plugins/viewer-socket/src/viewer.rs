//! One viewer: takes from the hub what it has time for, until one side has had enough.

use crate::{
    AudioChoice, CloseReason, EndReason, Hub, Protocol, ViewerCounters, ViewerEnd, ViewerOptions,
    ViewerStats,
    connection::{CloseFrame, Connection, Event},
    farewell::{CLOSE_LIMIT, farewell},
    hub::{Control, Place},
    message::{AudioMessage, VideoMessage},
    ring::Ring,
    slowness::Slowness,
};
use bytes::Bytes;
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

/// Being connected is what has a worker make pictures: one older than this is from another time.
const RELAY_AGE: Duration = Duration::from_secs(1);
/// Unanswered pings after which a viewer is gone.
const MAX_UNANSWERED: u32 = 2;
/// Chunks of sound in a row before a picture has its turn.
const AUDIO_BURST: u32 = 8;

/// Shows a hub's frames on an upgraded connection until one side ends it; then the connection is
/// closed. `shutdown` ends it with 1001.
///
/// Everything it may wait for has a limit, so it returns soon after `shutdown` is ready, whatever
/// the viewer does. Dropping the future drops the connection without a close frame.
pub async fn serve_viewer<IO>(
    io: IO,
    hub: &Hub,
    protocol: Protocol,
    options: &ViewerOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> ViewerEnd
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let counters = ViewerCounters::default();
    let dismissal = async {
        shutdown.await;
        CloseReason::going_away()
    };
    let mut end = serve_counted_viewer(io, hub, protocol, options, &counters, dismissal).await;
    if let EndReason::Dismissed(_) = end.reason {
        end.reason = EndReason::ShuttingDown;
    }
    end
}

/// As [`serve_viewer`]; what the viewer gets is counted in `counters` while it gets it, and
/// `dismissal` ends it with the reason it gives.
pub async fn serve_counted_viewer<IO>(
    io: IO,
    hub: &Hub,
    protocol: Protocol,
    options: &ViewerOptions,
    counters: &ViewerCounters,
    dismissal: impl Future<Output = CloseReason> + Send,
) -> ViewerEnd
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut connection = Connection::new(io);
    let reason = match hub.join() {
        // The place is free before the farewell: who says goodbye watches no more.
        Some(place) => {
            let mut viewer = Viewer::new(hub, protocol, options, counters, place);
            viewer.watch(&mut connection, dismissal).await
        }
        None => EndReason::Full,
    };
    farewell(&reason, connection).await;
    let ViewerStats {
        frames_sent,
        frames_skipped,
        bytes_sent: bytes,
        ..
    } = counters.stats();
    ViewerEnd {
        reason,
        frames_sent,
        frames_skipped,
        bytes,
    }
}

/// Closes an upgraded connection at once with a code and a reason: a browser can't see an HTTP
/// status here, so "no such session" is 4404.
pub async fn close_with<IO>(io: IO, code: u16, reason: &str)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let close = CloseFrame::Code(code, reason);
    Connection::new(io).close(close, true, CLOSE_LIMIT).await;
}

/// A place in the hub, and how far this viewer has come in it.
struct Viewer<'a> {
    hub: &'a Hub,
    protocol: Protocol,
    options: &'a ViewerOptions,
    counters: &'a ViewerCounters,
    video: watch::Receiver<Ring<VideoMessage>>,
    audio: Option<watch::Receiver<Ring<AudioMessage>>>,
    control: watch::Receiver<Control>,
    video_cursor: u64,
    audio_cursor: u64,
    status_number: u64,
    audio_in_a_row: u32,
    /// What is on its way, to be counted when it is through.
    sending: Sending,
    /// So many of the connection's bytes are counted already.
    counted_bytes: u64,
    slowness: Slowness,
    /// No picture before this, where there is a limit to their rate.
    video_due: Option<Instant>,
    unanswered: u32,
    next_ping: Instant,
    _place: Place,
}

impl<'a> Viewer<'a> {
    fn new(
        hub: &'a Hub,
        protocol: Protocol,
        options: &'a ViewerOptions,
        counters: &'a ViewerCounters,
        place: Place,
    ) -> Self {
        let audio = match (options.audio, protocol) {
            (AudioChoice::Off, _) => None,
            (AudioChoice::On(_), Protocol::Relay) => Some(hub.audio(None)),
            (AudioChoice::On(format), _) => Some(hub.audio(Some(format))),
        };
        let video = hub.video();
        let video_cursor = match protocol {
            Protocol::Relay => video.borrow().newest_within(RELAY_AGE),
            Protocol::Json | Protocol::Binary => video.borrow().newest(),
        };
        let audio_cursor = audio.as_ref().map_or(0, |audio| audio.borrow().end());
        let now = Instant::now();
        Self {
            hub,
            protocol,
            options,
            counters,
            video_cursor,
            audio_cursor,
            video,
            audio,
            control: hub.control(),
            status_number: 0,
            audio_in_a_row: 0,
            sending: Sending::Other,
            counted_bytes: 0,
            slowness: Slowness::default(),
            video_due: options.max_fps.map(|_| now),
            unanswered: 0,
            next_ping: now + options.ping_interval,
            _place: place,
        }
    }

    async fn watch<IO>(
        &mut self,
        connection: &mut Connection<IO>,
        dismissal: impl Future<Output = CloseReason>,
    ) -> EndReason
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        tokio::pin!(dismissal);
        let granularity = self.options.stall_timeout.min(self.options.ping_interval) / 4;
        let granularity = granularity.clamp(Duration::from_millis(10), Duration::from_secs(1));
        let mut tick = interval(granularity);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if connection.is_idle() {
                match self.next_message() {
                    Next::Message(wire) => connection.send(wire),
                    Next::End(reason) => return EndReason::Closed(reason),
                    Next::Nothing => {}
                }
            }
            let idle = connection.is_idle();
            let due = self.video_due.filter(|due| *due > Instant::now());
            let audio = self.audio.as_mut();
            tokio::select! {
                biased;
                reason = &mut dismissal => return EndReason::Dismissed(reason),
                event = connection.next() => {
                    self.count_bytes(connection);
                    if let Some(reason) = self.happened(event, connection) {
                        return reason;
                    }
                }
                // The hub lives as long as this borrows it: none of these can fail.
                _ = self.control.changed(), if idle => {}
                _ = changed(audio), if idle => {}
                _ = self.video.changed(), if idle && due.is_none() => {}
                () = until(due), if idle && due.is_some() => {}
                now = tick.tick() => {
                    self.count_bytes(connection);
                    if let Some(reason) = self.check(connection, now) {
                        return reason;
                    }
                }
            }
        }
    }

    fn happened<IO>(&mut self, event: Event, connection: &Connection<IO>) -> Option<EndReason>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        match event {
            Event::Sent => {
                match std::mem::replace(&mut self.sending, Sending::Other) {
                    Sending::Video => {
                        self.slowness.sent(connection.blocked_for());
                        self.count(ViewerStats {
                            frames_sent: 1,
                            ..ViewerStats::default()
                        });
                    }
                    Sending::Audio => self.count(ViewerStats {
                        audio_sent: 1,
                        ..ViewerStats::default()
                    }),
                    Sending::Other => {}
                }
                None
            }
            Event::Pong => {
                self.unanswered = 0;
                None
            }
            Event::Close(code) => Some(EndReason::Left(code)),
            Event::Violation(code, _) => Some(EndReason::Violation(code)),
            Event::Gone => Some(EndReason::Gone),
        }
    }

    /// What has to be looked at every now and then.
    fn check<IO>(&mut self, connection: &mut Connection<IO>, now: Instant) -> Option<EndReason>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        if connection.stalled_for(now) >= self.options.stall_timeout {
            return Some(EndReason::Stalled);
        }
        if now >= self.next_ping {
            if self.unanswered >= MAX_UNANSWERED {
                return Some(EndReason::NoPong);
            }
            self.unanswered += 1;
            self.next_ping = now + self.options.ping_interval;
            connection.ping();
        }
        None
    }

    /// What this viewer shall get next: status, then sound, then the picture.
    fn next_message(&mut self) -> Next {
        let name = self.hub.name();
        let control = self.control.borrow_and_update();
        if control.status_number > self.status_number {
            self.status_number = control.status_number;
            if let Some(wire) = control.status(self.protocol, name) {
                return Next::Message(wire);
            }
        }
        if let Some(reason) = &control.closed {
            return Next::End(reason.clone());
        }
        drop(control);
        if self.audio_in_a_row < AUDIO_BURST
            && let Some(wire) = self.next_audio()
        {
            self.audio_in_a_row += 1;
            return Next::Message(wire);
        }
        self.audio_in_a_row = 0;
        match self.next_video().or_else(|| self.next_audio()) {
            Some(wire) => Next::Message(wire),
            None => Next::Nothing,
        }
    }

    fn next_audio(&mut self) -> Option<Bytes> {
        let taken = self
            .audio
            .as_mut()?
            .borrow_and_update()
            .take(&mut self.audio_cursor, false);
        let (message, lagged) = taken?;
        self.count(ViewerStats {
            audio_lagged: lagged,
            ..ViewerStats::default()
        });
        self.sending = Sending::Audio;
        Some(message.wire(self.protocol, self.hub.name()))
    }

    fn next_video(&mut self) -> Option<Bytes> {
        let now = Instant::now();
        if self.video_due.is_some_and(|due| due > now) {
            return None;
        }
        let ring = self.video.borrow_and_update();
        let slow = self.slowness.skips(ring.waited(self.video_cursor));
        let skip = slow || self.video_due.is_some();
        let taken = ring.take(&mut self.video_cursor, skip);
        drop(ring);
        let (message, skipped) = taken?;
        if let (Some(step), Some(due)) = (self.options.picture_interval(), self.video_due) {
            // On the beat, unless that is long past.
            self.video_due = Some((due + step).max(now));
        }
        self.count(ViewerStats {
            frames_skipped: skipped,
            ..ViewerStats::default()
        });
        self.sending = Sending::Video;
        let built = &self.hub.counters().messages_built;
        Some(message.wire(self.protocol, self.hub.name(), built))
    }

    /// Counts for this viewer and for all of them.
    fn count(&self, more: ViewerStats) {
        self.counters.add(more);
        self.hub.counters().sent.add(more);
    }

    /// A long message's bytes are counted while they go, so that a slow viewer's show too.
    fn count_bytes<IO>(&mut self, connection: &Connection<IO>)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let bytes = connection.bytes();
        self.count(ViewerStats {
            bytes_sent: bytes - self.counted_bytes,
            ..ViewerStats::default()
        });
        self.counted_bytes = bytes;
    }
}

/// What kind of message is on its way.
enum Sending {
    Video,
    Audio,
    Other,
}

enum Next {
    Message(Bytes),
    End(CloseReason),
    Nothing,
}

async fn changed<T>(receiver: Option<&mut watch::Receiver<T>>) {
    match receiver {
        Some(receiver) => _ = receiver.changed().await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
