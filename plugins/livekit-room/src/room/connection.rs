//! The life of the connection: join, resume, rejoin, end.

use super::deleted::Incarnation;
use super::leave::{self, Verdict};
use super::{JoinError, Output, ResumeError, Room};
use crate::backoff::Backoff;
use crate::event::{ConnectionState, EndReason, JoinedRoom, RoomEvent};
use crate::peer::Peer;
use crate::stall::{self, STALL, VideoWatch};
use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Frames that came this recently are still coming.
pub(super) const FRESH: Duration = Duration::from_secs(1);

/// A session that can't be resumed for this long is joined anew.
const RESUME_FOR: Duration = Duration::from_secs(4);

/// First and longest wait between joins. A room that was lost is waited for with short waits, so
/// that its first seconds aren't missed: with the time to connect, attempts are less than two
/// seconds apart.
const REJOIN_FIRST: Duration = Duration::from_millis(250);
const REJOIN_LONGEST: Duration = Duration::from_secs(1);
/// A server that lets us in and throws us out again isn't waited for. After some tries the waits
/// grow to this.
const THROWN_OUT_LONGEST: Duration = Duration::from_secs(16);
const THROWN_OUT_TRIES: u32 = 8;

/// A connection that lasted this long has proved itself: what follows its loss starts without a
/// wait. One that is lost sooner, again and again, is made anew at growing intervals.
const PROVEN: Duration = Duration::from_secs(10);

/// When nothing else is due.
const IDLE: Duration = Duration::from_secs(3600);

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    /// [`Output::Join`] is out.
    Joining,
    /// The next [`Output::Join`] is due then.
    BeforeJoin(Instant),
    /// Signalling is up.
    Joined,
    /// [`Output::Resume`] is out; media may go on meanwhile.
    Resuming,
    /// The next [`Output::Resume`] is due then.
    BeforeResume(Instant),
    /// [`Output::Ended`] is out.
    Ended,
}

pub(super) fn rejoin_backoff() -> Backoff {
    Backoff::new(REJOIN_FIRST, REJOIN_LONGEST)
}

impl Room {
    pub(super) fn on_joined(
        &mut self,
        now: Instant,
        response: &proto::JoinResponse,
        locals: &[SocketAddr],
    ) {
        if self.phase != Phase::Joining {
            return;
        }
        let lost_for = self.lost_for(now);
        let before = self.incarnation.take();
        let had_company = !self.participants.is_empty();
        if before.is_some_and(|before| before.was_deleted(response, lost_for, had_company)) {
            self.say_goodbye();
            return self.end(EndReason::RoomDeleted);
        }
        self.incarnation = Incarnation::of(response);
        match Peer::new(now, locals) {
            Ok(peer) => self.peer = Some(peer),
            Err(error) => return self.end(EndReason::Connection(error.to_string())),
        }
        self.phase = Phase::Joined;
        self.recovered(now);
        self.ever_joined = true;
        self.timeline.clear();
        self.gates.clear();
        self.watches.clear();
        self.holes.clear();
        self.sif_trailer.clone_from(&response.sif_trailer);
        let own = response.participant.clone().unwrap_or_default();
        let room = response.room.clone().unwrap_or_default();
        self.event(RoomEvent::Joined(JoinedRoom {
            name: room.name,
            sid: room.sid,
            identity: own.identity.clone(),
        }));
        self.waiting_since = now;
        self.set_state(ConnectionState::Waiting);
        self.data.clear();
        let others = &response.other_participants;
        let presence = self.participants.reset(&own.identity, others);
        self.tracks.reset(&own.sid, others);
        self.layers.reset();
        // What was taken before and is still there has to be subscribed to again.
        let kept = self.tracks.taken_sids();
        self.select(now);
        self.ask_for_layers();
        self.resubscribe(now, &kept);
        // Last, since it can be thousands.
        self.tell_presence(presence);
        self.drain_peer(now);
    }

    pub(super) fn on_join_failed(&mut self, now: Instant, error: JoinError) {
        if self.phase != Phase::Joining {
            return;
        }
        match error {
            JoinError::NotAuthorized(why) => self.end(EndReason::NotAuthorized(why)),
            JoinError::NotFound(why) => self.end(EndReason::NotFound(why)),
            JoinError::Unavailable(why) => self.join_failed_for_now(now, why),
            JoinError::Left(leave) => match leave::verdict(&leave) {
                Verdict::End(reason) => self.end(reason),
                Verdict::Resume(why) | Verdict::Rejoin(why) => {
                    self.take_regions(&leave);
                    self.join_failed_for_now(now, why);
                }
            },
        }
    }

