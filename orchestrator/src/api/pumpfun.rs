//! `/api/pumpfun`, and the same below `/api/live`.

use super::{
    App, key_segment,
    query::{Query, query},
    reply::{self, Problem},
    with,
};
use crate::{
    Error, clock,
    db::{CoinRow, Observation},
    error::Kind,
    pumpfun::Found,
};
use http::{HeaderValue, header};
use pumpfun_api::Mint;
use serde::Serialize;
use std::{cmp::Reverse, future::Future, sync::Arc};
use utoipa::ToSchema;
use warp::{Filter, filters::BoxedFilter, path, reply::Response};

/// RFC 9111, 5.5, and RFC 7234, 5.5.1: the answer is older than it should be.
const STALE: &str = "110 haven \"Response is Stale\"";
/// Most entries of one answer.
const MOST_LIVE: u32 = 100;
const MOST_POPULAR: u32 = 50;
const MOST_OBSERVATIONS: u32 = 1000;
/// Beyond what the platform ever lists.
const FARTHEST: u32 = 1_000_000;

/// A coin whose stream is live, or was.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stream {
    /// The coin's address.
    mint_id: String,
    name: Option<String>,
    /// The coin's ticker.
    symbol: Option<String>,
    /// What its creator wrote.
    description: Option<String>,
    /// Address of the coin's picture.
    image_uri: Option<String>,
    /// Address of the stream's thumbnail.
    thumbnail: Option<String>,
    /// Address of its creator.
    creator: Option<String>,
    /// Market capitalisation in SOL.
    market_cap: Option<f64>,
    /// Market capitalisation in US dollars.
    usd_market_cap: Option<f64>,
    /// How many people are in the room, as the platform counts them.
    num_participants: u64,
    is_currently_live: bool,
    /// Not safe for work.
    nsfw: bool,
    website: Option<String>,
    twitter: Option<String>,
    telegram: Option<String>,
    /// RFC 3339; null where it isn't known.
    stream_started_at: Option<String>,
}

/// Whether a text is a mint, and whether it is live.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Validity {
    mint_id: String,
    /// Base58 of 32 bytes.
    is_valid: bool,
    /// What the platform says now.
    is_live: bool,
}

/// Figures of all live streams.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stats {
    total_live_streams: usize,
    total_participants: u64,
    nsfw_streams: usize,
    sfw_streams: usize,
    /// The stream with the most participants.
    top_stream: Option<TopStream>,
}

/// The stream with the most participants.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopStream {
    mint_id: String,
    name: Option<String>,
    num_participants: u64,
}

/// What was observed of a coin over time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct History {
    mint_id: String,
    /// Oldest first; each differs from the one before.
    observations: Vec<Observed>,
}

/// A coin as it was from one moment on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Observed {
    /// RFC 3339.
    observed_at: String,
    /// SOL.
    market_cap: Option<f64>,
    /// US dollars.
    usd_market_cap: Option<f64>,
    num_participants: Option<i64>,
    is_currently_live: Option<bool>,
}

impl From<&CoinRow> for Stream {
    fn from(row: &CoinRow) -> Self {
        let coin = row.coin.clone();
        Self {
            mint_id: row.mint.clone(),
            name: coin.name,
            symbol: coin.symbol,
            description: coin.description,
            image_uri: coin.image_uri,
            thumbnail: coin.thumbnail,
            creator: coin.creator,
            market_cap: coin.market_cap,
            usd_market_cap: coin.usd_market_cap,
            num_participants: coin.num_participants.unwrap_or(0),
            is_currently_live: coin.is_currently_live.unwrap_or(false),
            nsfw: coin.nsfw.unwrap_or(false),
            website: coin.website,
            twitter: coin.twitter,
            telegram: coin.telegram,
            stream_started_at: row.started_at_ms.map(clock::rfc3339),
        }
    }
}

impl From<Observation> for Observed {
    fn from(row: Observation) -> Self {
        Self {
            observed_at: clock::rfc3339(row.observed_at_ms),
            market_cap: row.market_cap,
            usd_market_cap: row.usd_market_cap,
            num_participants: row.num_participants,
            is_currently_live: row.is_currently_live,
        }
    }
}

