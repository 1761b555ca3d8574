//! Every setting of the server, once: as an option with its environment variable, and as a key of
//! the configuration file.

use super::settings::Layer;
use crate::{limits::Network, secret::Secret};
use clap::{Args, FromArgMatches, builder::BoolishValueParser};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

/// What stands for a value that must not be seen.
pub(crate) const HIDDEN: &str = "(hidden)";

/// A value as the configuration file writes it.
trait Shown {
    fn shown(&self) -> toml::Value;
}

macro_rules! shown_as {
    ($($type:ty: |$value:ident| $shown:expr,)*) => {
        $(impl Shown for $type {
            fn shown(&self) -> toml::Value { let $value = self; toml::Value::from($shown) }
        })*
    };
}

shown_as! {
    bool: |value| *value,
    u64: |value| i64::try_from(*value).unwrap_or(i64::MAX),
    String: |value| value.as_str(),
    PathBuf: |value| value.to_string_lossy().into_owned(),
    SocketAddr: |value| value.to_string(),
    IpAddr: |value| value.to_string(),
    Network: |value| value.to_string(),
    Secret: |_value| HIDDEN,
}

/// What a source may give or not.
trait Given: Sized {
    fn or(self, other: &Self) -> Self;
    fn value(&self) -> Option<toml::Value>;
}

impl<T: Shown + Clone> Given for Option<T> {
    fn or(self, other: &Self) -> Self {
        Option::or_else(self, || other.clone())
    }

    fn value(&self) -> Option<toml::Value> {
        self.as_ref().map(Shown::shown)
    }
}

impl<T: Shown + Clone> Given for Vec<T> {
    fn or(self, other: &Self) -> Self {
        if self.is_empty() { other.clone() } else { self }
    }

    fn value(&self) -> Option<toml::Value> {
        let shown = || toml::Value::Array(self.iter().map(Shown::shown).collect());
        (!self.is_empty()).then(shown)
    }
}

