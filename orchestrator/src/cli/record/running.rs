//! From the joining of the room to the complete file, and what is told of it at the end.

use super::{NOT_LIVE, progress::Progress};
use crate::{
    Error,
    cli::{signals::StopSignals, units},
    clock,
    error::Kind,
    recordings::{Plan, Recording},
    sessions::{Handle, Phase, Registry, Selector, Target},
};
use serde_json::json;
use std::{process::ExitCode, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

/// How often the figures are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Longest wait for the reason of an end that nobody asked for.
const END_REASON_LIMIT: Duration = Duration::from_secs(10);
/// "Never", for a timer.
const FAR: Duration = Duration::from_secs(366 * 24 * 3600);

/// Exit code: the recording broke off; what was received until then is in the file.
const BROKEN_OFF: u8 = 4;
/// Exit code: a second Ctrl-C; as the shell has it for a process that SIGINT ended.
const GIVEN_UP: u8 = 130;

/// How a recording came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was asked for.
    Asked,
    /// The session ended, or the recording alone.
    ByItself,
    /// A second Ctrl-C.
    GivenUp,
}

/// From the joining of the room to the complete file.
pub(super) async fn one_recording(
    registry: &Registry,
    target: &Target,
    plan: Plan,
    limit: Option<Duration>,
    signals: &mut StopSignals,
    progress: &mut Progress,
) -> Result<(End, Recording), Error> {
    let key = target.key();
    let joining = format!("joining {key}");
    progress.tell(&joining, json!({"event": "joining", "target": key}));
    let begun = async {
        let session = registry.start(target).await?;
        let recording = session.handle.start_recording(plan).await?;
        Ok::<_, Error>((session.handle, recording))
    };
    let (handle, recording) = tokio::select! {
        begun = begun => begun?,
        () = signals.next() => return Err(stopped_early()),
    };
    let path = recording.output_path();
    let sentence = format!(
        "recording as {} into {path} (Ctrl-C finishes it)",
        recording.format
    );
    let started = json!({"event": "started", "path": path, "format": recording.format});
    progress.tell(&sentence, started);
    let asked = watch(&handle, recording.id, limit, signals, progress).await;
    if asked {
        progress.tell("finishing the file", json!({"event": "finishing"}));
        let selector = Selector {
            recording_id: Some(recording.id),
            format: None,
        };
        tokio::select! {
            stopped = handle.stop_recording(selector) => drop(stopped?),
            () = signals.next() => {
                return Ok((End::GivenUp, recording));
            }
        }
    }
    // As it was stored at its end.
    let archive = &registry.context().archive;
    let mut recording = Recording::from_row(archive.row(recording.id).await?);
    if asked {
        return Ok((End::Asked, recording));
    }
    // A worker finishes its files before it says why the session is over.
    let _ = timeout(END_REASON_LIMIT, handle.ended()).await;
    if let Some(ended) = &mut recording.ended
        && ended.reason == "stopped"
        && let Some(reason) = handle.view().end_reason
    {
        ended.reason = reason;
    }
    Ok((End::ByItself, recording))
}

pub(super) fn stopped_early() -> Error {
    Error::new(
        Kind::Unavailable,
        "stopped",
        "Stopped before the recording began",
    )
}

/// Tells how far the recording is until it has to be ended (true), or has ended by itself.
async fn watch(
    handle: &Handle,
    id: i64,
    limit: Option<Duration>,
    signals: &mut StopSignals,
    progress: &mut Progress,
) -> bool {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut views = handle.views();
    let (mut deadline, mut known) = (Instant::now() + FAR, Duration::ZERO);
    loop {
        tokio::select! {
            () = signals.next() => return true,
            () = sleep_until(deadline) => return true,
            _ = ticks.tick() => {}
            changed = views.changed() => if changed.is_err() { return false },
        }
        let view = views.borrow_and_update().clone();
        let Some(recording) = view.recordings.iter().find(|known| known.id == id) else {
            return false;
        };
        if view.phase >= Phase::Stopping {
            continue;
        }
        progress.update(&view, recording);
        // What is in the file counts; it is told about once a second.
        let recorded = Duration::from_millis(recording.duration_ms());
        if let Some(limit) = limit.filter(|_| recorded != known) {
            known = recorded;
            deadline = Instant::now() + limit.saturating_sub(recorded);
        }
    }
}

/// The last words, and what the process ends with.
pub(super) fn report(end: End, recording: &Recording, progress: &mut Progress) -> ExitCode {
    let path = recording.output_path();
    if end == End::GivenUp {
        let sentence = format!(
            "not waiting any longer: the worker may still finish {path}; what is in it plays"
        );
        progress.tell(&sentence, json!({"event": "given_up", "path": path}));
        return ExitCode::from(GIVEN_UP);
    }
    let reason = recording.ended.as_ref().map(|ended| ended.reason.as_str());
    let reason = reason.unwrap_or_default();
    for part in &recording.parts {
        let path = part.path.to_string_lossy();
        let sentence = format!(
            "{path}: {}, {}, {} frames dropped",
            units::clock(part.progress.duration_ms),
            units::size(part.progress.bytes),
            part.progress.dropped_frames,
        );
        progress.tell(
            &sentence,
            json!({
                "event": "file",
                "path": path,
                "duration_s": clock::seconds(part.progress.duration_ms),
                "bytes": part.progress.bytes,
                "dropped_frames": part.progress.dropped_frames,
            }),
        );
    }
    let sentence = match reason {
        "stopped" => String::new(),
        reason => format!("ended: {reason}"),
    };
    let finished = json!({
        "event": "finished",
        "reason": reason,
        "duration_s": clock::seconds(recording.duration_ms()),
        "bytes": recording.bytes(),
        "dropped_frames": recording.dropped_frames(),
    });
    if progress.is_json() || !sentence.is_empty() {
        progress.tell(&sentence, finished);
    }
    match (reason, recording.duration_ms()) {
        (_, 0) => ExitCode::from(NOT_LIVE),
        ("stopped" | "room_deleted" | "no_publisher", _) => ExitCode::SUCCESS,
        _ => ExitCode::from(BROKEN_OFF),
    }
}
