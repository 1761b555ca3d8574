//! `haven live`: which livestreams are live.

use super::{
    Outcome,
    log::{self, LogFormat},
    print, runtime,
    table::table,
};
use crate::{
    Error,
    config::{Config, Options, ServeArgs},
    error::Kind,
};
use clap::Args;
use pumpfun_api::{Client, Coin};
use std::{collections::HashSet, path::PathBuf, process::ExitCode};

/// Coins that the platform gives at once.
const PAGE: u32 = 60;
/// More of them are never live at a time.
const MOST_PAGES: u32 = 10;
/// Characters of a name in the table.
const LONGEST_NAME: usize = 32;

#[derive(Debug, Args)]
pub(super) struct LiveArgs {
    /// At most so many, those with the most viewers first
    #[arg(long, value_name = "COUNT", default_value_t = 30)]
    limit: usize,
    /// Also what isn't safe for work
    #[arg(long)]
    nsfw: bool,
    /// As JSON: an array of coins as the platform describes them
    #[arg(long)]
    json: bool,
    /// Configuration file (TOML)
    #[arg(long, env = "HAVEN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &LiveArgs, format: LogFormat) -> Outcome {
    let serve = ServeArgs {
        config: args.config.clone(),
        options: Options {
            listen: Some(super::NOWHERE),
            no_auth: Some(false),
            ..Options::from_environment().unwrap_or_else(|error| error.exit())
        },
        ..ServeArgs::default()
    };
    let config = Config::resolve(&serve, |name| std::env::var(name).ok())?;
    log::start(format, "warn");
    let client = Client::new(config.pumpfun)
        .map_err(|error| Error::internal("setting up the client of pump.fun", error))?;
    let mut coins = runtime()?.block_on(live(&client, args.nsfw))?;
    coins.sort_by_key(|coin| std::cmp::Reverse(coin.num_participants));
    coins.truncate(args.limit);
    let text = match args.json {
        true => format!("{:#}\n", serde_json::json!(coins)),
        false => shown(&coins),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Every coin that is live.
async fn live(client: &Client, nsfw: bool) -> Result<Vec<Coin>, Error> {
    let mut coins = Vec::new();
    let mut seen = HashSet::new();
    for page in 0..MOST_PAGES {
        let page = client
            .live_page(page * PAGE, PAGE, nsfw)
            .await
            .map_err(|error| {
                let message = "pump.fun can't be asked which streams are live";
                Error::new(Kind::BadGateway, "upstream", message).caused_by(error)
            })?;
        let before = coins.len();
        let is_new = |coin: &Coin| seen.insert(coin.mint.clone());
        coins.extend(page.coins.into_iter().filter(is_new));
        // The list moves while it is read: a page of known ones is the end, too.
        if page.entries < PAGE as usize || coins.len() == before {
            break;
        }
    }
    Ok(coins)
}

fn shown(coins: &[Coin]) -> String {
    if coins.is_empty() {
        return "Nothing is live.\n".to_owned();
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let row = |coin: &Coin| {
        let viewers = coin.num_participants.map(|count| count.to_string());
        let cap = coin.usd_market_cap.map(|cap| format!("{cap:.0}"));
        let name = text(&coin.name).chars().take(LONGEST_NAME).collect();
        vec![
            text(&coin.mint),
            viewers.unwrap_or_default(),
            cap.unwrap_or_default(),
            text(&coin.symbol).chars().take(LONGEST_NAME).collect(),
            name,
        ]
    };
    let rows: Vec<_> = coins.iter().map(row).collect();
    table(&["MINT", "VIEWERS", "CAP_USD", "SYMBOL", "NAME"], &rows)
}
