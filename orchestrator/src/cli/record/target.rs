//! What `haven record` is asked to record, and under which name.

use crate::{
    Error,
    error::Kind,
    sessions::{Sources, Target},
};
use std::path::{Path, PathBuf};
use url::Url;

/// What a target's text means, before anybody was asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The demo room or a mint.
    Mint(String),
    /// A room of a LiveKit server; without an address, of the configured one.
    Room { url: Option<String>, room: String },
}

/// Reads a target: `demo`, a mint, `wss://host/room` (also `ws`, `http`, `https`, `livekit`), or
/// the name of a room of the configured LiveKit server.
///
/// # Errors
/// A sentence, where an address has no room.
pub(super) fn parse(text: &str) -> Result<Wanted, String> {
    if text == crate::sessions::DEMO || text.parse::<pumpfun_api::Mint>().is_ok() {
        return Ok(Wanted::Mint(text.to_owned()));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(Wanted::Room {
            url: None,
            room: text.to_owned(),
        });
    };
    // `livekit://` is what GStreamer's own element takes; it means the secure one.
    let scheme = if scheme == "livekit" { "wss" } else { scheme };
    let url = Url::parse(&format!("{scheme}://{rest}"))
        .ok()
        .filter(Url::has_host)
        .filter(|url| matches!(url.scheme(), "ws" | "wss" | "http" | "https"))
        .ok_or("expected an address as wss://host/room")?;
    let room = url.path().trim_matches('/');
    let room = percent_encoding::percent_decode_str(room).decode_utf8_lossy();
    if room.is_empty() || room.contains('/') {
        return Err("the address lacks the room's name: wss://host/room".into());
    }
    let room = room.into_owned();
    let mut server = url;
    server.set_path("");
    server.set_query(None);
    server.set_fragment(None);
    Ok(Wanted::Room {
        url: Some(server.as_str().trim_end_matches('/').to_owned()),
        room,
    })
}

impl Wanted {
    /// The session's target.
    ///
    /// # Errors
    /// As for the API's fields; a room needs a LiveKit server's key.
    pub(super) fn target(&self, sources: &Sources) -> Result<Target, Error> {
        match self {
            Self::Mint(mint) => sources.mint_target(mint),
            Self::Room { room, .. } => sources.room_target(room),
        }
    }
}

/// Where the recording goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) folder: PathBuf,
    /// The file's name without its extension; none: after what is recorded, and the time.
    pub(super) stem: Option<String>,
    pub(super) extension: Option<String>,
}

impl Output {
    /// What `--output` means: a folder that is there, or a file.
    ///
    /// # Errors
    /// Bad request for what can't be a file's name.
    pub(super) fn new(path: &Path) -> Result<Self, Error> {
        let wrong = || {
            let message = format!("{} can't be the name of a file", path.display());
            Error::new(Kind::BadRequest, "invalid_output", message)
        };
        let absolute = std::path::absolute(path).map_err(|error| wrong().caused_by(error))?;
        if absolute.is_dir() || path.as_os_str().to_string_lossy().ends_with('/') {
            return Ok(Self {
                folder: real(&absolute),
                stem: None,
                extension: None,
            });
        }
        let (Some(folder), Some(stem)) = (
            absolute.parent(),
            absolute.file_stem().and_then(|stem| stem.to_str()),
        ) else {
            return Err(wrong());
        };
        Ok(Self {
            folder: real(folder),
            stem: Some(stem.to_owned()),
            extension: absolute
                .extension()
                .and_then(|extension| extension.to_str())
                .map(str::to_ascii_lowercase),
        })
    }
}

/// Without `..`: files are looked for by the components of their paths.
fn real(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINT: &str = "5PJRpFL7ZH7HEnHPJiAymwuzGRLLPTDkfNTKFG1wpump";

    #[test]
    fn a_target_is_a_mint_an_address_or_a_room() {
        let room = |url: Option<&str>, room: &str| Wanted::Room {
            url: url.map(str::to_owned),
            room: room.to_owned(),
        };
        for (text, wanted) in [
            ("demo", Wanted::Mint("demo".into())),
            (MINT, Wanted::Mint(MINT.into())),
            ("my room", room(None, "my room")),
            ("wss://h.example/a%2Fb", room(None, "")),
            (
                "ws://127.0.0.1:7880/r",
                room(Some("ws://127.0.0.1:7880"), "r"),
            ),
            ("livekit://h/r%20x/", room(Some("wss://h"), "r x")),
            ("https://h/r?token=x#y", room(Some("https://h"), "r")),
        ] {
            match parse(text) {
                Ok(parsed) => assert_eq!(parsed, wanted, "{text}"),
                Err(_) => assert_eq!(wanted, room(None, ""), "{text}"),
            }
        }
        for wrong in [
            "wss://h",
            "wss://h/",
            "wss:///r",
            "ftp://h/r",
            "wss://h/a/b",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_output_is_a_file_or_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        let file = Output::new(&folder.join("a.b.MP4")).unwrap();
        assert_eq!(file.stem.as_deref(), Some("a.b"));
        assert_eq!(file.extension.as_deref(), Some("mp4"));
        assert_eq!(file.folder, folder);
        assert_eq!(Output::new(&folder).unwrap().stem, None);
        assert!(
            Output::new(Path::new("x.mp4"))
                .unwrap()
                .folder
                .is_absolute()
        );
        assert!(Output::new(Path::new("..")).unwrap().stem.is_none());
    }
}
