//! `haven recordings`: the library, of a server that runs or of its data folder.

use super::{
    Outcome,
    client::{Client, ServerArgs},
    log::{self, LogFormat},
    print, runtime, serve,
    table::table,
    units,
};
use crate::{
    Error,
    config::Config,
    db::{Db, Filter},
    error::Kind,
    events::Events,
    recordings::{Archive, Policy},
    shutdown::Shutdown,
};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use std::{fs::File, path::PathBuf, process::ExitCode, sync::Arc};

const STATES: [&str; 4] = ["recording", "finished", "interrupted", "failed"];
/// Most recordings that are listed at once; the API's limit too.
const MOST: u32 = 500;

#[derive(Debug, Args)]
pub(super) struct RecordingsArgs {
    #[command(subcommand)]
    command: Action,
    #[command(flatten)]
    server: ServerArgs,
    /// The data folder that is looked into without --server [default: the configured one]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// As JSON, in the API's words
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List recordings, the newest first
    List {
        /// Only of this mint or room
        #[arg(long, value_name = "TARGET")]
        of: Option<String>,
        /// Only those in this state
        #[arg(long, value_name = "STATE", value_parser = STATES)]
        state: Option<String>,
        /// At most so many
        #[arg(long, value_name = "COUNT", default_value_t = 50,
              value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
        limit: u32,
    },
    /// Show one recording with all its files
    Show {
        #[arg(value_name = "ID")]
        id: i64,
    },
    /// Make one file of a recording's files, without encoding anything again
    Join {
        #[arg(value_name = "ID")]
        id: i64,
    },
    /// Delete recordings with all their files
    Delete {
        #[arg(value_name = "ID", required = true)]
        ids: Vec<i64>,
    },
}

pub(super) fn run(args: &RecordingsArgs, format: LogFormat) -> Outcome {
    let config = args.server.config(args.data_dir.clone())?;
    log::start(format, "warn");
    let runtime = runtime()?;
    runtime.block_on(act(args, &config))?;
    Ok(ExitCode::SUCCESS)
}

async fn act(args: &RecordingsArgs, config: &Config) -> Result<(), Error> {
    let place = Place::find(args, config)?;
    let json = |answer: &Value| format!("{answer:#}\n");
    match &args.command {
        Action::List { of, state, limit } => {
            let state = STATES
                .into_iter()
                .find(|known| Some(*known) == state.as_deref());
            let filter = Filter {
                key: of.clone(),
                state,
                offset: 0,
                limit: *limit,
            };
            let answer = place.list(filter).await?;
            print(&if args.json {
                json(&answer)
            } else {
                listed(&answer)
            })
        }
        Action::Show { id } => {
            let answer = place.show(*id).await?;
            print(&if args.json {
                json(&answer)
            } else {
                shown(&answer)
            })
        }
        Action::Join { id } => {
            let answer = place.join(*id).await?;
            let path = answer["recording"]["joined"]["path"].as_str();
            let path = path.unwrap_or_default().to_owned();
            print(&if args.json {
                json(&answer)
            } else {
                format!("{path}\n")
            })
        }
        Action::Delete { ids } => {
            for id in ids {
                let answer = place.delete(*id).await?;
                let said = format!("recording {id} is deleted\n");
                print(&if args.json { json(&answer) } else { said })?;
            }
            Ok(())
        }
    }
}

/// Who is asked. The answers are the API's in either case.
enum Place {
    Server(Client),
    Folder {
        archive: Archive,
        /// No server may use the folder meanwhile.
        _lock: File,
    },
}

impl Place {
    fn find(args: &RecordingsArgs, config: &Config) -> Result<Self, Error> {
        if args.server.server.is_some() {
            return Ok(Self::Server(Client::new(&args.server, config)?));
        }
        let dir = &config.data_dir;
        if !Db::is_in(dir) {
            let message = format!("there is no library in {}: name --data-dir", dir.display());
            return Err(Error::new(Kind::NotFound, "no_library", message));
        }
        let lock = match serve::lock(dir) {
            // A server uses it, and knows more than is stored.
            Err(error) if error.kind() == Kind::Conflict => {
                return Ok(Self::Server(Client::new(&args.server, config)?));
            }
            lock => lock?,
        };
        let db = Db::open(dir)?;
        let workers = serve::workers(config, &Shutdown::default());
        let settings = config.layers.settings(crate::config::Layer::default())?;
        let policy = Policy {
            disk_reserve_bytes: settings.disk_reserve_bytes,
            ..Policy::default()
        };
        let archive = Archive::new(
            db,
            Arc::new(workers),
            Events::new(),
            Arc::new(move || policy),
            dir.join("thumbnails"),
        );
        Ok(Self::Folder {
            archive,
            _lock: lock,
        })
    }

