//! A session's recordings: asked to end, refused, finished, and who waits for that.

use super::{
    actor::{Actor, SHUTDOWN, Selector, log_failure},
    keeper::DISK_FULL,
    recording::{Active, StartReply, file_progress},
    writes::End,
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
        // Noted first: a server that dies meanwhile doesn't undo it.
        log_failure(db.want_recording(id, false).await);
        let is_written = |active: &Active| {
            active.complete.is_none() && active.recording.open_parts().next().is_some()
        };
        if !self.active(id).is_some_and(|active| is_written(active)) {
            self.finish_once_measured(id, reason).await;
            return Ok(());
        }
        let told = self.tell_worker(ServerMessage::StopRecording { recording_id: id });
        if told.is_err()
            && let Some(active) = self.active(id)
        {
            // It goes on, also under another server.
            active.stop_reason = None;
            log_failure(db.want_recording(id, true).await);
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
                Some(DISK_FULL.into())
            }
            (Some(error), _) => Some(format!("error: {error}")),
            (None, Some(reason)) => Some(reason.clone()),
            (None, None) => end_reason,
        };
        match reason {
            Some(reason) => {
                self.end_part(progress, &reason).await;
                self.finish_once_measured(id, &reason).await;
            }
            None => self.hold_complete_part(progress).await,
        }
    }

    /// The worker stops, and nobody asked it to. Its last words, or its absence, tell whether the
    /// session ends or goes on under another worker, and this recording with it.
    async fn hold_complete_part(&mut self, told: &RecordingProgress) {
        let Some(active) = self.active(told.recording_id) else {
            return;
        };
        let Some(part) = active.recording.part_at(&told.path) else {
            return;
        };
        part.progress = file_progress(told);
        part.gaps.clone_from(&told.gaps);
        let row = part.row(None);
        active.complete = Some(row.part);
        let starting = active.starting.take();
        let recording = active.recording.clone();
        self.store_part(told.recording_id, row).await;
        if let Some((reply, _)) = starting {
            let _ = reply.send(Ok(recording));
        }
    }

    /// The worker can't make this recording: nothing of it is left, but for what it has written.
    pub(super) async fn refuse(&mut self, id: i64, why: &str, reply: StartReply) {
        let message = format!("The recording can't be started: {why}");
        let refusal = Error::new(Kind::Unavailable, "recording_failed", message);
        let Some(active) = self.active(id) else {
            return drop(reply.send(Err(refusal)));
        };
        let parts = &mut active.recording.parts;
        for part in parts.iter_mut() {
            let bytes = remove_if_empty(&part.path);
            part.progress.bytes = part.progress.bytes.max(bytes);
        }
        if parts.iter().any(|part| part.progress.bytes > 0) {
            self.finish(id, &format!("error: {why}")).await;
            return drop(reply.send(Err(refusal)));
        }
        let refused = self.index(id).map(|index| self.recordings.remove(index));
        log_failure(self.context.db.forget_recording(id).await);
        let _ = reply.send(Err(refusal));
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
        let part = self
            .active(id)
            .and_then(|active| active.recording.part(number))
            .filter(|part| part.end_reason.is_none());
        if let Some(part) = part {
            part.progress = progress;
            part.gaps = gaps.unwrap_or_else(|| std::mem::take(&mut part.gaps));
            part.end_reason = Some(reason.to_owned());
            let row = part.row(Some(reason));
            self.store_part(id, row).await;
        }
    }

    /// Ends a recording of which nothing is written any more, as soon as the length of all its
    /// files is known.
    pub(super) async fn finish_once_measured(&mut self, id: i64, reason: &str) {
        match self.active(id) {
            Some(active) if !active.measuring.is_empty() => {
                active.stop_reason = Some(reason.to_owned());
            }
            _ => self.finish(id, reason).await,
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
        for part in &mut recording.parts {
            if part.end_reason.is_none() {
                part.end_reason = Some(reason.to_owned());
                self.store_part(id, part.row(Some(reason))).await;
            }
        }
        let reason = reason.to_owned();
        let config = serde_json::to_string(&recording.config).ok();
        let end = End {
            id,
            at_ms,
            reason: reason.clone(),
            config,
            wanted,
        };
        self.store_end(end).await;
        let key = &self.view.key;
        tracing::info!(recording_id = id, key, reason, "recording ended");
        recording.ended = Some(Ended { at_ms, reason });
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
