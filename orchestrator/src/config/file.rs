//! The configuration file.

use super::settings::Layer;
use crate::{Error, error::Kind, secret::Secret};
use serde::Deserialize;
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What the file may say; a key that isn't known is an error, since it is a typing mistake.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FileConfig {
    pub(super) listen: Option<SocketAddr>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) recording_dir: Option<PathBuf>,
    pub(super) demo: Option<bool>,
    pub(super) no_auth: Option<bool>,
    pub(super) api_token: Option<Secret>,
    pub(super) api_token_file: Option<PathBuf>,
    pub(super) allowed_origins: Vec<String>,
    pub(super) allowed_hosts: Vec<String>,
    pub(super) worker: Option<PathBuf>,
    pub(super) formats_dir: Option<PathBuf>,
    pub(super) disk_reserve_bytes: Option<u64>,
    pub(super) retain_free_bytes: Option<u64>,
    pub(super) resume: Option<bool>,
    pub(super) waiting_timeout_s: Option<u64>,
    pub(super) default_output_format: Option<String>,
    pub(super) default_video_quality: Option<String>,
    pub(super) split_minutes: Option<u64>,
    pub(super) split_bytes: Option<u64>,
    pub(super) retain_days: Option<u64>,
    pub(super) retain_bytes: Option<u64>,
    pub(super) recording_roots: Vec<PathBuf>,
    pub(super) pumpfun_refresh_s: Option<u64>,
    pub(super) history_days: Option<u64>,
    pub(super) history_rows: Option<u64>,
    pub(super) ice_addresses: Vec<IpAddr>,
    pub(super) webhook_urls: Vec<String>,
    pub(super) webhook_api_key: Option<String>,
    pub(super) webhook_api_secret: Option<Secret>,
    pub(super) webhook_api_secret_file: Option<PathBuf>,
    pub(super) webhook_allow_private: Option<bool>,
    pub(super) webhook_queue: Option<u64>,
    pub(super) livekit_url: Option<String>,
    pub(super) livekit_api_key: Option<String>,
    pub(super) livekit_api_secret: Option<Secret>,
    pub(super) pumpfun_livestream_url: Option<String>,
    pub(super) pumpfun_frontend_url: Option<String>,
    pub(super) pumpfun_livekit_url: Option<String>,
}

impl FileConfig {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|error| {
            super::invalid(&format!("can't read {}", path.display())).caused_by(error)
        })?;
        toml::from_str(&text).map_err(|error| {
            // The error's own text quotes the line, which may hold a secret.
            let line = error
                .span()
                .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            super::invalid(&format!(
                "{}, line {line}: {}",
                path.display(),
                error.message()
            ))
        })
    }

    /// What of it can be changed while the server runs.
    pub(super) fn layer(&self) -> Layer {
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

    /// The setting that stands for an environment variable of pump.fun's addresses.
    pub(super) fn pumpfun_url(&self, variable: &str) -> Option<String> {
        match variable {
            "HAVEN_PUMPFUN_LIVESTREAM_URL" => self.pumpfun_livestream_url.clone(),
            "HAVEN_PUMPFUN_FRONTEND_URL" => self.pumpfun_frontend_url.clone(),
            "HAVEN_PUMPFUN_LIVEKIT_URL" => self.pumpfun_livekit_url.clone(),
            _ => None,
        }
    }
}

/// The token in a file that nobody else may read.
pub(super) fn read_secret(path: &Path) -> Result<Secret, Error> {
    let fail = |why: &str| {
        Error::new(
            Kind::BadRequest,
            "invalid_configuration",
            format!("the token file {} {why}", path.display()),
        )
    };
    let metadata = fs::metadata(path).map_err(|error| fail("can't be read").caused_by(error))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(fail("may be read by others: set its mode to 0600"));
    }
    let text = fs::read_to_string(path).map_err(|error| fail("can't be read").caused_by(error))?;
    match text.trim() {
        "" => Err(fail("is empty")),
        token => Ok(Secret::new(token)),
    }
}