    async fn list(&self, filter: Filter) -> Result<Value, Error> {
        match self {
            Self::Server(client) => {
                let mut query = url::form_urlencoded::Serializer::new(String::new());
                query.append_pair("limit", &filter.limit.to_string());
                for (name, value) in [("mint_id", filter.key.as_deref()), ("state", filter.state)] {
                    if let Some(value) = value {
                        query.append_pair(name, value);
                    }
                }
                let path = format!("/api/recordings?{}", query.finish());
                client.ask(Method::GET, &path, None).await
            }
            Self::Folder { archive, .. } => {
                let (rows, total) = archive.list(filter).await?;
                let rows = rows.into_iter().map(|row| Archive::shown(row, None));
                let recordings: Vec<_> = rows.collect();
                Ok(json!({"success": true, "total": total, "recordings": recordings}))
            }
        }
    }

    async fn show(&self, id: i64) -> Result<Value, Error> {
        match self {
            Self::Server(client) => {
                let path = format!("/api/recordings/{id}");
                client.ask(Method::GET, &path, None).await
            }
            Self::Folder { archive, .. } => {
                let recording = Archive::shown(archive.row(id).await?, None);
                Ok(json!({"success": true, "recording": recording}))
            }
        }
    }

    async fn join(&self, id: i64) -> Result<Value, Error> {
        match self {
            Self::Server(client) => {
                let path = format!("/api/recordings/{id}/join");
                client.ask(Method::POST, &path, None).await
            }
            Self::Folder { archive, .. } => {
                archive.join(id).await?;
                self.show(id).await
            }
        }
    }

    async fn delete(&self, id: i64) -> Result<Value, Error> {
        match self {
            Self::Server(client) => {
                let path = format!("/api/recordings/{id}");
                client.ask(Method::DELETE, &path, None).await
            }
            Self::Folder { archive, .. } => {
                archive.delete(id, "requested").await?;
                Ok(json!({"success": true, "recording_id": id}))
            }
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn length(value: &Value) -> String {
    // Seconds, as the API has them.
    let ms = value.as_f64().unwrap_or_default().max(0.0) * 1000.0;
    units::clock(ms as u64)
}

fn listed(answer: &Value) -> String {
    let recordings = answer["recordings"].as_array().cloned().unwrap_or_default();
    if recordings.is_empty() {
        return "There are no recordings.\n".to_owned();
    }
    let row = |one: &Value| {
        vec![
            text(&one["recording_id"]),
            text(&one["state"]),
            text(&one["output_format"]),
            text(&one["start_time"]),
            length(&one["duration_s"]),
            units::size(one["bytes"].as_u64().unwrap_or_default()),
            text(&one["mint_id"]),
            text(&one["output_path"]),
        ]
    };
    let rows: Vec<_> = recordings.iter().map(row).collect();
    let headings = [
        "ID", "STATE", "FORMAT", "STARTED", "LENGTH", "SIZE", "OF", "FILE",
    ];
    let total = answer["total"].as_u64().unwrap_or_default();
    let mut shown = table(&headings, &rows);
    if total > recordings.len() as u64 {
        shown.push_str(&format!("({} of {total})\n", recordings.len()));
    }
    shown
}

fn shown(answer: &Value) -> String {
    let one = &answer["recording"];
    let bytes = one["bytes"].as_u64().unwrap_or_default();
    let gaps = one["gaps"].as_array().map_or(0, Vec::len);
    let mut rows = vec![
        vec!["id".into(), text(&one["recording_id"])],
        vec!["of".into(), text(&one["mint_id"])],
        vec!["title".into(), text(&one["stream_data"]["title"])],
        vec!["state".into(), text(&one["state"])],
        vec!["format".into(), text(&one["output_format"])],
        vec!["started".into(), text(&one["start_time"])],
        vec!["ended".into(), text(&one["end_time"])],
        vec!["why".into(), text(&one["end_reason"])],
        vec!["length".into(), length(&one["duration_s"])],
        vec!["size".into(), units::size(bytes)],
        vec![
            "dropped".into(),
            format!("{} frames", text(&one["dropped_frames"])),
        ],
        vec!["gaps".into(), gaps.to_string()],
        vec!["kept".into(), text(&one["kept"])],
        vec!["joined".into(), text(&one["joined"]["path"])],
    ];
    rows.retain(|row| row.get(1).is_some_and(|value| !value.is_empty()));
    let mut shown: String = table(&["", ""], &rows)
        .lines()
        .skip(1)
        .fold(String::new(), |text, line| text + line + "\n");
    let parts = one["parts"].as_array().cloned().unwrap_or_default();
    let row = |part: &Value| {
        vec![
            text(&part["part"]),
            length(&part["duration_s"]),
            units::size(part["bytes"].as_u64().unwrap_or_default()),
            text(&part["reason"]),
            text(&part["path"]),
        ]
    };
    let rows: Vec<_> = parts.iter().map(row).collect();
    shown.push('\n');
    shown.push_str(&table(&["PART", "LENGTH", "SIZE", "ENDED", "FILE"], &rows));
    shown
}
