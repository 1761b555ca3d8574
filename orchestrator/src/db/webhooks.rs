//! Tables `webhooks`, `webhook_events` and `webhook_deliveries`.

use super::Db;
use crate::Error;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::{collections::BTreeSet, time::Duration};

/// What a receiver may be told now: the oldest event of each lane. What was put off for longer than
/// is ever done was so by a clock that has been set back since.
const DUE: &str = "SELECT d.event_id, d.tries, e.body FROM webhook_deliveries d
     JOIN webhook_events e ON e.id = d.event_id
     WHERE d.webhook_id = ?1 AND d.is_head = 1
     AND (d.next_try_at_ms <= ?2 OR d.next_try_at_ms > ?3)
     ORDER BY d.next_try_at_ms, d.event_id LIMIT ?4";
/// When the first of them is due.
const NEXT: &str = "SELECT min(next_try_at_ms) FROM webhook_deliveries
     WHERE webhook_id = ?1 AND is_head = 1";

/// A receiver as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WebhookRow {
    pub(crate) id: i64,
    pub(crate) url: String,
    /// Kinds of events; empty: every.
    pub(crate) events: Vec<String>,
    /// By the operator, not by a client.
    pub(crate) configured: bool,
    pub(crate) created_at_ms: i64,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
    pub(crate) last_delivered_at_ms: Option<i64>,
    pub(crate) last_error: Option<String>,
    /// Events that it is still to be told.
    pub(crate) waiting: u64,
}

/// Something that has happened.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) kind: &'static str,
    /// The session's key; empty where it is about none.
    pub(crate) lane: String,
    /// JSON: as it is sent.
    pub(crate) body: String,
}

/// What a receiver is to be told next in one lane.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Delivery {
    pub(crate) event_id: i64,
    pub(crate) body: String,
    /// That have failed.
    pub(crate) tries: u32,
}

impl Db {
    /// Makes `urls` the receivers that the operator has configured. What others were still to be
    /// told is forgotten with them.
    pub(crate) async fn configure_webhooks(
        &self,
        urls: Vec<String>,
        now_ms: i64,
    ) -> Result<(), Error> {
        self.call("storing the webhooks", move |connection| {
            let transaction = connection.transaction()?;
            let known: Vec<(i64, String)> = transaction
                .prepare("SELECT id, url FROM webhooks WHERE configured = 1")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            for (id, _) in known.iter().filter(|(_, url)| !urls.contains(url)) {
                transaction.execute("DELETE FROM webhooks WHERE id = ?1", [id])?;
            }
            for url in urls {
                transaction.execute(
                    "INSERT INTO webhooks (url, events, configured, created_at_ms)
                     VALUES (?1, '[]', 1, ?2)
                     ON CONFLICT (url) DO UPDATE SET configured = 1, events = '[]'",
                    params![url, now_ms],
                )?;
            }
            forget_told(&transaction)?;
            transaction.commit()
        })
        .await
    }

    /// Stores a client's receiver; its id.
    pub(crate) async fn insert_webhook(
        &self,
        url: String,
        events: Vec<String>,
        now_ms: i64,
    ) -> Result<i64, Error> {
        self.call("storing the webhook", move |connection| {
            connection.execute(
                "INSERT INTO webhooks (url, events, configured, created_at_ms)
                 VALUES (?1, ?2, 0, ?3)",
                params![url, as_json(&events), now_ms],
            )?;
            Ok(connection.last_insert_rowid())
        })
        .await
    }

