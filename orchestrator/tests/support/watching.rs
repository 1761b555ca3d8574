//! Watch rules about coins of the stand-in of pump.fun.

use super::{Options, PATIENCE, Server, discovery::options};
use haven_rig::pumpfun::{Coin, FakePumpFun, random_mint};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Options of a server that looks at the list each second.
pub(crate) fn watching(fake: &FakePumpFun) -> Options {
    options(fake)
        .livekit()
        .env("HAVEN_PUMPFUN_REFRESH_S", "1")
        .env("HAVEN_DEFAULT_OUTPUT_FORMAT", "h264")
}

/// Coins that are offline.
pub(crate) fn coins<const N: usize>(fake: &FakePumpFun) -> [String; N] {
    std::array::from_fn(|_| {
        let mut coin = Coin::new(random_mint());
        coin.live = false;
        let mint = coin.mint.clone();
        fake.add_coin(coin);
        mint
    })
}

pub(crate) async fn watch(server: &Server, mint: &str) -> Value {
    let answer = server.ok("/api/watch", json!({"mint_id": mint})).await;
    answer["rule"].clone()
}

/// The rule about a coin.
pub(crate) async fn rule(server: &Server, mint: &str) -> Value {
    let rules = server.get("/api/watch").await;
    let rules = rules["rules"].as_array().unwrap();
    let found = rules.iter().find(|rule| rule["mint_id"] == mint);
    found.cloned().unwrap_or_default()
}

/// Waits until the rule about a coin is in this state.
pub(crate) async fn until_rule(server: &Server, mint: &str, state: &str) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let rule = rule(server, mint).await;
        if rule["state"] == state {
            return rule;
        }
        assert!(Instant::now() < until, "never {state}: {rule}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A coin's recordings, oldest first.
pub(crate) async fn recordings(server: &Server, mint: &str) -> Vec<Value> {
    let path = format!("/api/recordings?mint_id={mint}&limit=500");
    let answer = server.get(&path).await;
    let mut recordings = answer["recordings"].as_array().unwrap().clone();
    recordings.reverse();
    recordings
}
