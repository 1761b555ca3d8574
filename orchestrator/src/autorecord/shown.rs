//! What others see of the watching.

use serde::Serialize;
use utoipa::ToSchema;

/// What is done about a coin that is live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LiveState {
    /// Somebody has stopped its session or its recording: left alone until it is live anew.
    Dismissed,
    /// It could not be recorded; tried again in a moment.
    Failing,
    /// Its session is being started, or shows no picture yet.
    #[default]
    Starting,
    Recording,
}

/// A coin that is live, and recorded for a rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shown {
    pub(crate) mint: String,
    pub(crate) state: LiveState,
    /// Since when it is seen live.
    pub(crate) began_at_ms: i64,
    pub(crate) session_id: Option<i64>,
    pub(crate) recording_id: Option<i64>,
    /// Why it isn't recorded, or wasn't the last time that it was tried.
    pub(crate) error: Option<String>,
}

/// How the looking at the platform's list goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Looks {
    /// When the list was fetched that was looked at last.
    pub(crate) fetched_at_ms: Option<i64>,
    /// Coins on it.
    pub(crate) coins: usize,
    /// In a row, up to now.
    pub(crate) failures: u32,
    /// Lists looked at, and looks that failed, since the server's start.
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Recordings that were begun.
    pub(crate) recordings: u64,
}
