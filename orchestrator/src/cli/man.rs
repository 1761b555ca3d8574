//! `haven man`: the manual pages.

use super::{Cli, Outcome, print};
use crate::Error;
use clap::{Args, CommandFactory};
use clap_mangen::{Man, generate_to};
use std::{path::PathBuf, process::ExitCode};

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Folder into which the pages of all commands are written, in place of printing the first
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> Outcome {
    let fail = |error| Error::internal("writing the manual page", error);
    // What this machine's environment says is none of a manual's business.
    let command = Cli::command().mut_subcommands(without_values);
    match &args.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(fail)?;
            generate_to(command, dir).map_err(fail)?;
        }
        None => {
            let mut page = Vec::new();
            Man::new(command).render(&mut page).map_err(fail)?;
            print(&String::from_utf8_lossy(&page))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn without_values(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| arg.hide_env_values(true))
        .mut_subcommands(without_values)
}
