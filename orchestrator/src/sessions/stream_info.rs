//! What is known of a stream beside its media.

use pumpfun_api::{Client, Coin, Livestream, Mint};
use serde::Serialize;

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

    /// Asks the platform; what it doesn't answer stays unknown.
    pub(crate) async fn fetch(client: &Client, mint: &Mint) -> Self {
        let (coin, livestream) = tokio::join!(client.coin(mint), client.livestream(mint));
        for error in [coin.as_ref().err(), livestream.as_ref().err()]
            .into_iter()
            .flatten()
        {
            tracing::debug!(%mint, %error, "the stream's description is incomplete");
        }
        Self::from_answers(
            mint.as_str(),
            coin.unwrap_or_default(),
            livestream.unwrap_or_default(),
        )
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