    fn join_failed_for_now(&mut self, now: Instant, why: String) {
        if self.ever_joined {
            self.schedule_join(now, &why);
        } else {
            self.end(EndReason::Connection(why));
        }
    }

    pub(super) fn on_resumed(&mut self, now: Instant) {
        if self.phase != Phase::Resuming {
            return;
        }
        let Some(peer) = &self.peer else {
            return self.rejoin(now, "the session has no peer connection");
        };
        let (offer, answer) = peer.descriptions();
        let subscription = proto::UpdateSubscription {
            track_sids: self.tracks.taken_sids(),
            subscribe: true,
            participant_tracks: Vec::new(),
        };
        self.signal(Request::SyncState(proto::SyncState {
            offer,
            answer,
            subscription: Some(subscription),
            datachannel_receive_states: self.data.receive_states(),
            ..Default::default()
        }));
        self.phase = Phase::Joined;
        self.recovered(now);
        // What was asked for while the connection was broken went nowhere.
        self.layers.doubt();
        self.ask_for_layers();
        // A resume alone brings no frame: the next one says that it is live again.
        let flows = self.tracks.any_taken()
            && self
                .last_frame
                .is_some_and(|last| now.duration_since(last) < FRESH);
        self.set_state(if flows {
            ConnectionState::Live
        } else {
            ConnectionState::Waiting
        });
    }

    pub(super) fn on_resume_failed(&mut self, now: Instant, error: ResumeError) {
        if self.phase != Phase::Resuming {
            return;
        }
        let lost_for = self.lost_for(now);
        match error {
            ResumeError::Unavailable(why) if lost_for < RESUME_FOR => {
                let at = now + self.backoff.next();
                self.reconnecting(&why);
                self.phase = Phase::BeforeResume(at);
            }
            ResumeError::Unavailable(why) | ResumeError::SessionLost(why) => {
                self.rejoin(now, &why);
            }
            ResumeError::Left(leave) => match leave::verdict(&leave) {
                Verdict::End(reason) => self.end(reason),
                // It was a resume that was answered like this.
                Verdict::Resume(why) | Verdict::Rejoin(why) => {
                    self.take_regions(&leave);
                    self.rejoin(now, &why);
                }
            },
        }
    }

    fn lost_for(&self, now: Instant) -> Duration {
        let since = self.lost_since.unwrap_or(now);
        now.duration_since(since)
    }

    pub(super) fn on_signal_closed(&mut self, now: Instant, why: &str) {
        if self.phase == Phase::Joined {
            self.resume(now, why);
        }
    }

    pub(super) fn on_leave(&mut self, now: Instant, leave: &proto::LeaveRequest) {
        tracing::info!(reason = ?leave.reason(), action = ?leave.action(), "the server says leave");
        // During a join or resume the old connection has nothing to say.
        if !matches!(self.phase, Phase::Joined | Phase::BeforeResume(_)) {
            return;
        }
        match leave::verdict(leave) {
            Verdict::Resume(why) => self.resume(now, &why),
            Verdict::Rejoin(why) => {
                self.take_regions(leave);
                self.rejoin(now, &why);
            }
            Verdict::End(reason) => self.end(reason),
        }
    }

    fn take_regions(&mut self, leave: &proto::LeaveRequest) {
        let regions = leave::regions(leave);
        if !regions.is_empty() {
            self.outputs.push_back(Output::Regions(regions));
        }
    }

    /// Makes the signalling connection anew and keeps the media path as it is.
    pub(super) fn resume(&mut self, now: Instant, why: &str) {
        if self.phase != Phase::Joined {
            return;
        }
        self.lost_since.get_or_insert(now);
        self.judge_lost_connection(now);
        let at = now + self.backoff.next();
        self.reconnecting(why);
        // The time is looked at after every input: without a wait this is done at once.
        self.phase = Phase::BeforeResume(at);
    }

    /// Gives the session up and joins anew.
    pub(super) fn rejoin(&mut self, now: Instant, why: &str) {
        if matches!(self.phase, Phase::Ended | Phase::BeforeJoin(_)) {
            return;
        }
        self.peer = None;
        self.peer_deadline = None;
        match self.phase {
            Phase::Joined => self.judge_lost_connection(now),
            // The first join after resumes that failed waits for nothing.
            Phase::Resuming | Phase::BeforeResume(_) if self.unproven == 0 => self.backoff.reset(),
            _ => {}
        }
        self.schedule_join(now, why);
    }

