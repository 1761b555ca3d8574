//! The custom meta on buffers, and its fields.
//!
//! It is GStreamer's own [`gst::meta::CustomMeta`]: a name and a structure, which every language can
//! read without this crate: `gst_buffer_get_custom_meta (buffer, "PumpFunCoinMeta")`. The same fields
//! are in the element's message and in its `coin` property.

use crate::facts::Facts;
use gst::{meta::CustomMeta, prelude::*};
use std::{
    sync::Once,
    time::{SystemTime, UNIX_EPOCH},
};

/// The meta's name.
pub const NAME: &str = "PumpFunCoinMeta";
/// The name of the structure in the element's message and its `coin` property.
pub const STRUCTURE_NAME: &str = "pumpfun-coin";

/// The coin's address (string). Always there; of the others, those that are known.
pub const FIELD_MINT: &str = "mint";
/// Its name (string).
pub const FIELD_NAME: &str = "name";
/// Its ticker symbol (string).
pub const FIELD_SYMBOL: &str = "symbol";
/// Address of its creator (string).
pub const FIELD_CREATOR: &str = "creator";
/// Market capitalisation in SOL (double).
pub const FIELD_MARKET_CAP_SOL: &str = "market-cap-sol";
/// Market capitalisation in US dollars (double).
pub const FIELD_MARKET_CAP_USD: &str = "market-cap-usd";
/// People in the room (uint64).
pub const FIELD_PARTICIPANTS: &str = "participants";
/// Whether the platform lists it as live (boolean).
pub const FIELD_LIVE: &str = "live";
/// Whether the platform marks it as not safe for work (boolean).
pub const FIELD_NSFW: &str = "nsfw";
/// The creator's web page (string).
pub const FIELD_WEBSITE: &str = "website";
/// The creator's Twitter page (string).
pub const FIELD_TWITTER: &str = "twitter";
/// The creator's Telegram page (string).
pub const FIELD_TELEGRAM: &str = "telegram";
/// Address of its picture (string).
pub const FIELD_IMAGE: &str = "image";
/// When the platform said all this (GstDateTime, UTC).
pub const FIELD_FETCHED_AT: &str = "fetched-at";

/// Makes the meta known to GStreamer; more than once does no harm.
///
/// It has no tags: elements take a meta with a tag such as `size` or `memory` for something that
/// their work makes wrong, and leave it out. Its function copies it for every kind of transformation,
/// since a coin stays what it is when a picture is scaled or encoded.
pub fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // The same plugin may be in this process twice, as a library and linked into the program.
        if CustomMeta::is_registered(NAME) {
            return;
        }
        CustomMeta::register_with_transform(NAME, &[], |to, meta, _from, _kind| {
            // In place, or copied before.
            if CustomMeta::from_buffer(to, NAME).is_ok() {
                return true;
            }
            attach(to, meta.structure())
        });
    });
}

/// Attaches a coin, in place of one that is there. Whether it could.
pub(crate) fn attach(buffer: &mut gst::BufferRef, coin: &gst::StructureRef) -> bool {
    let attached = match CustomMeta::from_buffer(buffer, NAME) {
        Ok(_) => CustomMeta::from_mut_buffer(buffer, NAME),
        Err(_) => CustomMeta::add(buffer, NAME),
    };
    let Ok(mut meta) = attached else {
        return false;
    };
    let structure = meta.mut_structure();
    structure.remove_all_fields();
    for (field, value) in coin.iter() {
        structure.set_value(field, value.clone());
    }
    true
}

