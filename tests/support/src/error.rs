use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

/// Result of the rig's functions.
pub type Result<T, E = RigError> = std::result::Result<T, E>;

/// Why the rig could not do something.
#[derive(Debug, thiserror::Error)]
pub enum RigError {
    /// A program isn't installed.
    #[error("`{tool}` is needed {purpose} and isn't installed; {remedy}")]
    MissingTool {
        /// Name of the program.
        tool: String,
        /// What it is needed for.
        purpose: &'static str,
        /// What to install.
        remedy: &'static str,
    },
    /// A program of ours isn't built.
    #[error("{} isn't there; build it with `cargo build -p {package}`, or name its folder in HAVEN_BIN_DIR", path.display())]
    NotBuilt {
        /// Where it was looked for.
        path: PathBuf,
        /// The package that has it.
        package: &'static str,
    },
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A program ended with a failure.
    #[error("{program} failed ({status}): {stderr}")]
    Failed {
        /// The program, and what it was doing.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// Something didn't happen in time.
    #[error("{what} took longer than {limit:?}{detail}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
        /// What is known about it; starts with a separator, or is empty.
        detail: String,
    },
    /// An HTTP request failed.
    #[error("{what}: {source}")]
    Http {
        /// What was asked.
        what: String,
        /// Why it failed.
        source: reqwest::Error,
    },
    /// Something answered in a way that wasn't foreseen.
    #[error("{what}: {detail}")]
    Unexpected {
        /// What was asked or read.
        what: String,
        /// What came.
        detail: String,
    },
}

impl RigError {
    /// For `map_err`: an I/O error with what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err`: a failed HTTP request with what was asked.
    pub fn http(what: impl Into<String>) -> impl FnOnce(reqwest::Error) -> Self {
        let what = what.into();
        move |source| Self::Http { what, source }
    }

    /// An answer that wasn't foreseen.
    pub fn unexpected(what: impl Into<String>, detail: impl ToString) -> Self {
        Self::Unexpected {
            what: what.into(),
            detail: detail.to_string(),
        }
    }
}

/// Waits for a future, for `limit` at most.
///
/// # Errors
/// [`RigError::TimedOut`] with `what`.
pub async fn within<T>(
    what: impl Into<String>,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Result<T> {
    tokio::time::timeout(limit, future)
        .await
        .map_err(|_| RigError::TimedOut {
            what: what.into(),
            limit,
            detail: String::new(),
        })
}
