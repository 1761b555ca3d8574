//! What the server is told: command line, what clients have set, environment, configuration file,
//! defaults, in this order.

mod file;
mod settings;
mod store;
mod webhooks;

pub(crate) use settings::{LEAST_SPLIT_BYTES, MOST_SPLIT_BYTES, MOST_SPLIT_MINUTES};
pub(crate) use settings::{Layer, Settings};
pub(crate) use store::{Layers, SHOWN_SECRET, Store};
pub(crate) use webhooks::{WebhookArgs, WebhookConfig};

use crate::{
    Error,
    error::Kind,
    recordings::{check_default_format, check_default_quality},
    secret::Secret,
    worker::Timings,
};
use clap::{Args, builder::BoolishValueParser};
use file::FileConfig;
use pumpfun_api::Endpoints;
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};
use viewer_socket::OriginPolicy;

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8000);

/// Options of `haven serve`. Each has an environment variable; secrets have no option.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// Address to serve on; port 0 takes any free one [default: 127.0.0.1:8000]
    #[arg(long, env = "HAVEN_LISTEN", value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Folder of the database [default: ~/.local/share/haven]
    #[arg(long, env = "HAVEN_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Folder of the recordings [default: recordings in the data folder]
    #[arg(long, env = "HAVEN_RECORDING_DIR", value_name = "DIR")]
    pub(crate) recording_dir: Option<PathBuf>,
    /// Configuration file (TOML)
    #[arg(long, env = "HAVEN_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Offer the built-in room `demo`: a test pattern with a running clock, and a tone
    #[arg(long, env = "HAVEN_DEMO", num_args = 0..=1, default_missing_value = "true",
          require_equals = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub(crate) demo: Option<bool>,
    /// Serve an address other than loopback without a token
    #[arg(long, env = "HAVEN_NO_AUTH", num_args = 0..=1, default_missing_value = "true",
          require_equals = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub(crate) no_auth: Option<bool>,
    /// File (mode 0600) with the token that clients must give; or set HAVEN_API_TOKEN
    #[arg(long, env = "HAVEN_API_TOKEN_FILE", value_name = "FILE")]
    pub(crate) api_token_file: Option<PathBuf>,
    /// A web page's origin that may use the server (repeatable)
    #[arg(
        long,
        env = "HAVEN_ALLOWED_ORIGINS",
        value_delimiter = ',',
        value_name = "ORIGIN"
    )]
    pub(crate) allowed_origin: Vec<String>,
    /// A host name under which the server may be addressed (repeatable)
    #[arg(
        long,
        env = "HAVEN_ALLOWED_HOSTS",
        value_delimiter = ',',
        value_name = "HOST"
    )]
    pub(crate) allowed_host: Vec<String>,
    /// The worker's executable [default: haven-worker beside this one]
    #[arg(long, env = "HAVEN_WORKER", value_name = "FILE")]
    pub(crate) worker: Option<PathBuf>,
    /// Folder with further format descriptions
    #[arg(long, env = "HAVEN_FORMATS_DIR", value_name = "DIR")]
    pub(crate) formats_dir: Option<PathBuf>,
    /// Free bytes on the recordings' disk below which nothing is recorded [default: 1 GiB]
    #[arg(long, env = "HAVEN_DISK_RESERVE_BYTES", value_name = "BYTES")]
    pub(crate) disk_reserve_bytes: Option<u64>,
    /// Seconds without a publisher after which a session ends, 0: never [default: 600]
    #[arg(long, env = "HAVEN_WAITING_TIMEOUT_S", value_name = "SECONDS")]
    pub(crate) waiting_timeout_s: Option<u64>,
    /// Format of recordings that name none [default: av1]
    #[arg(long, env = "HAVEN_DEFAULT_OUTPUT_FORMAT", value_name = "FORMAT")]
    pub(crate) default_output_format: Option<String>,
    /// Quality of recordings that name none: low, medium or high [default: medium]
    #[arg(long, env = "HAVEN_DEFAULT_VIDEO_QUALITY", value_name = "QUALITY")]
    pub(crate) default_video_quality: Option<String>,
    /// Minutes after which a recording goes on in a new file, 0: never [default: 0]
    #[arg(long, env = "HAVEN_SPLIT_MINUTES", value_name = "MINUTES")]
    pub(crate) split_minutes: Option<u64>,
    /// Bytes after which a recording goes on in a new file, 0: never [default: 0]
    #[arg(long, env = "HAVEN_SPLIT_BYTES", value_name = "BYTES")]
    pub(crate) split_bytes: Option<u64>,
    /// Days after which a finished recording is deleted, 0: never [default: 0]
    #[arg(long, env = "HAVEN_RETAIN_DAYS", value_name = "DAYS")]
    pub(crate) retain_days: Option<u64>,
    /// Bytes of all recordings above which the oldest are deleted, 0: no limit [default: 0]
    #[arg(long, env = "HAVEN_RETAIN_BYTES", value_name = "BYTES")]
    pub(crate) retain_bytes: Option<u64>,
    /// A folder under which clients may choose that of the recordings (repeatable)
    /// [default: the home and data folders]
    #[arg(
        long,
        env = "HAVEN_RECORDING_ROOTS",
        value_delimiter = ',',
        value_name = "DIR"
    )]
    pub(crate) recording_root: Vec<PathBuf>,
    /// Seconds between two requests for pump.fun's list of live coins [default: 15]
    #[arg(long, env = "HAVEN_PUMPFUN_REFRESH_S", value_name = "SECONDS")]
    pub(crate) pumpfun_refresh_s: Option<u64>,
    /// Days after which an observation of a coin is forgotten, 0: never [default: 30]
    #[arg(long, env = "HAVEN_HISTORY_DAYS", value_name = "DAYS")]
    pub(crate) history_days: Option<u64>,
    /// Observations of coins that are kept [default: 500000]
    #[arg(long, env = "HAVEN_HISTORY_ROWS", value_name = "ROWS")]
    pub(crate) history_rows: Option<u64>,
    /// Free bytes on the recordings' disk below which the oldest are deleted, 0: off [default: 0]
    #[arg(long, env = "HAVEN_RETAIN_FREE_BYTES", value_name = "BYTES")]
    pub(crate) retain_free_bytes: Option<u64>,
    /// Go on with sessions that ran when the server ended [default: true]
    #[arg(long, env = "HAVEN_RESUME", num_args = 0..=1, default_missing_value = "true",
          require_equals = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub(crate) resume: Option<bool>,
    /// Local addresses to gather ICE candidates on
    #[arg(
        long,
        env = "HAVEN_ICE_ADDRESSES",
        value_delimiter = ',',
        value_name = "IP"
    )]
    pub(crate) ice_addresses: Vec<IpAddr>,
    #[command(flatten)]
    pub(crate) webhooks: WebhookArgs,
    /// Ids of the options that were given on the command line, not by the environment.
    #[arg(skip)]
    pub(crate) on_command_line: BTreeSet<String>,
}

