//! `/api/recording` over HTTP.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use reqwest::StatusCode;
use serde_json::{Value, json};
use std::path::Path;
use support::{LIVE, Options, PATIENCE, Server, Upstream, worker_pid};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep},
};

const START: &str = "/api/recording/start";
const STOP: &str = "/api/recording/stop";

async fn room(name: &str) -> Server {
    let server = Options::default().livekit().start().await;
    server.start_room(name).await;
    server
}

/// Waits until the session's recording is as wanted.
async fn until(server: &Server, key: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let status = server.get(&format!("/api/recording/status/{key}")).await;
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < until, "never as wanted: {status}");
        sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_recording_is_started_shown_stopped_and_remembered() {
    let server = room("my room").await;
    let started = server
        .ok(
            START,
            json!({"mint_id": "my room", "output_format": "mp4", "video_quality": "low"}),
        )
        .await;
    let path = started["output_path"].as_str().unwrap().to_owned();
    assert_eq!(Path::new(&path).parent().unwrap(), server.recordings_dir());
    let name = Path::new(&path).file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("my_room_") && name.ends_with(".mp4"));
    assert_eq!(
        started["config"],
        json!({"video_codec": "libx264", "audio_codec": "aac", "video_bitrate": "1000k",
               "audio_bitrate": "64k", "format": "mp4", "encoder": "fakeenc"})
    );
    let (status, answer) = server
        .post(
            START,
            json!({"mint_id": "my room", "output_format": "h264"}),
        )
        .await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");

    let long = |status: &Value| status["duration_s"].as_f64().unwrap_or(0.0) > 0.3;
    let status = until(&server, "my%20room", long).await;
    assert_eq!(
        (&status["is_recording"], &status["output_path"]),
        (&json!(true), &json!(path))
    );
    assert_eq!(status["gaps"], json!([]));
    let active = server.get("/api/recording/active").await;
    assert_eq!(
        active["recordings"]["my room"]["recording_id"],
        started["recording_id"]
    );
    assert_eq!(server.session("my room").await["recording"], true);

    let stopped = server.ok(STOP, json!({"mint_id": "my room"})).await;
    assert!(stopped["duration_s"].as_f64().unwrap() >= status["duration_s"].as_f64().unwrap());
    assert_eq!(stopped["bytes"], std::fs::metadata(&path).unwrap().len());
    for field in [
        "start_time",
        "end_time",
        "parts",
        "recording_id",
        "output_path",
    ] {
        assert!(!stopped[field].is_null(), "{field}: {stopped}");
    }
    let status = server.get("/api/recording/status/my%20room").await;
    assert_eq!(status, json!({"mint_id": "my room", "is_recording": false}));
    server
        .ok("/api/live-sessions/stop", json!({"mint_id": "my room"}))
        .await;
    assert_eq!(
        server.ok(STOP, json!({"mint_id": "my room"})).await,
        stopped
    );
    server.stop().await;
}