/// The coin as a structure.
pub(crate) fn describe(facts: &Facts, fetched: SystemTime) -> gst::Structure {
    let mut structure = gst::Structure::builder(STRUCTURE_NAME)
        .field(FIELD_MINT, facts.mint.as_str())
        .build();
    set(&mut structure, FIELD_FETCHED_AT, date_time(fetched));
    for (field, value) in [
        (FIELD_NAME, &facts.name),
        (FIELD_SYMBOL, &facts.symbol),
        (FIELD_CREATOR, &facts.creator),
        (FIELD_WEBSITE, &facts.website),
        (FIELD_TWITTER, &facts.twitter),
        (FIELD_TELEGRAM, &facts.telegram),
        (FIELD_IMAGE, &facts.image),
    ] {
        set(&mut structure, field, value.as_ref());
    }
    set(&mut structure, FIELD_MARKET_CAP_SOL, facts.market_cap_sol);
    set(&mut structure, FIELD_MARKET_CAP_USD, facts.market_cap_usd);
    set(&mut structure, FIELD_PARTICIPANTS, facts.participants);
    set(&mut structure, FIELD_LIVE, facts.live);
    set(&mut structure, FIELD_NSFW, facts.nsfw);
    structure
}

fn set<T: ToSendValue>(structure: &mut gst::StructureRef, field: &str, value: Option<T>) {
    if let Some(value) = value {
        structure.set_value(field, value.to_send_value());
    }
}

/// A moment for a structure; none before 1970 or beyond what GLib can tell.
fn date_time(moment: SystemTime) -> Option<gst::DateTime> {
    let since = moment.duration_since(UNIX_EPOCH).ok()?;
    gst::DateTime::from_unix_epoch_utc_usecs(i64::try_from(since.as_micros()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumpfun_api::Coin;
    use std::time::Duration;

    fn coin(json: &str) -> gst::Structure {
        gst::init().unwrap();
        register();
        let coin: Coin = serde_json::from_str(json).unwrap();
        let mint = "5PJRpFL7ZH7HEnHPJiAymwuzGRLLPTDkfNTKFG1wpump"
            .parse()
            .unwrap();
        let fetched = UNIX_EPOCH + Duration::from_millis(1_795_291_200_250);
        describe(&Facts::new(&mint, &coin, None), fetched)
    }

    #[test]
    fn what_is_not_known_is_not_there() {
        let bare = coin("{}");
        let fields: Vec<_> = bare.fields().map(ToString::to_string).collect();
        assert_eq!(fields, [FIELD_MINT, FIELD_FETCHED_AT]);
        let fetched = bare.get::<gst::DateTime>(FIELD_FETCHED_AT).unwrap();
        assert_eq!(fetched.to_iso8601_string().unwrap(), "2026-11-21T20:00:00Z");
        assert_eq!(fetched.microsecond(), Some(250_000));
    }

    #[test]
    fn a_second_coin_takes_the_place_of_the_first() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::new();
        let buffer = buffer.get_mut().unwrap();
        assert!(attach(buffer, &coin(r#"{"name": "One", "symbol": "ONE"}"#)));
        assert!(attach(buffer, &coin(r#"{"name": "Two"}"#)));
        assert_eq!(buffer.iter_meta::<gst::Meta>().count(), 1);
        let meta = CustomMeta::from_buffer(buffer, NAME).unwrap();
        assert_eq!(meta.structure().get::<&str>(FIELD_NAME), Ok("Two"));
        assert!(!meta.structure().has_field(FIELD_SYMBOL));
    }

    #[test]
    fn a_copied_buffer_has_a_coin_of_its_own() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::with_size(100).unwrap();
        attach(buffer.get_mut().unwrap(), &coin(r#"{"name": "One"}"#));
        let mut part = buffer
            .copy_region(gst::BufferCopyFlags::all(), 10..20)
            .unwrap();
        attach(part.get_mut().unwrap(), &coin(r#"{"name": "Two"}"#));
        let name = |buffer: &gst::BufferRef| {
            let meta = CustomMeta::from_buffer(buffer, NAME).unwrap();
            meta.structure().get::<String>(FIELD_NAME).unwrap()
        };
        assert_eq!((name(&buffer), name(&part)), ("One".into(), "Two".into()));
    }
}
