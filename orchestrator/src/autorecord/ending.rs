//! The end of a period: what was started for it ends, and nothing else.

use super::{
    period::{FIRST_STORE_PAUSE, LONGEST_STORE_PAUSE, Period, RULE_DELETED, STREAM_ENDED},
    shown::LiveState,
};
use crate::{
    backoff::Backoff,
    clock,
    sessions::{Handle, Selector},
};
use serde_json::json;
use std::sync::Arc;
use tokio::time::sleep;

impl Period {
    /// Ends what was started for this period, and the period.
    pub(super) async fn end(mut self, reason: &str) {
        let handle = self.shared.registry.find(&self.row.mint);
        let ours = |handle: &Handle| Some(handle.view().session_id) == self.row.session_id;
        if let Some(handle) = handle.filter(ours) {
            self.let_go(&handle, reason).await;
        }
        let at_ms = clock::now_ms();
        if !self.store_end(at_ms, reason).await {
            return;
        }
        tracing::info!(mint = self.row.mint, reason, "not live any more");
        self.shared.over(&self.row.mint, at_ms, reason);
        self.emit("watch.ended", [("reason", json!(reason))]);
    }

    /// Stops the session, or the recording alone, where others use the session too: nobody sees
    /// anything of a stream that is over, but what somebody else records is for them to stop.
    async fn let_go(&self, handle: &Handle, reason: &str) {
        let watched = reason != STREAM_ENDED && handle.screens.viewers() > 0;
        if self.row.owns_session && !watched && !self.is_recorded_by_others(handle) {
            let reason = match reason {
                RULE_DELETED => RULE_DELETED,
                _ => STREAM_ENDED,
            };
            handle.stop(reason).await;
        } else if let Some(id) = self.recorded(&handle.view())
            && self.row.owns_recording
        {
            let selector = Selector {
                recording_id: Some(id),
                format: None,
            };
            if let Err(error) = handle.stop_recording(selector).await {
                tracing::warn!(recording_id = id, error = error.chain(), "recording");
            }
        }
    }

    /// Stores the end, as often as it needs: what is stored as going on can't be live anew. False
    /// when the server ends first; the next one comes to the same end.
    async fn store_end(&mut self, at_ms: i64, reason: &str) -> bool {
        let shared = Arc::clone(&self.shared);
        let context = shared.context();
        let mut backoff = Backoff::new(FIRST_STORE_PAUSE, LONGEST_STORE_PAUSE);
        loop {
            let (row, reason) = (self.row.clone(), reason.to_owned());
            let Err(error) = context.db.end_watch_period(row, at_ms, reason).await else {
                return true;
            };
            tracing::error!(error = error.chain(), "the database");
            self.error = Some(error.message().to_owned());
            self.set_state(LiveState::Failing);
            tokio::select! {
                () = context.shutdown.token.cancelled() => return false,
                () = sleep(backoff.next(rand::random())) => {}
            }
        }
    }
}
