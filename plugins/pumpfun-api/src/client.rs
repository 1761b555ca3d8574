use crate::{Coin, Endpoints, Error, Livestream, Mint, NotAsked, endpoints, exchange};
use http::{HeaderMap, HeaderValue, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{fmt, time::Duration};

/// The API answers requests of the platform's own pages only.
const ORIGIN: &str = "https://pump.fun";
/// It wants a browser's user agent.
const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                          Chrome/142.0.0.0 Safari/537.36";

/// How patient a [`Client`] is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Longest wait for one answer. Default: 4 s.
    pub attempt_timeout: Duration,
    /// Longest time for a call with all its repeats. Default: 8 s.
    pub deadline: Duration,
    /// Requests that one call makes at most, however much time is left; 0 counts as 1.
    /// Default: as many as the deadline allows.
    pub max_attempts: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(4),
            deadline: Duration::from_secs(8),
            max_attempts: u32::MAX,
        }
    }
}

/// What opens a room.
#[derive(Clone, PartialEq, Eq)]
pub struct Join {
    /// A viewer's LiveKit token. Secret; it lives about 15 minutes.
    pub token: String,
    /// The LiveKit server it is for.
    pub livekit_url: String,
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join")
            .field("livekit_url", &self.livekit_url)
            .finish_non_exhaustive()
    }
}

/// A page of the coins that are live.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LivePage {
    /// How many entries the platform gave, readable or not.
    pub entries: usize,
    /// Those that name a mint.
    pub coins: Vec<Coin>,
}

/// A client of the platform; cheap to clone, connections are shared.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoints: Endpoints,
    options: Options,
}

impl Client {
    /// A client with the default [`Options`].
    ///
    /// # Errors
    /// When the machine's TLS set-up can't be used.
    pub fn new(endpoints: Endpoints) -> Result<Self, Error> {
        Self::with_options(endpoints, Options::default())
    }

    /// A client.
    ///
    /// # Errors
    /// When the machine's TLS set-up can't be used.
    pub fn with_options(endpoints: Endpoints, options: Options) -> Result<Self, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static(ORIGIN));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .default_headers(headers)
            .connect_timeout(options.attempt_timeout)
            .redirect(reqwest::redirect::Policy::limited(2));
        if endpoints.all_loopback() {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| NotAsked::Transport(error.without_url()))?;
        Ok(Self {
            http,
            endpoints,
            options,
        })
    }

    /// The same client, which sends each request once: who asks regularly by itself repeats it by
    /// asking again.
    #[must_use]
    pub fn without_repeats(&self) -> Self {
        let mut this = self.clone();
        this.options.max_attempts = 1;
        this
    }

    /// Asks for a viewer's token.
    ///
    /// # Errors
    /// [`Error::NotLive`] when the coin isn't live or isn't known; others when it couldn't be
    /// asked.
    pub async fn join(&self, mint: &Mint) -> Result<Join, Error> {
        let url = endpoints::join(&self.endpoints.livestream_url, &["livestream", "join"]);
        let request = self
            .http
            .post(url)
            .json(&json!({"mintId": mint.as_str(), "role": "viewer"}));
        let answer: Value = self.call(request).await?;
        match answer.get("token").and_then(Value::as_str) {
            Some(token) if !token.is_empty() => Ok(Join {
                token: token.to_owned(),
                livekit_url: self.endpoints.livekit_url.as_str().to_owned(),
            }),
            _ => Err(NotAsked::Lacks("a token").into()),
        }
    }

    /// What the platform says about a coin's livestream.
    ///
    /// # Errors
    /// [`Error::NotLive`] when it has none; others when it couldn't be asked.
    pub async fn livestream(&self, mint: &Mint) -> Result<Livestream, Error> {
        let mut url = endpoints::join(&self.endpoints.livestream_url, &["livestream"]);
        url.query_pairs_mut().append_pair("mintId", mint.as_str());
        self.call(self.http.get(url)).await
    }

    /// What the platform says about a coin.
    ///
    /// # Errors
    /// [`Error::NotLive`] when it doesn't know it; others when it couldn't be asked, or the answer
    /// is about something else.
    pub async fn coin(&self, mint: &Mint) -> Result<Coin, Error> {
        let url = endpoints::join(&self.endpoints.frontend_url, &["coins", mint.as_str()]);
        let coin: Coin = self.call(self.http.get(url)).await?;
        // Every field is lenient, so any object would pass for a coin.
        if coin.mint.as_deref() != Some(mint.as_str()) {
            return Err(NotAsked::Lacks("the coin that was asked for").into());
        }
        Ok(coin)
    }

    /// A page of the coins that are live now, with the number of entries that the platform gave: a
    /// page that isn't full is the last. Entries without a mint are left out.
    ///
    /// # Errors
    /// When it couldn't be asked.
    pub async fn live_page(
        &self,
        offset: u32,
        limit: u32,
        include_nsfw: bool,
    ) -> Result<LivePage, Error> {
        let mut url = endpoints::join(&self.endpoints.frontend_url, &["coins", "currently-live"]);
        url.query_pairs_mut()
            .append_pair("offset", &offset.to_string())
            .append_pair("limit", &limit.to_string())
            .append_pair("sort", "currently_live")
            .append_pair("order", "DESC")
            .append_pair("includeNsfw", if include_nsfw { "true" } else { "false" });
        let answer: Value = match self.call(self.http.get(url)).await {
            // An empty answer says that a stream is offline; to a list it says nothing.
            Err(Error::NotLive) => return Err(NotAsked::Lacks("a list of coins").into()),
            answer => answer?,
        };
        let Value::Array(entries) = answer else {
            return Err(NotAsked::Lacks("a list of coins").into());
        };
        Ok(LivePage {
            entries: entries.len(),
            coins: entries
                .into_iter()
                .filter_map(|entry| serde_json::from_value::<Coin>(entry).ok())
                .filter(|coin| coin.mint.is_some())
                .collect(),
        })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, Error> {
        let body = exchange::send(request, self.options).await?;
        Ok(serde_json::from_slice(&body).map_err(NotAsked::NotJson)?)
    }
}
