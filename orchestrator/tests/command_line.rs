//! The commands beside `serve` and `record`, and what `serve` tells a person and a service manager.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use std::{os::unix::fs::PermissionsExt, path::Path, process::Stdio};
use support::{
    Options, PATIENCE, Server,
    commands::{json as answer, run},
    discovery,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
    time::timeout,
};

const PLANTED: &str = "planted-secret-7c1f";

/// A file that may hold secrets.
fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_wrong_key_is_told_with_file_line_and_the_nearest_right_one() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("api_token = '{PLANTED}'\nspilt_minutes = 5\nretain_days = -1\n");
    let file = write(dir.path(), "haven.toml", &text);
    let said = run(&["config", "check", &file], &[]).await;
    assert_eq!(said.code, Some(1));
    let lines: Vec<_> = said.out.lines().collect();
    assert_eq!(
        lines[0],
        format!("{file}, line 2: `spilt_minutes` is no setting: did you mean `split_minutes`?")
    );
    assert!(
        lines[1].starts_with(&format!("{file}, line 3: `retain_days`")),
        "{said:?}"
    );
    assert!(!said.out.contains(PLANTED) && !said.err.contains(PLANTED));

    // So the server, at its start.
    let said = run(&["serve", "--config", &file], &[]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("line 2") && said.err.contains("1 more"),
        "{said:?}"
    );

    let file = write(dir.path(), "right.toml", "split_minutes = 5\n");
    let said = run(&["config", "check", "--config", &file], &[]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("in order"));
}

#[tokio::test]
async fn what_is_set_is_shown_with_its_source_and_without_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("livekit_api_secret = '{PLANTED}'\nsplit_minutes = 5\nretain_days = 3\n");
    let file = write(dir.path(), "haven.toml", &text);
    let env = [
        ("HAVEN_API_TOKEN".to_owned(), PLANTED.to_owned()),
        ("HAVEN_RETAIN_DAYS".to_owned(), "4".to_owned()),
    ];
    let args = ["config", "show", "--config", &file, "--demo"];
    let said = run(&args, &env).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    for line in [
        "demo = true  # command line".to_owned(),
        "retain_days = 4  # environment, HAVEN_RETAIN_DAYS".to_owned(),
        format!("split_minutes = 5  # {file}"),
        "api_token = \"(hidden)\"  # environment, HAVEN_API_TOKEN".to_owned(),
        "# listen: 127.0.0.1:8000".to_owned(),
    ] {
        assert!(
            said.out.lines().any(|shown| shown == line),
            "{line}: {said:?}"
        );
    }
    let args = ["config", "show", "--json", "--config", &file];
    let shown = answer(&args, &env).await;
    assert_eq!(shown["split_minutes"]["value"], 5);
    assert_eq!(shown["livekit_api_secret"]["value"], "(hidden)");
    assert_eq!(shown["listen"]["value"], Value::Null);
    assert!(!said.out.contains(PLANTED) && !shown.to_string().contains(PLANTED));
}

/// Has a shell read a script from its standard input; what it says then.
async fn shell(program: &str, args: &[&str], script: &Path) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .arg(script)
        .stdin(Stdio::null())
        .output();
    let output = match timeout(PATIENCE, output).await.unwrap() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        output => output.unwrap(),
    };
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{program}: {text}");
    Some(text)
}