    /// A server (or a proxy before it) that lets everybody in and out again at once must not be
    /// asked as fast as it answers.
    fn judge_lost_connection(&mut self, now: Instant) {
        if now.duration_since(self.connected_at) < PROVEN {
            self.unproven = self.unproven.saturating_add(1);
        } else {
            self.unproven = 0;
            self.backoff.reset();
        }
        let longest = match self.unproven {
            0..=THROWN_OUT_TRIES => REJOIN_LONGEST,
            _ => THROWN_OUT_LONGEST,
        };
        self.backoff.set_longest(longest);
    }

    fn schedule_join(&mut self, now: Instant, why: &str) {
        self.lost_since.get_or_insert(now);
        let at = now + self.backoff.next();
        self.reconnecting(why);
        self.phase = Phase::BeforeJoin(at);
    }

    fn reconnecting(&mut self, why: &str) {
        self.set_state(ConnectionState::Reconnecting);
        self.event(RoomEvent::Reconnecting {
            reason: why.to_owned(),
            attempt: self.backoff.attempts(),
        });
    }

    fn recovered(&mut self, now: Instant) {
        self.lost_since = None;
        self.connected_at = now;
        self.last_media = now;
        for watch in self.watches.values_mut() {
            *watch = VideoWatch::new(now);
        }
    }

    /// Does what is due at `now`.
    pub(super) fn on_time(&mut self, now: Instant) {
        if self.peer_deadline.is_some_and(|at| at <= now) {
            self.advance_peer(now);
        }
        if self.tracks.deadline().is_some_and(|at| at <= now) && self.phase == Phase::Joined {
            self.select(now);
        }
        match self.phase {
            Phase::BeforeJoin(at) if at <= now => {
                self.phase = Phase::Joining;
                self.outputs.push_back(Output::Join);
            }
            Phase::BeforeResume(at) if at <= now => {
                self.phase = Phase::Resuming;
                self.outputs.push_back(Output::Resume);
            }
            _ => {}
        }
        if self.phase == Phase::Joined && self.stall_deadline().is_some_and(|at| at <= now) {
            self.on_stall(now);
        }
        if self.phase == Phase::Joined
            && self.silent_video_deadline(now).is_some_and(|at| at <= now)
        {
            self.on_silent_videos(now);
        }
        if self.phase == Phase::Joined && self.silence_deadline().is_some_and(|at| at <= now) {
            self.set_state(ConnectionState::Waiting);
        }
        if self.phase != Phase::Ended {
            self.end_if_out_of_patience(now);
        }
    }

    /// First gently, then firmly, then ever more rarely.
    fn on_stall(&mut self, now: Instant) {
        self.stalls = self.stalls.saturating_add(1);
        self.last_media = now;
        if self.stalls == 1 {
            self.resume(now, "no media arrives");
        } else {
            self.rejoin(now, "no media arrives, not after a resume either");
        }
    }

    fn end_if_out_of_patience(&mut self, now: Instant) {
        if self.waiting_deadline().is_some_and(|at| at <= now) {
            self.end(EndReason::NoPublisher);
        } else if self.reconnect_deadline().is_some_and(|at| at <= now) {
            self.end(EndReason::Connection(
                "the connection was lost and could not be made again in time".into(),
            ));
        }
    }

    /// When to call [`Room::handle`] with a time-out at the latest.
    pub(super) fn deadline(&self, now: Instant) -> Instant {
        if self.phase == Phase::Ended {
            return now + IDLE;
        }
        let phase = match self.phase {
            Phase::BeforeJoin(at) | Phase::BeforeResume(at) => Some(at),
            _ => None,
        };
        let joined = self.phase == Phase::Joined;
        [
            phase,
            self.peer_deadline,
            self.tracks.deadline().filter(|_| joined),
            self.stall_deadline().filter(|_| joined),
            self.silent_video_deadline(now).filter(|_| joined),
            self.silence_deadline().filter(|_| joined),
            self.waiting_deadline(),
            self.reconnect_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(now + IDLE)
    }

    fn stall_deadline(&self) -> Option<Instant> {
        self.tracks
            .expects_media()
            .then(|| self.last_media + stall::wait(self.stalls))
    }

    /// When a room whose tracks are all muted is no longer called live.
    fn silence_deadline(&self) -> Option<Instant> {
        let silent = self.state == ConnectionState::Live && !self.tracks.expects_media();
        Some(self.last_frame? + STALL).filter(|_| silent)
    }

    fn waiting_deadline(&self) -> Option<Instant> {
        let waiting = self.phase == Phase::Joined && !self.tracks.any_taken();
        Some(self.waiting_since + self.config.waiting_timeout?).filter(|_| waiting)
    }

    fn reconnect_deadline(&self) -> Option<Instant> {
        Some(self.lost_since? + self.config.reconnect_timeout?)
    }
}
