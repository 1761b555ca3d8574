//! A real browser: Chromium without a window, driven through its DevTools protocol.

use crate::{
    error::{Result, RigError, within},
    paths::tool,
    process::Child,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{ChildStderr, Command},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// For the browser's start; on a busy machine it is slow.
const START_LIMIT: Duration = Duration::from_secs(60);
/// For the answer to one command, a script's own waiting included.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Complaints of a page that are kept.
const MAX_COMPLAINTS: usize = 200;
/// Commands that may wait to be sent.
const MAX_WAITING: usize = 16;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Complaints = Arc<Mutex<HashMap<String, Vec<String>>>>;

/// A Chromium of its own, with a profile of its own. Ends when it is dropped.
#[derive(Debug)]
pub struct Browser {
    commands: mpsc::Sender<Request>,
    complaints: Complaints,
    tasks: [JoinHandle<()>; 2],
    _child: Child,
    // Removed after the process has ended.
    _profile: TempDir,
}

/// A page that is open in a [`Browser`].
#[derive(Debug)]
pub struct Page<'a> {
    browser: &'a Browser,
    session: String,
}

/// A command, and where its answer goes.
#[derive(Debug)]
struct Request {
    method: &'static str,
    parameters: Value,
    session: Option<String>,
    reply: oneshot::Sender<std::result::Result<Value, String>>,
}

impl Browser {
    /// Starts Chromium.
    ///
    /// # Errors
    /// [`RigError::MissingTool`] when it isn't installed, and when it doesn't start.
    pub async fn start() -> Result<Self> {
        let profile = tempfile::tempdir().map_err(RigError::io("making a browser's profile"))?;
        let mut command = Command::new(tool("chromium")?);
        command
            .args([
                "--headless=new",
                "--remote-debugging-port=0",
                "--no-first-run",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-renderer-backgrounding",
                "--disable-background-timer-throttling",
                "--mute-audio",
                "--window-size=1280,900",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if rustix::process::geteuid().is_root() {
            // As root Chromium starts only without its sandbox; all it loads here are our pages.
            command.arg("--no-sandbox");
        }
        let mut child = Child::spawn("chromium", command)?;
        let missing = || RigError::unexpected("chromium", "no standard error");
        let mut errors = BufReader::new(child.take_stderr().ok_or_else(missing)?).lines();
        let address = within("chromium's start", START_LIMIT, async {
            loop {
                match errors.next_line().await {
                    Ok(Some(line)) => {
                        if let Some(address) = line.strip_prefix("DevTools listening on ") {
                            return Ok(address.to_owned());
                        }
                    }
                    _ => return Err(RigError::unexpected("chromium", "ended at its start")),
                }
            }
        })
        .await??;
        let (socket, _) = connect_async(&address)
            .await
            .map_err(|error| RigError::unexpected("the browser's DevTools", error))?;
        let (commands, queue) = mpsc::channel(MAX_WAITING);
        let complaints = Complaints::default();
        let tasks = [
            tokio::spawn(converse(socket, queue, Arc::clone(&complaints))),
            // Nobody reads the rest, but the pipe must not fill up.
            tokio::spawn(drain(errors)),
        ];
        Ok(Self {
            commands,
            complaints,
            tasks,
            _child: child,
            _profile: profile,
        })
    }

    /// Opens a page in a tab of its own and waits until it is loaded.
    ///
    /// # Errors
    /// When it can't be loaded.
    pub async fn open(&self, url: &str) -> Result<Page<'_>> {
        let target = self
            .command(None, "Target.createTarget", json!({"url": "about:blank"}))
            .await?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.command(None, "Target.attachToTarget", attach).await?;
        let session = attached["sessionId"].as_str().unwrap_or_default();
        let page = Page {
            browser: self,
            session: session.to_owned(),
        };
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            page.command(domain, json!({})).await?;
        }
        let went = page.command("Page.navigate", json!({"url": url})).await?;
        if let Some(problem) = went["errorText"].as_str() {
            return Err(RigError::unexpected(url, problem));
        }
        let loaded = "document.readyState === 'complete' && location.href !== 'about:blank'";
        page.wait_for(loaded, ANSWER_LIMIT).await?;
        Ok(page)
    }

