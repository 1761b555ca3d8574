//! `haven doctor`: whether this machine has what a server needs, and what to do where it hasn't.

mod checks;

use super::{
    Outcome,
    log::{self, LogFormat},
    print, runtime, serve,
    table::plain,
};
use crate::{
    config::{Config, Options, ServeArgs},
    error::Kind,
    shutdown::Shutdown,
};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::{collections::BTreeSet, fmt::Write, process::ExitCode};

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all that is needed is there, 1 something is missing.")]
pub(super) struct DoctorArgs {
    /// Ask nobody over the network
    #[arg(long)]
    offline: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) serve: ServeArgs,
}

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    Good,
    /// The server runs, with less than it could.
    Poor,
    /// Something that was set or is promised can't work.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    health: Health,
    /// As `format h264`.
    what: String,
    /// What was found, and what to do.
    message: String,
    /// Debian packages that would mend it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    packages: BTreeSet<String>,
}

impl Finding {
    fn new(health: Health, what: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            health,
            what: what.into(),
            message: message.into(),
            packages: BTreeSet::new(),
        }
    }

    fn good(what: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Health::Good, what, message)
    }

    fn poor(what: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Health::Poor, what, message)
    }

    fn bad(what: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Health::Bad, what, message)
    }
}

pub(super) fn run(args: &DoctorArgs, format: LogFormat) -> Outcome {
    // What the worker warns of is among the findings.
    log::start(format, "error");
    let findings = runtime()?.block_on(examine(args));
    let text = match args.json {
        true => format!("{:#}\n", json!({ "findings": findings })),
        false => report(&findings),
    };
    print(&text)?;
    let bad = findings.iter().any(|one| one.health == Health::Bad);
    Ok(if bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn examine(args: &DoctorArgs) -> Vec<Finding> {
    let env = |name: &str| std::env::var(name).ok();
    let mut findings = Vec::new();
    let config = match Config::resolve(&args.serve, env) {
        Ok(config) => {
            let file = args.serve.config.as_ref();
            let what = file.map_or("no file is named".into(), |path| path.display().to_string());
            findings.push(Finding::good("configuration", what));
            config
        }
        Err(error) => {
            let hint = "`haven config check` tells all";
            let message = format!("{} ({hint})", error.chain());
            findings.push(Finding::bad("configuration", message));
            // The rest is looked at as if nothing were set but what the worker needs.
            let options = Options {
                no_auth: Some(true),
                worker: args.serve.options.worker.clone(),
                data_dir: args.serve.options.data_dir.clone(),
                ..Options::default()
            };
            let serve = ServeArgs {
                options,
                ..ServeArgs::default()
            };
            match Config::resolve(&serve, |name| env(name).filter(|_| name == "HOME")) {
                Ok(config) => config,
                Err(_) => return findings,
            }
        }
    };
    let workers = serve::workers(&config, &Shutdown::default());
    checks::worker(&config, &workers, &mut findings).await;
    checks::folders(&config, &mut findings);
    checks::address(&config, &mut findings).await;
    checks::certificate(&config, &mut findings);
    checks::limits(&mut findings);
    if !args.offline {
        checks::neighbours(&config, &mut findings).await;
    }
    findings
}

fn report(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.health {
            Health::Good => "ok     ",
            Health::Poor => "warning",
            Health::Bad => "MISSING",
        };
        let message = plain(&finding.message);
        // Writing into a text can't fail.
        let _ = writeln!(text, "{mark}  {}: {message}", finding.what);
    }
    let packages = findings.iter().flat_map(|finding| &finding.packages);
    let packages: BTreeSet<&str> = packages.map(String::as_str).collect();
    if !packages.is_empty() {
        let packages: Vec<_> = packages.into_iter().collect();
        let _ = writeln!(text, "\napt-get install {}", packages.join(" "));
    }
    let bad = findings.iter().filter(|one| one.health == Health::Bad);
    let _ = match bad.count() {
        0 => writeln!(text, "\nAll that is needed is there."),
        count => writeln!(text, "\n{count} of these keep something from working."),
    };
    text
}

/// Whether an error says that another process has it.
fn is_conflict(error: &crate::Error) -> bool {
    error.kind() == Kind::Conflict
}
