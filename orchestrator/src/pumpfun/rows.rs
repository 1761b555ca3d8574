//! What the platform says of a coin, as it is stored.

use super::Failure;
use crate::db::CoinRow;
use pumpfun_api::{Coin, Livestream};

/// A coin with what its stream's own description knows better.
pub(super) fn described(
    mut coin: Coin,
    stream: Result<Livestream, Failure>,
    now_ms: i64,
) -> CoinRow {
    let mut started_at_ms = None;
    match stream {
        Ok(stream) => {
            coin.is_currently_live = stream.is_live.or(coin.is_currently_live);
            coin.num_participants = stream.num_participants.or(coin.num_participants);
            coin.thumbnail = coin.thumbnail.or(stream.thumbnail);
            coin.name = coin.name.or(stream.title);
            let started = stream.stream_start_timestamp;
            started_at_ms = started.and_then(|at_ms| i64::try_from(at_ms).ok());
        }
        Err(Failure::Unknown) => coin.is_currently_live = Some(false),
        Err(Failure::Down(_) | Failure::HeldBack) => {}
    }
    CoinRow {
        mint: coin.mint.clone().unwrap_or_default(),
        started_at_ms: started_at_ms.filter(|_| coin.is_currently_live == Some(true)),
        coin,
        fetched_at_ms: now_ms,
    }
}

/// A coin of the list of live ones.
pub(super) fn listed(mut coin: Coin, now_ms: i64) -> CoinRow {
    coin.is_currently_live.get_or_insert(true);
    CoinRow {
        mint: coin.mint.clone().unwrap_or_default(),
        coin,
        started_at_ms: None,
        fetched_at_ms: now_ms,
    }
}
