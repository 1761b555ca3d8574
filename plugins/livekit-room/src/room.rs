//! The room's state machine: no sockets, no threads, no clock.

mod config;
mod connection;
mod deleted;
mod error;
mod leave;
mod media;
mod subscriptions;

use crate::backoff::Backoff;
use crate::data::DataInbox;
use crate::event::{Choices, ConnectionState, EndReason, Kind, RoomEvent};
use crate::keyframe::KeyframeGate;
use crate::layers::{Layers, VideoLimits};
use crate::network::{LocalCandidate, RemoteCandidate, Transport};
use crate::participants::Participants;
use crate::peer::Peer;
use crate::stall::VideoWatch;
use crate::stats::Holes;
use crate::timeline::Timeline;
use crate::tracks::{Change, Tracks};
pub use config::RoomConfig;
use connection::Phase;
use deleted::Incarnation;
pub use error::{JoinError, ResumeError};
use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// What happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// [`Output::Join`] succeeded.
    Joined {
        /// The server's answer.
        response: Box<proto::JoinResponse>,
        /// The local UDP addresses that packets can come to.
        locals: Vec<SocketAddr>,
    },
    /// [`Output::Join`] failed.
    JoinFailed(JoinError),
    /// [`Output::Resume`] succeeded.
    Resumed,
    /// [`Output::Resume`] failed.
    ResumeFailed(ResumeError),
    /// A message of the server.
    Signal(Box<Response>),
    /// The signalling connection broke.
    SignalClosed(String),
    /// The server can reach us at another address.
    Local(LocalCandidate),
    /// The server can no longer reach us at this address.
    LocalLost(LocalCandidate),
    /// A datagram came.
    Packet {
        /// How it came.
        transport: Transport,
        /// Its sender.
        source: SocketAddr,
        /// The local address it came to.
        destination: SocketAddr,
        /// Its content.
        data: &'a [u8],
    },
    /// What the application wants of published tracks, in place of what it wanted before.
    Choices(Choices),
    /// The application wants a key frame of the video it receives.
    RequestKeyframe,
    /// The application wants video within other limits from now on.
    SetVideoLimits(VideoLimits),
    /// The application has had enough.
    Stop,
    /// Nothing, but time has passed.
    Timeout,
}

/// What is to be done outside.
#[derive(Debug)]
pub enum Output {
    /// Get a token, connect to the server and join, on a new signalling connection; the old one
    /// is to be closed. Answer with [`Input::Joined`] or [`Input::JoinFailed`].
    Join,
    /// Connect anew to the same session. Answer with [`Input::Resumed`] or
    /// [`Input::ResumeFailed`].
    Resume,
    /// Send this message to the server.
    Signal(Box<Request>),
    /// The server named these addresses of itself (`ws://…`, `wss://…`), the nearest first: the
    /// next joins are to try them before the token's own.
    Regions(Vec<String>),
    /// The server can be reached at this address. A UDP candidate needs nothing; to a TCP
    /// candidate a connection may be made, which [`Input::Local`] tells.
    Remote(RemoteCandidate),
    /// Send this datagram.
    Transmit {
        /// How.
        transport: Transport,
        /// From this local address.
        source: SocketAddr,
        /// To this one.
        destination: SocketAddr,
        /// Its content.
        data: Vec<u8>,
    },
    /// Tell the application.
    Event(RoomEvent),
    /// It is over: close everything. Nothing follows.
    Ended(EndReason),
    /// Nothing more until something comes in or this time is reached.
    Wait(Instant),
}

/// A subscriber to a room.
///
/// Feed it with [`Room::handle`], then take outputs from [`Room::poll`] until it says
/// [`Output::Wait`]; call again when a packet or message comes, or the deadline has passed.
pub struct Room {
    config: RoomConfig,
    phase: Phase,
    state: ConnectionState,
    /// Made with the first offer's join; dropped with the connection.
    peer: Option<Peer>,
    participants: Participants,
    tracks: Tracks,
    layers: Layers,
    data: DataInbox,
    timeline: Timeline,
    gates: HashMap<Arc<str>, KeyframeGate>,
    /// Of the videos that are taken.
    watches: HashMap<Arc<str>, VideoWatch>,
    holes: Holes,
    outputs: VecDeque<Output>,
    peer_deadline: Option<Instant>,
    /// Since when nobody has published.
    waiting_since: Instant,
    /// Last frame of a taken track, or since when one is expected.
    last_media: Instant,
    /// Attempts to recover since frames came last.
    stalls: u32,
    /// Since when the connection is lost.
    lost_since: Option<Instant>,
    backoff: Backoff,
    /// When the connection was made or made whole again.
    connected_at: Instant,
    /// How many connections in a row were lost just after they were made.
    unproven: u32,
    /// The last frame, whether or not more are expected.
    last_frame: Option<Instant>,
    ever_joined: bool,
    /// The room that was joined last, where the server says which.
    incarnation: Option<Incarnation>,
    /// What server-made frames (after an unpublish) end with; empty where the server has none.
    sif_trailer: Vec<u8>,
}