    /// Forgets a receiver, with what it was still to be told.
    pub(crate) async fn delete_webhook(&self, id: i64) -> Result<(), Error> {
        self.call("deleting the webhook", move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute("DELETE FROM webhooks WHERE id = ?1", [id])?;
            forget_told(&transaction)?;
            transaction.commit()
        })
        .await
    }

    /// Every receiver, oldest first.
    pub(crate) async fn webhooks(&self) -> Result<Vec<WebhookRow>, Error> {
        self.call("reading the webhooks", |connection| {
            connection
                .prepare("SELECT * FROM webhooks ORDER BY id")?
                .query_map([], webhook)?
                .collect()
        })
        .await
    }

    /// Stores events, in their order, for all who are to be told. A receiver for which more than
    /// `most` wait loses the oldest: how many were lost, by receiver.
    pub(crate) async fn queue_events(
        &self,
        events: Vec<Happened>,
        most: u64,
        now_ms: i64,
    ) -> Result<Vec<(i64, u64)>, Error> {
        self.call("storing events for webhooks", move |connection| {
            let transaction = connection.transaction()?;
            let receivers: Vec<(i64, Vec<String>)> = transaction
                .prepare_cached("SELECT id, events FROM webhooks ORDER BY id")?
                .query_map([], |row| Ok((row.get(0)?, kinds(row)?)))?
                .collect::<rusqlite::Result<_>>()?;
            for event in &events {
                queue(&transaction, &receivers, event, now_ms)?;
            }
            let mut lost = Vec::new();
            for (id, _) in receivers {
                let dropped = drop_oldest(&transaction, id, most)?;
                if dropped > 0 {
                    lost.push((id, dropped));
                }
            }
            transaction.commit()?;
            Ok(lost)
        })
        .await
    }

    /// What a receiver is to be told now: the oldest event of each lane, unless that is to be tried
    /// later, which is `longest` from now at most. At most `limit`.
    pub(crate) async fn due_deliveries(
        &self,
        webhook_id: i64,
        now_ms: i64,
        longest: Duration,
        limit: u32,
    ) -> Result<Vec<Delivery>, Error> {
        let longest_ms = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
        let latest_ms = now_ms.saturating_add(longest_ms);
        self.call("looking for events to tell", move |connection| {
            connection
                .prepare_cached(DUE)?
                .query_map(params![webhook_id, now_ms, latest_ms, limit], |row| {
                    Ok(Delivery {
                        event_id: row.get("event_id")?,
                        body: row.get("body")?,
                        tries: row.get("tries")?,
                    })
                })?
                .collect()
        })
        .await
    }

    /// When the next try is due of what a receiver is still to be told.
    pub(crate) async fn next_delivery(&self, webhook_id: i64) -> Result<Option<i64>, Error> {
        self.call("looking for events to tell", move |connection| {
            connection
                .prepare_cached(NEXT)?
                .query_row([webhook_id], |row| row.get(0))
                .optional()
                .map(Option::flatten)
        })
        .await
    }

    /// A receiver was told an event. Where it `recovered` by that, what else it is to be told is
    /// due now.
    pub(crate) async fn delivered(
        &self,
        webhook_id: i64,
        event_id: i64,
        now_ms: i64,
        recovered: bool,
    ) -> Result<(), Error> {
        self.call("storing what was told", move |connection| {
            let transaction = connection.transaction()?;
            let lane: Option<String> = transaction
                .prepare_cached(
                    "DELETE FROM webhook_deliveries WHERE webhook_id = ?1 AND event_id = ?2
                     RETURNING lane",
                )?
                .query_row(params![webhook_id, event_id], |row| row.get(0))
                .optional()?;
            if let Some(lane) = &lane {
                mark_head(&transaction, webhook_id, lane)?;
            }
            transaction.execute(
                "UPDATE webhooks SET delivered = delivered + ?2, last_delivered_at_ms = ?3,
                 last_error = NULL WHERE id = ?1",
                params![webhook_id, lane.is_some(), now_ms],
            )?;
            if recovered {
                transaction.execute(
                    "UPDATE webhook_deliveries SET next_try_at_ms = ?2
                     WHERE webhook_id = ?1 AND is_head = 1 AND next_try_at_ms > ?2",
                    params![webhook_id, now_ms],
                )?;
            }
            forget_event(&transaction, event_id)?;
            transaction.commit()
        })
        .await
    }

    /// A receiver could not be told an event, which is tried again later.
    pub(crate) async fn not_delivered(
        &self,
        webhook_id: i64,
        event_id: i64,
        next_try_at_ms: i64,
        error: String,
    ) -> Result<(), Error> {
        self.call("storing what was not told", move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute(
                "UPDATE webhook_deliveries SET tries = tries + 1, next_try_at_ms = ?3
                 WHERE webhook_id = ?1 AND event_id = ?2",
                params![webhook_id, event_id, next_try_at_ms],
            )?;
            transaction.execute(
                "UPDATE webhooks SET last_error = ?2 WHERE id = ?1",
                params![webhook_id, error],
            )?;
            transaction.commit()
        })
        .await
    }
}

