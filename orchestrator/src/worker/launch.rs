//! Starting a worker's process.

use super::{
    Worker, Workers,
    confine::{confine, is_about_memory},
    link,
};
use crate::{Error, error::Kind};
use haven_wire::{ServerMessage, SessionConfig};
use std::{ffi::OsStr, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::{Child, Command},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Messages in either direction that may wait to be taken.
const QUEUE: usize = 64;
/// A longer line of a worker's log is broken.
const LONGEST_LOG_LINE_BYTES: u64 = 8 << 10;

impl Workers {
    /// A command that runs the worker's executable with a cleared environment: secrets of the
    /// server's environment are none of its business.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command
            // Ctrl-C in our terminal must not reach it: we say when it ends.
            .process_group(0)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| may_pass(name)));
        command
    }

    /// Runs a command within the limits of workers.
    ///
    /// # Errors
    /// When the executable can't be run.
    pub(super) fn spawn(&self, command: &mut Command) -> Result<Child, Error> {
        let child = command.spawn().map_err(|error| self.cannot_run(error))?;
        confine(&child, self.limits.worker_memory_bytes());
        Ok(child)
    }

    /// Starts a worker for a session. It is supervised by tasks of its own until it has exited.
    ///
    /// # Errors
    /// When the executable can't be run.
    pub(crate) fn launch(&self, config: SessionConfig) -> Result<Worker, Error> {
        let key = config.key.clone();
        let mut command = self.command();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.spawn(&mut command)?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(self.cannot_run(std::io::Error::other("it has no pipes")));
        };
        let pid = child.id();
        let (commands, command_queue) = mpsc::channel(QUEUE);
        let (event_queue, events) = mpsc::channel(QUEUE);
        let stop = CancellationToken::new();
        let abandon = CancellationToken::new();
        let _ = commands.try_send(ServerMessage::Start(config));
        let log = self.tasks.spawn(log(stderr, key.clone()).in_current_span());
        self.tasks
            .spawn(link::write(stdin, command_queue).in_current_span());
        let link = link::Link {
            key,
            child,
            log,
            memory_bytes: self.limits.worker_memory_bytes(),
            commands: commands.clone(),
            events: event_queue,
            stop: stop.clone(),
            abandon: abandon.clone(),
            timings: self.timings,
        };
        self.tasks.spawn(link.run(stdout).in_current_span());
        Ok(Worker {
            pid,
            commands,
            events,
            stop,
            abandon,
        })
    }

    pub(super) fn cannot_run(&self, error: std::io::Error) -> Error {
        Error::new(
            Kind::Unavailable,
            "worker_unavailable",
            format!(
                "The worker {} can't be run: install haven-worker beside haven, or name it with --worker",
                self.executable.display()
            ),
        )
        .caused_by(error)
    }
}

fn may_pass(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let known = ["PATH", "HOME", "LANG", "TZ", "RUST_LOG"];
    // Where the certificates are that the worker trusts.
    let certificates = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
    known.contains(&name)
        || certificates.contains(&name)
        || name.starts_with("XDG_")
        || name.starts_with("GST_")
}

/// Copies a worker's log into ours, with the session's key or what else it is run for. Whether it
/// told of a lack of memory.
pub(super) async fn log(stderr: impl AsyncRead + Unpin, key: String) -> bool {
    let mut input = BufReader::new(stderr);
    let mut line = Vec::new();
    let mut lacked_memory = false;
    loop {
        line.clear();
        let read = (&mut input)
            .take(LONGEST_LOG_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .await;
        match read {
            Ok(0) | Err(_) => return lacked_memory,
            Ok(_) => {
                let text = String::from_utf8_lossy(line.trim_ascii_end());
                lacked_memory |= is_about_memory(&text);
                let (level, text) = level_of(&text);
                match level {
                    "ERROR" => tracing::error!(target: "worker", key, "{text}"),
                    "WARN" => tracing::warn!(target: "worker", key, "{text}"),
                    "DEBUG" => tracing::debug!(target: "worker", key, "{text}"),
                    "TRACE" => tracing::trace!(target: "worker", key, "{text}"),
                    _ => tracing::info!(target: "worker", key, "{text}"),
                }
            }
        }
    }
}

/// A line of the worker's own log, as tracing writes it: its level, and what follows. The time is
/// ours to tell. What others print (libraries, a panic) is all text, without a level.
fn level_of(line: &str) -> (&str, &str) {
    let known = |(_, rest): (&'_ str, &'_ str)| {
        let (level, rest) = rest.trim_start().split_once(' ')?;
        let levels = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
        let level = levels.into_iter().find(|known| *known == level)?;
        Some((level, rest.len()))
    };
    let found = line.split_once(' ').filter(|(time, _)| time.ends_with('Z'));
    match found.and_then(known) {
        Some((level, length)) => (level, &line[line.len() - length..]),
        None => ("", line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workers_line_keeps_its_level() {
        for (line, level, text) in [
            (
                "2026-11-21T10:00:00.000000Z  WARN haven_worker: x y",
                "WARN",
                "haven_worker: x y",
            ),
            ("2026-11-21T10:00:00.000000Z ERROR a", "ERROR", "a"),
            (
                "thread 'main' panicked at x",
                "",
                "thread 'main' panicked at x",
            ),
            ("Z WARNING x", "", "Z WARNING x"),
            ("", "", ""),
        ] {
            assert_eq!(level_of(line), (level, text));
        }
    }

    #[test]
    fn secrets_of_the_environment_stay_here() {
        for name in [
            "PATH",
            "HOME",
            "XDG_RUNTIME_DIR",
            "GST_PLUGIN_PATH",
            "TZ",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
        ] {
            assert!(may_pass(OsStr::new(name)), "{name}");
        }
        for name in [
            "LIVEKIT_API_SECRET",
            "HAVEN_API_TOKEN",
            "LD_PRELOAD",
            "PATHX",
        ] {
            assert!(!may_pass(OsStr::new(name)), "{name}");
        }
    }
}
