//! A session's recordings: asked to end, refused, finished, and who waits for that.

use super::{
    actor::{Actor, SHUTDOWN, Selector, log_failure},
    keeper::DISK_FULL,
    recording::{StartReply, file_progress},
};
use crate::{
    Error, clock,
    db::FileProgress,
    error::Kind,
    recordings::{Ended, Recording, remove_if_empty},
};
use haven_wire::{Gap, RecordingProgress, ServerMessage};
use std::time::Duration;
use tokio::{sync::oneshot, time::Instant};

/// How long a stop waits for the file to be complete.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) type StopReply = oneshot::Sender<Result<Option<Recording>, Error>>;

impl Actor {
    pub(super) async fn stop_recording(&mut self, selector: &Selector, reply: StopReply) {
        let found: Vec<usize> = self
            .recordings
            .iter()
            .enumerate()
            .filter(|(_, active)| active.matches(selector))
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
        if let Err(error) = self.ask_to_end(id, "stopped").await
            && let Some((reply, _)) = self.active(id).and_then(|active| active.stopping.pop())
        {
            let _ = reply.send(Err(error));
        }
    }

    /// Ends every recording for a reason of the server's own.
    pub(super) async fn end_all_recordings(&mut self, reason: &'static str) {
        let ids: Vec<i64> = self
            .recordings
            .iter()
            .map(|active| active.recording.id)
            .collect();
        for id in ids {
            if let Err(error) = self.ask_to_end(id, reason).await {
                tracing::warn!(
                    recording_id = id,
                    error = error.chain(),
                    reason,
                    "recording"
                );
            }
        }
    }

    /// Has a recording finalised; asked again, it is only waited for.
    async fn ask_to_end(&mut self, id: i64, reason: &str) -> Result<(), Error> {
        let db = self.context.db.clone();
        let Some(active) = self.active(id) else {
            return Ok(());
        };
        if active.stop_reason.is_some() {
            return Ok(());
        }
        active.stop_reason = Some(reason.to_owned());
        log_failure(db.give_up_recording(id).await);
        let Some(active) = self.active(id) else {
            return Ok(());
        };
        // What is being measured ends once that is done.
        if active.measuring > 0 {
            return Ok(());
        }
        if active.recording.open_part().is_none() {
            self.finish(id, reason).await;
            return Ok(());
        }
        let told = self.tell_worker(ServerMessage::StopRecording { recording_id: id });
        if told.is_err()
            && let Some(active) = self.active(id)
        {
            active.stop_reason = None;
        }
        told
    }

    pub(super) async fn on_recording_finished(
        &mut self,
        progress: &RecordingProgress,
        error: Option<String>,
        disk_full: bool,
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
        let reason = match (error, &active.stop_reason) {
            (Some(error), _) if disk_full => {
                tracing::error!(recording_id = id, error, "a recording ends");
                DISK_FULL.into()
            }
            (Some(error), _) => format!("error: {error}"),
            (None, Some(reason)) => reason.clone(),
            (None, None) => end_reason.unwrap_or_else(|| "stopped".into()),
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

    /// A file is complete, as the worker says.
    pub(super) async fn end_part(&mut self, told: &RecordingProgress, reason: &str) {
        let number = self
            .active(told.recording_id)
            .and_then(|active| active.recording.part_at(&told.path))
            .map(|part| part.number);
        if let Some(number) = number {
            let progress = file_progress(told);
            let gaps = Some(told.gaps.clone());
            self.end_part_number(told.recording_id, number, (progress, gaps), reason)
                .await;
        }
    }

    /// A file is complete. Without gaps, those hold that were told before.
    pub(super) async fn end_part_number(
        &mut self,
        id: i64,
        number: u32,
        (progress, gaps): (FileProgress, Option<Vec<Gap>>),
        reason: &str,
    ) {
        let db = self.context.db.clone();
        let Some(active) = self.active(id) else {
            return;
        };
        let mut parts = active.recording.parts.iter_mut();
        if let Some(part) = parts.find(|part| part.number == number && part.end_reason.is_none()) {
            part.progress = progress;
            part.gaps = gaps.unwrap_or_else(|| std::mem::take(&mut part.gaps));
            part.end_reason = Some(reason.to_owned());
            let (gaps, reason) = (part.gaps.clone(), part.end_reason.clone());
            log_failure(db.store_part(id, number, progress, gaps, reason).await);
        }
    }

    /// A recording is over: stored, told to all who wait, and no longer among the running.
    pub(super) async fn finish(&mut self, id: i64, reason: &str) {
        let Some(index) = self.index(id) else {
            return;
        };
        let active = self.recordings.remove(index);
        // With its server a recording ends only until the next one.
        let ends_with_server = self.view.end_reason.as_deref() == Some(SHUTDOWN);
        let wanted = ends_with_server && active.stop_reason.is_none();
        let mut recording = active.recording;
        let at_ms = clock::now_ms();
        let db = &self.context.db;
        for part in &mut recording.parts {
            if part.end_reason.is_none() {
                part.end_reason = Some(reason.to_owned());
                let (gaps, why) = (part.gaps.clone(), part.end_reason.clone());
                log_failure(
                    db.store_part(id, part.number, part.progress, gaps, why)
                        .await,
                );
            }
        }
        recording.ended = Some(Ended {
            at_ms,
            reason: reason.to_owned(),
        });
        let config = serde_json::to_string(&recording.config).ok();
        let stored = db.end_recording(id, at_ms, reason.to_owned(), config, wanted);
        log_failure(stored.await);
        let key = &self.view.key;
        tracing::info!(recording_id = id, key, reason, "recording ended");
        self.context.archive.describe(id).await;
        let kind = match recording.state() {
            "failed" => "recording.failed",
            _ => "recording.finished",
        };
        self.recording_event(kind, &recording);
        if let Some((reply, _)) = active.starting {
            let _ = reply.send(Ok(recording.clone()));
        }
        for (reply, _) in active.stopping {
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
}
