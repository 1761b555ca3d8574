//! What was asked of the element, with the defaults that its properties declare.

use pumpfun_api::{Endpoints, InvalidMint, Mint};
use std::time::Duration;

pub(crate) const DEFAULT_MINT_ID: Option<&str> = None;
/// Once per half minute, for all elements of a coin in this process: no limits are published, and the
/// platform's own pages ask more often.
pub(crate) const DEFAULT_REFRESH_INTERVAL_MS: u32 = 30_000;
pub(crate) const DEFAULT_FRONTEND_URL: Option<&str> = None;

/// The variable that `frontend-url` stands before.
const FRONTEND_URL_ENV: &str = "HAVEN_PUMPFUN_FRONTEND_URL";

/// The element's properties.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The coin; none: as upstream says.
    pub(crate) mint_id: Option<String>,
    /// Milliseconds; 0: until there is an answer.
    pub(crate) refresh_interval_ms: u32,
    /// Base of the coin API; none: from the environment.
    pub(crate) frontend_url: Option<String>,
}

/// The properties can't be used as they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The mint isn't one.
    #[error("mint-id is '{0}', which is no mint: {1}")]
    Mint(String, #[source] InvalidMint),
    /// One of the base URLs isn't one.
    #[error(transparent)]
    Url(#[from] pumpfun_api::Error),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mint_id: DEFAULT_MINT_ID.map(str::to_owned),
            refresh_interval_ms: DEFAULT_REFRESH_INTERVAL_MS,
            frontend_url: DEFAULT_FRONTEND_URL.map(str::to_owned),
        }
    }
}

impl Settings {
    /// The coin that the properties name.
    ///
    /// # Errors
    /// When they name something else.
    pub(crate) fn mint(&self) -> Result<Option<Mint>, SettingsError> {
        let parse = |text: &String| {
            let parsed = text.parse();
            parsed.map_err(|error| SettingsError::Mint(text.clone(), error))
        };
        self.mint_id.as_ref().map(parse).transpose()
    }

    /// Where to ask.
    ///
    /// # Errors
    /// When the property, or a variable of the environment, holds no URL.
    pub(crate) fn endpoints(&self) -> Result<Endpoints, SettingsError> {
        let own = self.frontend_url.as_ref();
        Ok(Endpoints::from_lookup(|name| match own {
            Some(url) if name == FRONTEND_URL_ENV => Some(url.clone()),
            _ => std::env::var(name).ok(),
        })?)
    }

    /// How often to ask; none: until there is an answer.
    pub(crate) fn refresh_interval(&self) -> Option<Duration> {
        let interval = Duration::from_millis(self.refresh_interval_ms.into());
        (!interval.is_zero()).then_some(interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_property_stands_before_the_environment() {
        let mut settings = Settings {
            frontend_url: Some("http://127.0.0.1:9/api".into()),
            ..Settings::default()
        };
        let url = settings.endpoints().unwrap().frontend_url;
        assert_eq!(url.as_str(), "http://127.0.0.1:9/api");
        settings.frontend_url = Some("nowhere".into());
        let error = settings.endpoints().unwrap_err().to_string();
        assert!(error.contains(FRONTEND_URL_ENV), "{error}");
    }

    #[test]
    fn zero_asks_until_there_is_an_answer() {
        let settings = Settings {
            refresh_interval_ms: 0,
            ..Settings::default()
        };
        assert_eq!(settings.refresh_interval(), None);
        assert_eq!(
            Settings::default().refresh_interval(),
            Some(Duration::from_secs(30))
        );
    }

    #[test]
    fn what_is_no_mint_is_named() {
        let settings = Settings {
            mint_id: Some("0OIl".into()),
            ..Settings::default()
        };
        let error = settings.mint().unwrap_err().to_string();
        assert!(error.contains("0OIl"), "{error}");
        assert_eq!(Settings::default().mint().unwrap(), None);
    }
}
