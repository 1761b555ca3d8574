//! Runs a [`Room`] on tokio.

mod framing;
mod link;
mod paths;
mod tcp;
mod tls;
mod turn;
mod udp;

use crate::access::TokenSource;
use crate::event::{Choice, Choices, EndReason, RoomEvent};
use crate::layers::VideoLimits;
use crate::room::{Input, JoinError, Output, Room, RoomConfig};
use crate::signal::{Signal, Signalling};
use paths::Paths;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, watch};

/// Largest datagram we expect; LiveKit keeps below an Ethernet frame.
const DATAGRAM_BYTES: usize = 2048;

/// A key frame of a high layer comes in one burst of a few hundred packets; the kernel's default
/// of 208 KiB counts its own overhead and holds fewer.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// Datagrams taken from one socket before the others have their turn.
const BURST: usize = 64;

/// Requests of the application that may wait.
const MAX_COMMANDS: usize = 8;

enum Command {
    RequestKeyframe,
}

/// Runs one room until it ends.
pub struct Driver {
    config: RoomConfig,
    tokens: Arc<dyn TokenSource>,
    stop: watch::Sender<bool>,
    choices: watch::Sender<Choices>,
    limits: watch::Sender<VideoLimits>,
    commands: mpsc::Sender<Command>,
    incoming: mpsc::Receiver<Command>,
}

/// Ends a [`Driver`], asks it for key frames and limits its video, from anywhere.
#[derive(Clone)]
pub struct Stopper {
    stop: watch::Sender<bool>,
    choices: watch::Sender<Choices>,
    limits: watch::Sender<VideoLimits>,
    commands: mpsc::Sender<Command>,
}

impl Stopper {
    /// Leaves the room; [`Driver::run`] returns [`EndReason::Stopped`].
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Says what is wanted of a published track. [`Stopper::forget_choice`] is due when it is gone.
    pub fn choose(&self, track: Arc<str>, choice: Choice) {
        self.choices.send_modify(|choices| {
            choices.insert(track, choice);
        });
    }

    /// Forgets what was chosen for a track that is gone.
    pub fn forget_choice(&self, track: &str) {
        self.choices
            .send_if_modified(|choices| choices.remove(track).is_some());
    }

    /// Whether [`Stopper::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Asks the publisher for a key frame. More than two a second are not sent.
    pub fn request_keyframe(&self) {
        // A full queue has the same request in it already.
        let _ = self.commands.try_send(Command::RequestKeyframe);
    }

    /// Takes video within these limits from now on, and in later connections too. The publisher
    /// or the server may need a second or two to change.
    pub fn set_video_limits(&self, limits: VideoLimits) {
        self.limits.send_if_modified(|current| {
            let changed = *current != limits;
            *current = limits;
            changed
        });
    }
}

impl Driver {
    /// A driver that joins with tokens of this source.
    pub fn new(config: RoomConfig, tokens: Box<dyn TokenSource>) -> Self {
        let (commands, incoming) = mpsc::channel(MAX_COMMANDS);
        Self {
            stop: watch::Sender::new(false),
            limits: watch::Sender::new(config.video_limits),
            config,
            tokens: tokens.into(),
            choices: watch::Sender::default(),
            commands,
            incoming,
        }
    }

