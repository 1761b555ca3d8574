//! The real server on a free port, with a fake worker and a stand-in of pump.fun.

#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod commands;
pub(crate) mod discovery;
pub(crate) mod events;
pub(crate) mod operations;
pub(crate) mod schema;
pub(crate) mod watching;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use warp::{Filter, http::Response};

/// Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A coin that is live at the stand-in.
pub(crate) const LIVE: &str = "5PJRpFL7ZH7HEnHPJiAymwuzGRLLPTDkfNTKFG1wpump";
/// A coin that is offline there.
pub(crate) const OFFLINE: &str = "So11111111111111111111111111111111111111112";
/// A coin about which it fails.
pub(crate) const FAILING: &str = "11111111111111111111111111111111";

/// A coin that was live when it was asked about first, and is over since.
pub(crate) const OVER: &str = "4k3Dyjzvzp8eMZWUXbBCjEvwSkkk59S5iCNLY3QrkX6R";
/// A coin that is live, and may be asked about only once.
pub(crate) const LIMITED: &str = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGkZwyTDt1v";

pub(crate) type Viewer = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A server process. Dropping it kills it; [`Server::stop`] ends it as a user does.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) data: Arc<tempfile::TempDir>,
    pub(crate) http: reqwest::Client,
}

/// How a server is started.
pub(crate) struct Options {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) data: Arc<tempfile::TempDir>,
    pub(crate) worker: PathBuf,
    /// How many files the server may open.
    pub(crate) open_files: Option<u32>,
    /// Where its log goes; none: to the test's own.
    pub(crate) log: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            env: Vec::new(),
            data: Arc::new(tempfile::tempdir().unwrap()),
            worker: fake_worker(),
            open_files: None,
            log: None,
        }
    }
}

impl Options {
    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Generic rooms can be started.
    pub(crate) fn livekit(self) -> Self {
        self.env("LIVEKIT_URL", "ws://127.0.0.1:1")
            .env("LIVEKIT_API_KEY", "key")
            .env("LIVEKIT_API_SECRET", "a secret of at least 32 characters")
    }

