//! A session's recordings: asked to end, refused, finished, and who waits for that.

use super::{
    actor::{Actor, SHUTDOWN, Selector},
    continuing::WORKER_STOPPED,
    keeper::DISK_FULL,
    recording::{Active, StartReply, file_progress},
    writes::{End, Write},
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
        for id in self.recording_ids() {
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
        let Some(active) = self.active(id) else {
            return Ok(());
        };
        if active.stop_reason.is_some() {
            return Ok(());
        }
        active.stop_reason = Some(reason.to_owned());
        // Noted first: a server that dies meanwhile doesn't undo it.
        self.writer.write(Write::RecordingWanted(id, false)).await;
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
            self.writer.write(Write::RecordingWanted(id, true)).await;
        }
        told
    }

    pub(super) async fn on_recording_finished(
        &mut self,
        told: &RecordingProgress,
        error: Option<String>,
        disk_full: bool,
    ) {
        let id = told.recording_id;
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
        let asked = active.stop_reason.clone();
        let Some(error) = error else {
            return match asked.or(end_reason) {
                Some(reason) => self.end_with_file(told, &reason, &reason).await,
                None => self.hold_complete_part(told).await,
            };
        };
        tracing::error!(recording_id = id, error, "a recording's file has failed");
        let reason = format!("error: {error}");
        match (asked, end_reason.as_deref()) {
            _ if disk_full => self.end_with_file(told, DISK_FULL, DISK_FULL).await,
            (None, None) => self.go_on_after_failure(told, &reason).await,
            (None, Some(SHUTDOWN)) => self.end_with_file(told, &reason, SHUTDOWN).await,
            _ => self.end_with_file(told, &reason, &reason).await,
        }
    }

    /// The last file has ended for `why`, and with it the recording for `reason`.
    async fn end_with_file(&mut self, told: &RecordingProgress, why: &str, reason: &str) {
        self.close_part(told, why).await;
        self.measure_cut_files(told.recording_id, why);
        self.finish_once_measured(told.recording_id, reason).await;
    }

    /// A file has failed. Its session goes on, and the recording in another file, after a pause.
    async fn go_on_after_failure(&mut self, told: &RecordingProgress, why: &str) {
        let id = told.recording_id;
        self.close_part(told, why).await;
        self.measure_cut_files(id, why);
        let Some(active) = self.active(id) else {
            return;
        };
        if active.measuring.is_empty() {
            active.setbacks.file_held(told.duration_ms);
        }
        active.setbacks.file_failed(why, Instant::now());
        let recording = active.recording.clone();
        self.recording_event("recording.part_finished", &recording);
        self.after_measuring(id).await;
    }

    /// The worker stops, and nobody asked it to. Its last words, or its absence, tell whether the
    /// session ends or goes on under another worker, and this recording with it.
    async fn hold_complete_part(&mut self, told: &RecordingProgress) {
        let Some(active) = self.active(told.recording_id) else {
            return;
        };
        let starting = active.starting.take();
        let recording = active.recording.clone();
        let part = active.recording.part_at(&told.path);
        if let Some(part) = part.filter(|_| told.bytes > 0) {
            part.progress = file_progress(told);
            part.gaps.clone_from(&told.gaps);
            let row = part.row(None);
            active.complete = Some(row.part);
            self.store_part(told.recording_id, row).await;
        } else {
            // It is looked at once its worker is gone.
            WORKER_STOPPED.clone_into(&mut active.cut_reason);
        }
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
        self.writer.write(Write::RecordingForgotten(id)).await;
        let _ = reply.send(Err(refusal));
        // There is nothing to stop any more.
        for (reply, _) in refused.into_iter().flat_map(|active| active.stopping) {
            let _ = reply.send(Ok(None));
        }
    }

    /// A file is complete, as the worker says. One of which it doesn't know how large it is, is
    /// measured: a fault of the worker's may have kept it from telling.
    pub(super) async fn close_part(&mut self, told: &RecordingProgress, reason: &str) {
        let id = told.recording_id;
        let part = self
            .active(id)
            .and_then(|active| active.recording.part_at(&told.path));
        let Some(number) = part.map(|part| part.number) else {
            return;
        };
        if told.bytes == 0 {
            return self.measure_part(id, number, reason);
        }
        let (progress, gaps) = (file_progress(told), Some(told.gaps.clone()));
        self.end_part_number(id, number, (progress, gaps), reason)
            .await;
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
            // What ends with its server isn't asked to end: it goes on under the next one.
            Some(active) if !active.measuring.is_empty() => {
                if reason != SHUTDOWN {
                    active.stop_reason = Some(reason.to_owned());
                }
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
        if active.first_is_empty && recording.parts.len() == 1 {
            self.forget_files(&mut recording).await;
        }
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
        self.writer.write(Write::RecordingEnded(end)).await;
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

    /// Nothing came to be recorded: there is no file that could be listed.
    async fn forget_files(&mut self, recording: &mut Recording) {
        for part in recording.parts.drain(..) {
            self.context.archive.remove_empty(part.path).await;
            let forgotten = Write::PartForgotten(recording.id, part.number);
            self.writer.write(forgotten).await;
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
