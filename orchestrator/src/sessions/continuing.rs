//! Recordings across crashes: cut files are measured, and the recording goes on in another.

use super::{
    actor::{Actor, Finding},
    recording::CRASHED,
};
use crate::{
    Error, clock,
    db::FileProgress,
    recordings::{Part, recovery},
};
use std::sync::Arc;

impl Actor {
    /// After a worker's exit, or a server's: the files that were being written are as long as they
    /// are.
    pub(super) fn measure_cut_files(&mut self) {
        for active in &mut self.recordings {
            let id = active.recording.id;
            let parts = active.recording.parts.iter();
            for part in parts.filter(|part| part.end_reason.is_none()) {
                let (number, path, known) = (part.number, part.path.clone(), part.progress);
                active.measuring += 1;
                let workers = Arc::clone(&self.context.workers);
                self.findings.spawn(async move {
                    Finding::Measured {
                        recording_id: id,
                        part: number,
                        progress: recovery::measure_or(&workers, &path, known).await,
                    }
                });
            }
        }
    }

    pub(super) async fn on_measured(&mut self, id: i64, part: u32, progress: FileProgress) {
        let end_reason = self.view.end_reason.clone();
        let Some(active) = self.active(id) else {
            return;
        };
        active.measuring = active.measuring.saturating_sub(1);
        let (starting, cut_reason) = (active.starting.take(), active.cut_reason);
        if let Some((reply, _)) = starting {
            return self
                .refuse(id, "the session's worker has crashed", reply)
                .await;
        }
        self.end_part_number(id, part, (progress, None), cut_reason)
            .await;
        let Some(active) = self.active(id).filter(|active| active.measuring == 0) else {
            return;
        };
        let asked = active.stop_reason.clone();
        if let Some(reason) = asked.or(end_reason) {
            self.finish(id, &reason).await;
        } else {
            self.context.archive.describe(id).await;
            self.resume_recordings().await;
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
            if let Err(error) = self.resume(id).await {
                tracing::error!(
                    recording_id = id,
                    error = error.chain(),
                    "can't go on recording"
                );
                let reason = match error.code() {
                    "disk_full" => "disk_full".to_owned(),
                    _ => format!("error: {}", error.message()),
                };
                self.finish(id, &reason).await;
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
        let path = file.path().to_owned();
        context
            .db
            .insert_part(id, number, path.clone(), at_ms)
            .await?;
        recording.parts.push(Part::new(number, path, at_ms));
        tracing::info!(recording_id = id, key, part = number, "recording goes on");
        self.tell_worker_to_record(&self.recordings[index])?;
        self.recordings[index].cut_reason = CRASHED;
        Ok(())
    }

    pub(super) fn is_measuring(&self) -> bool {
        self.recordings.iter().any(|active| active.measuring > 0)
    }
}