impl ServeArgs {
    fn layer(&self) -> Layer {
        Layer {
            livekit_url: None,
            livekit_api_key: None,
            livekit_api_secret: None,
            recording_directory: self.recording_dir.clone(),
            default_output_format: self.default_output_format.clone(),
            default_video_quality: self.default_video_quality.clone(),
            waiting_timeout: self.waiting_timeout_s,
            disk_reserve_bytes: self.disk_reserve_bytes,
            split_minutes: self.split_minutes,
            split_bytes: self.split_bytes,
            retain_days: self.retain_days,
            retain_bytes: self.retain_bytes,
            pumpfun_refresh: self.pumpfun_refresh_s,
            history_days: self.history_days,
            history_rows: self.history_rows,
        }
    }
}

/// A LiveKit server for generic rooms, with the key that makes tokens for it.
#[derive(Clone, Debug)]
pub(crate) struct LiveKit {
    pub(crate) url: String,
    pub(crate) api_key: String,
    pub(crate) api_secret: Secret,
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) data_dir: PathBuf,
    pub(crate) demo: bool,
    pub(crate) api_token: Option<Secret>,
    pub(crate) origins: OriginPolicy,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) worker: PathBuf,
    pub(crate) formats_dir: Option<PathBuf>,
    /// Free bytes on the recordings' disk below which the oldest recordings are deleted.
    pub(crate) retain_free_bytes: Option<u64>,
    /// Whether sessions go on that ran when the server ended.
    pub(crate) resume: bool,
    pub(crate) ice_addresses: Vec<IpAddr>,
    /// What can be changed while the server runs.
    pub(crate) layers: Layers,
    pub(crate) pumpfun: Endpoints,
    pub(crate) timings: Timings,
    pub(crate) webhooks: WebhookConfig,
}

