//! The Haven worker: one process per live session, which runs its GStreamer pipelines.
//!
//! It is started by the server and speaks the protocol of the crate `haven-wire` over standard
//! input and output. With `--probe` it tells what this machine can do, with `--check-formats` the same
//! of all recording formats to people, with `--costs` what each part of a session takes of it, with
//! `--measure FILE` how long a recording is, whose end it mends.

mod catch_up;
mod child;
mod control;
mod costs;
mod decode;
mod demo;
mod feed;
mod filler;
mod formats;
mod inbox;
mod join;
mod log;
mod measure;
mod output;
mod preview;
mod previews;
mod probe;
mod recording;
mod session;
mod source;
mod status;
mod tap;
mod thumbnail;
mod timebase;
mod tokens;
mod tracks;
mod trial;
mod unfit;

use serde::Serialize;
use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

const USAGE: &str = "\
Usage: haven-worker                             run a session by the server's messages
       haven-worker --probe [--formats-dir DIR] print what this machine can do, as JSON
       haven-worker --check-formats [--formats-dir DIR]
                                                try every encoder of every recording format
       haven-worker --costs [--pictures N] [--formats-dir DIR]
                                                measure what each thing that a session does takes of
                                                this machine, print it as JSON
       haven-worker --measure FILE              cut off what a writer that died left at the end of a
                                                recording, print its length and size, as JSON
       haven-worker --thumbnail FILE JPEG       write a picture of a recording
       haven-worker --join OUTPUT FILE...       make one recording of several, copying all streams
       haven-worker --version
";

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).map(PathBuf::from).collect();
    let words: Vec<_> = arguments.iter().map(|word| word.to_str()).collect();
    match words.as_slice() {
        [Some("--version")] => {
            println!("haven-worker {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        [Some("--help" | "-h")] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ if !is_known(&arguments, &words) => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
        _ => {}
    }
    log::start();
    if let Err(error) = register_plugins() {
        return fail(&error.to_string());
    }
    match words.as_slice() {
        [Some("--measure"), _] => {
            unfit::print(measure::mend_and_measure(&arguments[1]).map_err(Into::into))
        }
        [Some("--thumbnail"), ..] => {
            unfit::print(thumbnail::thumbnail(&arguments[1], &arguments[2]))
        }
        [Some("--join"), ..] => {
            let parts: Vec<_> = arguments[2..].iter().map(PathBuf::as_path).collect();
            unfit::print(join::join(&arguments[1], &parts))
        }
        [Some("--probe"), ..] => print_json(probe::probe(arguments.get(2).map(Path::new))),
        [Some("--check-formats"), ..] => {
            print_text(probe::check_formats(arguments.get(2).map(Path::new)))
        }
        [Some("--costs"), ..] => {
            let (pictures, formats_dir) = cost_options(&arguments).unwrap_or_default();
            print_json(costs::costs(formats_dir, pictures))
        }
        [Some("--cost"), Some(task)] => print_text(costs::measure(task)),
        [Some("--try"), Some(media), chains @ ..] => {
            let chains: Vec<_> = chains.iter().flatten().copied().collect();
            print_text(trial::try_chains(media, &chains).map(|()| String::new()))
        }
        _ => match control::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error.to_string()),
        },
    }
}

/// Whether these arguments are among those that do something.
fn is_known(arguments: &[PathBuf], words: &[Option<&str>]) -> bool {
    match words {
        [Some("--costs"), ..] => cost_options(arguments).is_some(),
        []
        | [Some("--probe" | "--check-formats")]
        | [
            Some("--probe" | "--check-formats"),
            Some("--formats-dir"),
            _,
        ]
        | [Some("--try"), Some("video" | "audio"), ..]
        | [Some("--cost"), Some(_)]
        | [Some("--measure"), _]
        | [Some("--thumbnail"), _, _]
        | [Some("--join"), _, _, ..] => true,
        _ => false,
    }
}

/// How many pictures to measure with, and the folder with further formats. None where something else
/// is said behind `--costs`.
fn cost_options(arguments: &[PathBuf]) -> Option<(u32, Option<&Path>)> {
    let (mut pictures, mut formats_dir) = (costs::PICTURES, None);
    for option in arguments[1..].chunks(2) {
        match option {
            [name, folder] if name == Path::new("--formats-dir") => {
                formats_dir = Some(folder.as_path());
            }
            [name, number] if name == Path::new("--pictures") => {
                let number = number.to_str()?.parse();
                pictures = number.ok().filter(|number| (1..=3000).contains(number))?;
            }
            _ => return None,
        }
    }
    Some((pictures, formats_dir))
}

/// Our own elements are part of this binary: what is installed beside it doesn't matter.
fn register_plugins() -> Result<(), Box<dyn std::error::Error>> {
    gst::init()?;
    gstlivekitsrc::plugin_register_static()?;
    gstpumpfunmeta::plugin_register_static()?;
    gstwsjpegsink::plugin_register_static()?;
    Ok(())
}

fn fail(error: &str) -> ExitCode {
    tracing::error!(error, "haven-worker");
    ExitCode::FAILURE
}

/// Prints what was asked for, or an error.
fn print_text<E: std::fmt::Display>(result: Result<String, E>) -> ExitCode {
    match result {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a result, or an error as `{"error": …}`, as one line of JSON.
fn print_json<T: Serialize, E: std::error::Error>(result: Result<T, E>) -> ExitCode {
    let (line, code) = match result {
        Ok(value) => (serde_json::to_string(&value), ExitCode::SUCCESS),
        Err(error) => {
            let error = serde_json::json!({ "error": error.to_string() });
            (Ok(error.to_string()), ExitCode::FAILURE)
        }
    };
    match line {
        Ok(line) => {
            println!("{line}");
            code
        }
        Err(error) => fail(&error.to_string()),
    }
}
