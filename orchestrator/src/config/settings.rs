//! Settings that can be changed while the server runs, and their order of precedence.

use super::LiveKit;
use crate::{Error, secret::Secret};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};

/// Free bytes on the recordings' disk below which nothing is recorded.
const DEFAULT_DISK_RESERVE_BYTES: u64 = 1 << 30;
/// Longest split: a week.
pub(crate) const MOST_SPLIT_MINUTES: u64 = 7 * 24 * 60;
/// Smallest size of a split: smaller files are hardly more than their headers.
pub(crate) const LEAST_SPLIT_BYTES: u64 = 64 << 10;
/// What is compared with SQLite's integers, which are signed.
pub(crate) const MOST_SPLIT_BYTES: u64 = 1 << 62;
const DEFAULT_WAITING_TIMEOUT_S: u64 = 600;
const DEFAULT_FORMAT: &str = "av1";
const DEFAULT_QUALITY: &str = "medium";
/// A polite client of pump.fun asks at most every 10 to 30 s for all its users together.
const DEFAULT_PUMPFUN_REFRESH_S: u64 = 15;
const DEFAULT_HISTORY_DAYS: u64 = 30;
/// About 60 bytes each on the disk.
const DEFAULT_HISTORY_ROWS: u64 = 500_000;

/// Settings by name, as JSON: what a client sent, or what is stored.
pub(crate) type Fields = Map<String, Value>;

/// What a setting's value may be.
trait Readable: Sized {
    const EXPECTED: &'static str;
    fn read(value: &Value) -> Option<Self>;
}

fn json<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

impl Readable for String {
    const EXPECTED: &'static str = "must be a text that is not empty";
    fn read(value: &Value) -> Option<Self> {
        json(value).filter(|text: &Self| !text.trim().is_empty())
    }
}

impl Readable for PathBuf {
    const EXPECTED: &'static str = String::EXPECTED;
    fn read(value: &Value) -> Option<Self> {
        String::read(value).map(Self::from)
    }
}

impl Readable for Secret {
    const EXPECTED: &'static str = String::EXPECTED;
    fn read(value: &Value) -> Option<Self> {
        String::read(value).map(Self::new)
    }
}

impl Readable for u64 {
    const EXPECTED: &'static str = "must be a whole number, 0 or more";
    fn read(value: &Value) -> Option<Self> {
        json(value)
    }
}

macro_rules! settings {
    ($( $(#[$doc:meta])* $name:ident: $type:ty = $option:literal, )*) => {
        /// What one source says: any subset of the settings.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Layer {
            $( $(#[$doc])* pub(crate) $name: Option<$type>, )*
        }

        impl Layer {
            /// The names of all settings.
            pub(crate) const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];
            /// What the same are called on the command line and in the file.
            pub(crate) const OPTIONS: &'static [&'static str] = &[$($option),*];

            /// What the setting of this name is called there.
            pub(crate) fn option_of(name: &str) -> Option<&'static str> {
                let index = Self::NAMES.iter().position(|known| *known == name)?;
                Self::OPTIONS.get(index).copied()
            }

            /// Reads `fields`; those that aren't known are ignored, null is no value.
            ///
            /// # Errors
            /// Unprocessable; names the field of another type.
            pub(crate) fn read(fields: &Fields) -> Result<Self, Error> {
                Ok(Self { $( $name: field(fields, stringify!($name))?, )* })
            }

            /// The names of the settings that this source says.
            pub(crate) fn names(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $( if self.$name.is_some() { names.push(stringify!($name)); } )*
                names
            }

            /// This source before `other`.
            pub(crate) fn or(self, other: &Self) -> Self {
                Self { $( $name: self.$name.or_else(|| other.$name.clone()), )* }
            }

            /// What of it was given by the options (clap's ids) in `ids`, and the rest.
            pub(crate) fn split(self, ids: &BTreeSet<String>) -> (Self, Self) {
                let (mut inside, mut outside) = (Self::default(), Self::default());
                $( if ids.contains($option) { inside.$name = self.$name; }
                   else { outside.$name = self.$name; } )*
                (inside, outside)
            }
        }
    };
}

