//! Recordings across crashes: cut files are measured, and the recording goes on in another.

use super::{
    actor::{Actor, Finding},
    recording::new_part,
};
use crate::{Error, clock, db::FileProgress, recordings::recovery};
use std::sync::Arc;

/// Why a file ended whose worker died.
const CRASHED: &str = "worker_crashed";

impl Actor {
    /// After a worker's exit: the files it was writing are as long as they are.
    pub(super) async fn measure_cut_files(&mut self) {
        for active in &mut self.recordings {
            let id = active.recording.id;
            let Some(part) = active.recording.open_part() else {
                continue;
            };
            let (number, path, known) = (part.number, part.path.clone(), part.progress);
            active.measuring = true;
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

    pub(super) async fn on_measured(&mut self, id: i64, part: u32, progress: FileProgress) {
        let end_reason = self.view.end_reason.clone();
        let Some(active) = self.active(id) else {
            return;
        };
        active.measuring = false;
        let (starting, stop_asked) = (active.starting.take(), active.stop_asked);
        debug_assert_eq!(
            active.recording.parts.last().map(|part| part.number),
            Some(part)
        );
        if let Some((reply, _)) = starting {
            return self
                .refuse(id, "the session's worker has crashed", reply)
                .await;
        }
        self.end_part_number(id, part, progress, CRASHED).await;
        if stop_asked {
            self.finish(id, "stopped").await;
        } else if let Some(reason) = end_reason {
            self.finish(id, &reason).await;
        } else {
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
                self.finish(id, &format!("error: {}", error.message()))
                    .await;
            }
        }
    }

    async fn resume(&mut self, id: i64) -> Result<(), Error> {
        let context = Arc::clone(&self.context);
        let key = self.view.key.clone();
        let Some(index) = self.index(id) else {
            return Ok(());
        };
        let active = &mut self.recordings[index];
        let number = active
            .recording
            .parts
            .last()
            .map_or(1, |part| part.number + 1);
        let at_ms = clock::now_ms();
        let file = context
            .library
            .new_file(&key, &active.extension, at_ms)
            .await?;
        let path = file.path().to_owned();
        context
            .db
            .insert_part(id, number, path.clone(), at_ms)
            .await?;
        active.recording.parts.push(new_part(number, path, at_ms));
        tracing::info!(recording_id = id, key, part = number, "recording goes on");
        self.tell_worker_to_record(&self.recordings[index])
    }

    pub(super) fn is_measuring(&self) -> bool {
        self.recordings.iter().any(|active| active.measuring)
    }
}
