//! Watch rules where something fails, or others have a hand in it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use haven_rig::pumpfun::{Endpoint, Fault};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use support::{
    Options, PATIENCE, Server,
    discovery::stand_in,
    events::Events,
    watching::{coins, recordings, rule, until_rule, watch, watching},
};
use tokio::time::{Instant, sleep};

/// The server's database, beside the server.
fn database(server: &Server) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(server.data.path().join("haven.db")).unwrap();
    database.busy_timeout(PATIENCE).unwrap();
    database.pragma_update(None, "foreign_keys", "on").unwrap();
    database
}

/// Has each change of this column of the periods fail until the trigger is dropped.
fn refuse(database: &rusqlite::Connection, column: &str) {
    let trigger = format!(
        "CREATE TRIGGER refused BEFORE UPDATE OF {column} ON watch_periods
         WHEN NEW.{column} IS NOT OLD.{column} BEGIN SELECT RAISE(ABORT, 'as the disk is full'); END"
    );
    database.execute_batch(&trigger).unwrap();
}

fn allow(database: &rusqlite::Connection) {
    database.execute_batch("DROP TRIGGER refused").unwrap();
}

/// Waits until the newest period has this in a column.
async fn until_stored(database: &rusqlite::Connection, column: &str, wanted: &str) {
    let newest =
        format!("SELECT CAST({column} AS TEXT) FROM watch_periods ORDER BY id DESC LIMIT 1");
    let until = Instant::now() + PATIENCE;
    loop {
        let stored: Option<String> = database.query_row(&newest, [], |row| row.get(0)).unwrap();
        if stored.as_deref() == Some(wanted) {
            return;
        }
        assert!(Instant::now() < until, "{column} is {stored:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn delete_rule(server: &Server, rule: &Value) {
    let path = format!("/api/watch/{}", rule["id"]);
    let (status, answer) = server.send(Method::DELETE, &path, "").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

#[tokio::test]
async fn what_others_do_in_a_rules_session_outlives_the_rule() {
    let fake = stand_in().await;
    let [recorded, watched, left] = coins(&fake);
    let server = watching(&fake).start().await;
    let mut events = Events::open(&server, None).await;
    let mut rules = Vec::new();
    for mint in [&recorded, &watched, &left] {
        watch(&server, mint).await;
        fake.set_live(mint, true);
        rules.push(until_rule(&server, mint, "recording").await);
    }
    let own = json!({"mint_id": &recorded, "output_format": "vp9"});
    server.ok("/api/recording/start", own).await;
    let _viewer = server
        .watch(&format!("/api/live-sessions/stream/{watched}"))
        .await;
    server
        .until(&watched, |session| session["viewers"] == 1)
        .await;
    for rule in &rules {
        let stop = json!({"mint_id": &rule["mint_id"], "recording_id": &rule["recording_id"]});
        server.ok("/api/recording/stop", stop).await;
        until_rule(&server, rule["mint_id"].as_str().unwrap(), "dismissed").await;
        delete_rule(&server, rule).await;
        let (_, ended) = events.until("watch.ended").await;
        assert_eq!(ended["reason"], "rule_deleted");
    }
    assert_eq!(server.session(&recorded).await["recording"], true);
    assert_eq!(server.session(&watched).await["viewers"], 1);
    assert_eq!(server.session(&left).await, Value::Null);
    let sessions = database(&server);
    let reason: String = sessions
        .query_row(
            "SELECT end_reason FROM live_sessions WHERE key = ?1",
            [&left],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(reason, "rule_deleted");
    server.stop().await;
}

#[tokio::test]
async fn a_clients_recording_outlives_the_stream_and_the_rules_own_does_not() {
    let fake = stand_in().await;
    let [mint] = coins(&fake);
    let server = watching(&fake).start().await;
    watch(&server, &mint).await;
    fake.set_live(&mint, true);
    until_rule(&server, &mint, "recording").await;
    let own = json!({"mint_id": &mint, "output_format": "vp9"});
    server.ok("/api/recording/start", own).await;
    fake.set_live(&mint, false);
    until_rule(&server, &mint, "waiting").await;
    let states: Vec<_> = recordings(&server, &mint)
        .await
        .iter()
        .map(|one| (one["output_format"].clone(), one["state"].clone()))
        .collect();
    let expected = [("h264", "finished"), ("vp9", "recording")];
    assert_eq!(states, expected.map(|(a, b)| (json!(a), json!(b))));
    server.stop().await;
}

#[tokio::test]
async fn a_rule_whose_client_has_gone_is_added_all_the_same() {
    let fake = stand_in().await;
    let [first, second] = coins(&fake);
    let server = watching(&fake).start().await;
    // What can be recorded is known from here on.
    watch(&server, &first).await;
    let database = database(&server);
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let request = server.http.post(server.url("/api/watch"));
    let request = request.body(json!({"mint_id": &second}).to_string());
    // The rule can't be stored for so long.
    let broken = request.timeout(Duration::from_millis(500)).send().await;
    assert!(broken.is_err());
    database.execute_batch("ROLLBACK").unwrap();
    let again = server.ok("/api/watch", json!({"mint_id": &second})).await;
    assert_eq!(again["already_watched"], true);
    server.stop().await;
}

#[tokio::test]
async fn what_can_not_be_stored_of_a_period_is_stored_later() {
    let fake = stand_in().await;
    let [mint] = coins(&fake);
    let server = watching(&fake).start().await;
    let database = database(&server);
    watch(&server, &mint).await;
    fake.set_live(&mint, true);
    until_rule(&server, &mint, "recording").await;
    refuse(&database, "ended_at_ms");
    fake.set_live(&mint, false);
    server.until(&mint, Value::is_null).await;
    // That it is over isn't known to the database: it must be, before it is live anew.
    let rule = until_rule(&server, &mint, "failing").await;
    assert!(rule["last_error"].is_string());
    fake.set_live(&mint, true);
    allow(&database);
    let anew = until_rule(&server, &mint, "recording").await;
    let all = recordings(&server, &mint).await;
    assert_eq!(all.len(), 2);
    assert_eq!(all[1]["recording_id"], anew["recording_id"]);

    refuse(&database, "dismissed");
    let stop = json!({"mint_id": &mint});
    server.ok("/api/live-sessions/stop", stop).await;
    until_rule(&server, &mint, "dismissed").await;
    allow(&database);
    until_stored(&database, "dismissed", "1").await;
    let server = server.killed(watching(&fake)).await;
    until_rule(&server, &mint, "dismissed").await;
    server.stop().await;
}

#[tokio::test]
async fn a_session_that_is_stopped_while_it_is_started_stays_so() {
    let fake = stand_in().await;
    let [mint] = coins(&fake);
    let server = watching(&fake).start().await;
    watch(&server, &mint).await;
    fake.fail(Endpoint::Join, Fault::Hang, None);
    fake.set_live(&mint, true);
    server.until(&mint, |session| session.is_object()).await;
    let stop = json!({"mint_id": &mint});
    let stopped = server.ok("/api/live-sessions/stop", stop).await;
    assert_eq!(stopped["already_stopped"], Value::Null);
    until_rule(&server, &mint, "dismissed").await;
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_begun_for_a_rule_that_was_deleted_meanwhile() {
    let fake = stand_in().await;
    let [mint] = coins(&fake);
    let server = watching(&fake).start().await;
    let rule = watch(&server, &mint).await;
    // Asked for again after four seconds.
    fake.fail(Endpoint::Join, Fault::Hang, Some(1));
    fake.set_live(&mint, true);
    server.until(&mint, |session| session.is_object()).await;
    delete_rule(&server, &rule).await;
    until_stored(&database(&server), "end_reason", "rule_deleted").await;
    assert_eq!(fake.count(Endpoint::Join), 2);
    assert!(recordings(&server, &mint).await.is_empty());
    assert_eq!(server.session(&mint).await, Value::Null);
    server.stop().await;
}

#[tokio::test]
async fn a_rule_that_is_gone_after_a_restart_has_nothing_begun() {
    let fake = stand_in().await;
    let [mint] = coins(&fake);
    let server = watching(&fake).start().await;
    watch(&server, &mint).await;
    fake.fail(Endpoint::Join, Fault::Forbidden, None);
    fake.set_live(&mint, true);
    until_rule(&server, &mint, "failing").await;
    let database = database(&server);
    let mut server = server;
    server.signal(rustix::process::Signal::KILL);
    server.wait().await;
    database.execute("DELETE FROM watch_rules", []).unwrap();
    fake.recover();
    let joins = fake.count(Endpoint::Join);
    let next = Options {
        data: server.data.clone(),
        ..watching(&fake)
    };
    let server = next.start().await;
    until_stored(&database, "end_reason", "rule_deleted").await;
    assert_eq!(fake.count(Endpoint::Join), joins);
    assert!(recordings(&server, &mint).await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_recording_ends_only_once_the_platform_says_that_the_stream_is_over() {
    let fake = stand_in().await;
    let [mint] = coins(&fake);
    let server = watching(&fake).start().await;
    watch(&server, &mint).await;
    fake.set_live(&mint, true);
    until_rule(&server, &mint, "recording").await;
    let null = |coin: &mut haven_rig::pumpfun::Coin| {
        coin.overrides
            .insert("is_currently_live".into(), Value::Null);
    };
    fake.change_coin(&mint, null);
    fake.fail(Endpoint::Livestream, Fault::WrongShape, None);
    let (asked, coins) = (fake.count(Endpoint::Livestream), fake.count(Endpoint::Coin));
    fake.set_live(&mint, false);
    let until = Instant::now() + PATIENCE;
    while fake.count(Endpoint::Livestream) < asked + 3 {
        assert!(Instant::now() < until);
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(rule(&server, &mint).await["state"], "recording");
    assert_eq!(
        fake.count(Endpoint::Coin),
        coins,
        "it says no more than the list"
    );
    fake.recover();
    until_rule(&server, &mint, "waiting").await;
    assert_eq!(recordings(&server, &mint).await.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_full_disk_has_no_room_joined() {
    let fake = stand_in().await;
    let [mint] = coins(&fake);
    let options = watching(&fake).env("HAVEN_DISK_RESERVE_BYTES", "4000000000000000");
    let server = options.start().await;
    watch(&server, &mint).await;
    fake.set_live(&mint, true);
    let rule = until_rule(&server, &mint, "failing").await;
    let error = rule["last_error"].as_str().unwrap();
    assert!(error.contains("disk space"), "{error}");
    assert_eq!(fake.count(Endpoint::Join), 0);
    server.stop().await;
}

#[tokio::test]
async fn an_alias_of_a_format_says_the_same() {
    let fake = stand_in().await;
    let [mint] = coins(&fake);
    let server = watching(&fake).start().await;
    let by = |format: &str| json!({"mint_id": &mint, "output_format": format});
    let added = server.ok("/api/watch", by("mp4")).await;
    assert_eq!(added["rule"]["output_format"], "h264");
    let again = server.ok("/api/watch", by("h264")).await;
    assert_eq!(again["already_watched"], true);
    server.stop().await;
}