impl Config {
    /// Puts together what `args` (the command line over the environment), the environment's
    /// secrets (`env`), and the configuration file say.
    ///
    /// # Errors
    /// A sentence that names the setting at fault.
    pub(crate) fn resolve(
        args: &ServeArgs,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let file = match &args.config {
            Some(path) => FileConfig::read(path)?,
            None => FileConfig::default(),
        };
        let listen = args.listen.or(file.listen).unwrap_or(DEFAULT_LISTEN);
        let api_token = required_token(listen, args, &env, &file)?;
        let places = Places::resolve(args, &file, env("HOME").map(PathBuf::from))?;
        let origins = OriginPolicy::new(either(&args.allowed_origin, &file.allowed_origins))
            .map_err(|error| invalid(&format!("allowed_origins: {error}")))?;
        let pumpfun = Endpoints::from_lookup(|name| env(name).or_else(|| file.pumpfun_url(name)))
            .map_err(|error| invalid(&error.to_string()))?;
        let layers = layers(args, &env, &file, &places);
        // What is wrong here is told now, not when a client changes something else.
        let settings = layers.settings(Layer::default());
        settings
            .and_then(|settings| check_defaults(&settings, places.formats_dir.is_some()))
            .map_err(|error| invalid(error.message()))?;
        Ok(Self {
            listen,
            data_dir: places.data_dir,
            worker: places.worker,
            formats_dir: places.formats_dir,
            demo: args.demo.or(file.demo).unwrap_or(false),
            api_token,
            origins,
            allowed_hosts: either(&args.allowed_host, &file.allowed_hosts).to_vec(),
            retain_free_bytes: args
                .retain_free_bytes
                .or(file.retain_free_bytes)
                .filter(|bytes| *bytes > 0),
            resume: args.resume.or(file.resume).unwrap_or(true),
            ice_addresses: either(&args.ice_addresses, &file.ice_addresses).to_vec(),
            layers,
            pumpfun,
            timings: Timings::default(),
            webhooks: WebhookConfig::resolve(&args.webhooks, &env, &file)?,
        })
    }
}

/// Whether recordings can be made as the operator wants them by default. What further formats there
/// are is known once the worker was asked.
fn check_defaults(settings: &Settings, more_formats: bool) -> Result<(), Error> {
    check_default_quality(&settings.default_video_quality)?;
    match more_formats {
        true => Ok(()),
        false => check_default_format(None, &settings.default_output_format),
    }
}

/// Folders and files.
struct Places {
    data_dir: PathBuf,
    worker: PathBuf,
    formats_dir: Option<PathBuf>,
    home: Option<PathBuf>,
}

impl Places {
    fn resolve(args: &ServeArgs, file: &FileConfig, home: Option<PathBuf>) -> Result<Self, Error> {
        let named = |first: &Option<PathBuf>, second: &Option<PathBuf>| {
            let path = first.as_ref().or(second.as_ref())?;
            Some(expand_home(path, home.as_deref()))
        };
        let place =
            |first: &Option<PathBuf>, second: &Option<PathBuf>| named(first, second).map(absolute);
        let data_dir = place(&args.data_dir, &file.data_dir)
            .or_else(|| Some(home.as_ref()?.join(".local/share/haven")))
            .ok_or_else(|| invalid("there is no HOME: name a folder with --data-dir"))?;
        Ok(Self {
            data_dir,
            // A bare name is looked for in PATH.
            worker: match named(&args.worker, &file.worker) {
                Some(path) => path,
                None => worker_beside_us()?,
            },
            formats_dir: place(&args.formats_dir, &file.formats_dir),
            home,
        })
    }
}

