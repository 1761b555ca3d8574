//! A running server, asked over its API.

use crate::{
    Error,
    config::{Config, ServeArgs},
    error::Kind,
    secret::Secret,
};
use clap::Args;
use reqwest::{Method, Url};
use serde_json::Value;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// Joining a recording takes as long as its files are read and written; everything else, moments.
const LIMIT: Duration = Duration::from_secs(1900);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Where the server is.
#[derive(Clone, Debug, Args)]
pub(super) struct ServerArgs {
    /// Address of a running server, as http://127.0.0.1:8000; the token is that of the
    /// configuration (HAVEN_API_TOKEN)
    #[arg(long, env = "HAVEN_SERVER", value_name = "URL")]
    pub(super) server: Option<Url>,
    /// Configuration file (TOML)
    #[arg(long, env = "HAVEN_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl ServerArgs {
    /// What `haven serve` would be told here.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn config(&self, data_dir: Option<PathBuf>) -> Result<Config, Error> {
        let environment =
            crate::config::Options::from_environment().unwrap_or_else(|error| error.exit());
        let here = crate::config::Options {
            data_dir,
            ..crate::config::Options::default()
        };
        let serve = ServeArgs {
            config: self.config.clone(),
            options: here.or(&environment),
            ..ServeArgs::default()
        };
        Config::resolve(&serve, |name| std::env::var(name).ok())
    }
}

/// A running server.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<Secret>,
}

impl Client {
    /// The server that `args` name, else the one that runs with this configuration.
    ///
    /// # Errors
    /// When the client can't be set up.
    pub(super) fn new(args: &ServerArgs, config: &Config) -> Result<Self, Error> {
        let fail = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::internal("setting up the client of the server", error)
        };
        let scheme = if config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let own = format!("{scheme}://{}", reachable(config.listen));
        let base = match &args.server {
            Some(url) => url.clone(),
            None => Url::parse(&own).map_err(|error| fail(error.into()))?,
        };
        let http = reqwest::Client::builder()
            // Our own server's certificate is for its public name, not for this machine's address.
            .tls_danger_accept_invalid_certs(args.server.is_none() && config.tls.is_some())
            .timeout(LIMIT)
            .connect_timeout(CONNECT_LIMIT)
            .no_proxy()
            .build()
            .map_err(|error| fail(error.into()))?;
        Ok(Self {
            http,
            base,
            token: config.api_token.clone(),
        })
    }

    /// What the server answers to a request.
    ///
    /// # Errors
    /// When there is none, or it refuses; its own words then.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        let unreachable = |error: reqwest::Error| {
            let message = format!(
                "no answer from {}: start a server with `haven serve`, or name it with --server",
                self.base
            );
            Error::new(Kind::BadGateway, "no_server", message).caused_by(error.without_url())
        };
        let url = self.base.join(path).map_err(|error| {
            Error::new(Kind::BadRequest, "invalid_server", "--server is no address")
                .caused_by(error)
        })?;
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let answer: Value = response.json().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(answer);
        }
        let why = answer["error"].as_str().unwrap_or("no reason given");
        let kind = match status.as_u16() {
            404 => Kind::NotFound,
            409 => Kind::Conflict,
            _ => Kind::BadGateway,
        };
        Err(Error::new(kind, "server_refused", why))
    }
}

/// An address at which what listens there can be asked.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_asked_here() {
        for (listen, asked) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("10.0.0.1:80", "10.0.0.1:80"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
