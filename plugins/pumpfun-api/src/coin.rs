use crate::lenient;
use serde::{Deserialize, Serialize};

/// A coin as the platform describes it. Every field but the mint may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Coin {
    /// The coin's address.
    #[serde(default, deserialize_with = "lenient::text")]
    pub mint: Option<String>,
    /// Its name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// Its ticker symbol.
    #[serde(default, deserialize_with = "lenient::text")]
    pub symbol: Option<String>,
    /// What its creator wrote.
    #[serde(default, deserialize_with = "lenient::text")]
    pub description: Option<String>,
    /// Address of its picture.
    #[serde(default, deserialize_with = "lenient::text")]
    pub image_uri: Option<String>,
    /// Address of the stream's thumbnail.
    #[serde(default, deserialize_with = "lenient::text")]
    pub thumbnail: Option<String>,
    /// Address of its creator.
    #[serde(default, deserialize_with = "lenient::text")]
    pub creator: Option<String>,
    /// Market capitalisation in SOL.
    #[serde(default, deserialize_with = "lenient::number")]
    pub market_cap: Option<f64>,
    /// Market capitalisation in US dollars.
    #[serde(default, deserialize_with = "lenient::number")]
    pub usd_market_cap: Option<f64>,
    /// How many people are in the room.
    #[serde(default, deserialize_with = "lenient::count")]
    pub num_participants: Option<u64>,
    /// Whether the platform lists it as live. It follows the ingress: a room may be empty.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub is_currently_live: Option<bool>,
    /// Not safe for work.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub nsfw: Option<bool>,
    /// The creator's web page.
    #[serde(default, deserialize_with = "lenient::text")]
    pub website: Option<String>,
    /// The creator's Twitter page.
    #[serde(default, deserialize_with = "lenient::text")]
    pub twitter: Option<String>,
    /// The creator's Telegram page.
    #[serde(default, deserialize_with = "lenient::text")]
    pub telegram: Option<String>,
}

/// A livestream as the platform describes it. Every field may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Livestream {
    /// The platform's number of the stream.
    #[serde(default, deserialize_with = "lenient::text")]
    pub id: Option<String>,
    /// The coin's address.
    #[serde(default, deserialize_with = "lenient::text")]
    pub mint_id: Option<String>,
    /// Address of the streamer.
    #[serde(default, deserialize_with = "lenient::text")]
    pub creator_address: Option<String>,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    #[serde(default, deserialize_with = "lenient::count")]
    pub stream_start_timestamp: Option<u64>,
    /// How many people are in the room.
    #[serde(default, deserialize_with = "lenient::count")]
    pub num_participants: Option<u64>,
    /// Whether the ingress is running; only a subscribed track proves more.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub is_live: Option<bool>,
    /// Address of its thumbnail.
    #[serde(default, deserialize_with = "lenient::text")]
    pub thumbnail: Option<String>,
    /// What the streamer called it.
    #[serde(default, deserialize_with = "lenient::text")]
    pub title: Option<String>,
    /// The platform's mode of streaming.
    #[serde(default, deserialize_with = "lenient::text")]
    pub mode: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const COIN: &str = include_str!("../tests/fixtures/frontend_coin.json");
    const ODD_COIN: &str = include_str!("../tests/fixtures/frontend_coin_odd_types.json");
    const LIVESTREAM: &str = include_str!("../tests/fixtures/livestream_live.json");

    #[test]
    fn a_coin_is_read_whole() {
        let coin: Coin = serde_json::from_str(COIN).unwrap();
        assert_eq!(coin.name.as_deref(), Some("KindnessCoin"));
        assert_eq!(coin.symbol.as_deref(), Some("KIND"));
        assert_eq!(coin.usd_market_cap, Some(101_778.36));
        assert_eq!(coin.num_participants, Some(231));
        assert_eq!(coin.is_currently_live, Some(true));
        assert_eq!(coin.twitter, None);
    }

    #[test]
    fn fields_of_other_types_cost_nothing_else() {
        let coin: Coin = serde_json::from_str(ODD_COIN).unwrap();
        assert_eq!(coin.usd_market_cap, Some(101_778.36));
        assert_eq!(coin.num_participants, Some(231));
        assert_eq!(coin.is_currently_live, Some(true));
        assert_eq!(coin.nsfw, Some(false));
        assert_eq!(coin.name.as_deref(), Some("42"));
        assert_eq!(coin.market_cap, None);
        assert_eq!(coin.description, None);
        assert_eq!(coin.website, None);
    }

    #[test]
    fn a_livestream_is_read_whole() {
        let live: Livestream = serde_json::from_str(LIVESTREAM).unwrap();
        assert_eq!(live.id.as_deref(), Some("483920"));
        assert_eq!(live.stream_start_timestamp, Some(1_762_948_800_123));
        assert_eq!(live.is_live, Some(true));
        assert_eq!(live.num_participants, Some(231));
    }

    #[test]
    fn a_truncated_answer_is_an_error_and_no_panic() {
        for whole in [COIN, ODD_COIN, LIVESTREAM] {
            let whole = whole.trim();
            for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
                assert!(serde_json::from_str::<Coin>(&whole[..end]).is_err());
                assert!(serde_json::from_str::<Livestream>(&whole[..end]).is_err());
            }
        }
    }

    #[test]
    fn any_type_in_any_field_is_read() {
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(COIN).unwrap();
        let odd = [
            "null",
            "[]",
            "{}",
            "-1",
            "1e999",
            "\"\"",
            "true",
            "[{}]",
            "18446744073709551616",
        ];
        for field in object.keys() {
            for value in odd {
                let text = format!("{{\"{field}\": {value}}}");
                // 1e999 is no number to the JSON reader; what matters is that nothing panics.
                if value != "1e999" {
                    serde_json::from_str::<Coin>(&text).unwrap();
                    serde_json::from_str::<Livestream>(&text).unwrap();
                }
            }
        }
    }
}
