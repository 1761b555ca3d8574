//! A session's recordings: asked for, begun, going on from file to file.

use super::{
    actor::{Actor, Selector, log_failure},
    finishing::StopReply,
    load::planned,
    setbacks::Setbacks,
    state::Phase,
    writes::Write,
};
use crate::{
    Error, clock,
    db::{FileProgress, FileRow, NewRecording},
    error::Kind,
    recordings::{Part, Plan, Recording, SOURCE_CHANGED, SPLIT, lies_in},
};
use haven_wire::{PartReason, Publisher, RecordingConfig, RecordingProgress, ServerMessage};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{sync::oneshot, time::Instant};

/// A worker says at once whether a recording can be made; frames may be long in coming. After
/// this long the recording counts as begun.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// Code of the refusal while a recording in the same format runs, and while it is being finished.
pub(crate) const ALREADY_RECORDING: &str = "already_recording";
pub(crate) const RECORDING_ENDING: &str = "recording_ending";

/// How often the length of a file that grows is stored.
const STORE_INTERVAL: Duration = Duration::from_secs(10);

pub(super) type StartReply = oneshot::Sender<Result<Recording, Error>>;

/// A recording that isn't over, and who waits for it.
pub(super) struct Active {
    pub(super) recording: Recording,
    /// Who asked for it, until the worker has answered.
    pub(super) starting: Option<(StartReply, Instant)>,
    /// Who asked for its end.
    pub(super) stopping: Vec<(StopReply, Instant)>,
    /// Why its end was asked for: a crash doesn't continue it.
    pub(super) stop_reason: Option<String>,
    /// Numbers of the files that were cut and are being measured.
    pub(super) measuring: Vec<u32>,
    /// Why a file ended that is found cut after its worker, or its server.
    pub(super) cut_reason: String,
    /// The first file was found to be missing or empty.
    pub(super) first_is_empty: bool,
    pub(super) setbacks: Setbacks,
    /// The file that the worker has completed without being asked to. Whether the recording goes on
    /// is known once that worker is gone.
    pub(super) complete: Option<u32>,
    /// When the file's length was stored last.
    stored_at: Instant,
}

/// Why a file ended whose worker died.
pub(super) const CRASHED: &str = "worker_crashed";

impl Active {
    pub(super) fn new(recording: Recording) -> Self {
        Self {
            recording,
            starting: None,
            stopping: Vec::new(),
            stop_reason: None,
            measuring: Vec::new(),
            cut_reason: CRASHED.to_owned(),
            first_is_empty: false,
            setbacks: Setbacks::new(),
            complete: None,
            stored_at: Instant::now(),
        }
    }

    pub(super) fn shown(&self) -> Recording {
        self.recording.clone()
    }

    /// Nothing of it is being written, and it is to go on. Files that a crash has cut may still be
    /// measured.
    pub(super) fn is_cut(&self) -> bool {
        self.recording.open_parts().next().is_none()
            && self.starting.is_none()
            && self.stop_reason.is_none()
    }

    pub(super) fn matches(&self, selector: &Selector) -> bool {
        selector
            .recording_id
            .is_none_or(|id| id == self.recording.id)
            && selector
                .format
                .as_ref()
                .is_none_or(|format| *format == self.recording.format)
    }
}

