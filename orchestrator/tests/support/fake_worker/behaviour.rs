//! What a session's key has the worker do.

use crate::say;
use haven_wire::{EndReason, SessionConfig, SessionState, SessionStatus, WorkerMessage};

/// Whether this is the second worker of a session, or a later one up to the `last`.
pub(crate) fn is_replacement(config: &SessionConfig, last: u32) -> bool {
    let name = config.media_socket.to_str().unwrap();
    let generation: u32 = name.rsplit_once('-').unwrap().1.parse().unwrap();
    (2..=last).contains(&generation)
}

/// How a session ends by itself once something of it is recorded.
pub(crate) fn sudden_end(config: &SessionConfig) -> Option<EndReason> {
    let message = || "invented".to_owned();
    match config.key.as_str() {
        "closed" => Some(EndReason::RoomDeleted),
        "deserted" => Some(EndReason::NoPublisher),
        "banned" => Some(EndReason::NotAuthorized { message: message() }),
        "breaks" if !is_replacement(config, u32::MAX) => {
            Some(EndReason::Error { message: message() })
        }
        _ => None,
    }
}

/// Whether nothing comes that could be recorded.
pub(crate) fn is_dry(config: &SessionConfig) -> bool {
    match config.key.as_str() {
        "mute" => true,
        "dries-up" => is_replacement(config, u32::MAX),
        _ => false,
    }
}

/// Through all states, and back.
pub(crate) fn wander(frame: u64) {
    match frame {
        20 => say(&status("wandering", SessionState::Waiting)),
        40 => say(&status("wandering", SessionState::Reconnecting)),
        60 => say(&status("wandering", SessionState::Live)),
        _ => {}
    }
}

/// Whether the room could be joined; if not, says why.
pub(crate) fn join(config: &SessionConfig) -> bool {
    let ended = |reason| say(&WorkerMessage::Ended { reason });
    let message = || "invented".to_owned();
    match config.key.as_str() {
        "no-join" => return false,
        "refused" => ended(EndReason::NotAuthorized { message: message() }),
        "no-server" => ended(EndReason::Connection { message: message() }),
        "outage" if is_replacement(config, 3) => {
            ended(EndReason::Connection { message: message() });
        }
        "broken" => ended(EndReason::Error { message: message() }),
        _ => {
            say(&status(&config.key, SessionState::Connecting));
            let state = match config.key.starts_with("idle") {
                true => SessionState::Waiting,
                false => SessionState::Live,
            };
            say(&status(&config.key, state));
            if config.key == "crash-loop" {
                std::process::exit(9);
            }
            return true;
        }
    }
    false
}

fn status(key: &str, state: SessionState) -> WorkerMessage {
    let joined = state != SessionState::Connecting;
    WorkerMessage::Status(SessionStatus {
        state,
        room_name: if joined {
            format!("room of {key}")
        } else {
            String::new()
        },
        // So that a test can find the process.
        participant_sid: joined.then(|| format!("PA_{}", std::process::id())),
        video: None,
        audio: None,
        publishers: Vec::new(),
    })
}
