//! Recordings across crashes: the recording goes on in another file as soon as a worker is in the
//! room, and cut files are measured beside that.

use super::{
    actor::{Actor, Finding},
    recording::Measuring,
};
use crate::{
    Error, clock,
    db::FileProgress,
    recordings::{
        Part,
        recovery::{self, Measured},
    },
};
use std::sync::Arc;
use tracing::Instrument;

/// Why a file ended whose worker stopped without being asked to.
const WORKER_STOPPED: &str = "worker_stopped";

impl Actor {
    /// After a worker's exit, or a server's: files that it completed unasked are parts of what goes
    /// on, and those that were being written are as long as they are.
    pub(super) async fn close_cut_files(&mut self) {
        let goes_on = self.view.end_reason.is_none();
        let ids: Vec<i64> = self
            .recordings
            .iter()
            .map(|active| active.recording.id)
            .collect();
        for id in ids {
            if let Some(number) = self.active(id).and_then(|active| active.complete.take()) {
                self.end_complete_part(id, number, goes_on).await;
            }
            self.measure_cut_files(id);
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

    fn measure_cut_files(&mut self, id: i64) {
        let (workers, ending) = (Arc::clone(&self.context.workers), self.ending.clone());
        let Some(index) = self.index(id) else {
            return;
        };
        let active = &mut self.recordings[index];
        let reason = active.cut_reason;
        let parts = active.recording.parts.iter_mut();
        for part in parts.filter(|part| part.end_reason.is_none()) {
            // Stored once its length is known: a server that dies meanwhile finds it unmeasured.
            part.end_reason = Some(reason.to_owned());
            let (number, path, known) = (part.number, part.path.clone(), part.progress);
            let (workers, ending) = (Arc::clone(&workers), ending.clone());
            let measure = async move {
                Finding::Measured {
                    recording_id: id,
                    part: number,
                    measured: recovery::measure(&workers, &path, known, &ending).await,
                }
            };
            let task = self.findings.spawn(measure.in_current_span());
            active.measuring.push(Measuring {
                part: number,
                task: task.id(),
            });
        }
    }

    pub(super) async fn on_measured(&mut self, id: i64, number: u32, measured: Measured) {
        let Some(active) = self.active(id) else {
            return;
        };
        active.measuring.retain(|one| one.part != number);
        let starting = active.starting.take();
        let Some(part) = active.recording.part(number) else {
            return;
        };
        part.progress = measured.progress();
        let (row, path) = (part.row(part.end_reason.as_deref()), part.path.clone());
        if let Some((reply, _)) = starting {
            self.store_part(id, row).await;
            let why = "the session's worker has crashed";
            return self.refuse(id, why, reply).await;
        }
        // The first one names the recording, also where it is empty.
        if number > 1 && matches!(measured, Measured::Nothing(_)) {
            recovery::remove_leftover(path).await;
            if let Some(active) = self.active(id) {
                active.recording.parts.retain(|part| part.number != number);
            }
            self.forget_part(id, number).await;
        } else {
            self.store_part(id, row).await;
        }
        self.after_measuring(id).await;
    }

    /// The task that measured a file has failed: what was known of it counts.
    pub(super) async fn on_measuring_failed(&mut self, task: tokio::task::Id) -> bool {
        let found = self.recordings.iter().find_map(|active| {
            let mut measuring = active.measuring.iter();
            let one = measuring.find(|one| one.task == task)?;
            Some((active.recording.id, one.part))
        });
        let Some((id, number)) = found else {
            return false;
        };
        let part = self.active(id).and_then(|one| one.recording.part(number));
        let known = part.map_or_else(FileProgress::default, |part| part.progress);
        self.on_measured(id, number, Measured::Known(known)).await;
        true
    }

    async fn after_measuring(&mut self, id: i64) {
        let end_reason = self.view.end_reason.clone();
        let Some(active) = self.active(id) else {
            return;
        };
        if !active.measuring.is_empty() || active.recording.open_parts().next().is_some() {
            return self.context.archive.describe(id).await;
        }
        match active.stop_reason.clone().or(end_reason) {
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
        let cut: Vec<i64> = self
            .recordings
            .iter()
            .filter(|active| active.is_cut())
            .map(|active| active.recording.id)
            .collect();
        for id in cut {
            let Err(error) = self.resume(id).await else {
                continue;
            };
            let chain = error.chain();
            tracing::error!(recording_id = id, error = chain, "can't go on recording");
            match error.code() {
                "disk_full" => self.finish_once_measured(id, "disk_full").await,
                "recording_dir" => {
                    let reason = format!("error: {}", error.message());
                    self.finish_once_measured(id, &reason).await;
                }
                // Tried again at the worker's next word: it says something every second.
                _ => {}
            }
        }
    }

    async fn resume(&mut self, id: i64) -> Result<(), Error> {
        let context = Arc::clone(&self.context);
        let key = self.view.key.clone();
        let Some(index) = self.index(id) else {
            return Ok(());
        };
        let recording = &mut self.recordings[index].recording;
        let number = recording.next_part();
        let at_ms = clock::now_ms();
        let file = context
            .library
            .new_file_in(
                recording.folder().as_deref(),
                &key,
                &recording.settings.extension,
                at_ms,
            )
            .await?;
        let part = Part::new(number, file.path().to_owned(), at_ms);
        let row = part.row(None);
        recording.parts.push(part);
        if let Err(error) = self.tell_worker_to_record(&self.recordings[index]) {
            self.recordings[index].recording.parts.pop();
            return Err(error);
        }
        self.recordings[index].cut_reason = super::recording::CRASHED;
        self.store_part(id, row).await;
        tracing::info!(recording_id = id, key, part = number, "recording goes on");
        Ok(())
    }

    pub(super) fn is_measuring(&self) -> bool {
        let mut recordings = self.recordings.iter();
        recordings.any(|active| !active.measuring.is_empty())
    }
}
