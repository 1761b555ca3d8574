//! What is told of a coin: the platform's answer, cleaned and of bounded size.

use pumpfun_api::{Coin, Mint};

/// Bytes of a name, a symbol or an address at most. The platform's own limits are far lower; what is
/// here is copied with every buffer.
const MAX_TEXT_BYTES: usize = 512;
/// Bytes of a description, which goes into tags only.
const MAX_DESCRIPTION_BYTES: usize = 4096;

/// Facts about a coin. What isn't known is none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    pub(crate) mint: Mint,
    pub(crate) name: Option<String>,
    pub(crate) symbol: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) creator: Option<String>,
    pub(crate) image: Option<String>,
    /// In SOL.
    pub(crate) market_cap_sol: Option<f64>,
    /// In US dollars.
    pub(crate) market_cap_usd: Option<f64>,
    pub(crate) participants: Option<u64>,
    pub(crate) live: Option<bool>,
    pub(crate) nsfw: Option<bool>,
    pub(crate) website: Option<String>,
    pub(crate) twitter: Option<String>,
    pub(crate) telegram: Option<String>,
}

impl Facts {
    /// What an answer says. What a coin keeps for good (name, symbol, description, creator, image)
    /// is taken from `before` where the answer lacks it.
    pub(crate) fn new(mint: &Mint, coin: &Coin, before: Option<&Self>) -> Self {
        let line = |text: &Option<String>| clean(text.as_deref(), MAX_TEXT_BYTES);
        let kept = |new: Option<String>, of: fn(&Self) -> &Option<String>| {
            new.or_else(|| before.and_then(|before| of(before).clone()))
        };
        let description = clean(coin.description.as_deref(), MAX_DESCRIPTION_BYTES);
        Self {
            mint: mint.clone(),
            name: kept(line(&coin.name), |facts| &facts.name),
            symbol: kept(line(&coin.symbol), |facts| &facts.symbol),
            description: kept(description, |facts| &facts.description),
            creator: kept(line(&coin.creator), |facts| &facts.creator),
            image: kept(line(&coin.image_uri), |facts| &facts.image),
            market_cap_sol: coin.market_cap,
            market_cap_usd: coin.usd_market_cap,
            participants: coin.num_participants,
            live: coin.is_currently_live,
            nsfw: coin.nsfw,
            website: line(&coin.website),
            twitter: line(&coin.twitter),
            telegram: line(&coin.telegram),
        }
    }
}

/// A text without control characters (C's strings end at a NUL, and a line break has no place in a
/// title), cut to `most` bytes. None where nothing is left.
fn clean(text: Option<&str>, most: usize) -> Option<String> {
    let text = text?;
    // Each character becomes one that isn't longer, so more than this is never needed.
    let end = text.floor_char_boundary(most);
    let plain: String = text[..end]
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let trimmed = plain.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINT: &str = "5PJRpFL7ZH7HEnHPJiAymwuzGRLLPTDkfNTKFG1wpump";

    fn facts(json: &str, before: Option<&Facts>) -> Facts {
        let coin: Coin = serde_json::from_str(json).unwrap();
        Facts::new(&MINT.parse().unwrap(), &coin, before)
    }

    #[test]
    fn texts_are_plain_and_short() {
        assert_eq!(clean(Some(" a\0b\nc "), 100).as_deref(), Some("a b c"));
        assert_eq!(clean(Some(" \n\0"), 100), None);
        assert_eq!(clean(Some("ééé"), 3).as_deref(), Some("é"));
        assert_eq!(clean(None, 3), None);
        let long = format!(
            r#"{{"name": "{0}", "description": "{0}"}}"#,
            "x".repeat(100_000)
        );
        let facts = facts(&long, None);
        assert_eq!(facts.name.unwrap().len(), MAX_TEXT_BYTES);
        assert_eq!(facts.description.unwrap().len(), MAX_DESCRIPTION_BYTES);
    }

    #[test]
    fn what_a_coin_keeps_is_kept_and_what_changes_is_not() {
        let first = facts(
            r#"{"name": "N", "symbol": "S", "creator": "C", "image_uri": "I", "description": "D",
                "market_cap": 1, "num_participants": 2, "website": "W"}"#,
            None,
        );
        let second = facts(r#"{"name": null, "symbol": "T"}"#, Some(&first));
        assert_eq!(second.name.as_deref(), Some("N"));
        assert_eq!(second.symbol.as_deref(), Some("T"));
        assert_eq!(second.creator.as_deref(), Some("C"));
        assert_eq!(second.image.as_deref(), Some("I"));
        assert_eq!(second.description.as_deref(), Some("D"));
        assert_eq!(second.market_cap_sol, None);
        assert_eq!(second.participants, None);
        assert_eq!(second.website, None);
    }
}
