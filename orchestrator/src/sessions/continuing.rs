//! Recordings across crashes: the recording goes on in another file as soon as a worker is in the
//! room, and cut files are measured beside that.

use super::{
    actor::Actor, findings::Finding, keeper::DISK_FULL, recording::CRASHED, writes::Write,
};
use crate::{
    Error, clock,
    recordings::{
        Part,
        recovery::{self, Measured},
    },
};
use std::{path::PathBuf, sync::Arc};
use tokio::time::Instant;

/// Why a file ended whose worker stopped without being asked to.
pub(super) const WORKER_STOPPED: &str = "worker_stopped";

impl Actor {
    /// After a worker's exit, or a server's: files that it completed unasked are parts of what goes
    /// on, and those that were being written are as long as they are.
    pub(super) async fn close_cut_files(&mut self) {
        let goes_on = self.view.end_reason.is_none();
        for id in self.recording_ids() {
            if let Some(number) = self.active(id).and_then(|active| active.complete.take()) {
                self.end_complete_part(id, number, goes_on).await;
            }
            if let Some(reason) = self.active(id).map(|active| active.cut_reason.clone()) {
                self.measure_cut_files(id, &reason);
            }
        }
    }

    /// The recording's last file has its session's reason, which `finish` gives it.
    async fn end_complete_part(&mut self, id: i64, number: u32, goes_on: bool) {
        let end_reason = self.view.end_reason.clone();
        let Some(active) = self.active(id) else {
            return;
        };
        let reason = active.stop_reason.clone().or(end_reason);
        let reason = reason.unwrap_or_else(|| WORKER_STOPPED.to_owned());
        let Some(part) = active.recording.part(number) else {
            return;
        };
        let (progress, gaps) = (part.progress, part.gaps.clone());
        self.end_part_number(id, number, (progress, Some(gaps)), &reason)
            .await;
        if !goes_on {
            self.finish_once_measured(id, &reason).await;
        }
    }

    /// Has all files measured that are still open and that nobody writes any more.
    pub(super) fn measure_cut_files(&mut self, id: i64, reason: &str) {
        let Some(active) = self.active(id) else {
            return;
        };
        let open = active.recording.open_parts().map(|part| part.number);
        for number in open.collect::<Vec<_>>() {
            self.measure_part(id, number, reason);
        }
    }

    /// Has a file measured that nobody writes any more; it ended for this reason.
    pub(super) fn measure_part(&mut self, id: i64, number: u32, reason: &str) {
        let (workers, ending) = (Arc::clone(&self.context.workers), self.ending.clone());
        let Some(active) = self.active(id) else {
            return;
        };
        let part = active.recording.part(number);
        let Some(part) = part.filter(|part| part.end_reason.is_none()) else {
            return;
        };
        // Stored once its length is known: a server that dies meanwhile finds it unmeasured.
        part.end_reason = Some(reason.to_owned());
        let (path, known) = (part.path.clone(), part.progress);
        active.measuring.push(number);
        let found = move |measured| Finding::Measured {
            recording_id: id,
            part: number,
            measured,
        };
        self.find(
            async move { found(recovery::measure(&workers, &path, known, &ending).await) },
            move |_| found(Measured::Known(known)),
        );
    }

    pub(super) async fn on_measured(&mut self, id: i64, number: u32, measured: Measured) {
        let Some(active) = self.active(id) else {
            return;
        };
        active.measuring.retain(|one| *one != number);
        let Some(part) = active.recording.part(number) else {
            return;
        };
        part.progress = measured.progress();
        let (row, path) = (part.row(part.end_reason.as_deref()), part.path.clone());
        let reason = row.end_reason.as_deref().unwrap_or_default();
        if reason.starts_with("error:") {
            active.setbacks.file_held(row.progress.duration_ms);
        }
        if reason == CRASHED
            && let Some((reply, _)) = active.starting.take()
        {
            self.store_part(id, row).await;
            let why = "the session's worker has crashed";
            return self.refuse(id, why, reply).await;
        }
        let is_nothing = matches!(measured, Measured::Nothing(_));
        if is_nothing && number > 1 {
            active.recording.parts.retain(|part| part.number != number);
            recovery::remove_leftover(path).await;
            self.writer.write(Write::PartForgotten(id, number)).await;
        } else {
            // The first one names the recording, also where it is empty.
            active.first_is_empty |= is_nothing && row.progress.bytes == 0;
            self.store_part(id, row).await;
        }
        self.after_measuring(id).await;
    }

