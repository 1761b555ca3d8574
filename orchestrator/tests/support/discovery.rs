//! The stand-in of pump.fun, with coins, for a server.

use super::{Options, PATIENCE, Server};
use haven_rig::{
    Keys,
    pumpfun::{Coin, Endpoint, FakePumpFun, random_mint},
};
use serde_json::Value;

/// What is asked for coins and streams.
pub(crate) const ENDPOINTS: [Endpoint; 3] = [
    Endpoint::CurrentlyLive,
    Endpoint::Coin,
    Endpoint::Livestream,
];

pub(crate) async fn stand_in() -> FakePumpFun {
    FakePumpFun::start_for("ws://127.0.0.1:1".into(), Keys::random())
        .await
        .unwrap()
}

pub(crate) fn options(fake: &FakePumpFun) -> Options {
    let with = |options: Options, (name, value): (String, String)| options.env(&name, &value);
    fake.environment()
        .into_iter()
        .fold(Options::default(), with)
}

/// Three live coins, of which the second isn't safe for work, and one that is offline.
pub(crate) fn add_coins(fake: &FakePumpFun) -> [String; 4] {
    let coins = [(500, true), (50, true), (5, true), (0, false)].map(|(participants, live)| {
        let mut coin = Coin::new(random_mint());
        coin.num_participants = participants;
        coin.nsfw = participants == 50;
        coin.live = live;
        coin.name = format!("Coin of {participants}");
        coin
    });
    let mints = coins.clone().map(|coin| coin.mint);
    coins.into_iter().for_each(|coin| fake.add_coin(coin));
    mints
}

/// Status, `Warning`, body.
pub(crate) async fn ask(server: &Server, path: &str) -> (u16, Option<String>, Value) {
    let request = server.http.get(server.url(path)).timeout(PATIENCE);
    let response = request.send().await.unwrap();
    let warning = response.headers().get("warning");
    let warning = warning.map(|value| value.to_str().unwrap().to_owned());
    (
        response.status().as_u16(),
        warning,
        response.json().await.unwrap(),
    )
}

/// Makes what is stored an hour older.
pub(crate) fn age(data: &tempfile::TempDir) {
    let db = rusqlite::Connection::open(data.path().join("haven.db")).unwrap();
    for table in ["pumpfun_coins", "pumpfun_lists"] {
        let older = format!("UPDATE {table} SET fetched_at_ms = fetched_at_ms - 3600000");
        assert!(db.execute(&older, []).unwrap() > 0);
    }
}
