//! The server as a process, and its HTTP API as a client sees it.

use crate::{Process, Result, descendants};
use haven_rig::{Child, built_binary, within};
use rustix::process::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// What the server gets of our environment; RUST_LOG for whoever looks for the cause of a failure.
const PASSED_ON: [&str; 3] = ["PATH", "HOME", "RUST_LOG"];
/// How long the server may take to serve requests, and to stop.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(45);

/// A running server with a data folder of its own.
pub struct Haven {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    child: Child,
    folder: TempDir,
    environment: Vec<(String, String)>,
    http: reqwest::Client,
}

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body; `null` where it is no JSON.
    pub body: Value,
}

impl Haven {
    /// Starts the server with these variables on top of the least that programs need.
    ///
    /// # Errors
    /// When it isn't built or doesn't come up.
    pub async fn start(environment: Vec<(String, String)>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (child, url) = spawn(folder.path(), &environment).await?;
        Ok(Self {
            url,
            child,
            folder,
            environment,
            http: reqwest::Client::new(),
        })
    }

    /// Starts the server again on the same data, after its end.
    ///
    /// # Errors
    /// As for [`Haven::start`].
    pub async fn start_again(&mut self) -> Result {
        let (child, url) = spawn(self.folder.path(), &self.environment).await?;
        self.child = child;
        self.url = url;
        Ok(())
    }

    /// Asks with a JSON body.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.post_text(path, body.to_string()).await
    }

    /// Asks with any body, said to be JSON.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post_text(&self, path: &str, body: String) -> Result<Answer> {
        let request = self
            .http
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .body(body);
        answer(request).await
    }

    /// Asks without a body.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        answer(self.http.get(format!("{}{path}", self.url))).await
    }

    /// A body that is no JSON.
    ///
    /// # Errors
    /// When no answer comes, or another one than that.
    pub async fn text(&self, path: &str) -> Result<String> {
        let request = self.http.get(format!("{}{path}", self.url));
        Ok(request.send().await?.error_for_status()?.text().await?)
    }

    /// Starts a session and expects that to work.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn start_session(&self, mint: &str) -> Result<Value> {
        let body = serde_json::json!({"mint_id": mint});
        self.post("/api/live-sessions/start", &body)
            .await?
            .expect_ok()
    }

    /// Waits until a session is as wanted.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub async fn wait_for_session(
        &self,
        key: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + limit;
        loop {
            let sessions = self.get("/api/live-sessions/active").await?.expect_ok()?;
            let session = &sessions["sessions"][key];
            if wanted(session) {
                return Ok(session.clone());
            }
            if Instant::now() > deadline {
                return Err(format!("the session is {session} after {limit:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The worker processes.
    ///
    /// # Errors
    /// When the kernel's list can't be read.
    pub fn workers(&self) -> Result<Vec<Process>> {
        let mut all = descendants(self.child.pid())?;
        // Those that try the formats when the server starts are no session's.
        let tries = |process: &Process| {
            let mut words = process.arguments.split_whitespace();
            words.any(|word| ["--probe", "--try"].contains(&word))
        };
        all.retain(|process| process.arguments.contains("haven-worker") && !tries(process));
        Ok(all)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Folder of its database and recordings.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// All files below its data folder, without the database, locks and log.
    ///
    /// # Errors
    /// When a folder can't be read.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        let mut folders = vec![self.folder.path().to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                match entry.file_type()? {
                    kind if kind.is_dir() => folders.push(entry.path()),
                    _ => files.push(entry.path()),
                }
            }
        }
        files.retain(|file| {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            !name.starts_with("haven.") && name != "server.log" && name != "lock"
        });
        Ok(files)
    }

    /// What it logged.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(
            self.folder.path().join("server.log"),
        )?)
    }

    /// Ends it with a signal and waits.
    ///
    /// # Errors
    /// When it doesn't end in time.
    pub async fn end_with(&mut self, signal: Signal) -> Result<ExitStatus> {
        self.child.signal(signal)?;
        Ok(self.child.wait(STOP_LIMIT).await?)
    }
}

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// When it is none.
    pub fn expect_ok(self) -> Result<Value> {
        if self.status == 200 {
            Ok(self.body)
        } else {
            Err(format!("the server answered {}: {}", self.status, self.body).into())
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let text = response.text().await?;
    Ok(Answer {
        status,
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
    })
}

async fn spawn(folder: &Path, environment: &[(String, String)]) -> Result<(Child, String)> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("server.log"))?;
    let mut command = Command::new(built_binary("haven")?);
    command
        .args(["serve", "--demo", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder)
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| PASSED_ON.contains(&name.as_str())))
        // Tests share the machine: what it has to spare is their own affair.
        .env("HAVEN_CPU_BUDGET_PERCENT", "0")
        .env("HAVEN_MEMORY_BUDGET_PERCENT", "0")
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut child = Child::spawn("haven", command)?;
    let stdout = child.take_stdout().ok_or("haven has no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    let line = within("the server's first line", START_LIMIT, lines.next_line()).await??;
    let url = line
        .as_deref()
        .and_then(|line| line.strip_prefix("listening on "))
        .ok_or_else(|| format!("the server said {line:?}"))?
        .to_owned();
    Ok((child, url))
}
