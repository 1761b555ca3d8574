//! Other addresses of the same service, for when the first can't be reached.

use serde_json::Value;
use std::time::Duration;
use url::Url;

/// Most regions that are tried; the list comes nearest first.
const MAX_REGIONS: usize = 4;

/// How long the list of regions may take. It is asked while a room is waited for.
const FETCH_TIMEOUT: Duration = Duration::from_secs(1);

/// Largest list of regions that is read.
const MAX_LIST_BYTES: usize = 64 << 10;

/// Whether LiveKit Cloud answers there, which tells its regions to whoever has a token.
pub(crate) fn is_cloud(server: &str) -> bool {
    Url::parse(server).is_ok_and(|url| {
        url.host_str()
            .is_some_and(|host| host.ends_with(".livekit.cloud") || host.ends_with(".livekit.run"))
    })
}

/// The servers to try, one after the other.
#[derive(Debug, Default)]
pub(super) struct Servers {
    /// What the server that sent us away named; forgotten after a join.
    given: Vec<String>,
    /// What the service named when it was asked.
    discovered: Vec<String>,
    /// Which is next, over all attempts.
    turn: usize,
}

impl Servers {
    /// The server sent us away and named where to go.
    pub(super) fn give(&mut self, regions: Vec<String>) {
        self.given = regions;
        self.turn = 0;
    }

    /// A join succeeded.
    pub(super) fn joined(&mut self) {
        self.given.clear();
        self.turn = 0;
    }

    /// Whether asking for regions could help.
    pub(super) fn unasked(&self) -> bool {
        self.discovered.is_empty()
    }

    pub(super) fn discovered(&mut self, regions: Vec<String>) {
        self.discovered = regions;
    }

    /// All servers for a token that is for `server`: what was given first, then the token's own,
    /// then what was discovered.
    pub(super) fn all(&self, server: &str) -> Vec<String> {
        let mut all = usable(server, &self.given);
        if !all.iter().any(|known| known == server) {
            all.push(server.to_owned());
        }
        for region in usable(server, &self.discovered) {
            if !all.contains(&region) {
                all.push(region);
            }
        }
        all
    }

    /// The server whose turn it is.
    pub(super) fn next(&mut self, server: &str) -> String {
        let mut all = self.all(server);
        let turn = self.turn % all.len().max(1);
        self.turn = turn + 1;
        all.swap_remove(turn)
    }
}

/// A token must not be sent in the clear because a list says so.
fn usable(server: &str, regions: &[String]) -> Vec<String> {
    let secure = |url: &Url| matches!(url.scheme(), "wss" | "https");
    let plain_is_fine = Url::parse(server).is_ok_and(|url| !secure(&url));
    regions
        .iter()
        .filter(|region| {
            Url::parse(region).is_ok_and(|url| {
                let plain = matches!(url.scheme(), "ws" | "http");
                url.has_host() && (secure(&url) || (plain && plain_is_fine))
            })
        })
        .take(MAX_REGIONS)
        .cloned()
        .collect()
}

/// Asks a service for its regions.
///
/// # Errors
/// When it doesn't answer in time or not with a list.
pub(super) async fn fetch(server: &str, token: &str) -> Result<Vec<String>, String> {
    let mut url = Url::parse(server).map_err(|error| error.to_string())?;
    let scheme = match url.scheme() {
        "wss" | "https" => "https",
        _ => "http",
    };
    url.set_scheme(scheme).map_err(|()| "no scheme for it")?;
    url.set_path("/settings/regions");
    url.set_query(None);
    tokio::time::timeout(FETCH_TIMEOUT, ask(url, token))
        .await
        .map_err(|_| "no answer in time".to_owned())?
}

async fn ask(url: Url, token: &str) -> Result<Vec<String>, String> {
    let client = reqwest::Client::builder()
        // A redirect could carry the token elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| error.to_string())?;
    let request = client.get(url).bearer_auth(token);
    let mut response = request.send().await.map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        return Err(format!("the answer is {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| error.to_string())? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_LIST_BYTES {
            return Err("the list is too long".into());
        }
    }
    read_list(&body)
}

fn read_list(body: &[u8]) -> Result<Vec<String>, String> {
    let list: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let regions = list
        .get("regions")
        .and_then(Value::as_array)
        .ok_or("the answer has no list of regions")?;
    Ok(regions
        .iter()
        .filter_map(|region| Some(region.get("url")?.as_str()?.to_owned()))
        .take(MAX_REGIONS)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(urls: &[&str]) -> Vec<String> {
        urls.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_livekit_cloud_is_asked_for_regions() {
        assert!(is_cloud("wss://project.livekit.cloud"));
        assert!(is_cloud("https://project.staging.livekit.run/x"));
        for other in [
            "wss://livekit.cloud.example.org",
            "wss://evil-livekit.cloud",
            "ws://127.0.0.1:7880",
            "nonsense",
        ] {
            assert!(!is_cloud(other), "{other}");
        }
    }

    #[test]
    fn what_the_server_named_comes_first_and_each_has_its_turn() {
        let mut servers = Servers::default();
        servers.give(names(&["wss://b", "wss://c"]));
        servers.discovered(names(&["wss://c", "wss://d", "wss://a"]));
        let turns: Vec<_> = (0..5).map(|_| servers.next("wss://a")).collect();
        assert_eq!(
            turns,
            ["wss://b", "wss://c", "wss://a", "wss://d", "wss://b"]
        );
        servers.joined();
        assert_eq!(servers.next("wss://a"), "wss://a");
    }

    #[test]
    fn a_token_for_a_secure_server_is_sent_to_secure_regions_only() {
        let mut servers = Servers::default();
        servers.give(names(&["ws://b", "http://c", "", "ftp://x", "wss://d"]));
        assert_eq!(servers.all("wss://a"), ["wss://d", "wss://a"]);
        assert_eq!(
            servers.all("ws://a"),
            ["ws://b", "http://c", "wss://d", "ws://a"]
        );
        servers.give((0..1000).map(|n| format!("wss://r{n}")).collect());
        assert_eq!(servers.all("wss://a").len(), MAX_REGIONS + 1);
    }

    #[test]
    fn a_list_of_regions_is_read_and_anything_else_refused() {
        let list = br#"{"regions":[{"region":"eu","url":"wss://eu","distance":"1"},{"url":7},{}]}"#;
        assert_eq!(read_list(list).unwrap(), ["wss://eu"]);
        for end in 0..list.len() {
            assert!(read_list(&list[..end]).is_err());
        }
        assert!(read_list(b"{}").is_err() && read_list(b"[]").is_err());
    }
}