#[tokio::test]
async fn several_formats_run_at_once_and_the_session_finishes_them() {
    let server = room("room").await;
    for format in ["h264", "webm"] {
        server
            .ok(START, json!({"mint_id": "room", "output_format": format}))
            .await;
    }
    let (status, answer) = server.post(STOP, json!({"mint_id": "room"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    let stopped = server
        .ok(STOP, json!({"mint_id": "room", "output_format": "vp9"}))
        .await;
    assert_eq!(stopped["output_format"], "vp9");
    server
        .ok("/api/live-sessions/stop", json!({"mint_id": "room"}))
        .await;
    let last = server
        .ok(STOP, json!({"mint_id": "room", "output_format": "mp4"}))
        .await;
    assert_eq!(
        (&last["output_format"], &last["end_reason"]),
        (&json!("h264"), &json!("stopped"))
    );
    assert!(!last["end_time"].is_null());
    server.stop().await;
}

#[tokio::test]
async fn every_fault_has_its_status_and_says_recording() {
    let server = room("room").await;
    server.start_room("bad-recording").await;
    let cases: [(&str, Value, u16, &str); 10] = [
        (
            START,
            json!({"mint_id": "nobody", "output_format": "h264"}),
            404,
            "session",
        ),
        (
            START,
            json!({"mint_id": "room", "output_format": "avi"}),
            422,
            "h264",
        ),
        (
            START,
            json!({"mint_id": "room", "output_format": "h264", "video_quality": "best"}),
            422,
            "medium",
        ),
        (START, json!({"mint_id": "room"}), 503, "av1enc"),
        (
            START,
            json!({"mint_id": "room", "output_format": 7}),
            422,
            "output_format",
        ),
        (START, json!({}), 422, "mint_id"),
        (
            START,
            json!({"mint_id": "bad-recording", "output_format": "h264"}),
            503,
            "strike",
        ),
        (STOP, json!({"mint_id": "room"}), 404, "room"),
        (
            STOP,
            json!({"mint_id": "room", "recording_id": "x"}),
            422,
            "recording_id",
        ),
        ("/api/recording/nothing", json!({}), 404, "path"),
    ];
    for (path, body, status, words) in cases {
        let (got, answer) = server.post(path, body.clone()).await;
        assert_eq!(got.as_u16(), status, "{body}: {answer}");
        let error = answer["error"].as_str().unwrap();
        assert!(
            error.contains(words) && error.contains("recording"),
            "{body}: {error}"
        );
    }
    assert_eq!(
        std::fs::read_dir(server.recordings_dir()).unwrap().count(),
        0
    );
    server.stop().await;
}

#[tokio::test]
async fn what_a_start_asks_for_is_checked() {
    let server = room("room").await;
    for (more, words) in [
        (json!({"audio": "loud"}), "mix, streamer"),
        (json!({"audio": 1}), "audio"),
        (json!({"split_minutes": "1"}), "split_minutes"),
        (json!({"split_minutes": -1}), "split_minutes"),
        (json!({"split_minutes": 0.05}), "split_minutes"),
        (json!({"split_minutes": 10_081}), "split_minutes"),
        (json!({"split_bytes": 1.5}), "split_bytes"),
        (json!({"split_bytes": 65_535}), "split_bytes"),
        (json!({"split_bytes": u64::MAX}), "split_bytes"),
        (json!({"video_quality": "best"}), "low, medium, high"),
    ] {
        let mut body = json!({"mint_id": "room", "output_format": "h264"});
        let fields = body.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        let (status, answer) = server.post(START, body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{more}: {answer}");
        let error = answer["error"].as_str().unwrap();
        assert!(
            error.contains(words) && error.contains("recording"),
            "{more}: {error}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_full_disk_is_507() {
    let server = Options::default()
        .livekit()
        .arg("--disk-reserve-bytes=9223372036854775807")
        .start()
        .await;
    server.start_room("room").await;
    let (status, answer) = server
        .post(START, json!({"mint_id": "room", "output_format": "h264"}))
        .await;
    assert_eq!(status.as_u16(), 507, "{answer}");
    assert_eq!(answer["code"], "disk_full");
    assert!(answer["error"].as_str().unwrap().contains("recording"));
    server.stop().await;
}

#[tokio::test]
async fn a_session_can_be_recorded_from_its_start() {
    let upstream = Upstream::start().await;
    let server = upstream
        .options()
        .arg("--default-output-format=h264")
        .start()
        .await;
    let start = json!({"mint_id": LIVE, "record_session": true});
    let first = server.ok("/api/live-sessions/start", start.clone()).await;
    assert_eq!(first["record_session"], true);
    assert!(Path::new(first["output_path"].as_str().unwrap()).exists());
    let again = server.ok("/api/live-sessions/start", start).await;
    assert_eq!(again["output_path"], first["output_path"]);
    server.stop().await;

    // A format that can't be made here is told before anything is started.
    let server = upstream.options().start().await;
    let start = json!({"mint_id": LIVE, "record_session": true});
    let (status, _) = server.post("/api/live-sessions/start", start).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(server.session(LIVE).await, Value::Null);
    server.stop().await;
}

#[tokio::test]
async fn formats_are_those_of_the_contract_and_of_the_machine() {
    let server = Server::start(Options::default()).await;
    let formats = server.get("/api/recording/formats").await;
    for (name, available) in [
        ("av1", false),
        ("h264", true),
        ("vp9", true),
        ("source", true),
        ("wav", true),
    ] {
        let format = &formats["formats"][name];
        assert_eq!(format["available"], available, "{name}");
        for field in ["description", "container", "audio_codec"] {
            assert!(format[field].is_string(), "{name}: {field}");
        }
        // Sound alone has no codec of pictures.
        assert_eq!(format["codec"].is_string(), name != "wav", "{name}");
    }
    assert_eq!(
        formats["quality_presets"]["medium"],
        json!({"video_bitrate": "2000k", "audio_bitrate": "128k"})
    );
    server.stop().await;
}

#[tokio::test]
async fn a_crash_cuts_the_file_and_the_recording_goes_on_in_another() {
    let server = room("room").await;
    server
        .ok(START, json!({"mint_id": "room", "output_format": "h264"}))
        .await;
    until(&server, "room", |status| {
        status["bytes"].as_u64() > Some(20)
    })
    .await;
    let pid = worker_pid(&server.session("room").await);
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let two = |status: &Value| {
        status["parts"]
            .as_array()
            .is_some_and(|parts| parts.len() == 2)
    };
    let status = until(&server, "room", two).await;
    assert_eq!(status["parts"][0]["reason"], "worker_crashed");
    let first = status["parts"][0]["path"].as_str().unwrap();
    assert_eq!(
        status["parts"][0]["bytes"],
        std::fs::metadata(first).unwrap().len()
    );
    until(&server, "room", |status| {
        status["parts"][1]["bytes"].as_u64() > Some(20)
    })
    .await;
    let stopped = server.ok(STOP, json!({"mint_id": "room"})).await;
    assert_eq!(stopped["parts"][1]["reason"], "stopped");
    assert_eq!(stopped["gaps"].as_array().unwrap().len(), 1, "{stopped}");
    server.stop().await;
}

/// A start that the worker hasn't answered yet, and a stop behind it: both answers.
async fn stopped_while_starting(room_name: &str) -> [(StatusCode, Value); 2] {
    let server = room(room_name).await;
    let starting = server.post(
        START,
        json!({"mint_id": room_name, "output_format": "h264"}),
    );
    let stopping = async {
        until(&server, room_name, |status| status["is_recording"] == true).await;
        server.post(STOP, json!({"mint_id": room_name})).await
    };
    let (started, stopped) = tokio::join!(starting, stopping);
    server.stop().await;
    [started, stopped]
}

#[tokio::test]
async fn a_recording_that_is_stopped_while_it_starts_answers_both() {
    let [started, stopped] = stopped_while_starting("unannounced").await;
    assert_eq!(started.0, StatusCode::OK, "{}", started.1);
    assert_eq!(stopped.0, StatusCode::OK, "{}", stopped.1);
    assert_eq!(started.1["recording_id"], stopped.1["recording_id"]);
}

#[tokio::test]
async fn a_recording_for_which_nothing_came_has_no_file() {
    let server = room("mute").await;
    let start = json!({"mint_id": "mute", "output_format": "h264"});
    let starting = server.post(START, start);
    let stopping = async {
        until(&server, "mute", |status| status["is_recording"] == true).await;
        server.ok(STOP, json!({"mint_id": "mute"})).await
    };
    let (started, stopped) = tokio::join!(starting, stopping);
    assert_eq!(started.0, StatusCode::OK, "{}", started.1);
    assert_eq!(stopped["parts"], json!([]), "{stopped}");
    assert_eq!(
        (&stopped["bytes"], &stopped["end_reason"]),
        (&json!(0), &json!("stopped"))
    );
    let one = server.get("/api/recordings/1").await;
    assert_eq!(one["recording"]["parts"], json!([]));
    let (status, _) = server
        .send(reqwest::Method::GET, "/api/recordings/1/file", "")
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let left = std::fs::read_dir(server.recordings_dir()).unwrap();
    assert_eq!(left.count(), 0, "not even a description");
    let (status, _) = server
        .send(reqwest::Method::DELETE, "/api/recordings/1", "")
        .await;
    assert_eq!(status, StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn a_recording_that_is_refused_while_it_is_stopped_answers_both() {
    let [started, stopped] = stopped_while_starting("late-refusal").await;
    assert_eq!(started.0, StatusCode::SERVICE_UNAVAILABLE, "{}", started.1);
    assert_eq!(stopped.0, StatusCode::NOT_FOUND, "{}", stopped.1);
    assert_eq!(stopped.1["code"], "recording_not_found");
}

#[tokio::test]
async fn a_recording_that_was_asked_for_begins_though_the_client_has_left() {
    let server = Options::default()
        .livekit()
        .arg("--default-output-format=h264")
        .start()
        .await;
    let body = json!({"room_name": "slow-join", "record_session": true}).to_string();
    let mut client = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let request = format!(
        "POST /api/live-sessions/start HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(request.as_bytes()).await.unwrap();
    server
        .until("slow-join", |session| !session.is_null())
        .await;
    drop(client);
    server
        .until("slow-join", |session| session["recording"] == true)
        .await;
    server.stop().await;
}

#[tokio::test]
async fn a_recording_that_is_being_finished_is_not_taken_for_one_that_runs() {
    let server = Options::default()
        .livekit()
        .arg("--default-output-format=h264")
        .start()
        .await;
    let start = json!({"room_name": "slow-finish", "record_session": true});
    let first = server.ok("/api/live-sessions/start", start.clone()).await;
    let key = json!({"mint_id": "slow-finish"});
    let again = async {
        // The stop has arrived once this is the reason.
        let until = Instant::now() + PATIENCE;
        loop {
            let (status, answer) = server.post("/api/recording/start", key.clone()).await;
            assert_eq!(status, StatusCode::CONFLICT, "{answer}");
            if answer["code"] == "recording_ending" {
                break;
            }
            assert_eq!(answer["code"], "already_recording");
            assert!(Instant::now() < until);
        }
        let finish = async {
            let folder = server.recordings_dir();
            std::fs::write(folder.join("finish"), "").unwrap();
        };
        tokio::join!(server.ok("/api/live-sessions/start", start), finish).0
    };
    let (stopped, second) = tokio::join!(server.ok("/api/recording/stop", key.clone()), again);
    assert_eq!(stopped["output_path"], first["output_path"]);
    assert_ne!(second["output_path"], first["output_path"]);
    let status = server.get("/api/recording/status/slow-finish").await;
    assert_eq!(status["output_path"], second["output_path"]);
    server.stop().await;
}
