//! `livekit://`, `livekits://` and `pumpfun://`: a room, and how to take it, in one line.
//!
//! Secrets may stand in a URI. They are never repeated: not in an error, and not in the URI that
//! the element gives back.

use crate::livekitsrc::properties;
use crate::settings::Settings;
use gst::glib;
use gst::prelude::*;
use pumpfun_api::Mint;
use url::Url;
use url::form_urlencoded::Serializer;

/// The schemes: a LiveKit server without and with TLS, and a coin's livestream.
pub(crate) const PROTOCOLS: &[&str] = &[LIVEKIT, LIVEKITS, PUMPFUN];

const LIVEKIT: &str = "livekit";
const LIVEKITS: &str = "livekits";
const PUMPFUN: &str = "pumpfun";

/// Properties that are the URI itself, and so no parameters of it.
const SAID_BY_THE_URI: [&str; 3] = ["mint-id", "url", "room"];
/// Properties that say how to get into a LiveKit room. A coin's livestream has its own way.
const RIGHTS: [&str; 4] = ["token", "api-key", "api-secret", "identity"];

/// Why a URI can't be taken; the sentence is for people and holds no value of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UriError(String);

fn wrong<T>(why: impl Into<String>) -> Result<T, UriError> {
    Err(UriError(why.into()))
}

/// The settings as this URI changes them: where to go and the right to do so are replaced,
/// parameters are set, everything else stays.
///
/// # Errors
/// When the URI, a parameter's name or its value can't be understood.
pub(crate) fn apply(uri: &str, settings: &Settings) -> Result<Settings, UriError> {
    let Ok(uri) = Url::parse(uri) else {
        return wrong("no URI like livekit://host:port/room or pumpfun://MINT");
    };
    if !uri.username().is_empty() || uri.password().is_some() {
        return wrong(
            "user and password have no place here; api-key and api-secret are parameters",
        );
    }
    if uri.fragment().is_some() {
        return wrong("a fragment (#…) has no place here; write # in a value as %23");
    }
    let mut changed = Settings {
        mint_id: None,
        url: None,
        room: None,
        token: None,
        api_key: None,
        api_secret: None,
        identity: None,
        ..settings.clone()
    };
    match uri.scheme() {
        PUMPFUN => changed.mint_id = Some(mint(&uri)?),
        LIVEKIT | LIVEKITS => {
            changed.url = Some(server(&uri)?);
            changed.room = room(&uri)?;
        }
        other => return wrong(format!("the scheme '{other}' isn't ours")),
    }
    apply_parameters(&uri, &mut changed)?;
    Ok(changed)
}

/// The URI that says what the settings say; none where there is none. Secrets are left out.
pub(crate) fn describe(settings: &Settings) -> Option<String> {
    let base = match (&settings.mint_id, &settings.url) {
        (Some(mint), None) => format!("{PUMPFUN}://{mint}"),
        (None, Some(url)) => livekit(url, settings.room.as_deref())?,
        _ => return None,
    };
    let mut query = Serializer::new(String::new());
    let mut any = false;
    for pspec in parameters(settings.mint_id.is_some()) {
        let value = properties::load(settings, pspec.name());
        if let Some(text) = value.and_then(|value| said(pspec, &value)) {
            query.append_pair(pspec.name(), &text);
            any = true;
        }
    }
    let query = query.finish();
    Some(if any { format!("{base}?{query}") } else { base })
}

/// Writable properties that a URI may set.
fn parameters(pumpfun: bool) -> impl Iterator<Item = &'static glib::ParamSpec> {
    properties::PROPERTIES.iter().filter(move |pspec| {
        pspec.flags().contains(glib::ParamFlags::WRITABLE)
            && !SAID_BY_THE_URI.contains(&pspec.name())
            && !(pumpfun && RIGHTS.contains(&pspec.name()))
    })
}

/// A value as text; none for the default.
fn said(pspec: &glib::ParamSpec, value: &glib::Value) -> Option<String> {
    if let Ok(text) = value.get::<Option<String>>() {
        return text;
    }
    let text = value.serialize().ok()?;
    (pspec.default_value().serialize().ok()? != text).then(|| text.into())
}