#[tokio::test]
async fn completions_load_in_their_shells() {
    let dir = tempfile::tempdir().unwrap();
    for (name, loading) in [
        ("bash", "source SCRIPT && complete -p haven"),
        (
            "zsh",
            "autoload -U compinit && compinit -u -D && source SCRIPT && echo $_comps[haven]",
        ),
        ("fish", "source SCRIPT; complete -C 'haven rec'"),
    ] {
        let said = run(&["completions", name], &[]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let script = write(dir.path(), name, &said.out);
        let loading = write(dir.path(), "loading", &loading.replace("SCRIPT", &script));
        let args: &[&str] = if name == "zsh" { &["-f"] } else { &[] };
        let Some(text) = shell(name, args, loading.as_ref()).await else {
            assert_ne!(name, "bash", "it is on every machine");
            eprintln!("{name} is not installed: not tried");
            continue;
        };
        assert!(
            text.contains("haven") || text.contains("record"),
            "{name}: {text}"
        );
    }
}

#[tokio::test]
async fn the_manual_has_a_page_for_every_command() {
    let said = run(&["man"], &[]).await;
    assert!(said.out.contains(".TH haven 1"), "{said:?}");
    let dir = tempfile::tempdir().unwrap();
    let said = run(&["man", "--dir", dir.path().to_str().unwrap()], &[]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    for page in ["haven", "haven-serve", "haven-record", "haven-config-check"] {
        assert!(dir.path().join(format!("{page}.1")).is_file(), "{page}");
    }
}

#[tokio::test]
async fn live_streams_are_listed_without_a_server() {
    let fake = discovery::stand_in().await;
    let env = discovery::options(&fake).env;
    let said = run(&["live"], &env).await;
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), "Nothing is live.\n")
    );
    let [first, nsfw, last, offline] = discovery::add_coins(&fake);
    let said = run(&["live"], &env).await;
    let lines: Vec<_> = said.out.lines().collect();
    assert_eq!(lines.len(), 3, "{said:?}");
    assert!(
        lines[1].starts_with(&first) && lines[1].contains("500"),
        "{said:?}"
    );
    assert!(
        lines[2].starts_with(&last) && lines[2].contains("Coin of 5"),
        "{said:?}"
    );
    let all = answer(&["live", "--nsfw", "--json"], &env).await;
    let mints: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|coin| &coin["mint"])
        .collect();
    assert_eq!(mints, [&json!(first), &json!(nsfw), &json!(last)]);
    assert!(!all.to_string().contains(&offline));
    drop(fake);
    let said = run(&["live"], &env).await;
    assert_eq!(said.code, Some(1), "{said:?}");
}

/// A recording of a server's, which has ended.
async fn recorded(server: &Server, room: &str) -> Value {
    server.start_room(room).await;
    let body = json!({"mint_id": room, "output_format": "h264"});
    server.ok("/api/recording/start", body).await;
    let path = format!("/api/recording/status/{room}");
    server
        .until_get(&path, |status| status["bytes"].as_u64() > Some(20))
        .await;
    server
        .ok("/api/recording/stop", json!({"mint_id": room}))
        .await
}