    async fn command(
        &self,
        session: Option<&str>,
        method: &'static str,
        parameters: Value,
    ) -> Result<Value> {
        let (reply, answer) = oneshot::channel();
        let command = Request {
            method,
            parameters,
            session: session.map(str::to_owned),
            reply,
        };
        let gone = || RigError::unexpected(method, "the browser is gone");
        self.commands.send(command).await.map_err(|_| gone())?;
        within(method, ANSWER_LIMIT, answer)
            .await?
            .map_err(|_| gone())?
            .map_err(|problem| RigError::unexpected(method, problem))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Page<'_> {
    /// The value of an expression, or of the promise it gives.
    ///
    /// # Errors
    /// When it throws, and when its value is nothing that JSON can say.
    pub async fn evaluate(&self, expression: &str) -> Result<Value> {
        let parameters = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
        });
        let answer = self.command("Runtime.evaluate", parameters).await?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(RigError::unexpected(expression, thrown(details))),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// Waits until an expression is true in JavaScript's sense; gives its value.
    ///
    /// # Errors
    /// [`RigError::TimedOut`] with what the page complained of.
    pub async fn wait_for(&self, expression: &str, limit: Duration) -> Result<Value> {
        let begin = Instant::now();
        loop {
            // A page that is just being replaced can't be asked.
            let value = self.evaluate(expression).await.unwrap_or_default();
            let falsy = match &value {
                Value::Null => true,
                Value::Bool(value) => !value,
                Value::Number(number) => number.as_f64() == Some(0.0),
                Value::String(text) => text.is_empty(),
                Value::Array(_) | Value::Object(_) => false,
            };
            if !falsy {
                return Ok(value);
            }
            if begin.elapsed() > limit {
                return Err(RigError::TimedOut {
                    what: expression.into(),
                    limit,
                    detail: format!("; the page complained of {:?}", self.complaints()),
                });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Clicks on the middle of the first element that a CSS selector finds, as a person does: the
    /// page may play sound from then on.
    ///
    /// # Errors
    /// When there is none.
    pub async fn click(&self, selector: &str) -> Result<()> {
        let place = format!(
            "(() => {{ const box = document.querySelector({}).getBoundingClientRect(); \
             return [box.x + box.width / 2, box.y + box.height / 2]; }})()",
            json!(selector)
        );
        let place = self.evaluate(&place).await?;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({
                "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1,
            });
            self.command("Input.dispatchMouseEvent", event).await?;
        }
        Ok(())
    }

    /// What the page looks like now, as PNG.
    ///
    /// # Errors
    /// When it can't be drawn.
    pub async fn screenshot(&self) -> Result<Vec<u8>> {
        let answer = self.command("Page.captureScreenshot", json!({})).await?;
        STANDARD
            .decode(answer["data"].as_str().unwrap_or_default())
            .map_err(|error| RigError::unexpected("a screenshot", error))
    }

    /// Exceptions nobody caught, errors and warnings on the console, and what the browser itself
    /// objected to (a file that was not found, a breach of the content security policy).
    pub fn complaints(&self) -> Vec<String> {
        let complaints = self.browser.complaints.lock();
        complaints.get(&self.session).cloned().unwrap_or_default()
    }

    async fn command(&self, method: &'static str, parameters: Value) -> Result<Value> {
        self.browser
            .command(Some(&self.session), method, parameters)
            .await
    }
}

/// Sends commands and takes answers and events until either side ends.
async fn converse(socket: Socket, mut queue: mpsc::Receiver<Request>, complaints: Complaints) {
    let (mut sender, mut receiver) = socket.split();
    let mut asked = HashMap::new();
    let mut next_id = 0_u64;
    loop {
        tokio::select! {
            command = queue.recv() => {
                let Some(command) = command else { return };
                next_id += 1;
                let mut message = json!({
                    "id": next_id, "method": command.method, "params": command.parameters,
                });
                if let Some(session) = command.session {
                    message["sessionId"] = session.into();
                }
                asked.insert(next_id, command.reply);
                if sender.send(Message::text(message.to_string())).await.is_err() {
                    return;
                }
            }
            message = receiver.next() => {
                let Some(Ok(message)) = message else { return };
                let Message::Text(text) = message else { continue };
                let Ok(mut message) = serde_json::from_str::<Value>(&text) else { continue };
                let reply = message["id"].as_u64().and_then(|id| asked.remove(&id));
                let Some(reply) = reply else {
                    take_event(&message, &complaints);
                    continue;
                };
                // Nobody waits any more: it took too long.
                _ = reply.send(match message.get("error") {
                    Some(error) => Err(error.to_string()),
                    None => Ok(message["result"].take()),
                });
            }
        }
    }
}

fn take_event(event: &Value, complaints: &Complaints) {
    let parameters = &event["params"];
    let complaint = match event["method"].as_str() {
        Some("Runtime.exceptionThrown") => thrown(&parameters["exceptionDetails"]),
        Some("Runtime.consoleAPICalled")
            if matches!(parameters["type"].as_str(), Some("error" | "warning")) =>
        {
            parameters["args"].to_string()
        }
        Some("Log.entryAdded")
            if matches!(
                parameters["entry"]["level"].as_str(),
                Some("error" | "warning")
            ) =>
        {
            let entry = &parameters["entry"];
            format!("{} {}", entry["text"], entry["url"])
        }
        _ => return,
    };
    let session = event["sessionId"].as_str().unwrap_or_default();
    let mut complaints = complaints.lock();
    let kept = complaints.entry(session.to_owned()).or_default();
    if kept.len() < MAX_COMPLAINTS {
        kept.push(complaint);
    }
}

fn thrown(details: &Value) -> String {
    let exception = &details["exception"];
    let text = exception["description"].as_str();
    let text = text.or(details["text"].as_str());
    text.unwrap_or("an exception").to_owned()
}

async fn drain(mut lines: tokio::io::Lines<BufReader<ChildStderr>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::trace!(line, "chromium");
    }
}