pub(super) fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let prefix = || {
        path!("api" / "pumpfun" / ..)
            .or(path!("api" / "live" / ..))
            .unify()
            .boxed()
    };
    let list = |name: &'static str| {
        let end = warp::path::path(name).and(warp::path::end());
        let request = warp::get().and(with(app)).and(query());
        prefix().and(end).and(request).boxed()
    };
    let of_coin = |name: &'static str| {
        let key = warp::path::path(name)
            .and(key_segment())
            .and(warp::path::end());
        let request = warp::get().and(with(app)).and(query());
        prefix().and(key).and(request).boxed()
    };
    list("live")
        .then(|app, query| answer(live(app, query)))
        .or(list("popular").then(|app, query| answer(popular(app, query))))
        .unify()
        .or(list("stats").then(|app, _| answer(stats(app))))
        .unify()
        .or(of_coin("stream").then(|key, app, _| answer(stream(app, key))))
        .unify()
        .or(of_coin("validate").then(|key, app, _| answer(validate(app, key))))
        .unify()
        .or(of_coin("history").then(|key, app, query| answer(history(app, key, query))))
        .unify()
        .boxed()
}

/// A result as a response; what is stale says so.
async fn answer<T: Serialize>(result: impl Future<Output = Result<Found<T>, Error>>) -> Response {
    let result = result.await;
    let stale = result.as_ref().is_ok_and(|found| found.stale);
    let mut response = reply::json(result.map(|found| found.value));
    if stale {
        let warning = HeaderValue::from_static(STALE);
        response.headers_mut().insert(header::WARNING, warning);
    }
    response
}

fn mint(key: Result<String, Error>) -> Result<Mint, Error> {
    key?.parse()
        .map_err(|error| Error::field("mint_id", format_args!("is no mint: {error}")))
}

/// Streams that are live now, as the platform orders them.
#[utoipa::path(
    get, path = "/api/pumpfun/live", tag = "discovery",
    params(
        ("offset" = Option<u32>, Query, description = "Streams to leave out; 0 by default"),
        ("limit" = Option<u32>, Query, description = "Most streams to give, 1 to 100; 60 by default"),
        ("include_nsfw" = Option<bool>, Query, description = "Whether to list what is not safe for work; true by default"),
    ),
    responses(
        (status = 200, description = "The streams. With `Warning: 110` as they were before, since pump.fun can't be reached", body = [Stream]),
        (status = 422, description = "A parameter is out of range", body = Problem),
        (status = 502, description = "pump.fun can't be reached, and nothing is cached", body = Problem),
    )
)]
pub(super) async fn live(app: Arc<App>, query: Query) -> Result<Found<Vec<Stream>>, Error> {
    let offset = query.number("offset", 0..=FARTHEST, 0)?;
    let limit = query.number("limit", 1..=MOST_LIVE, 60)?;
    let nsfw = query.flag("include_nsfw", true)?;
    let found = app.registry.context().sources.pumpfun.live().await?;
    let streams = found
        .value
        .coins
        .iter()
        .filter(|row| nsfw || row.coin.nsfw != Some(true))
        .skip(offset as usize)
        .take(limit as usize);
    Ok(Found {
        value: streams.map(Stream::from).collect(),
        stale: found.stale,
    })
}

/// Streams that are live now, the most participants first.
#[utoipa::path(
    get, path = "/api/pumpfun/popular", tag = "discovery",
    params(
        ("limit" = Option<u32>, Query, description = "Most streams to give, 1 to 50; 20 by default"),
    ),
    responses(
        (status = 200, description = "The streams; `Warning: 110` as with live", body = [Stream]),
        (status = 422, description = "A parameter is out of range", body = Problem),
        (status = 502, description = "pump.fun can't be reached, and nothing is cached", body = Problem),
    )
)]
pub(super) async fn popular(app: Arc<App>, query: Query) -> Result<Found<Vec<Stream>>, Error> {
    let limit = query.number("limit", 1..=MOST_POPULAR, 20)?;
    let found = app.registry.context().sources.pumpfun.live().await?;
    let mut rows: Vec<_> = found.value.coins.iter().collect();
    rows.sort_by_key(|row| Reverse(row.coin.num_participants));
    rows.truncate(limit as usize);
    Ok(Found {
        value: rows.into_iter().map(Stream::from).collect(),
        stale: found.stale,
    })
}

