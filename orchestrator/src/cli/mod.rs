//! The command line.

mod serve;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[derive(Debug, Parser)]
#[command(
    name = "haven",
    version,
    about = "Live LiveKit rooms on WebSockets and in files"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(Box<crate::config::ServeArgs>),
}

/// Runs the command that the process's arguments name.
pub fn run() -> ExitCode {
    let cli = parse();
    log_to_stderr();
    let Command::Serve(args) = cli.command;
    match serve::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("haven: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

/// The arguments. What clients set beats the environment, but not the command line: which of the
/// two gave an option is kept.
fn parse() -> Cli {
    let matches = Cli::command().get_matches();
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let Command::Serve(args) = &mut cli.command;
    if let Some((_, given)) = matches.subcommand() {
        let by_user =
            |id: &&clap::Id| given.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        let ids = given.ids().filter(by_user);
        args.on_command_line = ids.map(|id| id.as_str().to_owned()).collect();
    }
    cli
}

/// Standard output is for the answers of commands; the log goes to standard error. `RUST_LOG`
/// chooses what is logged.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
