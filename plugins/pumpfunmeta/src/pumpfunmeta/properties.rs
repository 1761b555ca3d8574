//! The element's property table.

use crate::settings::{
    DEFAULT_FRONTEND_URL, DEFAULT_MINT_ID, DEFAULT_REFRESH_INTERVAL_MS, Settings,
};
use gst::{glib, prelude::*};
use std::sync::LazyLock;

pub(super) const PROP_MINT_ID: &str = "mint-id";
pub(super) const PROP_REFRESH_INTERVAL: &str = "refresh-interval";
pub(super) const PROP_FRONTEND_URL: &str = "frontend-url";
pub(super) const PROP_COIN: &str = "coin";
pub(super) const PROP_STATS: &str = "stats";

/// A day in milliseconds.
const LONGEST_INTERVAL_MS: u32 = 86_400_000;

const COIN_BLURB: &str = "What is known of the coin, NULL before anything is: pumpfun-coin with the \
    fields of the meta, which are mint, name, symbol, creator, website, twitter, telegram, image \
    (string), market-cap-sol, market-cap-usd (double), participants (uint64), live, nsfw (boolean), \
    fetched-at (GstDateTime)";

const STATS_BLURB: &str = "pumpfunmeta-stats: mint (string), buffers that got the meta, requests, \
    failures since the last answer (uint64), age of the last answer (uint64, ns), last-error \
    (string, while requests fail)";

pub(super) static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    vec![
        glib::ParamSpecString::builder(PROP_MINT_ID)
            .nick("Mint")
            .blurb("Mint of the pump.fun coin (NULL = as livekitsrc upstream says, or nothing is attached)")
            .default_value(DEFAULT_MINT_ID)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder(PROP_REFRESH_INTERVAL)
            .nick("Refresh interval")
            .blurb("Milliseconds after which the coin is asked for again (0 = ask until there is an answer; 1 to 999 count as 1000). Of several elements for one coin in a process the shortest counts")
            .maximum(LONGEST_INTERVAL_MS)
            .default_value(DEFAULT_REFRESH_INTERVAL_MS)
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder(PROP_FRONTEND_URL)
            .nick("Frontend URL")
            .blurb("Base URL of pump.fun's coin API (NULL = HAVEN_PUMPFUN_FRONTEND_URL, else the platform's own)")
            .default_value(DEFAULT_FRONTEND_URL)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>(PROP_COIN)
            .nick("Coin")
            .blurb(COIN_BLURB)
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>(PROP_STATS)
            .nick("Statistics")
            .blurb(STATS_BLURB)
            .read_only()
            .build(),
    ]
});

/// Takes a property's value over; an empty text is none.
pub(super) fn store(settings: &mut Settings, name: &str, value: &glib::Value) {
    let text = || {
        let text = value.get::<Option<String>>().ok().flatten();
        text.filter(|text| !text.trim().is_empty())
    };
    match name {
        PROP_MINT_ID => settings.mint_id = text(),
        PROP_FRONTEND_URL => settings.frontend_url = text(),
        PROP_REFRESH_INTERVAL => {
            settings.refresh_interval_ms = value.get().unwrap_or(settings.refresh_interval_ms);
        }
        _ => {}
    }
}

/// A property's value as it was asked for; none for what is only read.
pub(super) fn load(settings: &Settings, name: &str) -> Option<glib::Value> {
    Some(match name {
        PROP_MINT_ID => settings.mint_id.to_value(),
        PROP_REFRESH_INTERVAL => settings.refresh_interval_ms.to_value(),
        PROP_FRONTEND_URL => settings.frontend_url.to_value(),
        _ => return None,
    })
}