fn mint(uri: &Url) -> Result<String, UriError> {
    let host = uri.host_str().unwrap_or_default();
    if uri.port().is_some() || !matches!(uri.path(), "" | "/") {
        return wrong("only a mint and parameters stand in pumpfun://MINT?parameter=value");
    }
    match host.parse::<Mint>() {
        Ok(mint) => Ok(mint.to_string()),
        Err(error) => wrong(format!("'{host}' is no mint: {error}")),
    }
}

/// The server's WebSocket URL.
fn server(uri: &Url) -> Result<String, UriError> {
    let scheme = if uri.scheme() == LIVEKITS {
        "wss"
    } else {
        "ws"
    };
    let Some(host) = uri.host_str().filter(|host| !host.is_empty()) else {
        return wrong("no server: write livekit://host:port/room");
    };
    let port = uri
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    match Url::parse(&format!("{scheme}://{host}{port}")) {
        // The scheme's own port isn't said, or the URI that is given back would differ.
        Ok(server) => Ok(server.as_str().trim_end_matches('/').to_owned()),
        Err(error) => wrong(format!("'{host}' is no host: {error}")),
    }
}

/// The path without its first slash, as text.
fn room(uri: &Url) -> Result<Option<String>, UriError> {
    let path = uri.path();
    let path = path.strip_prefix('/').unwrap_or(path);
    match percent_encoding::percent_decode_str(path).decode_utf8() {
        Ok(room) => Ok(Some(room.into_owned()).filter(|room| !room.is_empty())),
        Err(_) => wrong("the room's name is no UTF-8"),
    }
}

/// `livekit://…` for a server's URL; none where the URL has what can't be said so.
fn livekit(url: &str, room: Option<&str>) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let scheme = match url.scheme() {
        "ws" | "http" => LIVEKIT,
        "wss" | "https" => LIVEKITS,
        _ => return None,
    };
    if url.path() != "/" || url.query().is_some() || !url.username().is_empty() {
        return None;
    }
    let mut uri = Url::parse(&format!("{scheme}://{}", url.host_str()?)).ok()?;
    uri.set_port(url.port()).ok()?;
    if let Some(room) = room {
        uri.set_path(&percent_encoding::utf8_percent_encode(room, ROOM_ESCAPES).to_string());
    }
    Some(uri.into())
}

/// What can't stand in a path as it is, and a percent sign.
const ROOM_ESCAPES: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'.')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'`')
    .add(b'{')
    .add(b'}');

fn apply_parameters(uri: &Url, settings: &mut Settings) -> Result<(), UriError> {
    let pumpfun = uri.scheme() == PUMPFUN;
    let mut seen = Vec::new();
    for (name, text) in uri.query_pairs() {
        let Some(pspec) = parameters(pumpfun).find(|pspec| pspec.name() == name) else {
            let known: Vec<_> = parameters(pumpfun).map(glib::ParamSpec::name).collect();
            return wrong(format!(
                "unknown parameter '{name}'; known are {}",
                known.join(", ")
            ));
        };
        if seen.contains(&pspec.name()) {
            return wrong(format!("parameter '{name}' is there twice"));
        }
        seen.push(pspec.name());
        let value = value(pspec, &text)?;
        properties::store(settings, pspec.name(), &value);
    }
    Ok(())
}

/// A parameter's value, as the property wants it.
fn value(pspec: &glib::ParamSpec, text: &str) -> Result<glib::Value, UriError> {
    if pspec.value_type() == glib::Type::STRING {
        return Ok(text.to_value());
    }
    glib::Value::deserialize_with_pspec(text, pspec)
        .ok()
        .filter(|value| in_range(pspec, value))
        .ok_or_else(|| {
            // Secrets are strings, and every string is taken.
            UriError(format!("parameter '{}' can't be '{text}'", pspec.name()))
        })
}

