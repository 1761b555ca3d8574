//! The commands that aren't servers, run to their end or interrupted.

use super::{Options, PATIENCE};
use serde_json::Value;
use std::{
    path::Path,
    process::{Output, Stdio},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// `haven` with these arguments, in a bare environment.
pub(crate) fn haven(args: &[&str], env: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haven"));
    command
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .env("HAVEN_WORKER", Options::default().worker)
        .env("HAVEN_DISK_RESERVE_BYTES", "0")
        .envs(env.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// Runs a command to its end.
pub(crate) async fn run(args: &[&str], env: &[(String, String)]) -> Said {
    let output = haven(args, env).output();
    timeout(PATIENCE, output).await.unwrap().unwrap().into()
}

/// As [`run`], with the answer as JSON; it must succeed.
pub(crate) async fn json(args: &[&str], env: &[(String, String)]) -> Value {
    let said = run(args, env).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    serde_json::from_str(&said.out).unwrap()
}

/// A `haven record … --json` that runs.
pub(crate) struct Recorder {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Recorder {
    pub(crate) fn start(
        target: &str,
        output: &Path,
        more: &[&str],
        env: &[(String, String)],
    ) -> Self {
        let mut args = vec!["record", target, "--json", "-o", output.to_str().unwrap()];
        args.extend(more);
        let mut child = haven(&args, env).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for an event that is as wanted; none once there are no more.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        loop {
            let line = timeout(PATIENCE, self.lines.next_line())
                .await
                .unwrap()
                .unwrap()?;
            let event: Value = serde_json::from_str(&line).unwrap();
            if wanted(&event) {
                return Some(event);
            }
        }
    }

    /// Waits for an event of this kind.
    pub(crate) async fn event(&mut self, kind: &str) -> Value {
        let found = self.until(|event| event["event"] == kind).await;
        found.unwrap_or_else(|| panic!("no event {kind}"))
    }

    pub(crate) fn interrupt(&self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    pub(crate) async fn end(mut self) -> Option<i32> {
        while self.until(|_| false).await.is_some() {}
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap();
        status.unwrap().code()
    }
}
