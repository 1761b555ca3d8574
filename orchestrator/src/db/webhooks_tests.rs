use super::*;

fn happened(kind: &'static str, lane: &str, body: &str) -> Happened {
    Happened {
        kind,
        lane: lane.to_owned(),
        body: body.to_owned(),
    }
}

async fn due(db: &Db, webhook_id: i64, now_ms: i64) -> Vec<Delivery> {
    let longest = Duration::from_secs(300);
    let due = db.due_deliveries(webhook_id, now_ms, longest, 10);
    due.await.unwrap()
}

fn bodies(due: &[Delivery]) -> Vec<&str> {
    due.iter().map(|one| one.body.as_str()).collect()
}

async fn stored_events(db: &Db) -> i64 {
    let count = db.call("counting", |connection| {
        connection.query_row("SELECT count(*) FROM webhook_events", [], |row| row.get(0))
    });
    count.await.unwrap()
}

#[tokio::test]
async fn a_session_is_told_in_order_and_waits_for_no_other() {
    let db = Db::in_memory();
    let id = db.insert_webhook("u".into(), vec![], 1).await.unwrap();
    let events = [("a", "1"), ("a", "2"), ("b", "3")];
    let events = events.map(|(lane, body)| happened("session.started", lane, body));
    db.queue_events(events.into(), 9, 5).await.unwrap();
    let first = due(&db, id, 5).await;
    assert_eq!(bodies(&first), ["1", "3"]);
    // What can't be told keeps the others of its session waiting.
    let failed = db.not_delivered(id, first[0].event_id, 50, "down".into());
    failed.await.unwrap();
    assert_eq!(bodies(&due(&db, id, 5).await), ["3"]);
    assert_eq!(db.next_delivery(id).await.unwrap(), Some(5));
    db.delivered(id, first[1].event_id, 6, false).await.unwrap();
    assert!(due(&db, id, 49).await.is_empty());
    assert_eq!(db.next_delivery(id).await.unwrap(), Some(50));
    let again = due(&db, id, 50).await;
    assert_eq!((bodies(&again), again[0].tries), (vec!["1"], 1));
    db.delivered(id, again[0].event_id, 51, true).await.unwrap();
    let last = due(&db, id, 51).await;
    assert_eq!(bodies(&last), ["2"]);
    db.delivered(id, last[0].event_id, 52, false).await.unwrap();
    assert_eq!(db.next_delivery(id).await.unwrap(), None);
    assert_eq!(stored_events(&db).await, 0);
    let row = &db.webhooks().await.unwrap()[0];
    assert_eq!((row.delivered, row.waiting), (3, 0));
    assert_eq!(row.last_delivered_at_ms, Some(52));
    assert_eq!(row.last_error, None);
}

#[tokio::test]
async fn a_receiver_that_recovers_is_told_at_once_what_was_put_off() {
    let db = Db::in_memory();
    let id = db.insert_webhook("u".into(), vec![], 1).await.unwrap();
    let events = ["a", "b"].map(|lane| happened("session.started", lane, lane));
    db.queue_events(events.into(), 9, 5).await.unwrap();
    for one in due(&db, id, 5).await {
        let failed = db.not_delivered(id, one.event_id, 1000, "down".into());
        failed.await.unwrap();
    }
    assert_eq!(
        db.webhooks().await.unwrap()[0].last_error.as_deref(),
        Some("down")
    );
    let first = due(&db, id, 1000).await.remove(0);
    db.delivered(id, first.event_id, 900, true).await.unwrap();
    assert_eq!(bodies(&due(&db, id, 900).await), ["b"]);
}

#[tokio::test]
async fn each_receiver_is_told_what_it_wants_and_loses_the_oldest_of_too_many() {
    let db = Db::in_memory();
    let kinds = vec!["watch.live".to_owned()];
    let picky = db.insert_webhook("p".into(), kinds, 1).await.unwrap();
    db.configure_webhooks(vec!["c".into()], 1).await.unwrap();
    let all = db.webhooks().await.unwrap()[1].id;
    let kinds = ["watch.live", "session.started", "session.ended"];
    let events = kinds.map(|kind| happened(kind, "a", kind));
    let lost = db.queue_events(events.into(), 2, 5).await.unwrap();
    assert_eq!(lost, [(all, 1)]);
    let rows = db.webhooks().await.unwrap();
    assert_eq!((rows[0].waiting, rows[0].dropped), (1, 0));
    assert_eq!((rows[1].waiting, rows[1].dropped), (2, 1));
    assert_eq!(bodies(&due(&db, all, 5).await), ["session.started"]);
    db.delete_webhook(picky).await.unwrap();
    assert_eq!(stored_events(&db).await, 2);
}

