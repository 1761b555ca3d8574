//! `haven record`: one recording without a server. What a server does for a session is done here
//! for one alone: the same registry, with a database in memory.

mod progress;
mod running;
mod target;

use super::{
    Outcome,
    log::{self, LogFormat},
    runtime, serve,
    signals::StopSignals,
    units,
};
use crate::{
    Error,
    admission::{Admission, Machine, Shares},
    config::{Config, Options, ServeArgs, Store},
    db::Db,
    error::Kind,
    recordings::{Choice, Library, Plan, Policy},
    sessions::{Registry, keeper},
    shutdown::Shutdown,
    worker::Workers,
};
use clap::Args;
use haven_wire::{AudioChoice, Split};
use progress::{Progress, Style};
use running::{End, one_recording, report, stopped_early};
use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use target::{Output, Wanted};
use tokio::time::timeout;

/// Longest wait for what is left to end.
const END_LIMIT: Duration = Duration::from_secs(30);
/// Exit code: there is nothing to record; the stream isn't live, or the room doesn't exist.
const NOT_LIVE: u8 = 3;

#[derive(Debug, Args)]
#[command(
    after_help = "Ctrl-C finishes the file; a second one doesn't wait for that.\n\n\
    Exit codes: 0 the file is complete, 1 it can't be recorded, 2 the command line is wrong, 3 the \
    stream is not live, 4 the recording broke off and what was received is in the file, 130 a \
    second Ctrl-C came before the file was complete."
)]
pub(super) struct RecordArgs {
    /// A coin's mint, `demo`, `wss://host/room`, or a room of the LiveKit server of LIVEKIT_URL;
    /// rooms need LIVEKIT_API_KEY and LIVEKIT_API_SECRET
    #[arg(value_name = "TARGET", value_parser = target::parse)]
    target: Wanted,
    /// The file, or a folder in which it is named after the target and the time
    #[arg(long, short, value_name = "PATH", default_value = ".")]
    output: PathBuf,
    /// Format: av1, h264, vp9, source (as published), wav, or one of your own [default: by the
    /// file's extension]
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
    /// low, medium or high [default: medium]
    #[arg(long, value_name = "QUALITY")]
    quality: Option<String>,
    /// Whose voices: everybody's, or the streamer's alone
    #[arg(long, value_name = "VOICES", default_value = "mix")]
    audio: Voices,
    /// Go on in a new file after this long (30m) or this much (500MB)
    #[arg(long, value_name = "LENGTH|SIZE", value_parser = parse_split)]
    split: Option<Split>,
    /// End after this long: 90, 5m, 1h30m
    #[arg(long, value_name = "LENGTH", value_parser = units::parse_length)]
    duration: Option<Duration>,
    /// Replace the file where it is there already
    #[arg(long)]
    force: bool,
    /// Write the JSON file beside the recording that tells what it is
    #[arg(long)]
    describe: bool,
    /// Tell progress as JSON, an object a line, on standard output
    #[arg(long)]
    json: bool,
    /// Tell nothing but failures
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Configuration file (TOML)
    #[arg(long, env = "HAVEN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The worker's executable [default: haven-worker beside this one]
    #[arg(long, env = "HAVEN_WORKER", value_name = "FILE")]
    worker: Option<PathBuf>,
    /// Folder with further format descriptions
    #[arg(long, env = "HAVEN_FORMATS_DIR", value_name = "DIR")]
    formats_dir: Option<PathBuf>,
    /// Local addresses to gather ICE candidates on
    #[arg(
        long,
        env = "HAVEN_ICE_ADDRESSES",
        value_delimiter = ',',
        value_name = "IP"
    )]
    ice_addresses: Vec<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Voices {
    Mix,
    Streamer,
}

impl From<Voices> for AudioChoice {
    fn from(voices: Voices) -> Self {
        match voices {
            Voices::Mix => Self::Mix,
            Voices::Streamer => Self::Streamer,
        }
    }
}

/// Reads when to go on in a new file: a length or a size.
///
/// # Errors
/// What is expected.
pub(super) fn parse_split(text: &str) -> Result<Split, String> {
    if let Ok(after_bytes) = units::parse_size(text) {
        return Ok(Split {
            after_bytes,
            ..Split::default()
        });
    }
    let length = units::parse_length(text)
        .map_err(|_| "expected a length as 30m or a size as 500MB".to_owned())?;
    Ok(Split {
        after_ms: u64::try_from(length.as_millis()).unwrap_or(u64::MAX),
        ..Split::default()
    })
}

pub(super) fn run(args: &RecordArgs, format: LogFormat) -> Outcome {
    let scratch = Scratch::new();
    let config = config(args, scratch.path())?;
    log::start(format, "warn");
    let runtime = runtime()?;
    let outcome = runtime.block_on(record(args, config));
    // Whatever didn't end in time must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// A folder for what a server would keep in its data folder, gone with this process.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!("haven-record-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is made only where it is needed.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(args: &RecordArgs, scratch: &Path) -> Result<Config, Error> {
    let here = Options {
        // Nobody is served.
        listen: Some(super::NOWHERE),
        no_auth: Some(false),
        demo: Some(true),
        data_dir: Some(scratch.to_owned()),
        worker: args.worker.clone(),
        formats_dir: args.formats_dir.clone(),
        ice_addresses: args.ice_addresses.clone(),
        ..Options::default()
    };
    let environment = Options::from_environment().unwrap_or_else(|error| error.exit());
    let serve = ServeArgs {
        config: args.config.clone(),
        options: here.or(&environment),
        ..ServeArgs::default()
    };
    let url = match &args.target {
        Wanted::Room { url, .. } => url.clone(),
        Wanted::Mint(_) => None,
    };
    Config::resolve(&serve, |name| match (name, &url) {
        ("LIVEKIT_URL", Some(url)) => Some(url.clone()),
        _ => std::env::var(name).ok(),
    })
}

