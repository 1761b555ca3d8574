//! What the server is told: command line, what clients have set, environment, configuration file,
//! defaults, in this order.

mod file;
mod limits;
mod options;
mod settings;
mod store;
mod webhooks;

pub(crate) use file::check as check_file;
pub(crate) use options::{Key, Options, ServeArgs, keys};
pub(crate) use settings::{LEAST_SPLIT_BYTES, MOST_SPLIT_BYTES, MOST_SPLIT_MINUTES};
pub(crate) use settings::{Layer, Settings};
pub(crate) use store::{Layers, SHOWN_SECRET, Store};
pub(crate) use webhooks::WebhookConfig;

use crate::{
    Error,
    admission::Shares,
    error::Kind,
    limits::Allowed,
    recordings::{check_default_format, check_default_quality},
    secret::Secret,
    tls::TlsFiles,
    worker::Timings,
};
use pumpfun_api::Endpoints;
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};
use viewer_socket::OriginPolicy;

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8000);
/// How much of the machine may be taken; the rest is for what comes in bursts, and for others.
const DEFAULT_SHARE_PERCENT: u64 = 80;
/// What is logged where nobody says.
const DEFAULT_LOG_FILTER: &str = "info";

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
    /// What may be taken of the machine.
    pub(crate) shares: Shares,
    /// What is logged.
    pub(crate) log_filter: String,
    /// What can be changed while the server runs.
    pub(crate) layers: Layers,
    pub(crate) pumpfun: Endpoints,
    pub(crate) timings: Timings,
    pub(crate) webhooks: WebhookConfig,
    /// None: connections aren't encrypted.
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) limits: Allowed,
    /// What the command line and the environment say.
    pub(crate) given: Options,
    /// What the file says.
    pub(crate) file: Options,
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
            Some(path) => file::read(path)?,
            None => Options::default(),
        };
        let given = args.options.clone().with_environment(&env);
        let merged = given.clone().or(&file);
        let listen = merged.listen.unwrap_or(DEFAULT_LISTEN);
        let places = Places::resolve(&merged, env("HOME").map(PathBuf::from))?;
        let (sources, home) = ([&given, &file], places.home.as_deref());
        let api_token = required_token(listen, &merged, sources, home)?;
        let webhooks = WebhookConfig::resolve(&merged, sources, home)?;
        let tls = tls_files(&merged, home)?;
        let limits = limits::resolve(&merged)?;
        let origins = OriginPolicy::new(&merged.allowed_origins)
            .map_err(|error| invalid(&format!("allowed_origins: {error}")))?;
        let pumpfun = Endpoints::from_lookup(|name| merged.pumpfun_url(name))
            .map_err(|error| invalid(&error.to_string()))?;
        let layers = layers(&given, &args.on_command_line, &file, &places);
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
            demo: merged.demo.unwrap_or(false),
            api_token,
            origins,
            allowed_hosts: merged.allowed_hosts.clone(),
            retain_free_bytes: merged.retain_free_bytes.filter(|bytes| *bytes > 0),
            resume: merged.resume.unwrap_or(true),
            ice_addresses: merged.ice_addresses.clone(),
            shares: Shares {
                cpu_percent: merged.cpu_budget_percent.unwrap_or(DEFAULT_SHARE_PERCENT),
                memory_percent: merged
                    .memory_budget_percent
                    .unwrap_or(DEFAULT_SHARE_PERCENT),
            },
            log_filter: merged
                .log_filter
                .clone()
                .unwrap_or_else(|| DEFAULT_LOG_FILTER.to_owned()),
            layers,
            pumpfun,
            timings: Timings::default(),
            webhooks,
            tls,
            limits,
            given,
            file,
        })
    }

    /// What was given, and by which source: a setting's key, its value, the source's name. What
    /// clients have set isn't among it.
    pub(crate) fn shown(&self, args: &ServeArgs) -> Vec<(Key, Option<(toml::Value, String)>)> {
        let (given, file) = (self.given.shown(), self.file.shown());
        let find = |values: &[(&str, toml::Value)], name: &str| {
            let found = values.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone())
        };
        let shown = |key: Key| {
            let of_file = || {
                let path = args.config.as_ref()?;
                Some((find(&file, key.name)?, path.display().to_string()))
            };
            let value = match find(&given, key.name) {
                Some(value) if args.on_command_line.contains(key.name) => {
                    Some((value, "command line".to_owned()))
                }
                Some(value) => Some((value, format!("environment, {}", key.variable))),
                None => of_file(),
            };
            (key, value)
        };
        keys().into_iter().map(shown).collect()
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
    fn resolve(options: &Options, home: Option<PathBuf>) -> Result<Self, Error> {
        let named =
            |path: &Option<PathBuf>| path.as_ref().map(|path| expand_home(path, home.as_deref()));
        let data_dir = named(&options.data_dir)
            .map(absolute)
            .or_else(|| Some(home.as_ref()?.join(".local/share/haven")))
            .ok_or_else(|| invalid("there is no HOME: name a folder with --data-dir"))?;
        Ok(Self {
            data_dir,
            // A bare name is looked for in PATH.
            worker: match named(&options.worker) {
                Some(path) => path,
                None => worker_beside_us()?,
            },
            formats_dir: named(&options.formats_dir).map(absolute),
            home,
        })
    }
}