/// Figures of all live streams.
#[utoipa::path(
    get, path = "/api/pumpfun/stats", tag = "discovery",
    responses(
        (status = 200, description = "The figures; `Warning: 110` as with live", body = Stats),
        (status = 502, description = "pump.fun can't be reached, and nothing is cached", body = Problem),
    )
)]
pub(super) async fn stats(app: Arc<App>) -> Result<Found<Stats>, Error> {
    let found = app.registry.context().sources.pumpfun.live().await?;
    let coins = &found.value.coins;
    let participants = |row: &CoinRow| row.coin.num_participants.unwrap_or(0);
    let nsfw = coins
        .iter()
        .filter(|row| row.coin.nsfw == Some(true))
        .count();
    // Of equals the first, as in popular.
    let top = coins.iter().rev().max_by_key(|row| participants(row));
    let stats = Stats {
        total_live_streams: coins.len(),
        total_participants: coins
            .iter()
            .fold(0, |sum: u64, row| sum.saturating_add(participants(row))),
        nsfw_streams: nsfw,
        sfw_streams: coins.len() - nsfw,
        top_stream: top.map(|row| TopStream {
            mint_id: row.mint.clone(),
            name: row.coin.name.clone(),
            num_participants: participants(row),
        }),
    };
    Ok(Found {
        value: stats,
        stale: found.stale,
    })
}

/// One coin and its stream.
#[utoipa::path(
    get, path = "/api/pumpfun/stream/{mint_id}", tag = "discovery",
    params(("mint_id" = String, Path, description = "The coin's address")),
    responses(
        (status = 200, description = "The coin; `Warning: 110` as with live", body = Stream),
        (status = 404, description = "pump.fun knows no such coin", body = Problem),
        (status = 422, description = "No mint", body = Problem),
        (status = 502, description = "pump.fun can't be reached, and nothing is cached", body = Problem),
    )
)]
pub(super) async fn stream(
    app: Arc<App>,
    key: Result<String, Error>,
) -> Result<Found<Stream>, Error> {
    let mint = mint(key)?;
    let found = app.registry.context().sources.pumpfun.coin(&mint).await?;
    Ok(Found {
        value: Stream::from(&found.value),
        stale: found.stale,
    })
}

/// Whether a text is a mint, and whether it is live now.
#[utoipa::path(
    get, path = "/api/pumpfun/validate/{mint_id}", tag = "discovery",
    params(("mint_id" = String, Path, description = "Any text")),
    responses(
        (status = 200, description = "Also for what is no mint; `Warning: 110` as with live", body = Validity),
        (status = 502, description = "pump.fun can't be reached, and nothing is cached", body = Problem),
    )
)]
pub(super) async fn validate(
    app: Arc<App>,
    key: Result<String, Error>,
) -> Result<Found<Validity>, Error> {
    let key = key?;
    let mint = key.parse::<Mint>();
    let mut validity = Validity {
        is_valid: mint.is_ok(),
        mint_id: key,
        is_live: false,
    };
    let mut stale = false;
    if let Ok(mint) = mint {
        match app.registry.context().sources.pumpfun.is_live(&mint).await {
            Ok(found) => (validity.is_live, stale) = (found.value, found.stale),
            // What the platform doesn't know is not live.
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Found {
        value: validity,
        stale,
    })
}

/// What was observed of a coin over time.
#[utoipa::path(
    get, path = "/api/pumpfun/history/{mint_id}", tag = "discovery",
    params(
        ("mint_id" = String, Path, description = "The coin's address"),
        ("offset" = Option<u32>, Query, description = "Latest observations to leave out; 0 by default"),
        ("limit" = Option<u32>, Query, description = "Most observations to give, 1 to 1000; 200 by default"),
    ),
    responses(
        (status = 200, description = "The observations; none of a coin that was never seen", body = History),
        (status = 422, description = "No mint, or a parameter is out of range", body = Problem),
    )
)]
pub(super) async fn history(
    app: Arc<App>,
    key: Result<String, Error>,
    query: Query,
) -> Result<Found<History>, Error> {
    let mint = mint(key)?;
    let offset = query.number("offset", 0..=FARTHEST, 0)?;
    let limit = query.number("limit", 1..=MOST_OBSERVATIONS, 200)?;
    let db = &app.registry.context().db;
    let rows = db.coin_history(mint.to_string(), offset, limit).await?;
    Ok(Found {
        value: History {
            mint_id: mint.to_string(),
            observations: rows.into_iter().map(Observed::from).collect(),
        },
        stale: false,
    })
}