settings! {
    /// LiveKit server of the generic rooms.
    livekit_url: String = "livekit_url",
    /// Key of its tokens.
    livekit_api_key: String = "livekit_api_key",
    /// What signs them.
    livekit_api_secret: Secret = "livekit_api_secret",
    /// Folder of the recordings.
    recording_directory: PathBuf = "recording_dir",
    /// Format of recordings that name none.
    default_output_format: String = "default_output_format",
    /// Quality of recordings that name none.
    default_video_quality: String = "default_video_quality",
    /// Seconds without a publisher after which a session ends; 0: never.
    waiting_timeout: u64 = "waiting_timeout_s",
    /// Free bytes on the recordings' disk below which nothing is recorded.
    disk_reserve_bytes: u64 = "disk_reserve_bytes",
    /// Minutes after which a recording goes on in a new file; 0: never.
    split_minutes: u64 = "split_minutes",
    /// Bytes after which a recording goes on in a new file; 0: never.
    split_bytes: u64 = "split_bytes",
    /// Days after which a finished recording is deleted; 0: never.
    retain_days: u64 = "retain_days",
    /// Bytes of all recordings above which the oldest are deleted; 0: no limit.
    retain_bytes: u64 = "retain_bytes",
    /// Seconds between two requests for pump.fun's list of live coins, for all clients together.
    pumpfun_refresh: u64 = "pumpfun_refresh_s",
    /// Days after which an observation of a coin is forgotten; 0: never.
    history_days: u64 = "history_days",
    /// Observations of coins that are kept; the oldest go first.
    history_rows: u64 = "history_rows",
}

fn field<T: Readable>(fields: &Fields, name: &str) -> Result<Option<T>, Error> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => T::read(value)
            .map(Some)
            .ok_or_else(|| Error::field(name, T::EXPECTED)),
    }
}

/// The settings in force.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The LiveKit server of generic rooms, where all three of its settings are known.
    pub(crate) livekit: Option<LiveKit>,
    pub(crate) recording_directory: PathBuf,
    pub(crate) default_output_format: String,
    pub(crate) default_video_quality: String,
    /// Zero: never.
    pub(crate) waiting_timeout: Duration,
    pub(crate) disk_reserve_bytes: u64,
    /// None: never.
    pub(crate) split_minutes: Option<u64>,
    /// None: never.
    pub(crate) split_bytes: Option<u64>,
    /// None: never.
    pub(crate) retain_days: Option<u64>,
    /// None: no limit.
    pub(crate) retain_bytes: Option<u64>,
    pub(crate) pumpfun_refresh: Duration,
    /// None: for ever.
    pub(crate) history_days: Option<u64>,
    pub(crate) history_rows: u64,
    /// What the settings were put together from.
    pub(crate) given: Layer,
}

impl Settings {
    /// What `layer` says, with the defaults where it says nothing.
    ///
    /// # Errors
    /// Unprocessable; names the setting that is out of range.
    pub(crate) fn new(layer: Layer, default_directory: PathBuf) -> Result<Self, Error> {
        let positive = |value: Option<u64>| value.filter(|value| *value > 0);
        let settings = Self {
            livekit: livekit(&layer)?,
            recording_directory: layer
                .recording_directory
                .clone()
                .unwrap_or(default_directory),
            default_output_format: text(&layer.default_output_format, DEFAULT_FORMAT),
            default_video_quality: text(&layer.default_video_quality, DEFAULT_QUALITY),
            waiting_timeout: seconds(layer.waiting_timeout, DEFAULT_WAITING_TIMEOUT_S),
            disk_reserve_bytes: layer
                .disk_reserve_bytes
                .unwrap_or(DEFAULT_DISK_RESERVE_BYTES),
            split_minutes: positive(layer.split_minutes),
            split_bytes: positive(layer.split_bytes),
            retain_days: positive(layer.retain_days),
            retain_bytes: positive(layer.retain_bytes),
            pumpfun_refresh: seconds(layer.pumpfun_refresh, DEFAULT_PUMPFUN_REFRESH_S),
            history_days: positive(Some(layer.history_days.unwrap_or(DEFAULT_HISTORY_DAYS))),
            history_rows: layer.history_rows.unwrap_or(DEFAULT_HISTORY_ROWS),
            given: layer,
        };
        settings.check_ranges()?;
        Ok(settings)
    }

