//! Watch rules, against the stand-in of pump.fun: each time live is one recording.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use futures_util::future::join_all;
use haven_rig::pumpfun::{Endpoint, FakePumpFun, Fault, random_mint};
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;
use support::{
    Options, PATIENCE, Server,
    discovery::stand_in,
    events::Events,
    watching::{coins, recordings, rule, until_rule, watch, watching},
};
use tokio::time::{Instant, sleep};

/// Between two looks at the list: the shortest that can be set.
const INTERVAL: Duration = Duration::from_secs(1);

/// Goes live, is recorded, and ends; the recording.
async fn one_period(server: &Server, fake: &FakePumpFun, mint: &str) -> Value {
    assert!(fake.set_live(mint, true));
    let recorded = until_rule(server, mint, "recording").await;
    assert!(fake.set_live(mint, false));
    until_rule(server, mint, "waiting").await;
    let all = recordings(server, mint).await;
    let last = all.last().unwrap().clone();
    assert_eq!(last["recording_id"], recorded["recording_id"], "{last}");
    last
}

/// How long after the one before each request for the list came.
fn gaps_between_lists(fake: &FakePumpFun) -> Vec<Duration> {
    let requests = fake.requests();
    let lists = requests
        .iter()
        .filter(|request| request.endpoint == Some(Endpoint::CurrentlyLive));
    let times: Vec<_> = lists.map(|request| request.at).collect();
    times.windows(2).map(|two| two[1] - two[0]).collect()
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn duration(&mut self, longest: Duration) -> Duration {
        // Knuth's MMIX generator; its upper bits are good.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        let unit = (self.0 >> 11) as f64 / (1u64 << 53) as f64;
        longest.mul_f64(unit)
    }
}

