//! What answers hold: the fields, names and values that are promised.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use support::{LIVE, Options, PATIENCE, Server, Upstream};

const START: &str = "/api/live-sessions/start";
const RECORD: &str = "/api/recording/start";
const END: &str = "/api/recording/stop";

/// Fails where one of the fields isn't there.
fn has(answer: &Value, fields: &[&str]) {
    for field in fields {
        assert!(answer.get(field).is_some(), "no {field}: {answer}");
    }
}

/// Fails where there are others, or not all.
fn has_only(answer: &Value, fields: &[&str]) {
    let mut known: Vec<_> = answer.as_object().unwrap().keys().collect();
    known.sort_unstable();
    assert_eq!(known, fields, "{answer}");
}

fn is_time(time: &Value) -> bool {
    let text = time.as_str().unwrap_or_default();
    text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()
}

/// Waits until something of a room is recorded; the status.
async fn recorded(server: &Server, key: &str) -> Value {
    let grown = |status: &Value| status["bytes"].as_u64() > Some(30);
    let path = format!("/api/recording/status/{key}");
    server.until_get(&path, grown).await
}

#[tokio::test]
async fn a_room_is_shown_as_a_coin_is() {
    let upstream = Upstream::start().await;
    let server = upstream.options().livekit().start().await;
    let coin = server.ok(START, json!({"mint_id": LIVE})).await;
    let room = server.start_room("room").await;
    let info = [
        "coin_name",
        "market_cap",
        "mint_id",
        "name",
        "num_participants",
        "symbol",
        "telegram",
    ];
    for started in [&coin, &room] {
        has_only(
            started,
            &[
                "mint_id",
                "participant_sid",
                "record_session",
                "room_name",
                "session_id",
                "stream_info",
                "success",
            ],
        );
        has_only(&started["stream_info"], &info);
    }
    assert_eq!(room["stream_info"]["name"], "room");
    assert_eq!(room["stream_info"]["market_cap"], Value::Null);
    let active = server.get("/api/live-sessions/active").await;
    has_only(&active, &["sessions", "success"]);
    for (key, started) in [(LIVE, &coin), ("room", &room)] {
        let session = &active["sessions"][key];
        has(session, &["video", "audio", "viewers", "recording"]);
        for field in ["mint_id", "room_name", "participant_sid", "session_id"] {
            assert_eq!(session[field], started[field], "{key} {field}");
        }
        assert_eq!(session["stream_data"], started["stream_info"]);
        assert!(is_time(&session["started_at"]));
        assert_eq!(session["state"], "live");
    }
    server.stop().await;
}

/// Whether a file is named after its session and the second in which it was begun.
fn is_named(path: &Value, key: &str, extension: &str) -> bool {
    let name = Path::new(path.as_str().unwrap()).file_name().unwrap();
    let rest = name.to_str().unwrap().strip_prefix(&format!("{key}_"));
    let time = rest.and_then(|rest| rest.strip_suffix(&format!(".{extension}")));
    let is_digit = |(place, c): (usize, char)| match place {
        8 => c == '_',
        _ => c.is_ascii_digit(),
    };
    time.is_some_and(|time| time.len() == 15 && time.chars().enumerate().all(is_digit))
}

#[tokio::test]
async fn answers_about_a_recording_are_as_promised() {
    let upstream = Upstream::start().await;
    let server = upstream.options().livekit().start().await;
    server.ok(START, json!({"mint_id": LIVE})).await;
    let started = server
        .ok(RECORD, json!({"mint_id": LIVE, "output_format": "h264"}))
        .await;
    has(&started, &["output_path", "config", "recording_id"]);
    assert_eq!(
        (&started["mint_id"], &started["audio"]),
        (&json!(LIVE), &json!("mix"))
    );
    assert!(is_named(&started["output_path"], LIVE, "mp4"), "{started}");
    has_only(
        &started["config"],
        &[
            "audio_bitrate",
            "audio_codec",
            "encoder",
            "format",
            "video_bitrate",
            "video_codec",
        ],
    );
    let status = recorded(&server, LIVE).await;
    has(&status, &["duration_s", "bytes", "dropped_frames", "gaps"]);
    assert_eq!(status["is_recording"], true);
    assert!(is_time(&status["start_time"]));
    for field in ["mint_id", "output_path", "config", "recording_id"] {
        assert_eq!(status[field], started[field], "{field}");
    }
    let active = server.get("/api/recording/active").await;
    has_only(&active, &["recordings", "success"]);
    let of_it = active["recordings"][LIVE].as_object().unwrap().keys();
    assert!(of_it.eq(status.as_object().unwrap().keys()), "{active}");

    let stopped = server.ok(END, json!({"mint_id": LIVE})).await;
    for field in ["mint_id", "output_path", "start_time", "recording_id"] {
        assert_eq!(stopped[field], status[field], "{field}");
    }
    assert!(is_time(&stopped["end_time"]));
    assert!(stopped["duration_s"].as_f64() >= status["duration_s"].as_f64());
    let part = &stopped["parts"][0];
    has(
        part,
        &["path", "start_time", "duration_s", "bytes", "reason"],
    );
    assert!(is_time(&part["start_time"]));
    assert_eq!(part["path"], stopped["output_path"]);
    assert_eq!(part["reason"], "stopped");
    let library = server.get("/api/recordings?limit=7").await;
    assert_eq!(
        [&library["total"], &library["offset"], &library["limit"]],
        [1, 0, 7]
    );
    let one = server.get("/api/recordings/1").await;
    assert_eq!(library["recordings"], json!([one["recording"]]));
    server.stop().await;
}

