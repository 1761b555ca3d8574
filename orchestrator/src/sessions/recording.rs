//! A session's recordings: asked for, running, cut by a crash, continued, finished.

use super::{
    actor::{Actor, Selector, log_failure},
    state::Phase,
};
use crate::{
    Error, clock,
    db::{FileProgress, NewRecording},
    error::Kind,
    recordings::{Ended, Part, Plan, Recording, remove_if_empty},
};
use haven_wire::{
    AudioChoice, ChosenEncoders, PartReason, RecordingConfig, RecordingProgress, ServerMessage,
    Split,
};
use std::{path::PathBuf, time::Duration};
use tokio::{sync::oneshot, time::Instant};

/// A worker says at once whether a recording can be made; frames may be long in coming. After
/// this long the recording counts as begun.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stop waits for the file to be complete.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

type StartReply = oneshot::Sender<Result<Recording, Error>>;
type StopReply = oneshot::Sender<Result<Option<Recording>, Error>>;

/// A recording that isn't over, and who waits for it.
pub(super) struct Active {
    pub(super) recording: Recording,
    pub(super) quality: String,
    pub(super) extension: String,
    /// What the probe chose.
    encoders: ChosenEncoders,
    /// Who asked for it, until the worker has answered.
    pub(super) starting: Option<(StartReply, Instant)>,
    /// Who asked for its end.
    stopping: Vec<(StopReply, Instant)>,
    /// A stop was asked for: a crash doesn't continue it.
    pub(super) stop_asked: bool,
    /// The last file was cut by a crash and is being measured.
    pub(super) measuring: bool,
}

impl Active {
    pub(super) fn shown(&self) -> Recording {
        self.recording.clone()
    }

    /// Its last file is complete, and it is to go on.
    pub(super) fn is_cut(&self) -> bool {
        let last = self.recording.parts.last();
        last.is_none_or(|part| part.end_reason.is_some()) && !self.stop_asked
    }

