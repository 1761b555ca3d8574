//! A room that is told what happens, and what it wants then.

use livekit_protocol as proto;
use livekit_room::{ConnectionState, EndReason, Input, Output, Room, RoomConfig, RoomEvent};
use proto::leave_request::Action;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::time::{Duration, Instant};

/// A room, the time, and what the room wanted until now.
pub(crate) struct Script {
    pub(crate) room: Room,
    pub(crate) now: Instant,
    pub(crate) wants: Vec<Output>,
}

impl Script {
    pub(crate) fn new(config: RoomConfig) -> Self {
        let now = Instant::now();
        let mut script = Self {
            room: Room::new(config, now),
            now,
            wants: Vec::new(),
        };
        script.collect();
        script
    }

    pub(crate) fn joined(config: RoomConfig, others: &[proto::ParticipantInfo]) -> Self {
        let mut script = Self::new(config);
        script.join(others);
        script
    }

    pub(crate) fn join(&mut self, others: &[proto::ParticipantInfo]) {
        let response = proto::JoinResponse {
            room: Some(proto::Room {
                name: "room".into(),
                sid: "RM_1".into(),
                ..Default::default()
            }),
            participant: Some(person("PA_me", "me", &[])),
            other_participants: others.to_vec(),
            ..Default::default()
        };
        self.input(Input::Joined {
            response: Box::new(response),
            locals: vec!["127.0.0.1:40000".parse().unwrap()],
        });
    }

    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.room.handle(self.now, input);
        self.collect();
    }

    pub(crate) fn signal(&mut self, message: Response) {
        self.input(Input::Signal(Box::new(message)));
    }

    pub(crate) fn update(&mut self, participants: &[proto::ParticipantInfo]) {
        self.signal(Response::Update(proto::ParticipantUpdate {
            participants: participants.to_vec(),
        }));
    }

    pub(crate) fn leave(&mut self, action: Action, reason: proto::DisconnectReason) {
        self.signal(Response::Leave(proto::LeaveRequest {
            action: action as i32,
            reason: reason as i32,
            ..Default::default()
        }));
    }

    /// Lets time pass, waking the room whenever it asked for it.
    pub(crate) fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let Output::Wait(at) = self.room.poll(self.now) else {
                panic!("outputs are collected after every input");
            };
            if at > end || self.now >= end {
                break;
            }
            self.now = at.max(self.now + Duration::from_millis(1));
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    pub(crate) fn collect(&mut self) {
        loop {
            match self.room.poll(self.now) {
                Output::Wait(_) => return,
                output => self.wants.push(output),
            }
        }
    }

    /// Whether this was wanted since the last look.
    pub(crate) fn wanted(&mut self, matches: impl Fn(&Output) -> bool) -> bool {
        let found = self.wants.iter().any(matches);
        self.wants.clear();
        found
    }

    pub(crate) fn ended(&mut self) -> Option<EndReason> {
        let ended = self.wants.iter().find_map(|output| match output {
            Output::Ended(reason) => Some(reason.clone()),
            _ => None,
        });
        self.wants.clear();
        ended
    }

    /// Track SIDs that were subscribed to since the last look.
    pub(crate) fn subscribed(&mut self) -> Vec<String> {
        let mut sids = Vec::new();
        for output in self.wants.drain(..) {
            if let Output::Signal(request) = output
                && let Request::Subscription(subscription) = *request
                && subscription.subscribe
            {
                sids.extend(subscription.track_sids);
            }
        }
        sids
    }
}

pub(crate) fn person(
    sid: &str,
    identity: &str,
    tracks: &[(&str, proto::TrackSource)],
) -> proto::ParticipantInfo {
    proto::ParticipantInfo {
        sid: sid.into(),
        identity: identity.into(),
        state: proto::participant_info::State::Active as i32,
        tracks: tracks
            .iter()
            .map(|(sid, source)| proto::TrackInfo {
                sid: (*sid).into(),
                r#type: match source {
                    proto::TrackSource::Microphone => proto::TrackType::Audio as i32,
                    _ => proto::TrackType::Video as i32,
                },
                source: *source as i32,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

pub(crate) fn streamer() -> proto::ParticipantInfo {
    person(
        "PA_1",
        "creator",
        &[
            ("TR_v", proto::TrackSource::Camera),
            ("TR_a", proto::TrackSource::Microphone),
        ],
    )
}

pub(crate) fn is_state(output: &Output, wanted: ConnectionState) -> bool {
    matches!(output, Output::Event(RoomEvent::State(state)) if *state == wanted)
}