async fn record(args: &RecordArgs, config: Config) -> Outcome {
    let mut signals = StopSignals::catch()?;
    let mut progress = Progress::new(Style::chosen(args.json, args.quiet));
    let shutdown = Shutdown::default();
    let db = Db::temporary()?;
    let workers = Arc::new(serve::workers(&config, &shutdown));
    workers.find()?;
    let store = Store::open(config.layers.clone(), db.clone()).await?;
    let output = Output::new(&args.output)?;
    // The first look at a machine's plug-ins takes seconds.
    let plan = tokio::select! {
        plan = chosen_plan(args, &output, &store, &workers) => plan?,
        () = signals.next() => return Err(stopped_early()),
    };
    let registry = registry(args, &config, (&db, &workers), &store, &output, &shutdown)?;
    let target = args.target.target(&registry.context().sources)?;
    make_way(args, &output, &plan)?;

    let work = one_recording(
        &registry,
        &target,
        plan,
        args.duration,
        &mut signals,
        &mut progress,
    );
    let outcome = work.await;
    if !matches!(outcome, Ok((End::GivenUp, _))) {
        shutdown.token.cancel();
        let end = async {
            registry.shut_down().await;
            shutdown.tasks.close();
            shutdown.tasks.wait().await;
        };
        let _ = timeout(END_LIMIT, end).await;
    }
    match outcome {
        Ok((end, recording)) => Ok(report(end, &recording, &mut progress)),
        Err(error) if error.kind() == Kind::NotFound => {
            eprintln!("haven: {}", error.chain());
            Ok(ExitCode::from(NOT_LIVE))
        }
        Err(error) => Err(error),
    }
}

/// What is to be recorded how: as the options say, or the file's name, or the configuration.
async fn chosen_plan(
    args: &RecordArgs,
    output: &Output,
    store: &Store,
    workers: &Workers,
) -> Result<Plan, Error> {
    let by_name = output.extension.as_deref();
    let choice = Choice {
        output_format: args.format.clone().or_else(|| output.extension.clone()),
        video_quality: args.quality.clone(),
        audio: args.audio.into(),
        split_ms: args.split.map(|split| split.after_ms),
        split_bytes: args.split.map(|split| split.after_bytes),
    };
    let plan = choice.plan(Some(workers.probe().await?), &store.current())?;
    let container = &plan.settings.extension;
    // What is copied has the container that takes it.
    let is_fixed = plan.config.video_codec.as_deref() != Some(haven_wire::COPIED);
    if let Some(extension) = by_name.filter(|extension| is_fixed && extension != container) {
        let format = &plan.format;
        let message = format!(
            "A recording as {format} is a .{container} file: name the output so, not .{extension}"
        );
        return Err(Error::new(Kind::BadRequest, "invalid_output", message));
    }
    Ok(plan)
}

/// A server's registry for one session, which writes where the user says and deletes nothing.
fn registry(
    args: &RecordArgs,
    config: &Config,
    (db, workers): (&Db, &Arc<Workers>),
    store: &Store,
    output: &Output,
    shutdown: &Shutdown,
) -> Result<Registry, Error> {
    let settings = store.current();
    let policy = Policy {
        disk_reserve_bytes: settings.disk_reserve_bytes,
        ..Policy::default()
    };
    let policy = Arc::new(move || policy) as crate::recordings::PolicySource;
    let registry = serve::registry(config, db, workers, (store, &policy), shutdown)?;
    let mut context = registry.context().clone();
    // Whoever wants one recording knows what else the machine is to do.
    context.admission = Admission::new(Machine::look(), Shares::UNLIMITED);
    context.library = Library::new(
        output.folder.clone(),
        settings.disk_reserve_bytes,
        db.clone(),
    )
    .with_stem(output.stem.clone());
    if !args.describe {
        context.archive = context.archive.without_descriptions();
    }
    let registry = Registry::new(context, store.subscribe());
    // Its database is in memory: the disk that counts is that of the output.
    let keeping = keeper::watch(registry.clone(), policy, output.folder.clone());
    shutdown.spawn(keeping);
    Ok(registry)
}

/// The file must not be there yet: a worker writes over nothing.
fn make_way(args: &RecordArgs, output: &Output, plan: &Plan) -> Result<(), Error> {
    let Some(stem) = &output.stem else {
        return Ok(());
    };
    let path = output
        .folder
        .join(format!("{stem}.{}", plan.settings.extension));
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let shown = path.display();
    if !args.force {
        let message = format!("{shown} is there already: choose another --output, or say --force");
        return Err(Error::new(Kind::Conflict, "output_exists", message));
    }
    std::fs::remove_file(&path).map_err(|error| {
        let message = format!("{shown} can't be replaced");
        Error::new(Kind::Unavailable, "output_exists", message).caused_by(error)
    })
}