    fn matches(&self, selector: &Selector) -> bool {
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
            }
            Err(error) => drop(reply.send(Err(error))),
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
        let same = |active: &Active| active.recording.format == format;
        if self.recordings.iter().any(same) {
            return Err(Error::new(
                Kind::Conflict,
                "already_recording",
                format!("A recording of this session as {format} is running"),
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
        let started_at_ms = clock::now_ms();
        let library = &self.context.library;
        let file = library
            .new_file(&self.view.key, &plan.extension, started_at_ms)
            .await?;
        let path = file.path().to_owned();
        let new = NewRecording {
            session_id: self.view.session_id,
            key: self.view.key.clone(),
            format: plan.format.clone(),
            config: serde_json::to_string(&plan.config).unwrap_or_default(),
            started_at_ms,
            path: path.clone(),
        };
        let id = self.context.db.insert_recording(new).await?;
        let active = Active {
            recording: Recording {
                id,
                key: self.view.key.clone(),
                format: plan.format,
                config: plan.config,
                started_at_ms,
                parts: vec![new_part(1, path, started_at_ms)],
                ended: None,
            },
            quality: plan.quality,
            extension: plan.extension,
            encoders: plan.encoders,
            starting: None,
            stopping: Vec::new(),
            stop_asked: false,
            measuring: false,
        };
        if let Err(error) = self.tell_worker_to_record(&active) {
            log_failure(self.context.db.forget_recording(id).await);
            return Err(error);
        }
        tracing::info!(recording_id = id, key = self.view.key, "recording");
        Ok(active)
    }

    pub(super) fn tell_worker_to_record(&self, active: &Active) -> Result<(), Error> {
        let path = active.recording.parts.last().map(|part| part.path.clone());
        let message = ServerMessage::StartRecording(RecordingConfig {
            recording_id: active.recording.id,
            format: active.recording.format.clone(),
            quality: active.quality.clone(),
            encoders: active.encoders.clone(),
            path: path.unwrap_or_default(),
            audio: AudioChoice::default(),
            split: Split::default(),
        });
        self.tell_worker(message)
    }

    fn tell_worker(&self, message: ServerMessage) -> Result<(), Error> {
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

    pub(super) async fn stop_recording(&mut self, selector: &Selector, reply: StopReply) {
        let matching = |(_, active): &(usize, &Active)| active.matches(selector);
        let found: Vec<usize> = self
            .recordings
            .iter()
            .enumerate()
            .filter(matching)
            .map(|(index, _)| index)
            .collect();
        let index = match found[..] {
            [] => return drop(reply.send(Ok(None))),
            [index] => index,
            _ => {
                return drop(reply.send(Err(Error::field(
                    "recording_id",
                    "or `output_format` must say which recording: several are running",
                ))));
            }
        };
        let active = &mut self.recordings[index];
        let id = active.recording.id;
        active.stopping.push((reply, Instant::now() + STOP_TIMEOUT));
        if std::mem::replace(&mut active.stop_asked, true) {
            return;
        }
        if active.recording.open_part().is_none() {
            self.finish(id, "stopped").await;
        } else if !self.recordings[index].measuring
            && let Err(error) = self.tell_worker(ServerMessage::StopRecording { recording_id: id })
        {
            let active = &mut self.recordings[index];
            active.stop_asked = false;
            if let Some((reply, _)) = active.stopping.pop() {
                let _ = reply.send(Err(error));
            }
        }
    }

    pub(super) async fn on_recording_started(
        &mut self,
        id: i64,
        encoder: Option<String>,
        path: PathBuf,
    ) {
        let db = self.context.db.clone();
        if let Some(active) = self.active(id) {
            active.recording.config.encoder = encoder;
            // The worker knows the container of what it copies.
            if let Some(part) = active.recording.parts.last_mut()
                && part.path != path
            {
                part.path.clone_from(&path);
                log_failure(db.rename_part(id, part.number, path).await);
            }
            if let Some((reply, _)) = active.starting.take() {
                let _ = reply.send(Ok(active.recording.clone()));
            }
        }
    }

    pub(super) fn on_progress(&mut self, progress: &RecordingProgress) {
        if let Some(active) = self.active(progress.recording_id)
            && let Some(part) = active.recording.part_at(&progress.path)
        {
            part.progress = file_progress(progress);
        }
    }

    /// The worker goes on in a further file.
    pub(super) async fn on_part_started(&mut self, id: i64, path: PathBuf) {
        let db = self.context.db.clone();
        let Some(active) = self.active(id) else {
            return;
        };
        let parts = &mut active.recording.parts;
        let number = parts.last().map_or(1, |part| part.number + 1);
        let at_ms = clock::now_ms();
        parts.push(new_part(number, path.clone(), at_ms));
        log_failure(db.insert_part(id, number, path, at_ms).await);
    }

    pub(super) async fn on_part_finished(
        &mut self,
        progress: &RecordingProgress,
        reason: PartReason,
        error: Option<String>,
    ) {
        let reason = match (error, reason) {
            (Some(error), _) => format!("error: {error}"),
            (None, PartReason::Split) => "split".into(),
            (None, PartReason::SourceChanged) => "source_changed".into(),
        };
        self.end_part(progress, &reason).await;
    }

    pub(super) async fn on_recording_finished(
        &mut self,
        progress: &RecordingProgress,
        error: Option<String>,
    ) {
        let id = progress.recording_id;
        let end_reason = self.view.end_reason.clone();
        let Some(active) = self.active(id) else {
            return;
        };
        // Without an error, who waits for the start hears of the recording that was.
        if let Some(error) = &error
            && let Some((reply, _)) = active.starting.take()
        {
            return self.refuse(id, error, reply).await;
        }
        let reason = match error {
            Some(error) => format!("error: {error}"),
            None if active.stop_asked => "stopped".into(),
            None => end_reason.unwrap_or_else(|| "stopped".into()),
        };
        self.end_part(progress, &reason).await;
        self.finish(id, &reason).await;
    }

    /// The worker can't make this recording: nothing of it is left.
    pub(super) async fn refuse(&mut self, id: i64, why: &str, reply: StartReply) {
        let refused = self.index(id).map(|index| self.recordings.remove(index));
        for part in refused.iter().flat_map(|active| &active.recording.parts) {
            remove_if_empty(&part.path);
        }
        log_failure(self.context.db.forget_recording(id).await);
        let message = format!("The recording can't be started: {why}");
        let _ = reply.send(Err(Error::new(
            Kind::Unavailable,
            "recording_failed",
            message,
        )));
        // There is nothing to stop any more.
        for (reply, _) in refused.into_iter().flat_map(|active| active.stopping) {
            let _ = reply.send(Ok(None));
        }
    }

    async fn end_part(&mut self, told: &RecordingProgress, reason: &str) {
        let number = self
            .active(told.recording_id)
            .and_then(|active| active.recording.part_at(&told.path))
            .map(|part| part.number);
        if let Some(number) = number {
            let progress = file_progress(told);
            self.end_part_number(told.recording_id, number, progress, reason)
                .await;
        }
    }

    pub(super) async fn end_part_number(
        &mut self,
        id: i64,
        number: u32,
        progress: FileProgress,
        reason: &str,
    ) {
        let db = self.context.db.clone();
        if let Some(active) = self.active(id)
            && let Some(part) = active
                .recording
                .parts
                .iter_mut()
                .find(|part| part.number == number && part.end_reason.is_none())
        {
            part.progress = progress;
            part.end_reason = Some(reason.to_owned());
            log_failure(db.end_part(id, number, progress, reason.to_owned()).await);
        }
    }

    /// A recording is over: stored, told to all who wait, and no longer among the running.
    pub(super) async fn finish(&mut self, id: i64, reason: &str) {
        let Some(index) = self.index(id) else {
            return;
        };
        let Active {
            mut recording,
            starting,
            stopping,
            ..
        } = self.recordings.remove(index);
        let at_ms = clock::now_ms();
        if let Some(part) = recording.open_part() {
            part.end_reason = Some(reason.to_owned());
            let (number, progress) = (part.number, part.progress);
            let stored = self
                .context
                .db
                .end_part(id, number, progress, reason.to_owned());
            log_failure(stored.await);
        }
        recording.ended = Some(Ended {
            at_ms,
            reason: reason.to_owned(),
        });
        let config = serde_json::to_string(&recording.config).ok();
        let stored = self
            .context
            .db
            .end_recording(id, at_ms, reason.to_owned(), config);
        log_failure(stored.await);
        tracing::info!(
            recording_id = id,
            key = self.view.key,
            reason,
            "recording ended"
        );
        if let Some((reply, _)) = starting {
            let _ = reply.send(Ok(recording.clone()));
        }
        for (reply, _) in stopping {
            let _ = reply.send(Ok(Some(recording.clone())));
        }
    }

    /// At the session's end, when no worker runs and nothing is measured any more.
    pub(super) async fn end_recordings(&mut self, reason: &str) {
        while let Some(id) = self.recordings.first().map(|active| active.recording.id) {
            self.finish(id, reason).await;
        }
    }

    /// When somebody who waits for a recording has waited long enough.
    pub(super) fn recording_deadline(&self) -> Option<Instant> {
        let starts = self
            .recordings
            .iter()
            .filter_map(|active| active.starting.as_ref());
        let stops = self.recordings.iter().flat_map(|active| &active.stopping);
        starts
            .map(|(_, deadline)| *deadline)
            .chain(stops.map(|(_, deadline)| *deadline))
            .min()
    }

    pub(super) fn on_recording_deadline(&mut self, now: Instant) {
        for active in &mut self.recordings {
            if let Some((reply, _)) = active.starting.take_if(|(_, deadline)| *deadline <= now) {
                let _ = reply.send(Ok(active.recording.clone()));
            }
            for (reply, _) in active
                .stopping
                .extract_if(.., |(_, deadline)| *deadline <= now)
            {
                let _ = reply.send(Err(Error::new(
                    Kind::GatewayTimeout,
                    "recording_not_finalised",
                    "The recording is still being finalised: ask again",
                )));
            }
        }
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

pub(super) fn new_part(number: u32, path: PathBuf, started_at_ms: i64) -> Part {
    Part {
        number,
        path,
        started_at_ms,
        progress: FileProgress::default(),
        end_reason: None,
    }
}

fn file_progress(progress: &RecordingProgress) -> FileProgress {
    FileProgress {
        duration_ms: progress.duration_ms,
        bytes: progress.bytes,
        dropped_frames: progress.dropped_frames,
    }
}
