//! The command line.

mod client;
mod completions;
mod config;
mod doctor;
mod live;
mod log;
mod man;
mod record;
mod recordings;
mod reload;
mod serve;
mod signals;
mod table;
mod units;
mod watch;

use crate::{Error, config::ServeArgs};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};
use log::LogFormat;
use std::{collections::BTreeSet, process::ExitCode};

#[derive(Debug, Parser)]
#[command(
    name = "haven",
    version,
    about = "Live LiveKit rooms on WebSockets and in files"
)]
struct Cli {
    /// How the log is written to standard error
    #[arg(
        long,
        global = true,
        env = "HAVEN_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(Box<ServeArgs>),
    /// Record a livestream or a room into a file; no server is needed
    Record(Box<record::RecordArgs>),
    /// List the livestreams that are live; no server is needed
    Live(live::LiveArgs),
    /// List, show, join or delete recordings, of a running server or of its data folder
    Recordings(recordings::RecordingsArgs),
    /// Tell a running server which streams to record whenever they are live
    Watch(Box<watch::WatchArgs>),
    /// Find out whether this machine has all that is needed, and what to install
    Doctor(Box<doctor::DoctorArgs>),
    /// Look at the configuration
    Config(Box<config::ConfigArgs>),
    /// Print a script that completes the command line of a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    Man(man::ManArgs),
}

/// Where commands listen that serve nobody: an address that needs no token.
const NOWHERE: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// What a command comes to: the process's exit code, or why it failed (1).
type Outcome = Result<ExitCode, Error>;

/// Runs the command that the process's arguments name.
pub fn run() -> ExitCode {
    let cli = parse();
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(&args, cli.log_format),
        Command::Record(args) => record::run(&args, cli.log_format),
        Command::Live(args) => live::run(&args, cli.log_format),
        Command::Recordings(args) => recordings::run(&args, cli.log_format),
        Command::Watch(args) => watch::run(&args, cli.log_format),
        Command::Doctor(args) => doctor::run(&args, cli.log_format),
        Command::Config(args) => config::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("haven: {}", error.chain());
        ExitCode::FAILURE
    })
}

/// The arguments. What clients set beats the environment, but not the command line: which of the
/// two gave an option is kept.
fn parse() -> Cli {
    let matches = Cli::command().get_matches();
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let args = match &mut cli.command {
        Command::Serve(args) => Some(args.as_mut()),
        Command::Config(args) => Some(args.command.serve_args()),
        Command::Doctor(args) => Some(&mut args.serve),
        _ => None,
    };
    if let Some(args) = args {
        args.on_command_line = on_command_line(&matches);
    }
    cli
}

/// The ids of what was given on the command line to the innermost command.
fn on_command_line(matches: &ArgMatches) -> BTreeSet<String> {
    let mut innermost = matches;
    while let Some((_, inner)) = innermost.subcommand() {
        innermost = inner;
    }
    let by_user =
        |id: &&clap::Id| innermost.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    let ids = innermost.ids().filter(by_user);
    ids.map(|id| id.as_str().to_owned()).collect()
}

/// Writes a command's answer. That its reader has gone (`haven … | head`) is no failure.
///
/// # Errors
/// When it can't be written for another reason.
fn print(text: &str) -> Result<(), Error> {
    use std::io::Write;
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::internal("writing to standard output", error))
        }
        _ => Ok(()),
    }
}

/// The runtime of the commands that wait for something.
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal("starting", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