macro_rules! options {
    ($( $(#[$meta:meta])* $name:ident: $type:ty, )*) => {
        /// What one source says: the command line over the environment, or the file. A key that
        /// isn't known is an error, since it is a typing mistake.
        #[derive(Clone, Debug, Default, Args, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct Options {
            $( $(#[$meta])* pub(crate) $name: $type, )*
        }

        impl Options {
            /// The keys of the configuration file; also the ids of the options.
            pub(crate) const KEYS: &'static [&'static str] = &[$(stringify!($name)),*];

            /// This source before `other`.
            pub(crate) fn or(self, other: &Self) -> Self {
                Self { $( $name: Given::or(self.$name, &other.$name), )* }
            }

            /// What it says, as the file would; secrets are hidden.
            pub(crate) fn shown(&self) -> Vec<(&'static str, toml::Value)> {
                let values = [$( (stringify!($name), self.$name.value()) ),*];
                values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
            }

            /// The keys whose values aren't those of `other`.
            pub(crate) fn changed(&self, other: &Self) -> Vec<&'static str> {
                let mut changed = Vec::new();
                $( if self.$name != other.$name { changed.push(stringify!($name)); } )*
                changed
            }
        }
    };
}

options! {
    /// Address to serve on; port 0 takes any free one [default: 127.0.0.1:8000]
    #[arg(long, env = "HAVEN_LISTEN", value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Folder of the database [default: ~/.local/share/haven]
    #[arg(long, env = "HAVEN_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Folder of the recordings [default: recordings in the data folder]
    #[arg(long, env = "HAVEN_RECORDING_DIR", value_name = "DIR")]
    recording_dir: Option<PathBuf>,
    /// Offer the built-in room `demo`: a test pattern with a running clock, and a tone [default:
    /// false]
    #[arg(long, env = "HAVEN_DEMO", num_args = 0..=1, default_missing_value = "true",
          require_equals = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    demo: Option<bool>,
    /// Serve an address other than loopback without a token [default: false]
    #[arg(long, env = "HAVEN_NO_AUTH", num_args = 0..=1, default_missing_value = "true",
          require_equals = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    no_auth: Option<bool>,
    /// The token that clients must give; api_token_file keeps it out of this file
    #[arg(skip)]
    api_token: Option<Secret>,
    /// File (mode 0600) with the token that clients must give; or set HAVEN_API_TOKEN
    #[arg(long, env = "HAVEN_API_TOKEN_FILE", value_name = "FILE")]
    api_token_file: Option<PathBuf>,
    /// A web page's origin that may use the server (repeatable)
    #[arg(long = "allowed-origin", env = "HAVEN_ALLOWED_ORIGINS", value_delimiter = ',',
          value_name = "ORIGIN")]
    allowed_origins: Vec<String>,
    /// A host name under which the server may be addressed (repeatable)
    #[arg(long = "allowed-host", env = "HAVEN_ALLOWED_HOSTS", value_delimiter = ',',
          value_name = "HOST")]
    allowed_hosts: Vec<String>,
    /// A proxy before the server, as an address or a network: what it says of a request's sender
    /// (X-Forwarded-For, X-Forwarded-Proto) is believed (repeatable)
    #[arg(long = "trusted-proxy", env = "HAVEN_TRUSTED_PROXIES", value_delimiter = ',',
          value_name = "NETWORK")]
    trusted_proxies: Vec<Network>,
    /// Live sessions at once, 0: no limit [default: 0]
    #[arg(long, env = "HAVEN_MAX_SESSIONS", value_name = "SESSIONS")]
    max_sessions: Option<u64>,
    /// Viewers of all sessions together, 0: no limit [default: 0]
    #[arg(long, env = "HAVEN_MAX_VIEWERS", value_name = "VIEWERS")]
    max_viewers: Option<u64>,
    /// Viewers at one address, 0: no limit [default: 0]
    #[arg(long, env = "HAVEN_MAX_VIEWERS_PER_ADDRESS", value_name = "VIEWERS")]
    max_viewers_per_address: Option<u64>,
    /// Requests of one address in a minute, 0: no limit [default: 1200]
    #[arg(long, env = "HAVEN_REQUESTS_PER_MINUTE", value_name = "REQUESTS")]
    requests_per_minute: Option<u64>,
    /// Memory that a worker's process may have, 0: no limit [default: 4 GiB]
    #[arg(long, env = "HAVEN_WORKER_MEMORY_BYTES", value_name = "BYTES")]
    worker_memory_bytes: Option<u64>,
    /// Certificate chain (PEM) to serve with TLS; read again when it is renewed
    #[arg(long, env = "HAVEN_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM, mode 0600 or 0640)
    #[arg(long, env = "HAVEN_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// The worker's executable [default: haven-worker beside this one]
    #[arg(long, env = "HAVEN_WORKER", value_name = "FILE")]
    worker: Option<PathBuf>,
    /// Folder with further format descriptions
    #[arg(long, env = "HAVEN_FORMATS_DIR", value_name = "DIR")]
    formats_dir: Option<PathBuf>,
    /// Free bytes on the recordings' disk below which nothing is recorded [default: 1 GiB]
    #[arg(long, env = "HAVEN_DISK_RESERVE_BYTES", value_name = "BYTES")]
    disk_reserve_bytes: Option<u64>,
    /// Seconds without a publisher after which a session ends, 0: never [default: 600]
    #[arg(long, env = "HAVEN_WAITING_TIMEOUT_S", value_name = "SECONDS")]
    waiting_timeout_s: Option<u64>,
    /// Format of recordings that name none [default: av1]
    #[arg(long, env = "HAVEN_DEFAULT_OUTPUT_FORMAT", value_name = "FORMAT")]
    default_output_format: Option<String>,
    /// Quality of recordings that name none: low, medium or high [default: medium]
    #[arg(long, env = "HAVEN_DEFAULT_VIDEO_QUALITY", value_name = "QUALITY")]
    default_video_quality: Option<String>,
    /// Minutes after which a recording goes on in a new file, 0: never [default: 0]
    #[arg(long, env = "HAVEN_SPLIT_MINUTES", value_name = "MINUTES")]
    split_minutes: Option<u64>,
    /// Bytes after which a recording goes on in a new file, 0: never [default: 0]
    #[arg(long, env = "HAVEN_SPLIT_BYTES", value_name = "BYTES")]
    split_bytes: Option<u64>,
    /// Days after which a finished recording is deleted, 0: never [default: 0]
    #[arg(long, env = "HAVEN_RETAIN_DAYS", value_name = "DAYS")]
    retain_days: Option<u64>,
    /// Bytes of all recordings above which the oldest are deleted, 0: no limit [default: 0]
    #[arg(long, env = "HAVEN_RETAIN_BYTES", value_name = "BYTES")]
    retain_bytes: Option<u64>,
    /// A folder under which clients may choose that of the recordings (repeatable)
    /// [default: the home and data folders]
    #[arg(long = "recording-root", env = "HAVEN_RECORDING_ROOTS", value_delimiter = ',',
          value_name = "DIR")]
    recording_roots: Vec<PathBuf>,
    /// Seconds between two requests for pump.fun's list of live coins [default: 15]
    #[arg(long, env = "HAVEN_PUMPFUN_REFRESH_S", value_name = "SECONDS")]
    pumpfun_refresh_s: Option<u64>,
    /// Days after which an observation of a coin is forgotten, 0: never [default: 30]
    #[arg(long, env = "HAVEN_HISTORY_DAYS", value_name = "DAYS")]
    history_days: Option<u64>,
    /// Observations of coins that are kept [default: 500000]
    #[arg(long, env = "HAVEN_HISTORY_ROWS", value_name = "ROWS")]
    history_rows: Option<u64>,
    /// Free bytes on the recordings' disk below which the oldest are deleted, 0: off [default: 0]
    #[arg(long, env = "HAVEN_RETAIN_FREE_BYTES", value_name = "BYTES")]
    retain_free_bytes: Option<u64>,
    /// Share of the processor that may be taken before nothing more is begun beside recordings, 0: no
    /// limit [default: 80]
    #[arg(long, env = "HAVEN_CPU_BUDGET_PERCENT", value_name = "PERCENT")]
    cpu_budget_percent: Option<u64>,
    /// Share of the memory that may be taken before nothing more is begun beside recordings, 0: no
    /// limit [default: 80]
    #[arg(long, env = "HAVEN_MEMORY_BUDGET_PERCENT", value_name = "PERCENT")]
    memory_budget_percent: Option<u64>,
    /// Go on with sessions that ran when the server ended [default: true]
    #[arg(long, env = "HAVEN_RESUME", num_args = 0..=1, default_missing_value = "true",
          require_equals = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    resume: Option<bool>,
    /// Local addresses to gather ICE candidates on
    #[arg(long, env = "HAVEN_ICE_ADDRESSES", value_delimiter = ',', value_name = "IP")]
    ice_addresses: Vec<IpAddr>,
    /// An address that is told what happens; a comma in it is written %2C (repeatable)
    #[arg(long = "webhook-url", env = "HAVEN_WEBHOOK_URLS", value_delimiter = ',',
          value_name = "URL")]
    webhook_urls: Vec<String>,
    /// API key that webhooks are signed in the name of [default: that of the LiveKit server]
    #[arg(skip)]
    webhook_api_key: Option<String>,
    /// API secret that signs webhooks; webhook_api_secret_file keeps it out of this file
    #[arg(skip)]
    webhook_api_secret: Option<Secret>,
    /// File (mode 0600) with the secret that signs webhooks; or set HAVEN_WEBHOOK_API_SECRET
    #[arg(long, env = "HAVEN_WEBHOOK_API_SECRET_FILE", value_name = "FILE")]
    webhook_api_secret_file: Option<PathBuf>,
    /// Let clients have webhooks sent to this machine and its network [default: false]
    #[arg(long, env = "HAVEN_WEBHOOK_ALLOW_PRIVATE", num_args = 0..=1,
          default_missing_value = "true", require_equals = true, value_name = "BOOL",
          value_parser = BoolishValueParser::new())]
    webhook_allow_private: Option<bool>,
    /// Events that wait for a receiver that is down; beyond, the oldest are lost [default: 10000]
    #[arg(long, env = "HAVEN_WEBHOOK_QUEUE", value_name = "EVENTS")]
    webhook_queue: Option<u64>,
    /// What is logged, as `info` or `warn,haven::sessions=debug`; RUST_LOG beats the file
    /// [default: info]
    #[arg(skip)]
    log_filter: Option<String>,
    /// LiveKit server of generic rooms, as `wss://example.org`
    #[arg(skip)]
    livekit_url: Option<String>,
    /// API key of that server
    #[arg(skip)]
    livekit_api_key: Option<String>,
    /// API secret of that server
    #[arg(skip)]
    livekit_api_secret: Option<Secret>,
    /// Base address of pump.fun's livestream API, for tests and proxies
    #[arg(skip)]
    pumpfun_livestream_url: Option<String>,
    /// Base address of pump.fun's coin API, for tests and proxies
    #[arg(skip)]
    pumpfun_frontend_url: Option<String>,
    /// The LiveKit server that pump.fun's tokens are for
    #[arg(skip)]
    pumpfun_livekit_url: Option<String>,
}