fn queue(
    transaction: &Transaction<'_>,
    receivers: &[(i64, Vec<String>)],
    event: &Happened,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let wanted = |kinds: &[String]| kinds.is_empty() || kinds.iter().any(|kind| kind == event.kind);
    let mut receivers = receivers
        .iter()
        .filter(|(_, kinds)| wanted(kinds))
        .peekable();
    if receivers.peek().is_none() {
        return Ok(());
    }
    transaction
        .prepare_cached("INSERT INTO webhook_events (body) VALUES (?1)")?
        .execute([&event.body])?;
    let event_id = transaction.last_insert_rowid();
    for (webhook_id, _) in receivers {
        transaction
            .prepare_cached(
                "INSERT INTO webhook_deliveries (webhook_id, event_id, lane, next_try_at_ms, is_head)
                 VALUES (?1, ?2, ?3, ?4, NOT EXISTS (
                     SELECT 1 FROM webhook_deliveries WHERE webhook_id = ?1 AND lane = ?3))",
            )?
            .execute(params![webhook_id, event_id, event.lane, now_ms])?;
    }
    Ok(())
}

/// Drops what is beyond the newest `most`; how many.
fn drop_oldest(transaction: &Transaction<'_>, webhook_id: i64, most: u64) -> rusqlite::Result<u64> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let dropped: Vec<(i64, String)> = transaction
        .prepare_cached(
            "DELETE FROM webhook_deliveries WHERE webhook_id = ?1 AND event_id IN (
                 SELECT event_id FROM webhook_deliveries WHERE webhook_id = ?1 ORDER BY event_id
                 LIMIT max(0, (SELECT waiting FROM webhooks WHERE id = ?1) - ?2))
             RETURNING event_id, lane",
        )?
        .query_map(params![webhook_id, most], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    if dropped.is_empty() {
        return Ok(0);
    }
    for (event_id, _) in &dropped {
        forget_event(transaction, *event_id)?;
    }
    let lanes: BTreeSet<_> = dropped.iter().map(|(_, lane)| lane).collect();
    for lane in lanes {
        mark_head(transaction, webhook_id, lane)?;
    }
    let count = i64::try_from(dropped.len()).unwrap_or(i64::MAX);
    transaction.execute(
        "UPDATE webhooks SET dropped = dropped + ?2 WHERE id = ?1",
        params![webhook_id, count],
    )?;
    Ok(dropped.len() as u64)
}

/// Marks the oldest event of a lane, if there is one.
fn mark_head(transaction: &Transaction<'_>, webhook_id: i64, lane: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE webhook_deliveries SET is_head = 1 WHERE webhook_id = ?1 AND event_id = (
                 SELECT min(event_id) FROM webhook_deliveries WHERE webhook_id = ?1 AND lane = ?2)",
        )?
        .execute(params![webhook_id, lane])
        .map(drop)
}

/// Forgets an event, if nobody is to be told it any more.
fn forget_event(transaction: &Transaction<'_>, event_id: i64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "DELETE FROM webhook_events WHERE id = ?1 AND NOT EXISTS (
                 SELECT 1 FROM webhook_deliveries WHERE event_id = ?1)",
        )?
        .execute([event_id])
        .map(drop)
}

/// Events that nobody is to be told any more.
fn forget_told(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction
        .execute(
            "DELETE FROM webhook_events WHERE id NOT IN (SELECT event_id FROM webhook_deliveries)",
            [],
        )
        .map(drop)
}

fn webhook(row: &Row<'_>) -> rusqlite::Result<WebhookRow> {
    Ok(WebhookRow {
        id: row.get("id")?,
        url: row.get("url")?,
        events: kinds(row)?,
        configured: row.get("configured")?,
        created_at_ms: row.get("created_at_ms")?,
        delivered: count(row, "delivered")?,
        dropped: count(row, "dropped")?,
        last_delivered_at_ms: row.get("last_delivered_at_ms")?,
        last_error: row.get("last_error")?,
        waiting: count(row, "waiting")?,
    })
}

fn count(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let count: i64 = row.get(column)?;
    Ok(u64::try_from(count).unwrap_or(0))
}

fn kinds(row: &Row<'_>) -> rusqlite::Result<Vec<String>> {
    let text: String = row.get("events")?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

fn as_json(kinds: &[String]) -> String {
    serde_json::to_string(kinds).unwrap_or_default()
}

#[cfg(test)]
#[path = "webhooks_tests.rs"]
mod tests;
