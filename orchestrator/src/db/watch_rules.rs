//! Tables `watch_rules` and `watch_periods`.

use super::Db;
use crate::{Error, recordings::Choice};
use rusqlite::{Row, Transaction, params};
use std::collections::HashMap;

/// Ended periods that are kept.
const KEPT_PERIODS: i64 = 1000;

/// A rule as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RuleRow {
    pub(crate) id: i64,
    /// Either this …
    pub(crate) mint: Option<String>,
    /// … or this.
    pub(crate) creator: Option<String>,
    pub(crate) choice: Choice,
    pub(crate) created_at_ms: i64,
    pub(crate) seen_live_at_ms: Option<i64>,
    /// The last one.
    pub(crate) recording_id: Option<i64>,
}

/// A coin's time live, as it is stored while it lasts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PeriodRow {
    pub(crate) id: i64,
    /// None once the rule is deleted.
    pub(crate) rule_id: Option<i64>,
    pub(crate) mint: String,
    pub(crate) choice: Choice,
    pub(crate) began_at_ms: i64,
    pub(crate) session_id: Option<i64>,
    /// Whether the session was started for it.
    pub(crate) owns_session: bool,
    pub(crate) recording_id: Option<i64>,
    /// Whether the recording was started for it.
    pub(crate) owns_recording: bool,
    /// Somebody has stopped it.
    pub(crate) dismissed: bool,
}

impl Db {
    /// Stores a rule; its id. The row's own id isn't looked at.
    pub(crate) async fn insert_watch_rule(&self, rule: RuleRow) -> Result<i64, Error> {
        self.call("storing the watch rule", move |connection| {
            connection.execute(
                "INSERT INTO watch_rules (mint, creator, choice, created_at_ms)
                 VALUES (?1, ?2, ?3, ?4)",
                params![
                    rule.mint,
                    rule.creator,
                    as_json(&rule.choice),
                    rule.created_at_ms
                ],
            )?;
            Ok(connection.last_insert_rowid())
        })
        .await
    }

    /// Every rule, oldest first.
    pub(crate) async fn watch_rules(&self) -> Result<Vec<RuleRow>, Error> {
        self.call("reading the watch rules", |connection| {
            connection
                .prepare("SELECT * FROM watch_rules ORDER BY id")?
                .query_map([], |row| {
                    Ok(RuleRow {
                        id: row.get("id")?,
                        mint: row.get("mint")?,
                        creator: row.get("creator")?,
                        choice: choice(row)?,
                        created_at_ms: row.get("created_at_ms")?,
                        seen_live_at_ms: row.get("seen_live_at_ms")?,
                        recording_id: row.get("recording_id")?,
                    })
                })?
                .collect()
        })
        .await
    }

    /// Forgets a rule. Its periods go on.
    pub(crate) async fn delete_watch_rule(&self, id: i64) -> Result<(), Error> {
        self.call("deleting the watch rule", move |connection| {
            connection
                .execute("DELETE FROM watch_rules WHERE id = ?1", [id])
                .map(drop)
        })
        .await
    }

    /// Stores that the platform lists coins of these rules.
    pub(crate) async fn watch_rules_seen(&self, ids: Vec<i64>, at_ms: i64) -> Result<(), Error> {
        self.call("storing what is live", move |connection| {
            let transaction = connection.transaction()?;
            for id in ids {
                transaction.execute(
                    "UPDATE watch_rules SET seen_live_at_ms = ?2 WHERE id = ?1",
                    params![id, at_ms],
                )?;
            }
            transaction.commit()
        })
        .await
    }

