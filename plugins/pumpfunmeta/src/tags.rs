//! The coin as tags, for muxers and players.

use crate::facts::Facts;
use gst::{TagMergeMode, glib, tags};

/// The platform's page about a coin. Seen on pump.fun, November 2026.
const COIN_PAGE: &str = "https://pump.fun/coin/";

/// The tags that a coin gives: of the whole file, not of one of its streams.
///
/// Market capitalisation and the like change all the time and are no tags.
pub(crate) fn of(facts: &Facts) -> gst::TagList {
    let mint = facts.mint.as_str();
    let page = format!("{COIN_PAGE}{mint}");
    let title = match (&facts.name, &facts.symbol) {
        (Some(name), Some(symbol)) => format!("{name} ({symbol})"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => mint.to_owned(),
    };
    let comment = match &facts.symbol {
        Some(symbol) => format!("{symbol} on pump.fun, mint {mint}, {page}"),
        None => format!("pump.fun, mint {mint}, {page}"),
    };
    // By itself, so that a muxer that escapes spaces leaves it as it is.
    let keywords = facts.symbol.as_deref().unwrap_or("pump.fun");
    let mut list = gst::TagList::new();
    {
        let list = list.make_mut();
        list.set_scope(gst::TagScope::Global);
        let replace = TagMergeMode::Replace;
        list.add::<tags::Title>(&title.as_str(), replace);
        list.add::<tags::Comment>(&comment.as_str(), replace);
        list.add::<tags::Keywords>(&keywords, replace);
        let homepage = facts.website.as_deref().unwrap_or(&page);
        list.add::<tags::Homepage>(&homepage, replace);
        if let Some(creator) = facts.creator.as_deref() {
            list.add::<tags::Artist>(&creator, replace);
        }
        if let Some(description) = facts.description.as_deref() {
            list.add::<tags::Description>(&description, replace);
        }
    }
    list
}

/// The coin's tags and those of upstream: the coin's title, artist and the like count, everything
/// else of upstream stays. The date is upstream's, or when the stream `began`.
pub(crate) fn merged(
    coin: &gst::TagList,
    upstream: Option<&gst::TagList>,
    began: Option<&glib::DateTime>,
) -> gst::TagList {
    let mut list = coin.clone();
    {
        let list = list.make_mut();
        if let Some(upstream) = upstream {
            list.insert(upstream, TagMergeMode::Keep);
        }
        // An inserted list may bring its own.
        list.set_scope(gst::TagScope::Global);
        let has_date = list.get::<tags::Date>().is_some() || list.get::<tags::DateTime>().is_some();
        if let Some(began) = began.filter(|_| !has_date) {
            list.add::<tags::DateTime>(&began.into(), TagMergeMode::Replace);
            if let Some(date) = date_of(began) {
                list.add::<tags::Date>(&date, TagMergeMode::Replace);
            }
        }
    }
    list
}

fn date_of(moment: &glib::DateTime) -> Option<glib::Date> {
    use glib::DateMonth::*;
    const MONTHS: [glib::DateMonth; 12] = [
        January, February, March, April, May, June, July, August, September, October, November,
        December,
    ];
    let (year, month, day) = moment.ymd();
    let month = MONTHS.get(usize::try_from(month - 1).ok()?)?;
    glib::Date::from_dmy(day.try_into().ok()?, *month, year.try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumpfun_api::Coin;

    const MINT: &str = "5PJRpFL7ZH7HEnHPJiAymwuzGRLLPTDkfNTKFG1wpump";

    fn coin(json: &str) -> gst::TagList {
        gst::init().unwrap();
        let coin: Coin = serde_json::from_str(json).unwrap();
        of(&Facts::new(&MINT.parse().unwrap(), &coin, None))
    }

    fn title(list: &gst::TagList) -> String {
        list.get::<tags::Title>().unwrap().get().to_owned()
    }

    #[test]
    fn a_title_is_made_of_what_is_known() {
        assert_eq!(title(&coin(r#"{"name": "N", "symbol": "S"}"#)), "N (S)");
        assert_eq!(title(&coin(r#"{"symbol": "S"}"#)), "S");
        assert_eq!(title(&coin("{}")), MINT);
        assert_eq!(coin("{}").scope(), gst::TagScope::Global);
        assert!(coin("{}").get::<tags::Artist>().is_none());
    }

    #[test]
    fn the_coin_counts_and_the_rest_of_upstream_stays() {
        let coin = coin(r#"{"name": "N", "symbol": "S"}"#);
        let mut upstream = gst::TagList::new();
        {
            let upstream = upstream.make_mut();
            upstream.add::<tags::Title>(&"upstream's", TagMergeMode::Replace);
            upstream.add::<tags::Album>(&"album", TagMergeMode::Replace);
        }
        let list = merged(&coin, Some(&upstream), None);
        assert_eq!(title(&list), "N (S)");
        assert_eq!(list.size::<tags::Title>(), 1);
        assert_eq!(list.get::<tags::Album>().unwrap().get(), "album");
        assert_eq!(list.scope(), gst::TagScope::Global);
        assert!(list.get::<tags::Date>().is_none());
    }

    #[test]
    fn the_date_is_upstreams_or_when_the_stream_began() {
        let began = glib::DateTime::from_utc(2026, 11, 21, 12, 0, 0.0).unwrap();
        let year = |list: &gst::TagList| list.get::<tags::Date>().map(|date| date.get().year());
        let coin = coin("{}");
        assert_eq!(year(&merged(&coin, None, Some(&began))), Some(2026));
        let mut upstream = gst::TagList::new();
        let date = glib::Date::from_dmy(1, glib::DateMonth::May, 1999).unwrap();
        upstream
            .make_mut()
            .add::<tags::Date>(&date, TagMergeMode::Replace);
        let list = merged(&coin, Some(&upstream), Some(&began));
        assert_eq!(year(&list), Some(1999));
        assert!(list.get::<tags::DateTime>().is_none());
    }
}
