//! A receiver of webhooks that verifies them with LiveKit's own library (Go).

use crate::{
    access::Keys,
    error::{Result, RigError, within},
    paths,
    process::Child,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
};

/// How long it may take to start, and to take a command.
const LIMIT: Duration = Duration::from_secs(60);

/// What requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200, once verified.
    Ok,
    /// 503.
    Busy,
    /// 400.
    Wrong,
    /// Nothing: the connection is closed.
    Down,
}

impl Answer {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Busy => "busy",
            Self::Wrong => "wrong",
            Self::Down => "down",
        }
    }
}

/// A request as LiveKit's library has read it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Received {
    address: String,
    /// Kind of the event.
    pub event: String,
    /// Its id.
    pub id: String,
    /// All of it.
    pub body: Value,
    /// The request's `Content-Type`.
    pub content_type: String,
    /// Whether it was genuine, and answered with 200.
    pub taken: bool,
    /// Why it isn't genuine.
    pub error: String,
}

/// The running receiver. It ends when dropped.
#[derive(Debug)]
pub struct WebhookReceiver {
    address: String,
    lines: Lines<BufReader<ChildStdout>>,
    stdin: ChildStdin,
    _child: Child,
}

impl WebhookReceiver {
    /// Starts it; it takes what these keys have signed.
    ///
    /// # Errors
    /// When Go is missing, or it can't be built or started.
    pub async fn start(keys: &Keys) -> Result<Self> {
        let binary = paths::go_program("livekit-server", "./webhook-receiver").await?;
        let mut command = Command::new(binary);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Child::spawn("the webhooks' receiver", command)?;
        let no_pipe = || RigError::unexpected("starting the webhooks' receiver", "it has no pipes");
        let stdin = child.take_stdin().ok_or_else(no_pipe)?;
        let stdout = child.take_stdout().ok_or_else(no_pipe)?;
        let mut this = Self {
            address: String::new(),
            lines: BufReader::new(stdout).lines(),
            stdin,
            _child: child,
        };
        this.write(&json!({"key": keys.key, "secret": keys.secret}))
            .await?;
        this.address = this.next(LIMIT).await?.address;
        Ok(this)
    }

    /// Where it listens, `http://127.0.0.1:PORT/hook`.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The next request that it has verified, or found not to be genuine.
    ///
    /// # Errors
    /// [`RigError::TimedOut`], or when it has ended.
    pub async fn next(&mut self, limit: Duration) -> Result<Received> {
        let what = "reading from the webhooks' receiver";
        let line = within(what, limit, self.lines.next_line())
            .await?
            .map_err(RigError::io(what))?
            .ok_or_else(|| RigError::unexpected(what, "it has ended"))?;
        serde_json::from_str(&line).map_err(|error| RigError::unexpected(what, error))
    }

    /// What requests are answered from now on. What came before is given back.
    ///
    /// # Errors
    /// As [`WebhookReceiver::next`].
    pub async fn answer(&mut self, answer: Answer) -> Result<Vec<Received>> {
        self.write(&json!({"answer": answer.name()})).await?;
        let mut before = Vec::new();
        loop {
            let next = self.next(LIMIT).await?;
            if next.event == "answer" {
                return Ok(before);
            }
            before.push(next);
        }
    }

    async fn write(&mut self, line: &Value) -> Result<()> {
        let line = format!("{line}\n");
        self.stdin
            .write_all(line.as_bytes())
            .await
            .map_err(RigError::io("writing to the webhooks' receiver"))
    }
}