    /// Stores the begin of a period; its id. The row's own id isn't looked at. One of this mint that
    /// seems to go on has ended, and that could not be stored.
    pub(crate) async fn insert_watch_period(&self, period: PeriodRow) -> Result<i64, Error> {
        self.call("storing a watched stream", move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute(
                "UPDATE watch_periods SET ended_at_ms = ?2, end_reason = 'not_known'
                 WHERE mint = ?1 AND ended_at_ms IS NULL",
                params![period.mint, period.began_at_ms],
            )?;
            transaction.execute(
                "INSERT INTO watch_periods (rule_id, mint, choice, began_at_ms)
                 VALUES (?1, ?2, ?3, ?4)",
                params![
                    period.rule_id,
                    period.mint,
                    as_json(&period.choice),
                    period.began_at_ms
                ],
            )?;
            let id = transaction.last_insert_rowid();
            transaction.commit()?;
            Ok(id)
        })
        .await
    }

    /// Stores what has become of a period, and the recording as its rule's last.
    pub(crate) async fn store_watch_period(&self, period: PeriodRow) -> Result<(), Error> {
        self.call("storing a watched stream", move |connection| {
            let transaction = connection.transaction()?;
            store(&transaction, &period)?;
            transaction.commit()
        })
        .await
    }

    /// Stores what has become of a period and its end, and forgets the oldest of those that have
    /// ended.
    pub(crate) async fn end_watch_period(
        &self,
        period: PeriodRow,
        at_ms: i64,
        reason: String,
    ) -> Result<(), Error> {
        self.call("storing the end of a watched stream", move |connection| {
            let transaction = connection.transaction()?;
            store(&transaction, &period)?;
            transaction.execute(
                "UPDATE watch_periods SET ended_at_ms = ?2, end_reason = ?3 WHERE id = ?1",
                params![period.id, at_ms, reason],
            )?;
            transaction.execute(
                "DELETE FROM watch_periods WHERE ended_at_ms IS NOT NULL
                 AND id <= (SELECT max(id) FROM watch_periods) - ?1",
                [KEPT_PERIODS],
            )?;
            transaction.commit()
        })
        .await
    }

    /// When the last period of each mint has ended, in milliseconds.
    pub(crate) async fn watch_periods_ended(&self) -> Result<HashMap<String, i64>, Error> {
        self.call("looking for watched streams", |connection| {
            connection
                .prepare(
                    "SELECT mint, max(ended_at_ms) FROM watch_periods
                     WHERE ended_at_ms IS NOT NULL GROUP BY mint",
                )?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .await
    }

    /// The periods that go on.
    pub(crate) async fn open_watch_periods(&self) -> Result<Vec<PeriodRow>, Error> {
        self.call("looking for watched streams", |connection| {
            connection
                .prepare("SELECT * FROM watch_periods WHERE ended_at_ms IS NULL ORDER BY id")?
                .query_map([], |row| {
                    Ok(PeriodRow {
                        id: row.get("id")?,
                        rule_id: row.get("rule_id")?,
                        mint: row.get("mint")?,
                        choice: choice(row)?,
                        began_at_ms: row.get("began_at_ms")?,
                        session_id: row.get("session_id")?,
                        owns_session: row.get("owns_session")?,
                        recording_id: row.get("recording_id")?,
                        owns_recording: row.get("owns_recording")?,
                        dismissed: row.get("dismissed")?,
                    })
                })?
                .collect()
        })
        .await
    }
}

fn store(transaction: &Transaction<'_>, period: &PeriodRow) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE watch_periods SET session_id = ?2, owns_session = ?3, recording_id = ?4,
         owns_recording = ?5, dismissed = ?6 WHERE id = ?1",
        params![
            period.id,
            period.session_id,
            period.owns_session,
            period.recording_id,
            period.owns_recording,
            period.dismissed
        ],
    )?;
    transaction
        .execute(
            "UPDATE watch_rules SET recording_id = coalesce(?2, recording_id) WHERE id = ?1",
            params![period.rule_id, period.recording_id],
        )
        .map(drop)
}

fn as_json(choice: &Choice) -> String {
    serde_json::to_string(choice).unwrap_or_default()
}

/// What can't be read counts as nothing said.
fn choice(row: &Row<'_>) -> rusqlite::Result<Choice> {
    let text: String = row.get("choice")?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(mint: Option<&str>, creator: Option<&str>) -> RuleRow {
        RuleRow {
            id: 0,
            mint: mint.map(str::to_owned),
            creator: creator.map(str::to_owned),
            choice: Choice::default(),
            created_at_ms: 5,
            seen_live_at_ms: None,
            recording_id: None,
        }
    }

    #[tokio::test]
    async fn a_rule_is_about_a_coin_or_a_creator_and_there_is_one_for_each() {
        let db = Db::in_memory();
        let id = db.insert_watch_rule(rule(Some("m"), None)).await.unwrap();
        db.insert_watch_rule(rule(None, Some("m"))).await.unwrap();
        for wrong in [
            rule(Some("m"), None),
            rule(None, Some("m")),
            rule(None, None),
            rule(Some("n"), Some("n")),
        ] {
            assert!(db.insert_watch_rule(wrong.clone()).await.is_err());
        }
        db.watch_rules_seen(vec![id, 77], 9).await.unwrap();
        let rules = db.watch_rules().await.unwrap();
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[0].seen_live_at_ms, Some(9));
        db.delete_watch_rule(id).await.unwrap();
        assert_eq!(db.watch_rules().await.unwrap(), rules[1..]);
    }

    #[tokio::test]
    async fn of_a_coin_one_period_goes_on_and_outlives_its_rule() {
        let db = Db::in_memory();
        let rule_id = db.insert_watch_rule(rule(Some("m"), None)).await.unwrap();
        let mut period = PeriodRow {
            rule_id: Some(rule_id),
            mint: "m".into(),
            began_at_ms: 7,
            ..PeriodRow::default()
        };
        period.id = db.insert_watch_period(period.clone()).await.unwrap();
        // Its end could not be stored, and it is live anew.
        period.id = db.insert_watch_period(period.clone()).await.unwrap();
        assert_eq!(db.open_watch_periods().await.unwrap(), [period.clone()]);
        assert_eq!(db.watch_periods_ended().await.unwrap()["m"], 7);
        period.session_id = Some(3);
        period.owns_session = true;
        period.recording_id = Some(4);
        db.store_watch_period(period.clone()).await.unwrap();
        assert_eq!(db.open_watch_periods().await.unwrap(), [period.clone()]);
        assert_eq!(db.watch_rules().await.unwrap()[0].recording_id, Some(4));
        db.delete_watch_rule(rule_id).await.unwrap();
        assert_eq!(db.open_watch_periods().await.unwrap()[0].rule_id, None);
        let ended = db.end_watch_period(period.clone(), 9, "stream_ended".into());
        ended.await.unwrap();
        assert_eq!(db.open_watch_periods().await.unwrap(), []);
        assert_eq!(db.watch_periods_ended().await.unwrap()["m"], 9);
        period.rule_id = None;
        db.insert_watch_period(period).await.unwrap();
    }
}
