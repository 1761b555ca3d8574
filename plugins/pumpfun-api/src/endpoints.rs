use crate::Error;
use url::Url;

/// Where pump.fun is. Each address can be replaced, for tests and for proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Base of the livestream API (`HAVEN_PUMPFUN_LIVESTREAM_URL`).
    pub livestream_url: Url,
    /// Base of the coin API (`HAVEN_PUMPFUN_FRONTEND_URL`).
    pub frontend_url: Url,
    /// The LiveKit server that the tokens are for (`HAVEN_PUMPFUN_LIVEKIT_URL`).
    pub livekit_url: Url,
}

const LIVESTREAM: (&str, &str) = (
    "HAVEN_PUMPFUN_LIVESTREAM_URL",
    "https://livestream-api.pump.fun",
);
const FRONTEND: (&str, &str) = (
    "HAVEN_PUMPFUN_FRONTEND_URL",
    "https://frontend-api-v3.pump.fun",
);
const LIVEKIT: (&str, &str) = (
    "HAVEN_PUMPFUN_LIVEKIT_URL",
    "wss://pump-prod-tg2x8veh.livekit.cloud",
);

impl Endpoints {
    /// The platform's own addresses, where the environment names no others.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] for a variable that holds no such URL.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Like [`Endpoints::from_env`], with any source of settings. An empty value counts as none.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] for a setting that holds no such URL.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let url = |(name, default): (&'static str, &str), schemes: &[&str]| {
            let value = lookup(name)
                .filter(|value| !value.trim().is_empty())
                .unwrap_or_else(|| default.to_owned());
            parse(name, value.trim(), schemes)
        };
        Ok(Self {
            livestream_url: url(LIVESTREAM, &["https", "http"])?,
            frontend_url: url(FRONTEND, &["https", "http"])?,
            livekit_url: url(LIVEKIT, &["wss", "ws", "https", "http"])?,
        })
    }

    /// Whether both HTTP addresses are on this machine: no proxy can be meant then.
    pub(crate) fn all_loopback(&self) -> bool {
        [&self.livestream_url, &self.frontend_url]
            .into_iter()
            .all(|url| match url.host() {
                Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
                Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
                Some(url::Host::Domain(name)) => name == "localhost",
                None => false,
            })
    }
}

fn parse(name: &'static str, value: &str, schemes: &[&str]) -> Result<Url, Error> {
    match Url::parse(value) {
        Ok(url) if schemes.contains(&url.scheme()) && url.has_host() => Ok(url),
        Ok(mut url) => {
            // Nothing to do where it fails: such a URL has no user information.
            let _ = url.set_password(None);
            let _ = url.set_username("");
            Err(Error::InvalidUrl {
                name,
                value: url.into(),
            })
        }
        Err(_) => Err(Error::InvalidUrl {
            name,
            value: "(no URL)".into(),
        }),
    }
}

/// `base` with `path` behind its own path, whether or not it ends with a slash.
pub(crate) fn join(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_settings_it_is_the_platform() {
        let endpoints = Endpoints::from_lookup(|_| None).unwrap();
        assert_eq!(
            endpoints.livestream_url.as_str(),
            "https://livestream-api.pump.fun/"
        );
        assert_eq!(endpoints.livekit_url.scheme(), "wss");
        assert!(!endpoints.all_loopback());
    }

    #[test]
    fn a_bad_url_names_its_setting_and_hides_the_password() {
        let error = Endpoints::from_lookup(|name| {
            (name == FRONTEND.0).then(|| "ftp://me:secret@host/".to_owned())
        })
        .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("HAVEN_PUMPFUN_FRONTEND_URL"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn a_path_of_the_base_is_kept() {
        for base in ["http://h/api", "http://h/api/"] {
            let url = join(&Url::parse(base).unwrap(), &["coins", "a b/c"]);
            assert_eq!(url.as_str(), "http://h/api/coins/a%20b%2Fc");
        }
    }
}