/// How long coins go on and off: `HAVEN_E2E_SECONDS` (600 is what is promised), else a short form.
fn length() -> Duration {
    let seconds = std::env::var("HAVEN_E2E_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

#[tokio::test]
async fn five_coins_go_on_and_off_at_random_and_each_time_live_is_one_recording() {
    let fake = stand_in().await;
    let mints: [String; 5] = coins(&fake);
    let server = watching(&fake).start().await;
    for mint in &mints {
        let rule = watch(&server, mint).await;
        assert_eq!(rule["state"], "waiting");
    }
    let began = Instant::now();
    let until = began + length();
    let longest = (length() / 8).min(Duration::from_secs(20));
    let periods = mints.iter().zip(1..).map(async |(mint, seed)| {
        let mut numbers = Numbers(seed);
        let mut periods = 0;
        while Instant::now() < until {
            sleep(numbers.duration(longest)).await;
            fake.set_live(mint, true);
            until_rule(&server, mint, "recording").await;
            sleep(numbers.duration(longest)).await;
            // Somebody who browses what is live costs the platform nothing more.
            server.get("/api/pumpfun/live").await;
            fake.set_live(mint, false);
            until_rule(&server, mint, "waiting").await;
            periods += 1;
        }
        periods
    });
    let periods: Vec<usize> = join_all(periods).await;
    let asked = fake.count(Endpoint::CurrentlyLive);
    let intervals = began.elapsed().as_secs_f64() / INTERVAL.as_secs_f64();
    assert!(asked as f64 <= intervals + 2.0, "{asked} in {intervals}");
    let joins = fake.count(Endpoint::Join);
    assert_eq!(joins, periods.iter().sum::<usize>(), "none starts twice");
    for (mint, periods) in mints.iter().zip(periods) {
        let recordings = recordings(&server, mint).await;
        assert_eq!(recordings.len(), periods);
        for (index, recording) in recordings.iter().enumerate() {
            assert_eq!(recording["state"], "finished", "{recording}");
            assert_eq!(recording["end_reason"], "stream_ended");
            let twins = recordings[..index].iter();
            let same = |other: &&Value| other["session_id"] == recording["session_id"];
            assert_eq!(twins.filter(same).count(), 0, "a session of its own");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_platform_that_fails_changes_nothing_but_the_delay() {
    let fake = stand_in().await;
    let [first, second] = coins(&fake);
    let server = watching(&fake).start().await;
    watch(&server, &first).await;
    watch(&server, &second).await;
    fake.set_live(&first, true);
    let before = until_rule(&server, &first, "recording").await;

    for endpoint in support::discovery::ENDPOINTS {
        fake.fail(endpoint, Fault::ServerError, None);
    }
    let failures =
        |least: u64| move |answer: &Value| answer["upstream"]["failures"].as_u64() >= Some(least);
    server.until_get("/api/watch", failures(2)).await;
    assert_eq!(rule(&server, &first).await["state"], "recording");
    // It ends, and another begins, while nobody can know.
    fake.set_live(&first, false);
    fake.set_live(&second, true);
    fake.recover();
    let limited = Fault::RateLimited {
        retry_after_s: Some(3),
    };
    fake.fail(Endpoint::CurrentlyLive, limited, Some(1));
    until_rule(&server, &first, "waiting").await;
    until_rule(&server, &second, "recording").await;
    let kept_away = gaps_between_lists(&fake);
    let least = Duration::from_secs(3);
    assert!(kept_away.iter().any(|gap| *gap >= least), "{kept_away:?}");
    fake.set_live(&second, false);
    until_rule(&server, &second, "waiting").await;

    let recorded = recordings(&server, &first).await;
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0]["recording_id"], before["recording_id"]);
    assert_eq!(recordings(&server, &second).await.len(), 1);
    let metrics = server.fetch("/metrics", &[]).await.text().await.unwrap();
    assert!(metrics.contains("haven_watch_rules 2\n"), "{metrics}");
    assert!(metrics.contains("haven_watch_recordings_total 2\n"));
    server.stop().await;
}

/// Kills or stops the server while one coin is live, one goes off unseen, and one comes unseen.
async fn restart(how: Signal) {
    let fake = stand_in().await;
    let [stays, goes, comes] = coins(&fake);
    let mut server = watching(&fake).start().await;
    for mint in [&stays, &goes, &comes] {
        watch(&server, mint).await;
    }
    fake.set_live(&stays, true);
    fake.set_live(&goes, true);
    let before = until_rule(&server, &stays, "recording").await;
    until_rule(&server, &goes, "recording").await;
    server.signal(how);
    server.wait().await;
    fake.set_live(&goes, false);
    fake.set_live(&comes, true);
    let data = server.data.clone();
    let next = Options {
        data,
        ..watching(&fake)
    };
    let server = next.start().await;

    let after = until_rule(&server, &stays, "recording").await;
    assert_eq!(after["session_id"], before["session_id"]);
    assert_eq!(after["recording_id"], before["recording_id"]);
    assert_eq!(after["id"], before["id"]);
    until_rule(&server, &goes, "waiting").await;
    until_rule(&server, &comes, "recording").await;
    let status = format!("/api/recording/status/{stays}");
    let grown = |status: &Value| status["parts"][1]["bytes"].as_u64() > Some(20);
    server.until_get(&status, grown).await;
    for mint in [&stays, &comes] {
        fake.set_live(mint, false);
        until_rule(&server, mint, "waiting").await;
    }
    for mint in [&stays, &goes, &comes] {
        let recordings = recordings(&server, mint).await;
        assert_eq!(recordings.len(), 1, "{recordings:?}");
        let state = &recordings[0]["state"];
        assert!(state == "finished" || state == "interrupted", "{state}");
    }
    let parts = recordings(&server, &stays).await[0]["parts"].clone();
    assert_eq!(parts.as_array().unwrap().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn after_a_crash_or_an_orderly_restart_of_the_server_the_rules_go_on() {
    tokio::join!(restart(Signal::KILL), restart(Signal::TERM));
}

#[tokio::test]
async fn what_a_client_stops_is_left_alone_until_it_is_live_anew() {
    let fake = stand_in().await;
    let [session, recording] = coins(&fake);
    let server = watching(&fake).start().await;
    for mint in [&session, &recording] {
        watch(&server, mint).await;
        fake.set_live(mint, true);
    }
    for (mint, stop) in [
        (&session, "/api/live-sessions/stop"),
        (&recording, "/api/recording/stop"),
    ] {
        until_rule(&server, mint, "recording").await;
        server.ok(stop, json!({"mint_id": mint})).await;
        until_rule(&server, mint, "dismissed").await;
    }
    // The list is looked at again, and again.
    let asked = fake.count(Endpoint::CurrentlyLive);
    let until = Instant::now() + PATIENCE;
    while fake.count(Endpoint::CurrentlyLive) < asked + 3 {
        assert!(Instant::now() < until);
        sleep(Duration::from_millis(50)).await;
    }
    let anew = [&session, &recording].map(async |mint| {
        assert_eq!(rule(&server, mint).await["state"], "dismissed");
        fake.set_live(mint, false);
        until_rule(&server, mint, "waiting").await;
        one_period(&server, &fake, mint).await;
        assert_eq!(recordings(&server, mint).await.len(), 2);
    });
    join_all(anew).await;
    let sessions = server.get("/api/live-sessions/active").await;
    assert_eq!(sessions["sessions"], json!({}));
    server.stop().await;
}

#[tokio::test]
async fn a_clients_own_session_and_recording_outlive_what_was_done_for_a_rule() {
    let fake = stand_in().await;
    let [watched, recorded] = coins(&fake);
    let server = watching(&fake).start().await;
    for mint in [&watched, &recorded] {
        fake.set_live(mint, true);
        let start = json!({"mint_id": mint});
        server.ok("/api/live-sessions/start", start).await;
    }
    let own = json!({"mint_id": &recorded, "output_format": "h264"});
    let own = server.ok("/api/recording/start", own).await;
    for mint in [&watched, &recorded] {
        watch(&server, mint).await;
        until_rule(&server, mint, "recording").await;
    }
    let rule = rule(&server, &recorded).await;
    assert_eq!(rule["recording_id"], own["recording_id"], "none beside it");
    for mint in [&watched, &recorded] {
        fake.set_live(mint, false);
        until_rule(&server, mint, "waiting").await;
    }
    assert_eq!(server.session(&watched).await["recording"], false);
    assert_eq!(server.session(&recorded).await["recording"], true);
    assert_eq!(recordings(&server, &watched).await[0]["state"], "finished");
    server.stop().await;
}

#[tokio::test]
async fn a_creators_coins_are_recorded_each_as_its_rule_says_and_events_tell() {
    let fake = stand_in().await;
    let [one, two] = coins(&fake);
    let creator = random_mint();
    for mint in [&one, &two] {
        fake.change_coin(mint, |coin| coin.creator.clone_from(&creator));
    }
    let server = watching(&fake).start().await;
    let mut events = Events::open(&server, None).await;
    let everything = json!({"creator": creator, "output_format": "vp9"});
    let everything = server.ok("/api/watch", everything).await["rule"].clone();
    let own = json!({"mint_id": &two, "output_format": "source", "split_minutes": 90});
    let own = server.ok("/api/watch", own).await["rule"].clone();
    assert_eq!(own["split_minutes"], 90.0);
    fake.set_live(&one, true);
    fake.set_live(&two, true);
    until_rule(&server, &two, "recording").await;
    let both = |answer: &Value| answer["rules"][0]["state"] == "recording";
    let rules = server.until_get("/api/watch", both).await;
    let live = &rules["rules"][0]["live"];
    assert_eq!(live.as_array().unwrap().len(), 1, "{live}");
    assert_eq!(live[0]["mint_id"], one.as_str());
    assert!(rules["rules"][0]["last_seen_live"].is_string());

    fake.set_live(&one, false);
    fake.set_live(&two, false);
    let mut ended = Vec::new();
    let mut told = Vec::new();
    while ended.len() < 2 {
        let (_, event) = events.next().await.unwrap();
        let kind = event["type"].as_str().unwrap().to_owned();
        if kind.starts_with("watch.") {
            told.push((kind.clone(), event["mint_id"].clone()));
        }
        if kind == "watch.ended" {
            assert_eq!(event["reason"], "stream_ended");
            assert!(event["recording_id"].is_i64() && event["session_id"].is_i64());
            ended.push(event["rule_id"].clone());
        }
    }
    assert!(ended.contains(&everything["id"]) && ended.contains(&own["id"]));
    for mint in [&one, &two] {
        let of_it: Vec<_> = told.iter().filter(|(_, of)| of == mint).collect();
        let kinds: Vec<_> = of_it.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, ["watch.live", "watch.recording", "watch.ended"]);
    }
    assert_eq!(recordings(&server, &one).await[0]["output_format"], "vp9");
    let source = &recordings(&server, &two).await[0];
    assert_eq!(source["output_format"], "source", "{source}");
    server.stop().await;
}

#[tokio::test]
async fn what_can_not_be_recorded_is_tried_again_and_told() {
    let fake = stand_in().await;
    let [mint] = coins(&fake);
    let server = watching(&fake).start().await;
    watch(&server, &mint).await;
    fake.fail(Endpoint::Join, Fault::Forbidden, None);
    fake.set_live(&mint, true);
    let rule = until_rule(&server, &mint, "failing").await;
    let error = rule["last_error"].as_str().unwrap();
    assert!(error.contains("token"), "{error}");
    assert_eq!(rule["recording_id"], Value::Null);
    fake.recover();
    let rule = until_rule(&server, &mint, "recording").await;
    assert_eq!(rule["last_error"], Value::Null);
    server.stop().await;
}

#[tokio::test]
async fn rules_are_added_once_shown_and_deleted() {
    let fake = stand_in().await;
    let [mint] = coins(&fake);
    let server = watching(&fake).start().await;
    let empty = server.get("/api/watch").await;
    assert_eq!(empty["rules"], json!([]));
    assert_eq!(empty["upstream"]["interval_s"], 1);
    for (wrong, field) in [
        (json!({}), "mint_id"),
        (json!({"mint_id": "demo"}), "mint_id"),
        (json!({"mint_id": 7}), "mint_id"),
        (json!({"creator": "x"}), "creator"),
        (json!({"mint_id": &mint, "creator": &mint}), "creator"),
        (
            json!({"mint_id": &mint, "output_format": "gif"}),
            "output_format",
        ),
        (json!({"mint_id": &mint, "audio": "all"}), "audio"),
        (json!({"mint_id": &mint, "split_bytes": 1}), "split_bytes"),
    ] {
        let (status, answer) = server.post("/api/watch", wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
        assert!(
            answer["error"].as_str().unwrap().contains(field),
            "{answer}"
        );
    }
    let (status, _) = server
        .post(
            "/api/watch",
            json!({"mint_id": &mint, "output_format": "av1"}),
        )
        .await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(fake.count(Endpoint::CurrentlyLive), 0, "nobody needs it");

    let rule = watch(&server, &mint).await;
    let again = server.ok("/api/watch", json!({"mint_id": &mint})).await;
    assert_eq!(again["already_watched"], true);
    assert_eq!(again["rule"]["id"], rule["id"]);
    let other = json!({"mint_id": &mint, "output_format": "vp9"});
    let (status, answer) = server.post("/api/watch", other).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(answer["code"], "already_watched");
    for id in ["99", "x"] {
        let (status, answer) = server
            .send(Method::DELETE, &format!("/api/watch/{id}"), "")
            .await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
    }

    // What is being recorded is recorded to its end.
    fake.set_live(&mint, true);
    until_rule(&server, &mint, "recording").await;
    let path = format!("/api/watch/{}", rule["id"]);
    let (status, answer) = server.send(Method::DELETE, &path, "").await;
    assert_eq!((status, &answer["success"]), (StatusCode::OK, &json!(true)));
    assert_eq!(server.get("/api/watch").await["rules"], json!([]));
    assert_eq!(server.session(&mint).await["recording"], true);
    fake.set_live(&mint, false);
    server.until(&mint, Value::is_null).await;
    assert_eq!(recordings(&server, &mint).await.len(), 1);
    server.stop().await;
}