#[tokio::test]
async fn recordings_are_listed_joined_and_deleted_with_and_without_the_server() {
    let server = Options::default().livekit().start().await;
    let first = recorded(&server, "one").await;
    let second = recorded(&server, "two").await;
    let (data, url) = (std::sync::Arc::clone(&server.data), server.url(""));
    let folder = data.path().to_str().unwrap().to_owned();
    let id = |recording: &Value| recording["recording_id"].to_string();

    let of_server = ["recordings", "--server", &url, "--json", "list"];
    let by_server = answer(&of_server, &[]).await;
    assert_eq!(by_server["total"], 2);
    let said = run(&["recordings", "--server", &url, "show", &id(&first)], &[]).await;
    assert!(
        said.out.contains("finished") && said.out.contains("one_"),
        "{said:?}"
    );
    let said = run(&["recordings", "--server", &url, "delete", "99"], &[]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("99"), "{said:?}");
    // A server has the folder, and isn't where the configuration says.
    let port = ("HAVEN_LISTEN".to_owned(), "127.0.0.1:1".to_owned());
    let args = ["recordings", "--data-dir", &folder, "delete", &id(&first)];
    let said = run(&args, &[port]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("--server"), "{said:?}");
    server.stop().await;

    let args = ["recordings", "--data-dir", &folder, "--json", "list"];
    let by_folder = answer(&args, &[]).await;
    assert_eq!(by_folder["recordings"], by_server["recordings"]);
    let args = ["recordings", "--data-dir", &folder, "list", "--of", "two"];
    let said = run(&args, &[]).await;
    assert_eq!(said.out.lines().count(), 2, "{said:?}");
    let args = ["recordings", "--data-dir", &folder, "join", &id(&second)];
    let said = run(&args, &[]).await;
    assert!(Path::new(said.out.trim()).is_file(), "{said:?}");
    let args = [
        "recordings",
        "--data-dir",
        &folder,
        "delete",
        &id(&first),
        &id(&second),
    ];
    assert_eq!(run(&args, &[]).await.code, Some(0));
    let args = ["recordings", "--data-dir", &folder, "list"];
    assert_eq!(run(&args, &[]).await.out, "There are no recordings.\n");
    let left = std::fs::read_dir(data.path().join("recordings"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
    let args = ["recordings", "--data-dir", "/nonexistent", "list"];
    assert_eq!(run(&args, &[]).await.code, Some(1));
}

/// The JSON log of a server that has run a session in this room, and the session's id.
async fn log_of_a_session(room: &str) -> (Vec<Value>, Value) {
    let options = Options::default().livekit().arg("--log-format=json");
    let mut command = options.command();
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
    let url = line
        .unwrap()
        .strip_prefix("listening on ")
        .unwrap()
        .to_owned();
    let mut log = child.stderr.take().unwrap();
    let reading = tokio::spawn(async move {
        let mut text = String::new();
        log.read_to_string(&mut text).await.unwrap();
        text
    });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let start = http.post(format!("{url}/api/live-sessions/start"));
    let answer = start.json(&json!({ "room_name": room })).send().await;
    let answer: Value = answer.unwrap().json().await.unwrap();
    assert!(answer["session_id"].is_number(), "{answer}");
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert!(status.success());
    let text = timeout(PATIENCE, reading).await.unwrap().unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (lines.collect(), answer["session_id"].clone())
}

#[tokio::test]
async fn what_is_told_of_a_session_names_it_on_every_line() {
    let room = "a \"room\"";
    let (lines, id) = log_of_a_session(room).await;
    let of_session = |line: &&Value| {
        let target = line["target"].as_str().unwrap();
        target.starts_with("haven::sessions")
            || target == "haven::worker::link"
            || target == "worker"
    };
    let told: Vec<_> = lines.iter().filter(of_session).collect();
    assert!(told.len() >= 3, "{lines:?}");
    for line in &told {
        let named = (&line["session_id"], &line["mint"]);
        assert_eq!(named, (&id, &json!(room)), "{line}");
        assert!(line["timestamp"].is_string() && line["message"].is_string());
    }
    // The worker's own words, at the level it gave them.
    let own = told.iter().find(|line| line["target"] == "worker").unwrap();
    let said = (&own["level"], &own["message"]);
    assert_eq!(said, (&json!("WARN"), &json!("fake_worker: at work")));
}

/// What is asked under a name that isn't known, and with a token.
async fn status(server: &Server, host: &str, token: &str) -> u16 {
    let request = server.http.get(server.url("/api/config"));
    let request = request.header("host", host).bearer_auth(token);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn sighup_takes_over_what_can_be_and_a_wrong_file_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let manager = std::os::unix::net::UnixDatagram::bind(dir.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut bytes = [0; 100];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let file = write(
        dir.path(),
        "haven.toml",
        "api_token = 'old'\nretain_days = 3\n",
    );
    let server = Options::default()
        .env("NOTIFY_SOCKET", dir.path().join("notify").to_str().unwrap())
        .arg("--config")
        .arg(&file)
        .start()
        .await;
    assert_eq!(heard(), "READY=1");
    assert_eq!(status(&server, "localhost", "old").await, 200);
    assert_eq!(status(&server, "new.example", "old").await, 421);

    let text = "api_token = 'new'\nretain_days = 4\nallowed_hosts = ['new.example']\nlisten = '127.0.0.1:1'\n";
    write(dir.path(), "haven.toml", text);
    server.signal(Signal::HUP);
    assert_eq!((heard(), heard()), ("RELOADING=1".into(), "READY=1".into()));
    assert_eq!(status(&server, "localhost", "old").await, 401);
    assert_eq!(status(&server, "new.example", "new").await, 200);
    let request = server
        .http
        .get(server.url("/api/config"))
        .bearer_auth("new");
    let config: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(config["retain_days"], 4);

    write(
        dir.path(),
        "haven.toml",
        "api_token = 'newest'\nretain_dayz = 5\n",
    );
    server.signal(Signal::HUP);
    assert_eq!((heard(), heard()), ("RELOADING=1".into(), "READY=1".into()));
    assert_eq!(status(&server, "new.example", "new").await, 200);
    server.stop().await;
    assert_eq!(heard(), "STOPPING=1");
}

#[tokio::test]
async fn streams_are_watched_by_a_running_server() {
    let fake = discovery::stand_in().await;
    let [.., offline] = discovery::add_coins(&fake);
    let server = discovery::options(&fake).start().await;
    let url = server.url("");
    let watch = async |args: &[&str]| {
        let args: Vec<_> = ["watch", "--server", &url]
            .into_iter()
            .chain(args.to_vec())
            .collect();
        run(&args, &[]).await
    };
    assert_eq!(watch(&["list"]).await.out, "Nothing is watched.\n");
    let said = watch(&["add", &offline, "--format", "h264", "--split", "30m"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let rules = server.get("/api/watch").await["rules"].clone();
    assert_eq!(rules[0]["output_format"], "h264", "{rules}");
    assert_eq!(rules[0]["split_minutes"].as_f64(), Some(30.0), "{rules}");
    let id = rules[0]["id"].to_string();
    assert_eq!(said.out, format!("rule {id} is added\n"));
    let said = watch(&["list"]).await;
    assert!(
        said.out.contains(&offline) && said.out.contains("waiting"),
        "{said:?}"
    );
    assert_eq!(watch(&["remove", &id]).await.code, Some(0));
    let said = watch(&["remove", &id]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(watch(&["add"]).await.code, Some(2));
    assert_eq!(watch(&["add", "no mint"]).await.code, Some(1));
    server.stop().await;
    let said = watch(&["list"]).await;
    assert!(
        said.code == Some(1) && said.err.contains("haven serve"),
        "{said:?}"
    );
}

#[tokio::test]
async fn the_doctor_tells_what_is_wrong_and_which_package_helps() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let listen = ["--listen", "127.0.0.1:0", "--data-dir", folder];
    let args: Vec<_> = ["doctor", "--offline"].into_iter().chain(listen).collect();
    let said = run(&args, &[]).await;
    // The fake worker lacks an encoder.
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.out
            .contains("MISSING  format av1: needs av1enc (package gstreamer1.0-plugins-bad)"),
        "{said:?}"
    );
    assert!(
        said.out
            .contains("apt-get install gstreamer1.0-plugins-bad"),
        "{said:?}"
    );
    assert!(
        said.out.contains("ok       format h264: by fakeenc"),
        "{said:?}"
    );

    let file = write(dir.path(), "haven.toml", "demmo = true\n");
    let wrong = [
        "--json",
        "--config",
        &file,
        "--worker",
        "/nonexistent/haven-worker",
    ];
    let args: Vec<_> = args.into_iter().chain(wrong).collect();
    let said = run(&args, &[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let finding = |what: &str| {
        let findings = report["findings"].as_array().unwrap();
        findings
            .iter()
            .find(|one| one["what"] == what)
            .unwrap()
            .clone()
    };
    let configuration = finding("configuration");
    assert_eq!(configuration["health"], "bad");
    assert!(
        configuration["message"]
            .as_str()
            .unwrap()
            .contains("did you mean `demo`")
    );
    assert_eq!(finding("worker")["health"], "bad");
    assert_eq!(finding("data folder")["health"], "good");
}

#[tokio::test]
async fn the_shipped_configuration_is_in_order() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/haven.toml");
    let said = run(&["config", "check", file], &[]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    // And so is all that it suggests.
    let text = std::fs::read_to_string(file).unwrap();
    let is_suggestion =
        |line: &&str| line.starts_with('#') && !line.starts_with("# ") && *line != "#";
    let suggested: String = text
        .lines()
        .filter(is_suggestion)
        .map(|line| format!("{}\n", &line[1..]))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "all.toml", &suggested);
    let said = run(&["config", "check", &file], &[]).await;
    assert_eq!(said.code, Some(0), "{suggested}: {said:?}");
}
