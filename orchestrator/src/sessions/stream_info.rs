//! What is known of a stream beside its media.

use pumpfun_api::{Client, Coin, Livestream, Mint};
use serde::Serialize;
use std::time::Duration;
use tokio::time::{error::Elapsed, timeout};

/// The API's `stream_info`. What isn't known is null.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct StreamInfo {
    pub(crate) mint_id: String,
    pub(crate) name: Option<String>,
    pub(crate) symbol: Option<String>,
    pub(crate) num_participants: Option<u64>,
    /// US dollars.
    pub(crate) market_cap: Option<f64>,
    pub(crate) coin_name: Option<String>,
    pub(crate) telegram: Option<String>,
}

impl StreamInfo {
    /// All that is known of a room that is no coin's: its name.
    pub(crate) fn named(key: &str, name: &str) -> Self {
        Self {
            mint_id: key.to_owned(),
            name: Some(name.to_owned()),
            ..Self::default()
        }
    }

    /// Asks the platform; what it doesn't answer within `limit` stays unknown.
    pub(crate) async fn fetch(client: &Client, mint: &Mint, limit: Duration) -> Self {
        let (coin, livestream) = tokio::join!(
            or_unknown(timeout(limit, client.coin(mint)), mint),
            or_unknown(timeout(limit, client.livestream(mint)), mint),
        );
        Self::from_answers(mint.as_str(), coin, livestream)
    }

    fn from_answers(mint: &str, coin: Coin, livestream: Livestream) -> Self {
        Self {
            mint_id: mint.to_owned(),
            name: coin.name.clone().or(livestream.title),
            symbol: coin.symbol,
            num_participants: livestream.num_participants.or(coin.num_participants),
            market_cap: coin.usd_market_cap.or(coin.market_cap),
            coin_name: coin.name,
            telegram: coin.telegram,
        }
    }
}

/// One slow answer doesn't cost the other.
async fn or_unknown<T: Default>(
    asking: impl Future<Output = Result<Result<T, pumpfun_api::Error>, Elapsed>>,
    mint: &Mint,
) -> T {
    let why = match asking.await {
        Ok(Ok(answer)) => return answer,
        Ok(Err(error)) => error.to_string(),
        Err(elapsed) => elapsed.to_string(),
    };
    tracing::debug!(%mint, why, "the stream's description is incomplete");
    T::default()
}
