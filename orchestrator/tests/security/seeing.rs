//! What is seen: files, secrets, and what a page or a worker is given.

use crate::{
    TOKEN,
    support::{
        Options, PATIENCE, Server, Upstream,
        operations::{ask, is_finite, open, operations},
        worker_pid,
    },
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

const SECRET: &str = "planted-secret-of-the-livekit-server-91b2";

const HOOKS: &str = "planted-secret-of-the-webhooks-77aa";

/// What is no name of anything, but a way to somewhere else.
const WAYS_OUT: [&str; 8] = [
    "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%5c..%5cetc%5cpasswd",
    "%2fetc%2fpasswd",
    "....%2f%2f....%2f%2fetc%2fpasswd",
    "haven.db%00",
    "1%2f..%2f..%2fhaven.db",
    "..%252f..%252fetc%252fpasswd",
];

#[tokio::test]
async fn names_lead_nowhere_else() {
    let upstream = Upstream::start().await;
    let server = upstream.options().livekit().start().await;
    for way in WAYS_OUT {
        for path in [
            format!("/{way}"),
            format!("/api/{way}"),
            format!("/api/recordings/{way}"),
            format!("/api/recordings/{way}/file"),
            format!("/api/recordings/1/file?part={way}"),
            format!("/api/recordings/{way}/thumbnail"),
            format!("/api/recordings?mint_id={way}"),
            format!("/api/recording/status/{way}"),
            format!("/api/live-sessions/stream/{way}"),
            format!("/api/live-sessions/ws/live/{way}"),
            format!("/api/pumpfun/coin/{way}"),
            format!("/api/pumpfun/validate/{way}"),
        ] {
            let (status, _, text) = ask(&server, Method::GET, &path, &[]).await;
            let is_nothing = ["\"is_recording\":false", "\"is_valid\":false"];
            let is_refused =
                status.is_client_error() || is_nothing.iter().any(|nothing| text.contains(nothing));
            let is_empty = status == 200 && text.contains("\"total\":0");
            assert!(is_refused || is_empty, "{path}: {status} {text}");
            assert!(
                !text.contains("root:") && !text.contains("SQLite"),
                "{path}: {text}"
            );
        }
        let (status, _) = server
            .send(Method::DELETE, &format!("/api/recordings/{way}"), "")
            .await;
        assert!(status.is_client_error(), "{way}: {status}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_recorded_of_any_room_lies_in_the_folder() {
    let server = Options::default().livekit().start().await;
    for room in [
        "../../escape",
        "/tmp/escape",
        "..",
        "a/../../b",
        "\u{202e}gpj.exe",
        ".hidden",
    ] {
        let (status, answer) = server
            .post("/api/live-sessions/start", json!({"room_name": room}))
            .await;
        // What is no name of a room is refused.
        if !status.is_success() {
            assert!(status.is_client_error(), "{room}: {answer}");
            continue;
        }
        let request = json!({"room_name": room, "output_format": "h264"});
        let started = server.ok("/api/recording/start", request.clone()).await;
        let path = PathBuf::from(started["output_path"].as_str().unwrap());
        let folder = path.parent().unwrap().canonicalize().unwrap();
        assert_eq!(
            folder,
            server.recordings_dir().canonicalize().unwrap(),
            "{room}"
        );
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(!name.starts_with('.') && name.is_ascii(), "{name}");
        server.ok("/api/recording/stop", request).await;
    }
    server.stop().await;
}

/// The processes that this one has started, and theirs.
fn descendants(pid: u32) -> Vec<u32> {
    let children = std::fs::read_dir(format!("/proc/{pid}/task")).map_or_else(
        |_| Vec::new(),
        |tasks| {
            let list = |task: std::fs::DirEntry| {
                std::fs::read_to_string(task.path().join("children")).unwrap_or_default()
            };
            let lists: Vec<String> = tasks.flatten().map(list).collect();
            let pids = lists.iter().flat_map(|list| list.split_whitespace());
            pids.filter_map(|pid| pid.parse().ok()).collect()
        },
    );
    let further = children.iter().flat_map(|pid| descendants(*pid));
    further.chain(children.iter().copied()).collect()
}

/// Fails where a planted value is in it.
fn is_clean(what: &str, text: &[u8]) {
    for planted in [TOKEN, SECRET, HOOKS] {
        let planted = planted.as_bytes();
        let found = text.windows(planted.len()).position(|part| part == planted);
        assert_eq!(found, None, "{what} has a secret");
    }
}

fn write_private(path: &Path, text: &str) -> String {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A server that knows all the planted values, each as an operator gives it, and where its log is.
async fn planted(dir: &Path, upstream: &Upstream) -> (Server, PathBuf) {
    let token = write_private(&dir.join("token"), &format!("{TOKEN}\n"));
    let text = format!(
        "api_token_file = '{token}'\nlivekit_url = 'ws://127.0.0.1:1'\nlivekit_api_key = 'key'\n\
         livekit_api_secret = '{SECRET}'\nwebhook_api_key = 'key'\n\
         webhook_api_secret = '{HOOKS}'\nwebhook_urls = ['http://127.0.0.1:9/{HOOKS}']\n"
    );
    let config = write_private(&dir.join("haven.toml"), &text);
    let log = dir.join("log");
    let server = Options {
        log: Some(log.clone()),
        ..upstream.options()
    };
    let server = server
        .env("RUST_LOG", "trace")
        .arg("--config")
        .arg(&config)
        .start()
        .await;
    (server, log)
}

#[tokio::test]
async fn planted_secrets_are_in_no_log_answer_argument_or_environment() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start().await;
    let (server, log) = planted(dir.path(), &upstream).await;
    let right = format!("Bearer {TOKEN}");
    let authorized = [("authorization", &*right)];
    let send = async |method: Method, path: &str, body: Value| {
        let request = server.http.request(method, server.url(path));
        let request = request.bearer_auth(TOKEN).body(body.to_string());
        let answer = request.timeout(PATIENCE).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let room = json!({"room_name": "r"});
    let started = send(Method::POST, "/api/live-sessions/start", room.clone()).await;
    is_clean("a start", started.as_bytes());
    let request = json!({"room_name": "r", "output_format": "h264"});
    is_clean(
        "a recording",
        send(Method::POST, "/api/recording/start", request)
            .await
            .as_bytes(),
    );
    // What is wrong is told without what was right.
    for body in [
        json!({"livekit_api_secret": 7}),
        json!({"livekit_url": "ftp://x"}),
    ] {
        let told = send(Method::PUT, "/api/config", body).await;
        is_clean("an error of the configuration", told.as_bytes());
    }
    let viewer = format!("/api/live-sessions/ws/live/r?token={TOKEN}");
    assert_eq!(open(&server, &viewer, &[]).await, 101);
    for (method, path) in operations(&server, &authorized).await {
        if method == Method::GET && is_finite(&path) {
            let (_, headers, text) = ask(&server, method, &path, &authorized).await;
            is_clean(&path, text.as_bytes());
            is_clean(&path, format!("{headers:?}").as_bytes());
        }
    }

    let processes = descendants(server.pid());
    assert!(!processes.is_empty(), "no worker is running");
    for pid in processes.iter().chain([&server.pid()]) {
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{file}");
            is_clean(&path, &std::fs::read(&path).unwrap_or_default());
        }
    }
    let database = std::fs::metadata(server.data.path().join("haven.db")).unwrap();
    assert_eq!(database.mode() & 0o777, 0o600);
    server.stop().await;
    let logged = std::fs::read(&log).unwrap();
    assert!(logged.len() > 1000, "nothing was logged");
    is_clean("the log", &logged);
}

#[tokio::test]
async fn the_page_runs_its_own_scripts_only() {
    let server = Server::start(Options::default()).await;
    for path in ["/", "/api/docs"] {
        let (status, headers, _) = ask(&server, Method::GET, path, &[]).await;
        assert_eq!(status, 200);
        let policy = headers["content-security-policy"]
            .to_str()
            .unwrap()
            .to_owned();
        let script = policy.split(';').find(|part| part.contains("script-src"));
        let script = script.unwrap_or("default-src").trim();
        assert!(
            !script.contains("unsafe") && !script.contains("http"),
            "{policy}"
        );
        assert!(policy.contains("default-src"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
    }
    let policy = ask(&server, Method::GET, "/", &[]).await.1["content-security-policy"].clone();
    let policy = policy.to_str().unwrap().to_owned();
    for part in [
        "img-src 'self' data: blob: https:",
        "media-src 'self' blob:",
        "worker-src 'self' blob:",
        "connect-src 'self' ws: wss:",
    ] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_worker_is_started_with_what_it_needs_and_no_more() {
    let server = Options::default()
        .livekit()
        .env("HAVEN_API_TOKEN", TOKEN)
        .env("SOMETHING_ELSE", "x")
        .start()
        .await;
    let request = server.http.post(server.url("/api/live-sessions/start"));
    let request = request
        .bearer_auth(TOKEN)
        .body(json!({"room_name": "r"}).to_string());
    request.send().await.unwrap().error_for_status().unwrap();
    let request = server.http.get(server.url("/api/live-sessions/active"));
    let active: Value = request
        .bearer_auth(TOKEN)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let pid = worker_pid(&active["sessions"]["r"]).as_raw_nonzero();
    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let names: Vec<_> = environ
        .split(|byte| *byte == 0)
        .filter_map(|pair| pair.split(|byte| *byte == b'=').next())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .filter(|name| !name.is_empty())
        .collect();
    for name in &names {
        let is_known = ["PATH", "HOME", "LANG", "TZ", "RUST_LOG"].contains(&name.as_str())
            || ["GST_", "LC_", "XDG_", "SSL_CERT_"]
                .iter()
                .any(|known| name.starts_with(known));
        assert!(is_known, "{name} of {names:?}");
    }
    server.stop().await;
}