/// The token that clients must give. An address that others can reach needs one.
fn required_token(
    listen: SocketAddr,
    args: &ServeArgs,
    env: &impl Fn(&str) -> Option<String>,
    file: &FileConfig,
) -> Result<Option<Secret>, Error> {
    let token = api_token(args, env, file)?;
    match (args.no_auth.or(file.no_auth).unwrap_or(false), &token) {
        (true, None) => return Ok(None),
        (true, Some(_)) => {
            return Err(invalid(
                "no_auth and an API token contradict each other: take one of them away",
            ));
        }
        (false, _) => {}
    }
    if token
        .as_ref()
        .is_some_and(|token| token.expose().is_empty())
    {
        return Err(invalid("the API token is empty"));
    }
    if !listen.ip().is_loopback() && token.is_none() {
        return Err(invalid(
            "an address other than loopback needs a token (--api-token-file, HAVEN_API_TOKEN) \
             or an explicit --no-auth",
        ));
    }
    Ok(token)
}

fn invalid(message: &str) -> Error {
    Error::new(Kind::BadRequest, "invalid_configuration", message)
}

fn either<'a, T>(first: &'a [T], second: &'a [T]) -> &'a [T] {
    if first.is_empty() { second } else { first }
}

fn expand_home(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// Paths are stored and handed to workers: they must not depend on where the server was started.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn worker_beside_us() -> Result<PathBuf, Error> {
    let exe = std::env::current_exe().map_err(|error| {
        invalid("can't tell where haven-worker is: use --worker").caused_by(error)
    })?;
    Ok(exe.with_file_name("haven-worker"))
}

/// The token: `--api-token-file`, else `HAVEN_API_TOKEN`, else the configuration file.
fn api_token(
    args: &ServeArgs,
    env: &impl Fn(&str) -> Option<String>,
    file: &FileConfig,
) -> Result<Option<Secret>, Error> {
    if let Some(path) = &args.api_token_file {
        return file::read_secret(path).map(Some);
    }
    if let Some(token) = env("HAVEN_API_TOKEN") {
        return Ok(Some(Secret::new(token.trim())));
    }
    match &file.api_token_file {
        Some(path) => file::read_secret(path).map(Some),
        None => Ok(file.api_token.clone()),
    }
}

/// The sources of what can be changed while the server runs.
fn layers(
    args: &ServeArgs,
    env: &impl Fn(&str) -> Option<String>,
    file: &FileConfig,
    places: &Places,
) -> Layers {
    let home = places.home.as_deref();
    let place = |layer: Layer| Layer {
        recording_directory: layer
            .recording_directory
            .map(|path| absolute(expand_home(&path, home))),
        ..layer
    };
    let (command_line, environment) = place(args.layer()).split(&args.on_command_line);
    let environment = Layer {
        livekit_url: env("LIVEKIT_URL"),
        livekit_api_key: env("LIVEKIT_API_KEY"),
        livekit_api_secret: env("LIVEKIT_API_SECRET").map(Secret::new),
        ..environment
    };
    let file_layer = place(file.layer());
    let mut roots: Vec<_> = either(&args.recording_root, &file.recording_roots)
        .iter()
        .map(|root| absolute(expand_home(root, home)))
        .collect();
    if roots.is_empty() {
        roots.extend(places.home.clone());
        roots.push(places.data_dir.clone());
    }
    // Where the operator records, clients may too.
    let chosen = [&command_line, &environment, &file_layer];
    roots.extend(
        chosen
            .iter()
            .filter_map(|layer| layer.recording_directory.clone()),
    );
    Layers {
        command_line,
        environment,
        file: file_layer,
        home: places.home.clone(),
        default_directory: places.data_dir.join("recordings"),
        roots,
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