/// The token that clients must give. An address that others can reach needs one.
fn required_token(
    listen: SocketAddr,
    merged: &Options,
    sources: [&Options; 2],
    home: Option<&Path>,
) -> Result<Option<Secret>, Error> {
    let of = |source: &Options| (source.api_token_file.clone(), source.api_token.clone());
    let token = secret("api_token", sources.map(of), home)?;
    match (merged.no_auth.unwrap_or(false), &token) {
        (true, None) => return Ok(None),
        (true, Some(_)) => {
            return Err(invalid(
                "no_auth and an API token contradict each other: take one of them away",
            ));
        }
        (false, _) => {}
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

/// A secret: of the first source that names a file of it, or it itself.
fn secret(
    what: &str,
    sources: [(Option<PathBuf>, Option<Secret>); 2],
    home: Option<&Path>,
) -> Result<Option<Secret>, Error> {
    for (path, secret) in sources {
        if let Some(path) = path {
            return file::read_secret(what, &expand_home(&path, home)).map(Some);
        }
        if let Some(secret) = secret {
            return match secret.expose().trim() {
                "" => Err(invalid(&format!("{what} is empty"))),
                // A text of several lines ends with one.
                trimmed => Ok(Some(Secret::new(trimmed))),
            };
        }
    }
    Ok(None)
}

/// The certificate and its key, which go together.
fn tls_files(options: &Options, home: Option<&Path>) -> Result<Option<TlsFiles>, Error> {
    let place = |path: &PathBuf| absolute(expand_home(path, home));
    match (&options.tls_cert, &options.tls_key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles {
            cert: place(cert),
            key: place(key),
        })),
        (None, None) => Ok(None),
        _ => Err(invalid(
            "TLS needs a certificate and its key: set tls_cert (--tls-cert) and tls_key \
             (--tls-key), or neither",
        )),
    }
}

/// The sources of what can be changed while the server runs.
fn layers(
    given: &Options,
    on_command_line: &BTreeSet<String>,
    file: &Options,
    places: &Places,
) -> Layers {
    let home = places.home.as_deref();
    let place = |layer: Layer| Layer {
        recording_directory: layer
            .recording_directory
            .map(|path| absolute(expand_home(&path, home))),
        ..layer
    };
    let (command_line, environment) = place(given.layer()).split(on_command_line);
    let file_layer = place(file.layer());
    let mut roots: Vec<_> = given
        .clone()
        .or(file)
        .recording_roots
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