    fn check_ranges(&self) -> Result<(), Error> {
        let given = &self.given;
        for (name, value, least, most) in [
            // 30 days: the worker counts milliseconds in 32 bits.
            ("waiting_timeout", given.waiting_timeout, 0, 2_592_000),
            ("split_minutes", self.split_minutes, 1, MOST_SPLIT_MINUTES),
            (
                "split_bytes",
                self.split_bytes,
                LEAST_SPLIT_BYTES,
                MOST_SPLIT_BYTES,
            ),
            ("retain_days", self.retain_days, 1, 36_500),
            // As large as a split.
            ("retain_bytes", self.retain_bytes, 1, MOST_SPLIT_BYTES),
            ("pumpfun_refresh", given.pumpfun_refresh, 1, 3600),
            ("history_days", self.history_days, 1, 36_500),
            ("history_rows", Some(self.history_rows), 1, 100_000_000),
        ] {
            if value.is_some_and(|value| !(least..=most).contains(&value)) {
                let range = format!("must be from {least} to {most}");
                return Err(Error::field(name, range));
            }
        }
        Ok(())
    }
}

fn text(given: &Option<String>, default: &str) -> String {
    given.as_deref().unwrap_or(default).to_owned()
}

fn seconds(given: Option<u64>, default: u64) -> Duration {
    Duration::from_secs(given.unwrap_or(default))
}

fn livekit(layer: &Layer) -> Result<Option<LiveKit>, Error> {
    if let Some(url) = &layer.livekit_url {
        let known = ["ws", "wss", "http", "https"];
        let parsed = url::Url::parse(url).ok().filter(url::Url::has_host);
        let parsed = parsed.filter(|url| known.contains(&url.scheme()));
        let Some(parsed) = parsed else {
            let message = "must be a ws:// or wss:// address (LIVEKIT_URL)";
            return Err(Error::field("livekit_url", message));
        };
        // It is shown to whoever may see the settings, and logged.
        if has_user(&parsed) {
            let message = "must have no user name or password in it (LIVEKIT_URL)";
            return Err(Error::field("livekit_url", message));
        }
    }
    let (Some(url), Some(api_key), Some(api_secret)) = (
        layer.livekit_url.clone(),
        layer.livekit_api_key.clone(),
        layer.livekit_api_secret.clone(),
    ) else {
        return Ok(None);
    };
    Ok(Some(LiveKit {
        url,
        api_key,
        api_secret,
    }))
}

fn has_user(url: &url::Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        value.as_object().cloned().unwrap()
    }

    fn settings(value: Value) -> Result<Settings, Error> {
        Settings::new(Layer::read(&fields(value))?, "/r".into())
    }

    #[test]
    fn a_value_of_another_type_or_out_of_range_is_named() {
        for (name, value) in [
            ("livekit_url", json!(7)),
            ("livekit_url", json!("example.org")),
            ("livekit_url", json!("ftp://example.org")),
            ("livekit_url", json!("wss://me:s3cret@example.org")),
            ("livekit_url", json!("wss://token@example.org")),
            ("livekit_api_key", json!("")),
            ("livekit_api_secret", json!(["x"])),
            ("recording_directory", json!(true)),
            ("waiting_timeout", json!(-1)),
            ("waiting_timeout", json!(1.5)),
            ("waiting_timeout", json!("600")),
            ("waiting_timeout", json!(2_592_001)),
            ("split_bytes", json!(1)),
            ("pumpfun_refresh", json!(0)),
            ("history_rows", json!(0)),
        ] {
            let error = settings(json!({name: value})).unwrap_err();
            assert!(error.message().contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn null_and_unknown_fields_say_nothing_and_zero_switches_off() {
        let settings = settings(json!({
            "split_minutes": 0, "waiting_timeout": 0, "history_days": 0, "retain_days": null, "x": []
        }))
        .unwrap();
        assert_eq!(settings.split_minutes, None);
        assert_eq!(settings.waiting_timeout, Duration::ZERO);
        assert_eq!(settings.history_days, None);
        assert_eq!(settings.default_output_format, "av1");
        assert_eq!(
            settings.given.names(),
            ["waiting_timeout", "split_minutes", "history_days"]
        );
    }

    #[test]
    fn a_livekit_server_needs_all_three() {
        let all =
            json!({"livekit_url": "ws://h", "livekit_api_key": "k", "livekit_api_secret": "s"});
        assert!(settings(all.clone()).unwrap().livekit.is_some());
        for name in ["livekit_url", "livekit_api_key", "livekit_api_secret"] {
            let mut part = all.clone();
            part[name] = Value::Null;
            assert!(settings(part).unwrap().livekit.is_none());
        }
    }
}