impl Room {
    /// A room that isn't joined yet: the first output is [`Output::Join`].
    pub fn new(config: RoomConfig, now: Instant) -> Self {
        let tracks = Tracks::new(&config);
        let layers = Layers::new(config.video_limits);
        Self {
            config,
            phase: Phase::Joining,
            state: ConnectionState::Connecting,
            peer: None,
            participants: Participants::default(),
            tracks,
            layers,
            data: DataInbox::default(),
            timeline: Timeline::default(),
            gates: HashMap::new(),
            watches: HashMap::new(),
            holes: Holes::default(),
            outputs: VecDeque::from([Output::Join]),
            peer_deadline: None,
            waiting_since: now,
            last_media: now,
            stalls: 0,
            lost_since: None,
            backoff: connection::rejoin_backoff(),
            connected_at: now,
            unproven: 0,
            last_frame: None,
            ever_joined: false,
            incarnation: None,
            sif_trailer: Vec::new(),
        }
    }

    /// Takes in what happened at `now`, which never runs backwards.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        match input {
            Input::Joined { response, locals } => self.on_joined(now, &response, &locals),
            Input::JoinFailed(error) => self.on_join_failed(now, error),
            Input::Resumed => self.on_resumed(now),
            Input::ResumeFailed(error) => self.on_resume_failed(now, error),
            Input::Signal(message) => self.on_signal(now, *message),
            Input::SignalClosed(why) => self.on_signal_closed(now, &why),
            Input::Local(candidate) => self.on_local(now, &candidate),
            Input::LocalLost(candidate) => self.on_local_lost(now, &candidate),
            Input::Packet {
                transport,
                source,
                destination,
                data,
            } => self.on_packet(now, transport, source, destination, data),
            Input::Choices(choices) => {
                self.tracks.choose(choices);
                self.select(now);
                self.ask_for_layers();
            }
            Input::RequestKeyframe => self.on_keyframe_wanted(now),
            Input::SetVideoLimits(limits) => {
                self.layers.set_limits(limits);
                self.ask_for_layers();
            }
            Input::Stop => self.on_stop(),
            Input::Timeout => {}
        }
        self.on_time(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self, now: Instant) -> Output {
        match self.outputs.pop_front() {
            Some(output) => output,
            None => Output::Wait(self.deadline(now)),
        }
    }

    /// Whether ICE has found a way to the server that works.
    pub fn media_connected(&self) -> bool {
        self.peer.as_ref().is_some_and(Peer::is_connected)
    }

    fn on_signal(&mut self, now: Instant, message: Response) {
        match message {
            Response::Offer(offer) => self.on_offer(now, offer),
            Response::Trickle(trickle) => self.on_trickle(now, &trickle),
            Response::Update(update) if deleted::is_told(&update.participants) => {
                self.end(EndReason::RoomDeleted);
            }
            Response::Update(update) => {
                self.tracks.update(&update.participants);
                self.select(now);
                self.ask_for_layers();
                let presence = self.participants.update(&update.participants);
                self.tell_presence(presence);
            }
            Response::Leave(leave) => self.on_leave(now, &leave),
            Response::SubscriptionResponse(response) => {
                let error = response.err();
                if error != proto::SubscriptionError::SeUnknown {
                    tracing::warn!(track = response.track_sid, ?error, "subscription refused");
                }
            }
            _ => {}
        }
    }

    fn on_offer(&mut self, now: Instant, offer: proto::SessionDescription) {
        let Some(peer) = &mut self.peer else { return };
        match peer.accept_offer(offer) {
            Ok(answer) => self.signal(Request::Answer(answer)),
            Err(error) => return self.rejoin(now, &error.to_string()),
        }
        self.drain_peer(now);
    }

    fn on_trickle(&mut self, now: Instant, trickle: &proto::TrickleRequest) {
        if trickle.target() != proto::SignalTarget::Subscriber {
            return;
        }
        let candidate = serde_json::from_str::<serde_json::Value>(&trickle.candidate_init)
            .ok()
            .and_then(|init| Some(init.get("candidate")?.as_str()?.to_owned()))
            .filter(|candidate| !candidate.is_empty());
        let (Some(candidate), Some(peer)) = (candidate, &mut self.peer) else {
            return;
        };
        match peer.add_remote_candidate(&candidate) {
            Ok(()) => self.drain_peer(now),
            Err(error) => self.rejoin(now, &error.to_string()),
        }
    }

    fn on_stop(&mut self) {
        if matches!(self.phase, Phase::Joined) {
            self.say_goodbye();
        }
        self.end(EndReason::Stopped);
    }

    fn say_goodbye(&mut self) {
        self.signal(Request::Leave(proto::LeaveRequest {
            reason: proto::DisconnectReason::ClientInitiated as i32,
            ..Default::default()
        }));
    }

    /// Decides anew what to take, and subscribes accordingly.
    fn select(&mut self, now: Instant) {
        let expected_media = self.tracks.expects_media();
        let took_any = self.tracks.any_taken();
        for change in self.tracks.select(now) {
            self.apply(now, change);
        }
        if self.tracks.expects_media() && !expected_media {
            self.last_media = now;
        }
        if !self.tracks.any_taken() {
            if took_any {
                self.waiting_since = now;
            }
            if self.state == ConnectionState::Live {
                self.set_state(ConnectionState::Waiting);
            }
        }
    }

    fn apply(&mut self, now: Instant, change: Change) {
        match change {
            Change::Published(track) => self.event(RoomEvent::TrackPublished(track)),
            Change::Unpublished(sid) => self.event(RoomEvent::TrackUnpublished(sid)),
            Change::Streamer(streamer) => self.event(RoomEvent::Streamer(streamer)),
            Change::Started(track) => {
                // Before the subscription, or its first pictures would still be the largest.
                self.ask_for_layer(&track.sid);
                self.subscribe(&[track.sid.to_string()], true);
                self.expect(now, &track.sid, track.kind);
                self.event(RoomEvent::TrackStarted(track));
            }
            Change::Ended(track) => {
                self.subscribe(&[track.sid.to_string()], false);
                self.gates.remove(&track.sid);
                self.watches.remove(&track.sid);
                self.timeline.remove(&track.sid);
                self.layers.remove(&track.sid);
                self.holes.remove(&track.sid);
                self.event(RoomEvent::TrackEnded(track));
            }
            Change::Muted(track, muted) => {
                if !muted {
                    self.last_media = now;
                    if let Some(watch) = self.watches.get_mut(&track.sid) {
                        *watch = VideoWatch::new(now);
                    }
                }
                self.event(RoomEvent::TrackMuted { track, muted });
            }
        }
    }

    /// Tells the server which sizes and rates are wanted, where it doesn't know yet.
    fn ask_for_layers(&mut self) {
        if self.phase != Phase::Joined {
            return;
        }
        for sid in self.tracks.taken_sids() {
            self.ask_for_layer(&sid);
        }
    }

    fn ask_for_layer(&mut self, sid: &str) {
        let taken = self.tracks.taken(sid);
        if taken.is_none_or(|track| track.kind != Kind::Video) {
            return;
        }
        if let Some(settings) = self.layers.request(sid, self.tracks.layers(sid)) {
            self.signal(Request::TrackSetting(settings));
        }
    }

    fn set_state(&mut self, state: ConnectionState) {
        if self.state != state {
            self.state = state;
            self.event(RoomEvent::State(state));
        }
    }

    fn signal(&mut self, request: Request) {
        self.outputs.push_back(Output::Signal(Box::new(request)));
    }

    fn event(&mut self, event: RoomEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    fn end(&mut self, reason: EndReason) {
        self.phase = Phase::Ended;
        self.peer = None;
        self.peer_deadline = None;
        self.set_state(ConnectionState::Ended);
        self.outputs.push_back(Output::Ended(reason));
    }
}
