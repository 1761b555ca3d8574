//! Tables `pumpfun_coins`, `pumpfun_lists` and `pumpfun_coin_history`.

use super::Db;
use crate::Error;
use pumpfun_api::Coin;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Name of the list of live coins.
const LIVE: &str = "currently_live";

/// A coin as the platform described it last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CoinRow {
    pub(crate) mint: String,
    pub(crate) coin: Coin,
    /// When its stream began, if that was learnt.
    pub(crate) started_at_ms: Option<i64>,
    pub(crate) fetched_at_ms: i64,
}

/// The coins that were live, in the platform's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LiveList {
    pub(crate) coins: Vec<CoinRow>,
    pub(crate) fetched_at_ms: i64,
}

/// What was observed of a coin, each time that it had changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observation {
    pub(crate) observed_at_ms: i64,
    /// SOL.
    pub(crate) market_cap: Option<f64>,
    /// US dollars.
    pub(crate) usd_market_cap: Option<f64>,
    pub(crate) num_participants: Option<i64>,
    pub(crate) is_currently_live: Option<bool>,
}

impl Db {
    /// What is stored of a coin.
    pub(crate) async fn coin(&self, mint: String) -> Result<Option<CoinRow>, Error> {
        self.call("reading a coin", move |connection| {
            connection
                .query_row("SELECT * FROM pumpfun_coins WHERE mint = ?1", [mint], coin)
                .optional()
        })
        .await
    }

    /// Stores coins, what has changed of them as history, and with `list` the mints that are live
    /// and when that was said.
    pub(crate) async fn store_coins(
        &self,
        rows: Vec<CoinRow>,
        list: Option<(Vec<String>, i64)>,
    ) -> Result<(), Error> {
        self.call("storing coins", move |connection| {
            let transaction = connection.transaction()?;
            for row in &rows {
                store(&transaction, row)?;
                observe(&transaction, row)?;
            }
            if let Some((mints, fetched_at_ms)) = list {
                let mints = serde_json::to_string(&mints).unwrap_or_default();
                transaction.execute(
                    "INSERT INTO pumpfun_lists (name, mints, fetched_at_ms) VALUES (?1, ?2, ?3)
                     ON CONFLICT (name) DO UPDATE
                     SET mints = excluded.mints, fetched_at_ms = excluded.fetched_at_ms",
                    params![LIVE, mints, fetched_at_ms],
                )?;
            }
            transaction.commit()
        })
        .await
    }

    /// The list of live coins as it was fetched last.
    pub(crate) async fn live_list(&self) -> Result<Option<LiveList>, Error> {
        self.call("reading the live coins", move |connection| {
            let fetched_at_ms = connection
                .query_row(
                    "SELECT fetched_at_ms FROM pumpfun_lists WHERE name = ?1",
                    [LIVE],
                    |row| row.get(0),
                )
                .optional()?;
            let Some(fetched_at_ms) = fetched_at_ms else {
                return Ok(None);
            };
            let coins = connection
                .prepare(
                    "SELECT pumpfun_coins.* FROM pumpfun_lists, json_each(pumpfun_lists.mints)
                     JOIN pumpfun_coins ON pumpfun_coins.mint = json_each.value
                     WHERE pumpfun_lists.name = ?1 ORDER BY json_each.key",
                )?
                .query_map([LIVE], coin)?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Some(LiveList {
                coins,
                fetched_at_ms,
            }))
        })
        .await
    }

    /// The latest observations of a coin, oldest first: `limit` of them, with the `offset` latest
    /// left out.
    pub(crate) async fn coin_history(
        &self,
        mint: String,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<Observation>, Error> {
        self.call("reading a coin's history", move |connection| {
            let mut rows = connection
                .prepare(
                    "SELECT * FROM pumpfun_coin_history WHERE mint = ?1
                     ORDER BY id DESC LIMIT ?2 OFFSET ?3",
                )?
                .query_map(params![mint, limit, offset], |row| {
                    Ok(Observation {
                        observed_at_ms: row.get("observed_at_ms")?,
                        market_cap: row.get("market_cap")?,
                        usd_market_cap: row.get("usd_market_cap")?,
                        num_participants: row.get("num_participants")?,
                        is_currently_live: row.get("is_currently_live")?,
                    })
                })?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            rows.reverse();
            Ok(rows)
        })
        .await
    }

    /// Forgets coins and observations from before `oldest_ms`, and all but the `most` latest
    /// observations.
    pub(crate) async fn prune_coins(&self, oldest_ms: Option<i64>, most: u64) -> Result<(), Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.call("forgetting old coins", move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute(
                "DELETE FROM pumpfun_coin_history
                 WHERE id <= (SELECT max(id) FROM pumpfun_coin_history) - ?1",
                [most],
            )?;
            if let Some(oldest_ms) = oldest_ms {
                // Ids grow with time: the search ends at the first that is kept.
                transaction.execute(
                    "DELETE FROM pumpfun_coin_history WHERE id < coalesce(
                         (SELECT id FROM pumpfun_coin_history WHERE observed_at_ms >= ?1
                          ORDER BY id LIMIT 1),
                         (SELECT max(id) + 1 FROM pumpfun_coin_history))",
                    [oldest_ms],
                )?;
                transaction.execute(
                    "DELETE FROM pumpfun_coins WHERE fetched_at_ms < ?1",
                    [oldest_ms],
                )?;
            }
            transaction.commit()
        })
        .await
    }
}