/// What is asked for (nothing: as is configured by then), and what is made of it: format, bit rates of
/// pictures and sound, container.
type Made = (
    Value,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

fn made() -> [Made; 5] {
    [
        (
            json!({"output_format": "mp4"}),
            "h264",
            "2000k",
            "128k",
            "mp4",
        ),
        (
            json!({"output_format": "h264", "video_quality": "low"}),
            "h264",
            "1000k",
            "64k",
            "mp4",
        ),
        (
            json!({"output_format": "webm", "video_quality": "high"}),
            "vp9",
            "4000k",
            "192k",
            "webm",
        ),
        (Value::Null, "vp9", "1000k", "64k", "webm"),
        (
            json!({"output_format": "h264"}),
            "h264",
            "1000k",
            "64k",
            "mp4",
        ),
    ]
}

#[tokio::test]
async fn a_recording_is_made_as_it_is_asked_for_and_otherwise_as_is_configured() {
    let server = Options::default().livekit().start().await;
    let record = async |room: &str, mut body: Value| {
        server.start_room(room).await;
        body["room_name"] = room.into();
        let started = server.ok(RECORD, body).await;
        server.ok(END, json!({"room_name": room})).await;
        started
    };
    for (number, (body, format, video, audio, container)) in made().into_iter().enumerate() {
        let mut body = body;
        if body.is_null() {
            let change = json!({"default_output_format": "vp9", "default_video_quality": "low"});
            let change = change.to_string();
            let (status, _) = server.send(Method::PUT, "/api/config", &change).await;
            assert_eq!(status, StatusCode::OK);
            body = json!({});
        }
        let room = format!("room{number}");
        let started = record(&room, body).await;
        let config = &started["config"];
        assert_eq!(started["output_format"], format);
        assert_eq!(
            [
                &config["video_bitrate"],
                &config["audio_bitrate"],
                &config["format"]
            ],
            [video, audio, container]
        );
        assert!(is_named(&started["output_path"], &room, container));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_recording_is_chosen_by_its_number_and_remembered_for_ten_minutes() {
    let server = Options::default().livekit().start().await;
    server.start_room("room").await;
    let mut ids = Vec::new();
    for format in ["h264", "wav", "vp9"] {
        let body = json!({"mint_id": "room", "output_format": format});
        ids.push(server.ok(RECORD, body).await["recording_id"].clone());
    }
    for id in [&ids[1], &ids[0]] {
        let stop = json!({"mint_id": "room", "recording_id": id});
        assert_eq!(server.ok(END, stop).await["recording_id"], *id);
    }
    let status = server.get("/api/recording/status/room").await;
    assert_eq!(status["recording_id"], ids[2], "it goes on");
    let stop = json!({"mint_id": "room"});
    server.ok("/api/live-sessions/stop", stop.clone()).await;
    for (asked, id) in [
        (stop.clone(), &ids[2]),
        (
            json!({"room_name": "room", "output_format": "mp4"}),
            &ids[0],
        ),
        (json!({"mint_id": "room", "recording_id": &ids[1]}), &ids[1]),
    ] {
        let last = server.ok(END, asked).await;
        assert_eq!(
            (&last["recording_id"], last["success"].as_bool()),
            (id, Some(true))
        );
        assert!(is_time(&last["end_time"]));
    }
    let database = rusqlite::Connection::open(server.data.path().join("haven.db")).unwrap();
    database.busy_timeout(PATIENCE).unwrap();
    for (seconds, status) in [(500, 200), (610, 404)] {
        let older = "UPDATE recordings SET ended_at_ms = ?1 - 1000 * ?2";
        let now_ms = jiff::Timestamp::now().as_millisecond();
        assert_eq!(database.execute(older, [now_ms, seconds]).unwrap(), 3);
        let (got, answer) = server.post(END, stop.clone()).await;
        assert_eq!(got.as_u16(), status, "{seconds} s: {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn promised_formats_are_listed_where_there_is_no_worker() {
    let mut options = Options::default();
    options.worker = options.data.path().join("no-worker");
    let server = options.start().await;
    let answer = server.get("/api/recording/formats").await;
    has_only(&answer, &["formats", "quality_presets", "success"]);
    for (name, description, codec, container) in [
        ("av1", "AV1 codec (recommended)", "libaom-av1", "mp4"),
        ("h264", "H.264 codec", "libx264", "mp4"),
        ("vp9", "VP9 codec", "libvpx-vp9", "webm"),
    ] {
        let format = &answer["formats"][name];
        assert_eq!(
            [
                &format["description"],
                &format["codec"],
                &format["container"]
            ],
            [description, codec, container]
        );
        assert_eq!(
            (&format["available"], &format["encoder"]),
            (&json!(false), &Value::Null)
        );
    }
    has(&answer["formats"], &["source", "wav"]);
    assert_eq!(
        answer["quality_presets"],
        json!({"low": {"video_bitrate": "1000k", "audio_bitrate": "64k"},
               "medium": {"video_bitrate": "2000k", "audio_bitrate": "128k"},
               "high": {"video_bitrate": "4000k", "audio_bitrate": "192k"}})
    );
    server.stop().await;
}

#[tokio::test]
async fn the_database_keeps_what_was_known_of_a_session() {
    let upstream = Upstream::start().await;
    let server = upstream.options().start().await;
    let started = server.ok(START, json!({"mint_id": LIVE})).await;
    let stop = json!({"mint_id": LIVE});
    server.ok("/api/live-sessions/stop", stop).await;
    let data = server.data.clone();
    server.stop().await;
    let database = rusqlite::Connection::open(data.path().join("haven.db")).unwrap();
    let text = |sql: &str| -> String { database.query_row(sql, [], |row| row.get(0)).unwrap() };
    let is_there = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    for table in [
        "live_sessions",
        "pumpfun_coins",
        "pumpfun_coin_history",
        "recordings",
        "recording_files",
        "config",
    ] {
        let count = database.query_row(is_there, [table], |row| row.get::<_, u32>(0));
        assert_eq!(count.unwrap(), 1, "{table}");
    }
    assert_eq!(text("PRAGMA journal_mode"), "wal");
    let info: Value = serde_json::from_str(&text("SELECT stream_info FROM live_sessions")).unwrap();
    assert_eq!(info, started["stream_info"]);
    assert_eq!(text("SELECT key FROM live_sessions"), LIVE);
    assert_eq!(text("SELECT end_reason FROM live_sessions"), "stopped");
    let ends_later = "SELECT ended_at_ms >= started_at_ms FROM live_sessions";
    let ends_later: bool = database
        .query_row(ends_later, [], |row| row.get(0))
        .unwrap();
    assert!(ends_later);
}

#[tokio::test]
async fn webhooks_may_ask_for_every_event_that_is_promised() {
    let server = Options::default().livekit().start().await;
    let events = [
        "livestream.ended",
        "livestream.started",
        "recording.failed",
        "recording.finished",
        "recording.started",
        "session.ended",
        "session.started",
        "watch.live",
    ];
    let hook = json!({"url": "https://1.1.1.1:9/hook", "events": events});
    let added = server.ok("/api/webhooks", hook).await;
    let shown = server.get("/api/webhooks").await;
    assert_eq!(shown["webhooks"], json!([added["webhook"]]));
    let mut told: Vec<_> = added["webhook"]["events"].as_array().unwrap().clone();
    told.sort_by_key(ToString::to_string);
    assert_eq!(told, events);
    // Without any it is told everything, which is something else.
    let other = json!({"url": "https://1.1.1.1:9/hook"});
    let (status, answer) = server.post("/api/webhooks", other).await;
    assert_eq!(
        (status.as_u16(), &answer["code"]),
        (409, &json!("webhook_exists"))
    );
    server.stop().await;
}