    /// A recording of which a file has ended: finished where it is to end, else gone on with.
    pub(super) async fn after_measuring(&mut self, id: i64) {
        let end_reason = self.view.end_reason.clone();
        let Some(active) = self.active(id) else {
            return;
        };
        if !active.measuring.is_empty() || active.recording.open_parts().next().is_some() {
            return self.context.archive.describe(id).await;
        }
        let asked = active.stop_reason.clone().or(end_reason);
        match asked.or_else(|| active.setbacks.is_hopeless()) {
            Some(reason) => self.finish(id, &reason).await,
            None => {
                self.context.archive.describe(id).await;
                self.resume_recordings().await;
            }
        }
    }

    /// Recordings that a crash has cut go on in a new file, once a worker is in the room again.
    pub(super) async fn resume_recordings(&mut self) {
        if !self.is_connected() {
            return;
        }
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_none_or(|at| at <= now);
        let cut = self.recordings.iter().filter(|active| active.is_cut());
        let cut = cut.filter(|active| is_due(active.setbacks.resume_at()));
        for id in cut.map(|active| active.recording.id).collect::<Vec<_>>() {
            let Err(error) = self.resume(id).await else {
                continue;
            };
            let chain = error.chain();
            tracing::error!(recording_id = id, error = chain, "can't go on recording");
            if error.code() == DISK_FULL {
                self.finish_once_measured(id, DISK_FULL).await;
            } else if let Some(active) = self.active(id) {
                active.setbacks.cannot_go_on(Instant::now());
            }
        }
    }

    /// When the next recording is to go on that could not before.
    pub(super) fn resume_deadline(&self) -> Option<Instant> {
        let cut = self.recordings.iter().filter(|active| active.is_cut());
        let next = cut.filter_map(|active| active.setbacks.resume_at()).min();
        next.filter(|_| self.is_connected())
    }

    async fn resume(&mut self, id: i64) -> Result<(), Error> {
        let context = Arc::clone(&self.context);
        let key = self.view.key.clone();
        let Some(index) = self.index(id) else {
            return Ok(());
        };
        let active = &mut self.recordings[index];
        let waits = active.setbacks.waits_for_files(Instant::now());
        let recording = &mut active.recording;
        let held = recording
            .parts
            .iter()
            .filter(|part| part.progress.bytes > 0);
        let others: Vec<PathBuf> = held
            .filter(|_| waits)
            .map(|part| part.path.clone())
            .collect();
        let at_ms = clock::now_ms();
        let extension = &recording.settings.extension;
        let library = &context.library;
        let file = match recording.folder() {
            Some(folder) => {
                let beside = (folder, others);
                library.further_file(beside, &key, extension, at_ms).await?
            }
            None => library.new_file(&key, extension, at_ms).await?,
        };
        let part = Part::new(recording.next_part(), file.path().to_owned(), at_ms);
        let row = part.row(None);
        recording.parts.push(part);
        if let Err(error) = self.tell_worker_to_record(&self.recordings[index]) {
            self.recordings[index].recording.parts.pop();
            return Err(error);
        }
        let active = &mut self.recordings[index];
        active.cut_reason = CRASHED.to_owned();
        active.setbacks.goes_on();
        let part = row.part;
        self.store_part(id, row).await;
        tracing::info!(recording_id = id, key, part, "recording goes on");
        Ok(())
    }

    pub(super) fn is_measuring(&self) -> bool {
        let mut recordings = self.recordings.iter();
        recordings.any(|active| !active.measuring.is_empty())
    }
}
