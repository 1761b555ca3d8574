//! Lines of shell that use the elements, run as their users run them.

use crate::Result;
use haven_rig::media::{Probe, decode_to_end, probe};
use haven_rig::viewer::{Protocol, Viewer};
use haven_rig::{Child, built_binary};
use rustix::process::Signal;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// How long is waited for whatever a line does.
const LIMIT: Duration = Duration::from_secs(60);
/// Two seconds or so of the rig's small clip, whatever the encoder makes of it.
const ENOUGH_BYTES: u64 = 200_000;

/// Where lines run: a folder of their own, the built plugins, and a room's environment.
#[derive(Debug)]
pub struct Shell {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Shell {
    /// A shell with these variables, beside those that name the plugins.
    ///
    /// # Errors
    /// When there is no folder to be had, or the plugins aren't built.
    pub fn new(environment: Vec<(String, String)>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut all = environment;
        let plugins = plugins()?.display().to_string();
        all.push(("GST_PLUGIN_PATH".into(), plugins));
        Ok(Self {
            folder,
            environment: all,
        })
    }

    /// A variable more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// A file in the folder in which lines run.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs lines of shell; the last one replaces the shell, so that signals reach the program.
    ///
    /// # Errors
    /// When there is no shell.
    pub fn run(&self, lines: &str) -> Result<Child> {
        self.program("bash", ["-c", &format!("exec {lines}")])
    }

    /// Runs a program.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn program<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Child> {
        let name = program.as_ref().to_string_lossy().into_owned();
        Ok(Child::spawn(name, self.command(program, arguments))?)
    }

    /// Runs a program to its end; its status, and what it wrote.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn output<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<std::process::Output> {
        let mut command = self.command(program, arguments);
        Ok(command.kill_on_drop(true).output().await?)
    }

    fn command<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("GST_REGISTRY", self.path("registry"))
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null());
        command
    }
}

/// The folder with the built plugins.
///
/// # Errors
/// When they aren't built.
pub fn plugins() -> Result<PathBuf> {
    let program = built_binary("haven")?;
    Ok(program.parent().ok_or("no folder")?.to_owned())
}

/// A port that was free a moment ago, for programs that can't be asked which one they took.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(socket.local_addr()?.port())
}

/// Waits until some seconds are in a file.
///
/// # Errors
/// When the program ends before.
pub async fn wait_until_it_grows(child: &mut Child, file: &Path) -> Result {
    let long_enough = || std::fs::metadata(file).is_ok_and(|data| data.len() >= ENOUGH_BYTES);
    wait_until(child, &file.display().to_string(), long_enough).await
}

/// Waits for what a running program does.
///
/// # Errors
/// When the program ends before, or takes too long.
pub async fn wait_until(child: &mut Child, what: &str, done: impl Fn() -> bool) -> Result {
    let waited = haven_rig::within(what.to_owned(), LIMIT, async {
        while !done() {
            if !child.is_running() {
                return Err(format!("the program ended before {what}"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    });
    Ok(waited.await??)
}

/// Connects a viewer to a `wsjpegsink` that is coming up.
///
/// # Errors
/// When it doesn't come up.
pub async fn viewer_on(port: u16) -> Result<Viewer> {
    let url = format!("http://127.0.0.1:{port}");
    let viewer = haven_rig::within("the sink's server", LIMIT, async {
        loop {
            if let Ok(viewer) = Viewer::connect(&url, Protocol::Binary, "any").await {
                return viewer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    Ok(viewer.await?)
}

/// Ends a program as Ctrl-C does; it must end in order.
///
/// # Errors
/// When it doesn't.
pub async fn interrupt(mut child: Child) -> Result {
    child.signal(Signal::INT)?;
    let status = child.wait(LIMIT).await?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the program ended with {status}").into())
    }
}

/// Checks that a file has these codecs, plays for more than half a second, and decodes to its end.
///
/// # Errors
/// When it doesn't.
pub async fn check_media(file: &Path, video: Option<&str>, audio: Option<&str>) -> Result<Probe> {
    let probed = probe(file).await?;
    for (kind, wanted) in [("video", video), ("audio", audio)] {
        let codec = probed.stream(kind).map(|stream| &*stream.codec);
        if codec != wanted {
            return Err(format!("{kind} is {codec:?}, not {wanted:?}, in {file:?}").into());
        }
    }
    if probed.duration_s < 0.5 {
        return Err(format!("{file:?} is too short: {probed:?}").into());
    }
    decode_to_end(file).await?;
    Ok(probed)
}