impl Actor {
    pub(super) async fn start_recording(&mut self, plan: Plan, reply: StartReply) {
        match self.begin_recording(plan).await {
            Ok(mut active) => {
                active.starting = Some((reply, Instant::now() + START_TIMEOUT));
                self.recordings.push(active);
                self.note_participants().await;
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Who publishes now is part of what is recorded.
    pub(super) async fn note_participants(&mut self) {
        let publishers = &self.view.status.publishers;
        for active in &mut self.recordings {
            let recording = &mut active.recording;
            if Publisher::add_all(&mut recording.participants, publishers) {
                let text = serde_json::to_string(&recording.participants).unwrap_or_default();
                log_failure(self.context.db.store_participants(recording.id, text).await);
            }
        }
    }

    fn check_can_record(&self, format: &str) -> Result<(), Error> {
        if self.view.phase != Phase::Running {
            return Err(Error::new(
                Kind::NotFound,
                "session_not_found",
                format!(
                    "No active session to make a recording of: {}",
                    self.view.key
                ),
            ));
        }
        let same = |active: &&Active| active.recording.format == format;
        if let Some(active) = self.recordings.iter().find(same) {
            let (code, how) = match active.stop_reason {
                Some(_) => (
                    RECORDING_ENDING,
                    "is being finished: start the next once it is complete",
                ),
                None => (ALREADY_RECORDING, "is running"),
            };
            return Err(Error::new(
                Kind::Conflict,
                code,
                format!("A recording of this session as {format} {how}"),
            ));
        }
        if !self.is_connected() {
            return Err(Error::new(
                Kind::Unavailable,
                "session_reconnecting",
                "The session is reconnecting: start the recording once it is back",
            ));
        }
        Ok(())
    }

    async fn begin_recording(&self, plan: Plan) -> Result<Active, Error> {
        self.check_can_record(&plan.format)?;
        self.seat
            .admit_recording(&planned(&plan.format, &plan.settings, &plan.config))?;
        let started_at_ms = clock::now_ms();
        let library = &self.context.library;
        let file = library
            .new_file(&self.view.key, &plan.settings.extension, started_at_ms)
            .await?;
        let path = file.path().to_owned();
        let new = NewRecording {
            session_id: self.view.session_id,
            key: self.view.key.clone(),
            format: plan.format.clone(),
            config: serde_json::to_string(&plan.config).unwrap_or_default(),
            settings: serde_json::to_string(&plan.settings).unwrap_or_default(),
            started_at_ms,
            path: path.clone(),
        };
        let id = self.context.db.insert_recording(new).await?;
        let active = Active::new(Recording {
            id,
            session_id: self.view.session_id,
            key: self.view.key.clone(),
            format: plan.format,
            config: plan.config,
            settings: plan.settings,
            started_at_ms,
            parts: vec![Part::new(1, path, started_at_ms)],
            ended: None,
            kept: false,
            joined: None,
            participants: Vec::new(),
        });
        if let Err(error) = self.tell_worker_to_record(&active) {
            self.writer.write(Write::RecordingForgotten(id)).await;
            return Err(error);
        }
        tracing::info!(recording_id = id, key = self.view.key, "recording");
        Ok(active)
    }

    pub(super) fn tell_worker_to_record(&self, active: &Active) -> Result<(), Error> {
        let path = active.recording.parts.last().map(|part| part.path.clone());
        let settings = &active.recording.settings;
        let message = ServerMessage::StartRecording(RecordingConfig {
            recording_id: active.recording.id,
            format: active.recording.format.clone(),
            quality: settings.quality.clone(),
            encoders: settings.encoders.clone(),
            path: path.unwrap_or_default(),
            audio: settings.audio,
            split: settings.split,
        });
        self.tell_worker(message)
    }

    pub(super) fn tell_worker(&self, message: ServerMessage) -> Result<(), Error> {
        let sent = self.worker.as_ref().map(|worker| worker.send(message));
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(Error::new(
                Kind::Unavailable,
                "worker_busy",
                "The session's worker takes no messages; try the recording again",
            )),
        }
    }

    pub(super) async fn on_recording_started(
        &mut self,
        id: i64,
        encoder: Option<String>,
        path: PathBuf,
    ) {
        let context = self.context.clone();
        let Some(active) = self.active(id) else {
            return;
        };
        active.recording.config.encoder = encoder;
        // The worker knows the container of what it copies.
        if let Some(part) = active.recording.parts.last_mut()
            && part.path != path
            && is_beside(&path, &part.path)
        {
            if let Some(extension) = path.extension().and_then(|text| text.to_str()) {
                active.recording.config.format = extension.to_owned();
            }
            part.path = path;
            let row = part.row(None);
            self.store_part(id, row).await;
        }
        let Some(active) = self.active(id) else {
            return;
        };
        let first = active.recording.parts.len() == 1;
        let (recording, starting) = (active.recording.clone(), active.starting.take());
        context.archive.describe(id).await;
        if let Some((reply, _)) = starting {
            let _ = reply.send(Ok(recording.clone()));
        }
        let kind = if first {
            "recording.started"
        } else {
            "recording.resumed"
        };
        self.recording_event(kind, &recording);
    }

    pub(super) async fn on_progress(&mut self, progress: &RecordingProgress) {
        let id = progress.recording_id;
        let Some(part) = self
            .active(id)
            .and_then(|active| active.recording.part_at(&progress.path))
            .filter(|part| part.end_reason.is_none())
        else {
            return;
        };
        // What a file itself doesn't tell after a crash. How many frames were dropped may change
        // with every word of the worker's.
        let is_new = part.gaps.len() != progress.gaps.len();
        part.progress = file_progress(progress);
        part.gaps.clone_from(&progress.gaps);
        let row = part.row(None);
        if let Some(active) = self.active(id)
            && (is_new || active.stored_at.elapsed() >= STORE_INTERVAL)
        {
            active.stored_at = Instant::now();
            self.store_part(id, row).await;
        }
    }

    /// The worker goes on in a further file.
    pub(super) async fn on_part_started(&mut self, id: i64, path: PathBuf) {
        let Some(active) = self.active(id) else {
            return;
        };
        let known = active.recording.parts.last();
        if known.is_some_and(|part| !is_beside(&path, &part.path)) {
            return;
        }
        let number = active.recording.next_part();
        let at_ms = clock::now_ms();
        let part = Part::new(number, path, at_ms);
        let row = part.row(None);
        active.recording.parts.push(part);
        let recording = active.recording.clone();
        self.store_part(id, row).await;
        self.recording_event("recording.part_started", &recording);
    }

    pub(super) async fn on_part_finished(
        &mut self,
        progress: &RecordingProgress,
        reason: PartReason,
        error: Option<String>,
    ) {
        let reason = match (error, reason) {
            (Some(error), _) => format!("error: {error}"),
            (None, PartReason::Split) => SPLIT.into(),
            (None, PartReason::SourceChanged) => SOURCE_CHANGED.into(),
        };
        self.close_part(progress, &reason).await;
        self.context.archive.describe(progress.recording_id).await;
        if let Some(active) = self.active(progress.recording_id) {
            let recording = active.recording.clone();
            self.recording_event("recording.part_finished", &recording);
        }
    }

    /// Tells who listens what has happened to a recording. Who asks after that finds it so.
    pub(super) fn recording_event(&mut self, kind: &'static str, recording: &Recording) {
        self.publish();
        let part = recording.parts.last();
        let details = json!({
            "recording_id": recording.id,
            "mint_id": recording.key,
            "session_id": self.view.session_id,
            "output_format": recording.format,
            "state": recording.state(),
            "output_path": recording.output_path(),
            "path": part.map(|part| part.path.to_string_lossy()),
            "parts": recording.parts.len(),
            "bytes": recording.bytes(),
            "reason": recording.ended.as_ref().map(|ended| &ended.reason),
        });
        self.context.events.emit(kind, details);
    }

    /// Stores a file of a recording, now or as soon as it can be.
    pub(super) async fn store_part(&mut self, id: i64, row: FileRow) {
        self.writer.write(Write::Part(id, row)).await;
    }

    pub(super) fn recording_ids(&self) -> Vec<i64> {
        let recordings = self.recordings.iter();
        recordings.map(|active| active.recording.id).collect()
    }

    pub(super) fn index(&self, id: i64) -> Option<usize> {
        self.recordings
            .iter()
            .position(|active| active.recording.id == id)
    }

    pub(super) fn active(&mut self, id: i64) -> Option<&mut Active> {
        self.recordings
            .iter_mut()
            .find(|active| active.recording.id == id)
    }
}

/// Whether a worker's file lies where it was told to put it. Any other isn't served or deleted.
fn is_beside(path: &Path, other: &Path) -> bool {
    let beside = other.parent().is_some_and(|folder| lies_in(path, folder));
    if !beside {
        tracing::error!(path = %path.display(), "a worker writes where it wasn't told to");
    }
    beside
}

pub(super) fn file_progress(progress: &RecordingProgress) -> FileProgress {
    FileProgress {
        duration_ms: progress.duration_ms,
        bytes: progress.bytes,
        dropped_frames: progress.dropped_frames,
    }
}