fn in_range(pspec: &glib::ParamSpec, value: &glib::Value) -> bool {
    let Some(pspec) = pspec.downcast_ref::<glib::ParamSpecUInt>() else {
        return true;
    };
    value
        .get::<u32>()
        .is_ok_and(|number| (pspec.minimum()..=pspec.maximum()).contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::VideoChoice;

    const MINT: &str = "5PJRpFL7ZH7HEnHPJiAymwuzGRLLPTDkfNTKFG1wpump";

    fn read(uri: &str) -> Result<Settings, UriError> {
        gst::init().unwrap();
        apply(uri, &Settings::default())
    }

    #[test]
    fn a_server_a_room_and_a_token_are_read() {
        let settings = read("livekit://127.0.0.1:7880/my%20room%2F1?token=a.b-c_d").unwrap();
        assert_eq!(settings.url.as_deref(), Some("ws://127.0.0.1:7880"));
        assert_eq!(settings.room.as_deref(), Some("my room/1"));
        assert_eq!(settings.token.as_deref(), Some("a.b-c_d"));
        let settings =
            read("livekits://[::1]/livestream:x:1?api-key=K&api-secret=S%2B%26s").unwrap();
        assert_eq!(settings.url.as_deref(), Some("wss://[::1]"));
        assert_eq!(settings.room.as_deref(), Some("livestream:x:1"));
        assert_eq!(settings.api_secret.as_deref(), Some("S+&s"));
    }

    #[test]
    fn a_mint_keeps_its_capitals_and_parameters_are_properties() {
        let uri = format!(
            "pumpfun://{MINT}?participant=ann%20lee&video-source=screen-share&latency=350&waiting-timeout=0"
        );
        let settings = read(&uri).unwrap();
        assert_eq!(settings.mint_id.as_deref(), Some(MINT));
        assert_eq!(settings.participant.as_deref(), Some("ann lee"));
        assert_eq!(settings.video_source, VideoChoice::ScreenShare);
        assert_eq!(settings.latency_ms, 350);
        assert_eq!(settings.waiting_timeout_ms, 0);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mint = format!("pumpfun://{MINT}");
        for (uri, named) in [
            ("livekit:///room", "no server"),
            ("livekit://", "no server"),
            ("livekit://a b/room", "no URI"),
            ("livekit://host/room?colour=red", "'colour'; known are"),
            ("livekit://host/room?room=other", "'room'"),
            ("livekit://host/room?latency=20000", "'latency'"),
            ("livekit://host/room?latency=soon", "'soon'"),
            ("livekit://host/room?latency=1&latency=2", "twice"),
            ("livekit://host/room?video-source=both", "'both'"),
            ("livekit://host/%ff", "UTF-8"),
            ("livekit://key:secret@host/room", "api-key"),
            ("livekit://host/room#part", "fragment"),
            ("pumpfun://0OIl", "no mint"),
            (&format!("{mint}/room"), "only a mint"),
            (&format!("{mint}?token=x"), "'token'"),
            (&format!("{mint}?stats=x"), "'stats'"),
            ("https://host/room", "'https'"),
        ] {
            let error = read(uri).map(|_| ()).unwrap_err();
            assert!(error.0.contains(named), "{uri}: {error}");
            assert!(!error.0.contains("secret@"), "{error}");
        }
    }

    #[test]
    fn the_uri_that_is_given_back_leads_to_the_same_settings_without_the_secrets() {
        for uri in [
            "livekit://127.0.0.1:7880/my%20room%2F1?latency=350&participant=ann+lee",
            "livekits://example.livekit.cloud/r%2Ex?api-key=K&identity=me&video-source=camera",
            "livekits://[::1]:443/r",
            "livekit://host",
            &format!("pumpfun://{MINT}"),
            &format!("pumpfun://{MINT}?waiting-timeout=0"),
        ] {
            let settings = read(uri).unwrap();
            let said = describe(&settings).unwrap();
            let again = read(&said).unwrap();
            for pspec in properties::PROPERTIES.iter() {
                let value = |settings| properties::load(settings, pspec.name());
                assert_eq!(
                    format!("{:?}", value(&settings)),
                    format!("{:?}", value(&again)),
                    "{uri} became {said}"
                );
            }
        }
        let settings = read("livekit://host/room?token=hush&api-secret=quiet").unwrap();
        assert_eq!(describe(&settings).unwrap(), "livekit://host/room");
    }

    #[test]
    fn rights_of_an_earlier_uri_are_not_taken_to_another_server() {
        let first = read("livekit://host/room?token=hush&latency=50").unwrap();
        let second = apply("livekit://other/room", &first).unwrap();
        assert_eq!(second.token, None);
        assert_eq!(second.latency_ms, 50);
    }

    #[test]
    fn a_place_that_no_uri_can_say_has_none() {
        gst::init().unwrap();
        assert_eq!(describe(&Settings::default()), None);
        let deep = Settings {
            url: Some("wss://host/proxy/livekit".into()),
            ..Settings::default()
        };
        assert_eq!(describe(&deep), None);
    }
}