#[tokio::test]
async fn what_is_configured_no_more_is_forgotten_and_the_rest_stays() {
    let db = Db::in_memory();
    db.insert_webhook("client's".into(), vec![], 1)
        .await
        .unwrap();
    let configure = |urls: &[&str]| {
        let urls = urls.iter().map(ToString::to_string).collect();
        db.configure_webhooks(urls, 2)
    };
    configure(&["a", "b"]).await.unwrap();
    let event = happened("session.started", "a", "1");
    db.queue_events(vec![event], 9, 5).await.unwrap();
    configure(&["b", "c"]).await.unwrap();
    let rows = db.webhooks().await.unwrap();
    let urls: Vec<_> = rows
        .iter()
        .map(|row| (row.url.as_str(), row.waiting))
        .collect();
    assert_eq!(urls, [("client's", 1), ("b", 1), ("c", 0)]);
    assert!(!rows[0].configured && rows[1].configured);
}

#[tokio::test]
async fn of_too_many_events_the_next_of_each_session_is_still_told_in_order() {
    let db = Db::in_memory();
    let id = db.insert_webhook("u".into(), vec![], 1).await.unwrap();
    for lanes in [["a", "b"], ["a", "b"], ["a", "a"]] {
        let events = lanes.map(|lane| happened("session.state", lane, lane));
        db.queue_events(events.into(), 3, 5).await.unwrap();
    }
    let row = &db.webhooks().await.unwrap()[0];
    assert_eq!((row.waiting, row.dropped), (3, 3));
    assert_eq!(stored_events(&db).await, 3);
    let first = due(&db, id, 5).await;
    assert_eq!(bodies(&first), ["b", "a"]);
    for one in first {
        db.delivered(id, one.event_id, 6, false).await.unwrap();
    }
    assert_eq!(bodies(&due(&db, id, 6).await), ["a"]);
    db.delete_webhook(id).await.unwrap();
    assert_eq!(stored_events(&db).await, 0);
}

#[tokio::test]
async fn what_was_put_off_by_a_clock_that_was_set_back_is_due() {
    let db = Db::in_memory();
    let id = db.insert_webhook("u".into(), vec![], 1).await.unwrap();
    let event = happened("session.state", "a", "a");
    db.queue_events(vec![event], 9, 5_000_000).await.unwrap();
    let told = due(&db, id, 4_700_000).await;
    assert_eq!(told, [], "five minutes are a pause that is made");
    assert_eq!(bodies(&due(&db, id, 4_699_999).await), ["a"]);
}

#[tokio::test]
async fn what_waited_in_an_older_version_is_told_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = rusqlite::Connection::open(dir.path().join("haven.db")).unwrap();
    rusqlite_migration::Migrations::from_slice(&crate::db::STEPS[..6])
        .to_latest(&mut old)
        .unwrap();
    old.execute_batch(
        "INSERT INTO webhooks (url, events, configured, created_at_ms) VALUES ('u', '[]', 0, 1);
         INSERT INTO webhook_events (body) VALUES ('1'), ('2'), ('3');
         INSERT INTO webhook_deliveries (webhook_id, event_id, lane, next_try_at_ms)
         VALUES (1, 1, 'a', 5), (1, 2, 'a', 5), (1, 3, 'b', 5);",
    )
    .unwrap();
    drop(old);
    let db = Db::open(dir.path()).unwrap();
    assert_eq!(db.webhooks().await.unwrap()[0].waiting, 3);
    let first = due(&db, 1, 5).await;
    assert_eq!(bodies(&first), ["1", "3"]);
    db.delivered(1, first[0].event_id, 6, false).await.unwrap();
    assert_eq!(bodies(&due(&db, 1, 6).await), ["2", "3"]);
    db.close().await;
}

/// Steps of SQLite's machine that a statement takes.
async fn steps(db: &Db, sql: &'static str, webhook_id: i64) -> i32 {
    let steps = db.call("counting", move |connection| {
        let mut statement = connection.prepare(sql)?;
        let values = [webhook_id, i64::MAX, i64::MAX, 4];
        let count = statement.parameter_count();
        let values = rusqlite::params_from_iter(values.into_iter().take(count));
        let mut rows = statement.query(values)?;
        while rows.next()?.is_some() {}
        drop(rows);
        Ok(statement.get_status(rusqlite::StatementStatus::VmStep))
    });
    steps.await.unwrap()
}

#[tokio::test]
async fn a_long_queue_costs_no_more_than_a_short_one() {
    let mut costs = Vec::new();
    for queued in [40, 4000] {
        let db = Db::in_memory();
        let id = db.insert_webhook("u".into(), vec![], 1).await.unwrap();
        let lane = |number: usize| ["a", "b", "c", "d"][number % 4];
        let events = (0..queued).map(|number| happened("session.state", lane(number), "x"));
        db.queue_events(events.collect(), 9999, 5).await.unwrap();
        costs.push([steps(&db, DUE, id).await, steps(&db, NEXT, id).await]);
    }
    let [short, long] = costs[..] else {
        unreachable!()
    };
    for (short, long) in short.into_iter().zip(long) {
        assert!(long <= 2 * short, "{costs:?}");
    }
}