    /// What ends it.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            stop: self.stop.clone(),
            choices: self.choices.clone(),
            limits: self.limits.clone(),
            commands: self.commands.clone(),
        }
    }

    /// Joins, stays joined, and tells `on_event` what happens, until the room ends or
    /// [`Stopper::stop`] is called. `on_event` runs between packets and must not block.
    ///
    /// Needs a tokio runtime with I/O and time enabled. Dropping the future closes the sockets
    /// without a goodbye.
    pub async fn run(mut self, mut on_event: impl FnMut(RoomEvent)) -> EndReason {
        let mut stop = self.stop.subscribe();
        let mut choices = self.choices.subscribe();
        choices.mark_changed();
        let mut limits = self.limits.subscribe();
        self.config.video_limits = *limits.borrow_and_update();
        let mut room = Room::new(self.config.clone(), Instant::now());
        let mut signalling = Signalling::new(self.tokens.clone());
        let mut paths = Paths::new(&self.config);
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            let deadline = match carry_out(&mut room, &mut paths, &mut signalling, &mut on_event) {
                ControlFlow::Continue(deadline) => deadline,
                ControlFlow::Break(reason) => {
                    // Together: each may wait for the network.
                    tokio::join!(signalling.close(), paths.close());
                    return reason;
                }
            };
            paths.advance(Instant::now(), room.media_connected());
            let deadline = paths.deadline().map_or(deadline, |at| at.min(deadline));
            tokio::select! {
                received = paths.receive(&mut buffer) => {
                    paths.deliver(received, &mut buffer, &mut room);
                }
                signal = signalling.next() => tokio::select! {
                    input = input_of(signal, &mut paths) => room.handle(Instant::now(), input),
                    () = stopped(&mut stop) => room.handle(Instant::now(), Input::Stop),
                },
                Some(command) = self.incoming.recv() => match command {
                    Command::RequestKeyframe => room.handle(Instant::now(), Input::RequestKeyframe),
                },
                // The sender lives in the driver itself.
                Ok(()) = choices.changed() => {
                    let choices = choices.borrow_and_update().clone();
                    room.handle(Instant::now(), Input::Choices(choices));
                }
                limits = changed(&mut limits) => {
                    room.handle(Instant::now(), Input::SetVideoLimits(limits));
                }
                () = stopped(&mut stop) => room.handle(Instant::now(), Input::Stop),
                () = tokio::time::sleep_until(deadline.into()) => {
                    room.handle(Instant::now(), Input::Timeout);
                }
            }
        }
    }
}

/// Does all that the room wants; until when it has nothing more, or why it has ended.
fn carry_out(
    room: &mut Room,
    paths: &mut Paths,
    signalling: &mut Signalling,
    on_event: &mut impl FnMut(RoomEvent),
) -> ControlFlow<EndReason, Instant> {
    loop {
        match room.poll(Instant::now()) {
            Output::Wait(at) => return ControlFlow::Continue(at),
            Output::Event(event) => {
                if let RoomEvent::Path(path) = &event {
                    feed(room, paths.on_path(path));
                }
                on_event(event);
            }
            Output::Remote(candidate) => {
                feed(room, paths.on_remote(Instant::now(), candidate));
            }
            Output::Transmit {
                transport,
                source,
                destination,
                data,
            } => feed(room, paths.send(transport, source, destination, data)),
            Output::Signal(request) => signalling.send(request),
            Output::Regions(regions) => signalling.prefer(regions),
            Output::Join => signalling.join(),
            Output::Resume => signalling.resume(),
            Output::Ended(reason) => return ControlFlow::Break(reason),
        }
    }
}

/// What a signal means to the room. After a join, the ways to the server are opened first.
async fn input_of(signal: Signal, paths: &mut Paths) -> Input<'static> {
    match signal {
        Signal::Joined { url, response } => match paths.open(&url, &response).await {
            Ok(locals) => Input::Joined { response, locals },
            Err(error) => Input::JoinFailed(JoinError::Unavailable(format!(
                "no local address to receive media on: {error}"
            ))),
        },
        Signal::JoinFailed(error) => Input::JoinFailed(error),
        Signal::Resumed(response) => {
            let client = response.client_configuration.as_ref();
            paths.configure(&response.ice_servers, client);
            Input::Resumed
        }
        Signal::ResumeFailed(error) => Input::ResumeFailed(error),
        Signal::Message(message) => Input::Signal(message),
        Signal::Closed(why) => Input::SignalClosed(why),
    }
}

fn feed(room: &mut Room, inputs: impl IntoIterator<Item = Input<'static>>) {
    for input in inputs {
        room.handle(Instant::now(), input);
    }
}

async fn changed(limits: &mut watch::Receiver<VideoLimits>) -> VideoLimits {
    // The sender lives in the driver itself, so this only ends with a change.
    let _ = limits.changed().await;
    *limits.borrow_and_update()
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender lives in the driver itself, so this only ends with a stop.
    let _ = stop.wait_for(|stop| *stop).await;
}
