//! What is found out beside a session's actor, which waits for nothing outside of itself.

use super::{actor::Actor, stream_info::StreamInfo};
use crate::{Error, recordings::recovery::Measured};
use futures_util::FutureExt;
use haven_wire::{RoomAccess, Source};
use std::{any::Any, panic::AssertUnwindSafe};
use tokio::task::JoinError;
use tracing::Instrument;

/// What work beside the actor comes back with.
pub(super) enum Finding {
    StreamInfo(StreamInfo),
    /// For a launch.
    Source(Result<Source, Error>),
    /// For a worker's request; of a former worker it is of no use.
    Token {
        generation: u32,
        request_id: u64,
        result: Result<Option<RoomAccess>, Error>,
    },
    /// The length of a file that a dead worker left.
    Measured {
        recording_id: i64,
        part: u32,
        measured: Measured,
    },
}

impl Actor {
    /// Has something found out. Where that panics, `otherwise` is what is found: the session goes on.
    pub(super) fn find(
        &mut self,
        work: impl Future<Output = Finding> + Send + 'static,
        otherwise: impl FnOnce(Error) -> Finding + Send + 'static,
    ) {
        let finding = guarded(work, otherwise);
        self.findings.spawn(finding.in_current_span());
    }

    pub(super) async fn on_finding(&mut self, finding: Result<Finding, JoinError>) {
        match finding {
            Ok(Finding::StreamInfo(info)) => {
                self.view.stream_info = info;
                self.stream_info_known = true;
                self.check_joined().await;
            }
            Ok(Finding::Source(result)) => self.on_source(result).await,
            Ok(Finding::Token {
                generation,
                request_id,
                result,
            }) => self.on_token(generation, request_id, result),
            Ok(Finding::Measured {
                recording_id,
                part,
                measured,
            }) => self.on_measured(recording_id, part, measured).await,
            // Panics are caught, and nothing is cancelled before the end.
            Err(error) => tracing::error!(%error, "a session's task"),
        }
    }
}

async fn guarded(
    work: impl Future<Output = Finding>,
    otherwise: impl FnOnce(Error) -> Finding,
) -> Finding {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(finding) => finding,
        Err(panic) => {
            let error = Error::internal("running the session", words(panic.as_ref()));
            tracing::error!(error = error.chain(), "a session's task has panicked");
            otherwise(error)
        }
    }
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without words".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_beside_the_session_is_a_failure_of_what_was_asked_alone() {
        let lost = guarded(async { panic!("for the test") }, |error| {
            Finding::Source(Err(error))
        });
        let Finding::Source(Err(error)) = lost.await else {
            panic!("another finding");
        };
        assert!(error.chain().ends_with("for the test"), "{}", error.chain());
        let token = guarded(async { std::panic::panic_any(7) }, |error| Finding::Token {
            generation: 1,
            request_id: 2,
            result: Err(error),
        });
        assert!(matches!(token.await, Finding::Token { request_id: 2, .. }));
    }
}
