//! The Haven server.

use std::process::ExitCode;

fn main() -> ExitCode {
    haven::cli::run()
}