/// Settings without an option: a secret must not be seen among a machine's processes, and the
/// rest is seldom set. Key, environment variable, description.
const WITHOUT_OPTION: [(&str, &str, &str); 10] = [
    (
        "api_token",
        "HAVEN_API_TOKEN",
        "The token that clients must give",
    ),
    (
        "webhook_api_key",
        "HAVEN_WEBHOOK_API_KEY",
        "API key that webhooks are signed in the name of [default: that of the LiveKit server]",
    ),
    (
        "webhook_api_secret",
        "HAVEN_WEBHOOK_API_SECRET",
        "API secret that signs webhooks",
    ),
    (
        "log_filter",
        "RUST_LOG",
        "What is logged, as `info` or `warn,haven::sessions=debug` [default: info]",
    ),
    (
        "livekit_url",
        "LIVEKIT_URL",
        "LiveKit server of generic rooms, as `wss://example.org`",
    ),
    (
        "livekit_api_key",
        "LIVEKIT_API_KEY",
        "API key of that server",
    ),
    (
        "livekit_api_secret",
        "LIVEKIT_API_SECRET",
        "API secret of that server",
    ),
    (
        "pumpfun_livestream_url",
        "HAVEN_PUMPFUN_LIVESTREAM_URL",
        "Base address of pump.fun's livestream API, for tests and proxies",
    ),
    (
        "pumpfun_frontend_url",
        "HAVEN_PUMPFUN_FRONTEND_URL",
        "Base address of pump.fun's coin API, for tests and proxies",
    ),
    (
        "pumpfun_livekit_url",
        "HAVEN_PUMPFUN_LIVEKIT_URL",
        "The LiveKit server that pump.fun's tokens are for",
    ),
];