    /// The command, with a bare environment.
    pub(crate) fn command(&self) -> Command {
        const HAVEN: &str = env!("CARGO_BIN_EXE_haven");
        let mut command = match self.open_files {
            None => Command::new(HAVEN),
            Some(limit) => {
                let mut shell = Command::new("sh");
                let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
                shell.arg("-c").arg(script).arg(HAVEN);
                shell
            }
        };
        command
            .arg("serve")
            .args(["--listen", "127.0.0.1:0", "--worker"])
            .arg(&self.worker)
            .arg("--data-dir")
            .arg(self.data.path())
            .args(&self.args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HAVEN_DISK_RESERVE_BYTES", "0")
            // Tests share the machine: what it has to spare is their own affair.
            .env("HAVEN_CPU_BUDGET_PERCENT", "0")
            .env("HAVEN_MEMORY_BUDGET_PERCENT", "0")
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if let Some(path) = &self.log {
            command.stderr(std::fs::File::create(path).unwrap());
        }
        command
    }

    pub(crate) async fn start(self) -> Server {
        let mut child = self.command().spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
        let line = line.expect("the server ended before it listened");
        let address = line.strip_prefix("listening on ").unwrap();
        let (_, address) = address.split_once("://").unwrap();
        Server {
            child,
            address: address.parse().unwrap(),
            data: self.data,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }
}

impl Server {
    pub(crate) async fn start(options: Options) -> Self {
        options.start().await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        let request = self.http.request(method, self.url(path));
        let request = request.body(body.to_owned()).timeout(PATIENCE);
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, response.json().await.unwrap())
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(Method::POST, path, &body.to_string()).await
    }

    /// A POST that must succeed.
    pub(crate) async fn ok(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.post(path, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        assert_eq!(answer["success"], true);
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.send(Method::GET, path, "").await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    /// A GET whose answer is looked at closely.
    pub(crate) async fn fetch(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let mut request = self.http.get(self.url(path)).timeout(PATIENCE);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// Waits until a GET answers as wanted.
    pub(crate) async fn until_get(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let (_, answer) = self.send(Method::GET, path, "").await;
            if wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < until, "{path}: never as wanted: {answer}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends as power does; the server's successor on the same data folder.
    pub(crate) async fn killed(mut self, next: Options) -> Server {
        self.signal(rustix::process::Signal::KILL);
        self.wait().await;
        let data = Arc::clone(&self.data);
        Options { data, ..next }.start().await
    }

    pub(crate) async fn start_room(&self, room: &str) -> Value {
        self.ok("/api/live-sessions/start", json!({"room_name": room}))
            .await
    }

    /// Opens a viewer's WebSocket.
    pub(crate) async fn watch(&self, path: &str) -> Viewer {
        let url = format!("ws://{}{path}", self.address);
        connect_async(url).await.unwrap().0
    }

    /// The session as `GET active` shows it.
    pub(crate) async fn session(&self, key: &str) -> Value {
        self.get("/api/live-sessions/active").await["sessions"][key].clone()
    }

    /// Waits until the session is as wanted.
    pub(crate) async fn until(&self, key: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let session = self.session(key).await;
            if wanted(&session) {
                return session;
            }
            assert!(Instant::now() < until, "never as wanted: {session}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where recordings lie unless the options say otherwise.
    pub(crate) fn recordings_dir(&self) -> PathBuf {
        self.data.path().join("recordings")
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) async fn wait(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap()
    }

    /// Ends the server as Ctrl-C does; it must end well and leave no socket.
    pub(crate) async fn stop(mut self) {
        self.signal(rustix::process::Signal::INT);
        assert!(self.wait().await.success());
        let run = self.data.path().join("run");
        let left = std::fs::read_dir(run).map_or(0, |entries| entries.count());
        assert_eq!(left, 0, "something is left of the sockets");
    }
}

/// The worker's process, from what the fake shows as the streamer.
pub(crate) fn worker_pid(session: &Value) -> rustix::process::Pid {
    let sid = session["participant_sid"].as_str().unwrap();
    let pid = sid.strip_prefix("PA_").unwrap().parse().unwrap();
    rustix::process::Pid::from_raw(pid).unwrap()
}

/// Waits until a process is gone (waited for by its parent).
pub(crate) async fn until_gone(pid: rustix::process::Pid) {
    let until = Instant::now() + PATIENCE;
    while rustix::process::test_kill_process(pid).is_ok() {
        assert!(Instant::now() < until, "process {pid:?} is still there");
        sleep(Duration::from_millis(20)).await;
    }
}

fn fake_worker() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_haven")).with_file_name("examples/fake_worker");
    assert!(
        path.exists(),
        "{} is missing: build it with cargo build -p haven --examples",
        path.display()
    );
    path
}

/// A stand-in of pump.fun's HTTP API; its tokens are for nobody.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    /// The mints for which a token was asked, in turn.
    pub(crate) joins: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let joins = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&joins);
        let join = warp::path!("livestream" / "join")
            .and(warp::body::json())
            .map(move |body: Value| {
                let mint = body["mintId"].as_str().unwrap_or_default().to_owned();
                let mut log = log.lock().unwrap();
                let again = log.contains(&mint);
                log.push(mint.clone());
                match mint.as_str() {
                    LIMITED if again => Response::builder()
                        .status(429)
                        .header("retry-after", "3600")
                        .body(String::new())
                        .unwrap(),
                    OVER if again => answer(200, ""),
                    LIVE | LIMITED | OVER => answer(201, &json!({"token": "a.token"}).to_string()),
                    FAILING => answer(403, "<html>no</html>"),
                    _ => answer(200, ""),
                }
            });
        let coin = warp::path!("coins" / String).map(|mint: String| {
            let coin = json!({"mint": mint, "name": "KindnessCoin", "symbol": "KIND",
                "usd_market_cap": 101_778.36, "num_participants": 3, "telegram": "@k"});
            answer(200, &coin.to_string())
        });
        let stream = warp::path!("livestream")
            .map(|| answer(200, &json!({"id": 1, "numParticipants": 231}).to_string()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = join.or(coin).or(stream);
        tokio::spawn(warp::serve(routes).incoming(listener).run());
        Self { address, joins }
    }

    /// Options of a server that asks this stand-in.
    pub(crate) fn options(&self) -> Options {
        let url = format!("http://{}", self.address);
        Options::default()
            .env("HAVEN_PUMPFUN_LIVESTREAM_URL", &url)
            .env("HAVEN_PUMPFUN_FRONTEND_URL", &url)
            .env("HAVEN_PUMPFUN_LIVEKIT_URL", "ws://127.0.0.1:1")
    }
}

fn answer(status: u16, body: &str) -> Response<String> {
    let response = Response::builder().status(status);
    response.body(body.to_owned()).unwrap()
}
