//! Answers of the worker's tools for files, which may be that it can't be done with these files.

use crate::measure::MeasureError;
use serde::Serialize;
use std::process::ExitCode;

/// The process's status when it can't be done with these files. The server knows it.
const UNFIT: u8 = 3;

/// Why a tool gives no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// It can't be done with these files, on any machine.
    #[error("{0}")]
    Unfit(String),
    /// It should have worked.
    #[error("{0}")]
    Failed(String),
}

impl ToolError {
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<MeasureError> for ToolError {
    fn from(error: MeasureError) -> Self {
        match error {
            MeasureError::Unplayable { .. } => Self::Unfit(error.to_string()),
            MeasureError::Read { .. } => Self::failed(error),
        }
    }
}

/// Prints a result, or an error as `{"error": …}`, as one line of JSON.
pub(crate) fn print<T: Serialize>(result: Result<T, ToolError>) -> ExitCode {
    let (line, code) = match result {
        Ok(value) => (
            serde_json::to_value(value).unwrap_or_default(),
            ExitCode::SUCCESS,
        ),
        Err(error) => {
            let code = match error {
                ToolError::Unfit(_) => ExitCode::from(UNFIT),
                ToolError::Failed(_) => ExitCode::FAILURE,
            };
            (serde_json::json!({ "error": error.to_string() }), code)
        }
    };
    println!("{line}");
    code
}