/// Keys whose values are taken over while the server runs (SIGHUP), beside those of [`Layer`].
const RELOADED: [&str; 11] = [
    "trusted_proxies",
    "max_sessions",
    "max_viewers",
    "max_viewers_per_address",
    "requests_per_minute",
    "worker_memory_bytes",
    "api_token",
    "api_token_file",
    "allowed_hosts",
    "recording_roots",
    "log_filter",
];

/// A setting, for people.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// In the configuration file.
    pub(crate) name: &'static str,
    /// As `--listen ADDRESS:PORT`; none for what has no option.
    pub(crate) option: Option<String>,
    pub(crate) variable: String,
    pub(crate) help: String,
    /// In words; none where there is none.
    pub(crate) default: Option<String>,
    /// Whether SIGHUP is enough for a change.
    pub(crate) reloaded: bool,
}

/// Every setting, in the order of the documentation.
pub(crate) fn keys() -> Vec<Key> {
    let command = Options::augment_args(clap::Command::new("haven"));
    let key = |name: &&'static str| {
        let (option, variable, help) =
            match command.get_arguments().find(|arg| arg.get_id() == *name) {
                Some(arg) => {
                    let value = arg.get_value_names().and_then(|names| names.first());
                    let long = arg.get_long().unwrap_or_default();
                    let option = format!("--{long} {}", value.map_or("", |name| name.as_str()));
                    let variable = arg.get_env().unwrap_or_default().to_string_lossy();
                    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                    (Some(option), variable.into_owned(), help)
                }
                None => {
                    let found = WITHOUT_OPTION.iter().find(|(key, ..)| key == name);
                    let (_, variable, help) = found.copied().unwrap_or_default();
                    (None, variable.to_owned(), help.to_owned())
                }
            };
        let (help, default) = match help.split_once(" [default: ") {
            Some((help, default)) => (
                help.to_owned(),
                Some(default.trim_end_matches(']').to_owned()),
            ),
            None => (help, None),
        };
        let reloaded = RELOADED.contains(name) || Layer::OPTIONS.contains(name);
        Key {
            name,
            option,
            variable,
            help,
            default,
            reloaded,
        }
    };
    Options::KEYS.iter().map(key).collect()
}

