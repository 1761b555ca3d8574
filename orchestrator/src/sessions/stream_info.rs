//! What is known of a stream beside its media.

use pumpfun_api::Coin;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The API's `stream_info`. What isn't known is null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct StreamInfo {
    /// The session's key: a mint, or a room's name.
    pub(crate) mint_id: String,
    /// Name of the coin, or of the room.
    pub(crate) name: Option<String>,
    /// The coin's ticker.
    pub(crate) symbol: Option<String>,
    /// How many people are in the room, as the platform counts them.
    pub(crate) num_participants: Option<u64>,
    /// Market capitalisation in US dollars.
    pub(crate) market_cap: Option<f64>,
    /// Name of the coin.
    pub(crate) coin_name: Option<String>,
    /// The creator's Telegram page.
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

    /// What is known of a coin; with nothing, its address alone.
    pub(crate) fn of_coin(mint: &str, coin: Option<Coin>) -> Self {
        let coin = coin.unwrap_or_default();
        Self {
            mint_id: mint.to_owned(),
            name: coin.name.clone(),
            symbol: coin.symbol,
            num_participants: coin.num_participants,
            market_cap: coin.usd_market_cap.or(coin.market_cap),
            coin_name: coin.name,
            telegram: coin.telegram,
        }
    }
}
