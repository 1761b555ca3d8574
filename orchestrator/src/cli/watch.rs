//! `haven watch`: which streams a running server records whenever they are live.

use super::{
    Outcome,
    client::{Client, ServerArgs},
    log::{self, LogFormat},
    print, runtime,
    table::table,
};
use crate::Error;
use clap::{Args, Subcommand};
use haven_wire::Split;
use reqwest::Method;
use serde_json::{Map, Value};
use std::process::ExitCode;

const PATH: &str = "/api/watch";

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    #[command(subcommand)]
    command: Action,
    #[command(flatten)]
    server: ServerArgs,
    /// As JSON, in the API's words
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Record a coin's livestream, or all of a creator's, whenever it is live
    Add(Rule),
    /// List what is watched
    List,
    /// Watch no longer; what is being recorded is finished
    Remove {
        #[arg(value_name = "ID", required = true)]
        ids: Vec<i64>,
    },
}

#[derive(Debug, Args)]
struct Rule {
    /// The coin's mint
    #[arg(
        value_name = "MINT",
        required_unless_present = "creator",
        conflicts_with = "creator"
    )]
    mint: Option<String>,
    /// In place of a mint: the address of a creator
    #[arg(long, value_name = "ADDRESS")]
    creator: Option<String>,
    /// Format of the recordings [default: the server's]
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
    /// low, medium or high [default: the server's]
    #[arg(long, value_name = "QUALITY")]
    quality: Option<String>,
    /// Whose voices: everybody's (mix), or the streamer's alone [default: mix]
    #[arg(long, value_name = "VOICES", value_parser = ["mix", "streamer"])]
    audio: Option<String>,
    /// Go on in a new file after this long (30m) or this much (500MB)
    #[arg(long, value_name = "LENGTH|SIZE", value_parser = super::record::parse_split)]
    split: Option<Split>,
}

impl Rule {
    /// As the API takes it; what isn't said is left to the server.
    fn body(&self) -> Value {
        let mut body = Map::new();
        for (name, value) in [
            ("mint_id", &self.mint),
            ("creator", &self.creator),
            ("output_format", &self.format),
            ("video_quality", &self.quality),
            ("audio", &self.audio),
        ] {
            if let Some(value) = value {
                body.insert(name.into(), value.clone().into());
            }
        }
        match self.split {
            Some(Split { after_ms, .. }) if after_ms > 0 => {
                let minutes = crate::clock::seconds(after_ms) / 60.0;
                body.insert("split_minutes".into(), minutes.into());
            }
            Some(Split { after_bytes, .. }) => {
                body.insert("split_bytes".into(), after_bytes.into());
            }
            None => {}
        }
        body.into()
    }
}

pub(super) fn run(args: &WatchArgs, format: LogFormat) -> Outcome {
    let config = args.server.config(None)?;
    log::start(format, "warn");
    let client = Client::new(&args.server, &config)?;
    runtime()?.block_on(act(args, &client))?;
    Ok(ExitCode::SUCCESS)
}

async fn act(args: &WatchArgs, client: &Client) -> Result<(), Error> {
    let say = |answer: &Value, sentence: String| match args.json {
        true => print(&format!("{answer:#}\n")),
        false => print(&sentence),
    };
    match &args.command {
        Action::Add(rule) => {
            let answer = client.ask(Method::POST, PATH, Some(&rule.body())).await?;
            let id = &answer["rule"]["id"];
            let sentence = match answer["already_watched"].as_bool() {
                Some(true) => format!("rule {id} was there already\n"),
                _ => format!("rule {id} is added\n"),
            };
            say(&answer, sentence)
        }
        Action::List => {
            let answer = client.ask(Method::GET, PATH, None).await?;
            let sentence = listed(&answer);
            say(&answer, sentence)
        }
        Action::Remove { ids } => {
            for id in ids {
                let path = format!("{PATH}/{id}");
                let answer = client.ask(Method::DELETE, &path, None).await?;
                say(&answer, format!("rule {id} is removed\n"))?;
            }
            Ok(())
        }
    }
}

fn listed(answer: &Value) -> String {
    let rules = answer["rules"].as_array().cloned().unwrap_or_default();
    if rules.is_empty() {
        return "Nothing is watched.\n".to_owned();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |rule: &Value| {
        let subject = match rule["mint_id"].as_str() {
            Some(mint) => mint.to_owned(),
            None => format!("creator {}", text(&rule["creator"])),
        };
        let format = rule["output_format"].as_str().unwrap_or("(default)");
        vec![
            rule["id"].to_string(),
            text(&rule["state"]),
            subject,
            format.to_owned(),
            text(&rule["last_seen_live"]),
            text(&rule["last_error"]),
        ]
    };
    let rows: Vec<_> = rules.iter().map(row).collect();
    let headings = [
        "ID",
        "STATE",
        "WATCHED",
        "FORMAT",
        "LAST_LIVE",
        "LAST_ERROR",
    ];
    table(&headings, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_said_is_left_to_the_server() {
        let rule = Rule {
            mint: Some("M".into()),
            creator: None,
            format: None,
            quality: None,
            audio: None,
            split: super::super::record::parse_split("90s").ok(),
        };
        assert_eq!(rule.body(), json!({"mint_id": "M", "split_minutes": 1.5}));
    }
}