impl Options {
    /// What the environment says of what has options.
    ///
    /// # Errors
    /// Clap's, for a value that can't be read.
    pub(crate) fn from_environment() -> Result<Self, clap::Error> {
        let command = Self::augment_args(clap::Command::new("haven").no_binary_name(true));
        Self::from_arg_matches(&command.try_get_matches_from::<_, &str>([])?)
    }

    /// This, and what the environment says of what has no option.
    pub(crate) fn with_environment(self, env: &impl Fn(&str) -> Option<String>) -> Self {
        let variable = |key: &str| {
            let found = WITHOUT_OPTION.iter().find(|(name, ..)| *name == key);
            found.and_then(|(_, variable, _)| env(variable))
        };
        Self {
            api_token: variable("api_token").map(|token| Secret::new(token.trim())),
            webhook_api_key: variable("webhook_api_key"),
            webhook_api_secret: variable("webhook_api_secret")
                .map(|secret| Secret::new(secret.trim())),
            log_filter: variable("log_filter"),
            livekit_url: variable("livekit_url"),
            livekit_api_key: variable("livekit_api_key"),
            livekit_api_secret: variable("livekit_api_secret").map(Secret::new),
            pumpfun_livestream_url: variable("pumpfun_livestream_url"),
            pumpfun_frontend_url: variable("pumpfun_frontend_url"),
            pumpfun_livekit_url: variable("pumpfun_livekit_url"),
            ..self
        }
    }

    /// What stands for an environment variable of pump.fun's addresses.
    pub(super) fn pumpfun_url(&self, variable: &str) -> Option<String> {
        let (key, ..) = WITHOUT_OPTION
            .iter()
            .find(|(_, known, _)| *known == variable)?;
        match *key {
            "pumpfun_livestream_url" => self.pumpfun_livestream_url.clone(),
            "pumpfun_frontend_url" => self.pumpfun_frontend_url.clone(),
            "pumpfun_livekit_url" => self.pumpfun_livekit_url.clone(),
            _ => None,
        }
    }

    /// What of it can be changed by clients, too.
    pub(crate) fn layer(&self) -> Layer {
        Layer {
            livekit_url: self.livekit_url.clone(),
            livekit_api_key: self.livekit_api_key.clone(),
            livekit_api_secret: self.livekit_api_secret.clone(),
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

/// What `haven serve` is told, by the command line over the environment.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// Configuration file (TOML)
    #[arg(long, env = "HAVEN_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) options: Options,
    /// Ids of the options that were given on the command line, not by the environment.
    #[arg(skip)]
    pub(crate) on_command_line: BTreeSet<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_variable_and_a_description() {
        let keys = keys();
        assert_eq!(keys.len(), Options::KEYS.len());
        for key in keys {
            assert!(!key.variable.is_empty() && !key.help.is_empty(), "{key:?}");
            let is_hidden = key.name.ends_with("_secret") || key.name == "api_token";
            assert!(!is_hidden || key.option.is_none(), "{key:?}");
        }
    }

    /// The table of docs/configuration.md.
    fn table() -> String {
        let mut text = String::from(
            "| key | option | variable | default | SIGHUP | what it is |\n|---|---|---|---|---|---|\n",
        );
        for key in keys() {
            let option = key.option.map(|option| format!("`{option}`"));
            text += &format!(
                "| `{}` | {} | `{}` | {} | {} | {} |\n",
                key.name,
                option.unwrap_or_default(),
                key.variable,
                key.default.unwrap_or_default(),
                if key.reloaded { "yes" } else { "" },
                key.help.replace('|', "\\|"),
            );
        }
        text
    }

    /// With HAVEN_WRITE_DOCS in the environment it writes the table in place of comparing it.
    #[test]
    fn the_document_lists_every_key_as_the_program_has_it() {
        const MARKS: (&str, &str) = ("<!-- keys -->\n", "<!-- /keys -->");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (before, rest) = text.split_once(MARKS.0).unwrap();
        let (listed, after) = rest.split_once(MARKS.1).unwrap();
        if std::env::var_os("HAVEN_WRITE_DOCS").is_some() {
            let text = [before, MARKS.0, &table(), MARKS.1, after].concat();
            std::fs::write(path, text).unwrap();
        } else {
            assert_eq!(listed, table(), "write it with HAVEN_WRITE_DOCS=1");
        }
    }

    #[test]
    fn every_setting_that_clients_may_change_is_a_key() {
        for name in Layer::OPTIONS {
            assert!(Options::KEYS.contains(name), "{name}");
        }
    }
}