/// When a stream began is said by its own description alone: while the coin stays live, the list
/// doesn't make it unknown again.
fn store(connection: &Connection, row: &CoinRow) -> rusqlite::Result<()> {
    let live = row.coin.is_currently_live == Some(true);
    connection
        .prepare_cached(
            "INSERT INTO pumpfun_coins (mint, coin, started_at_ms, fetched_at_ms)
             VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (mint) DO UPDATE SET coin = excluded.coin,
             started_at_ms = coalesce(excluded.started_at_ms,
                                      CASE WHEN ?5 THEN started_at_ms END),
             fetched_at_ms = excluded.fetched_at_ms",
        )?
        .execute(params![
            row.mint,
            serde_json::to_string(&row.coin).unwrap_or_default(),
            row.started_at_ms,
            row.fetched_at_ms,
            live
        ])
        .map(drop)
}

fn observe(connection: &Connection, row: &CoinRow) -> rusqlite::Result<()> {
    let participants = row.coin.num_participants;
    connection
        .prepare_cached(
            "INSERT INTO pumpfun_coin_history
             (mint, observed_at_ms, market_cap, usd_market_cap, num_participants,
              is_currently_live)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS (
                 SELECT 1 FROM (SELECT * FROM pumpfun_coin_history WHERE mint = ?1
                                ORDER BY id DESC LIMIT 1)
                 WHERE market_cap IS ?3 AND usd_market_cap IS ?4 AND num_participants IS ?5
                 AND is_currently_live IS ?6)",
        )?
        .execute(params![
            row.mint,
            row.fetched_at_ms,
            row.coin.market_cap,
            row.coin.usd_market_cap,
            participants.map(|count| i64::try_from(count).unwrap_or(i64::MAX)),
            row.coin.is_currently_live
        ])
        .map(drop)
}

fn coin(row: &Row<'_>) -> rusqlite::Result<CoinRow> {
    let text: String = row.get("coin")?;
    Ok(CoinRow {
        mint: row.get("mint")?,
        coin: serde_json::from_str(&text).unwrap_or_default(),
        started_at_ms: row.get("started_at_ms")?,
        fetched_at_ms: row.get("fetched_at_ms")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(mint: &str, usd: f64, live: bool, at_ms: i64) -> CoinRow {
        let mut coin = Coin::default();
        coin.mint = Some(mint.to_owned());
        coin.usd_market_cap = Some(usd);
        coin.is_currently_live = Some(live);
        CoinRow {
            mint: mint.to_owned(),
            coin,
            started_at_ms: None,
            fetched_at_ms: at_ms,
        }
    }

    async fn history(db: &Db, mint: &str) -> Vec<i64> {
        let rows = db.coin_history(mint.into(), 0, 100).await.unwrap();
        rows.iter().map(|row| row.observed_at_ms).collect()
    }

    #[tokio::test]
    async fn only_what_has_changed_is_history() {
        let db = Db::in_memory();
        for (usd, live, at_ms) in [
            (1.0, true, 1),
            (1.0, true, 2),
            (1.5, true, 3),
            (1.5, false, 4),
        ] {
            db.store_coins(
                vec![row("a", usd, live, at_ms), row("b", 9.0, true, at_ms)],
                None,
            )
            .await
            .unwrap();
        }
        assert_eq!(history(&db, "a").await, [1, 3, 4]);
        assert_eq!(history(&db, "b").await, [1]);
        let page = db.coin_history("a".into(), 1, 1).await.unwrap();
        assert_eq!((page.len(), page[0].observed_at_ms), (1, 3));
        assert_eq!(page[0].usd_market_cap, Some(1.5));
        let stored = db.coin("b".into()).await.unwrap().unwrap();
        assert_eq!(stored, row("b", 9.0, true, 4));
    }

    #[tokio::test]
    async fn history_is_bounded_by_age_and_rows() {
        let db = Db::in_memory();
        for at_ms in 1..=20 {
            let coins = vec![row("a", at_ms as f64, true, at_ms)];
            db.store_coins(coins, None).await.unwrap();
        }
        db.store_coins(vec![row("old", 1.0, true, 3)], None)
            .await
            .unwrap();
        db.prune_coins(None, 11).await.unwrap();
        assert_eq!(history(&db, "a").await, (11..=20).collect::<Vec<_>>());
        db.prune_coins(Some(19), 11).await.unwrap();
        assert_eq!(history(&db, "a").await, [19, 20]);
        assert!(db.coin("old".into()).await.unwrap().is_none());
        db.prune_coins(Some(100), 11).await.unwrap();
        db.prune_coins(Some(100), 11).await.unwrap();
        assert!(history(&db, "a").await.is_empty());
    }

    #[tokio::test]
    async fn the_list_keeps_its_order_and_when_streams_began() {
        let db = Db::in_memory();
        assert!(db.live_list().await.unwrap().is_none());
        let mut told = row("b", 1.0, true, 1);
        told.started_at_ms = Some(77);
        db.store_coins(vec![told], None).await.unwrap();
        let rows = vec![
            row("c", 1.0, true, 2),
            row("b", 2.0, true, 2),
            row("a", 3.0, true, 2),
        ];
        let mints = rows.iter().map(|row| row.mint.clone()).collect();
        db.store_coins(rows, Some((mints, 2))).await.unwrap();
        let list = db.live_list().await.unwrap().unwrap();
        let mints: Vec<_> = list.coins.iter().map(|row| row.mint.as_str()).collect();
        assert_eq!(
            (mints.as_slice(), list.fetched_at_ms),
            (["c", "b", "a"].as_slice(), 2)
        );
        assert_eq!(list.coins[1].started_at_ms, Some(77));
        db.store_coins(vec![row("b", 2.0, false, 3)], None)
            .await
            .unwrap();
        assert_eq!(
            db.coin("b".into()).await.unwrap().unwrap().started_at_ms,
            None
        );
    }
}
