//! `haven config`: what is set, and what is wrong with it.

use super::{Outcome, print};
use crate::{
    Error,
    config::{Config, ServeArgs, check_file},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::{fmt::Write, path::PathBuf, process::ExitCode};

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    pub(super) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Tell all that is wrong with the configuration file and with what else is set
    Check(CheckArgs),
    /// Print the settings that `haven serve` would have here, and where each comes from
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The file; else the one of --config
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

impl ConfigCommand {
    pub(super) fn serve_args(&mut self) -> &mut ServeArgs {
        match self {
            Self::Check(args) => &mut args.serve,
            Self::Show(args) => &mut args.serve,
        }
    }
}

pub(super) fn run(args: &ConfigArgs) -> Outcome {
    match &args.command {
        ConfigCommand::Check(args) => check(args),
        ConfigCommand::Show(args) => show(args),
    }
}

fn check(args: &CheckArgs) -> Outcome {
    let mut serve = args.serve.clone();
    serve.config = args.file.clone().or(serve.config);
    if let Some(path) = &serve.config {
        let (_, problems) = check_file(path)?;
        let mut text = String::new();
        for problem in &problems {
            // Writing into a text can't fail.
            let _ = writeln!(text, "{}, {problem}", path.display());
        }
        print(&text)?;
        if !problems.is_empty() {
            return Ok(ExitCode::FAILURE);
        }
    }
    resolve(&serve)?;
    let what = match &serve.config {
        Some(path) => path.display().to_string(),
        None => "What is set (no configuration file is named)".to_owned(),
    };
    print(&format!("{what} is in order\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ShowArgs) -> Outcome {
    let config = resolve(&args.serve)?;
    let shown = config.shown(&args.serve);
    let text = if args.json {
        let field = |(key, given): (crate::config::Key, Option<(toml::Value, String)>)| {
            let (value, source) = given.unzip();
            let value = json!({
                "value": value,
                "source": source,
                "default": key.default,
                "option": key.option,
                "variable": key.variable,
                "what": key.help,
            });
            (key.name.to_owned(), value)
        };
        format!(
            "{:#}\n",
            Value::Object(shown.into_iter().map(field).collect())
        )
    } else {
        let mut text = String::new();
        for (key, given) in shown {
            let _ = match (given, key.default) {
                (Some((value, source)), _) => {
                    writeln!(text, "{} = {value}  # {source}", key.name)
                }
                (None, Some(default)) => writeln!(text, "# {}: {default}", key.name),
                (None, None) => writeln!(text, "# {}", key.name),
            };
        }
        text
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn resolve(args: &ServeArgs) -> Result<Config, Error> {
    Config::resolve(args, |name| std::env::var(name).ok())
}
