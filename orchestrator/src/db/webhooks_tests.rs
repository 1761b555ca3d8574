use super::*;

fn happened(kind: &'static str, lane: &str, body: &str) -> Happened {
    Happened {
        kind,
        lane: lane.to_owned(),
        body: body.to_owned(),
    }
}

async fn due(db: &Db, webhook_id: i64, now_ms: i64) -> Vec<Delivery> {
    db.due_deliveries(webhook_id, now_ms, 10).await.unwrap()
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
