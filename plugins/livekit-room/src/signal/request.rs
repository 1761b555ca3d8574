//! What is asked of the server, and what its refusals mean; pure.

use super::dial::DialError;
use crate::room::{JoinError, ResumeError};
use livekit_protocol as proto;
use url::Url;

/// Protocol version we speak. From 13 on a `Leave` says what to do next and lists regions; 16 is
/// the newest that asks nothing more of a subscriber (17 sends frames with trailers that would
/// have to be stripped, 18 opens the data channels without saying so in the channel itself). Read
/// in livekit-server 1.13.5 and the protocol's own comments.
const PROTOCOL: &str = "16";

/// Longest sentence of a server that is repeated in an error.
const MAX_SAID: usize = 200;

/// The address of the signalling endpoint below a server's URL.
///
/// # Errors
/// When the URL has no host, or another scheme than `ws`, `wss`, `http` and `https`.
pub(super) fn endpoint(server: &str) -> Result<Url, DialError> {
    let mut url = Url::parse(server).map_err(|error| DialError::Url(error.to_string()))?;
    let scheme = match url.scheme() {
        "ws" | "http" => "ws",
        "wss" | "https" => "wss",
        other => return Err(DialError::Url(format!("its scheme is '{other}'"))),
    };
    if !url.has_host() || url.set_scheme(scheme).is_err() {
        return Err(DialError::Url("it has no host".into()));
    }
    url.path_segments_mut()
        .map_err(|()| DialError::Url("it has no path".into()))?
        .pop_if_empty()
        .push("rtc");
    url.query_pairs_mut()
        .append_pair("sdk", "rust")
        .append_pair("version", env!("CARGO_PKG_VERSION"))
        .append_pair("os", std::env::consts::OS)
        .append_pair("protocol", PROTOCOL)
        // We subscribe to what is taken, not to everybody.
        .append_pair("auto_subscribe", "0")
        .append_pair("adaptive_stream", "0");
    Ok(url)
}

/// The address that resumes a session.
pub(super) fn resume_endpoint(server: &str, participant_sid: &str) -> Result<Url, DialError> {
    let mut url = endpoint(server)?;
    let reason = proto::ReconnectReason::RrSignalDisconnected as i32;
    url.query_pairs_mut()
        .append_pair("reconnect", "1")
        .append_pair("sid", participant_sid)
        .append_pair("reconnect_reason", &reason.to_string());
    Ok(url)
}

/// Whether another region of the same service may do better.
pub(super) fn may_work_elsewhere(error: &JoinError) -> bool {
    matches!(error, JoinError::Unavailable(_))
}

/// What a failed dial means for a join.
pub(super) fn join_error(error: DialError) -> JoinError {
    match error {
        DialError::Url(why) => {
            JoinError::NotFound(format!("the LiveKit server's URL can't be used: {why}"))
        }
        DialError::Token => {
            JoinError::NotAuthorized("the token has characters that no token has".into())
        }
        // A proxy's error page is no answer of a LiveKit server.
        DialError::Status { status, said } if is_page(&said) => JoinError::Unavailable(format!(
            "something before the LiveKit server answers {status} with a web page"
        )),
        DialError::Status {
            status: 401 | 403,
            said,
        } => JoinError::NotAuthorized(sentence("the LiveKit server refused the token", &said)),
        DialError::Status { status: 404, said } => {
            JoinError::NotFound(sentence("the LiveKit server does not know the room", &said))
        }
        DialError::Status { status, said } => JoinError::Unavailable(sentence(
            &format!("the LiveKit server answers {status}"),
            &said,
        )),
        DialError::Failed(why) => JoinError::Unavailable(why),
    }
}

/// What a failed dial means for a resume.
pub(super) fn resume_error(error: DialError) -> ResumeError {
    match error {
        DialError::Failed(why) => ResumeError::Unavailable(why),
        DialError::Status { status, said } if status >= 500 || is_page(&said) => {
            ResumeError::Unavailable(sentence(
                &format!("the LiveKit server answers {status}"),
                &said,
            ))
        }
        DialError::Status { status, said } => ResumeError::SessionLost(sentence(
            &format!("the LiveKit server refuses the resume with {status}"),
            &said,
        )),
        DialError::Url(why) => ResumeError::SessionLost(why),
        DialError::Token => ResumeError::SessionLost("the token can't be used".into()),
    }
}

fn is_page(said: &str) -> bool {
    let start: String = said.trim_start().chars().take(9).collect();
    let start = start.to_ascii_lowercase();
    start.starts_with("<!doctype") || start.starts_with("<html")
}

/// Adds the server's own words, without what could break a line or a terminal.
fn sentence(ours: &str, said: &str) -> String {
    let said: String = said
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_SAID)
        .collect();
    match said.trim() {
        "" => ours.to_owned(),
        said => format!("{ours}: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_url_may_have_a_path_and_any_of_four_schemes() {
        for (server, endpoint_of) in [
            ("ws://127.0.0.1:7880", "ws://127.0.0.1:7880/rtc?"),
            ("https://host.example/", "wss://host.example/rtc?"),
            ("http://host.example/sub/", "ws://host.example/sub/rtc?"),
            ("wss://[::1]:7880/a", "wss://[::1]:7880/a/rtc?"),
        ] {
            let url = endpoint(server).unwrap();
            assert!(url.as_str().starts_with(endpoint_of), "{url}");
        }
        for server in ["", "host", "ftp://host", "ws://", "unix:/tmp/x"] {
            assert!(endpoint(server).is_err(), "{server}");
        }
    }

    #[test]
    fn a_refusal_is_told_from_an_error_page() {
        let answer = |status, said: &str| {
            join_error(DialError::Status {
                status,
                said: said.into(),
            })
        };
        assert_eq!(
            answer(401, "invalid token"),
            JoinError::NotAuthorized("the LiveKit server refused the token: invalid token".into())
        );
        for page in ["<html><h1>Forbidden", "\n<!DOCTYPE html>", "<HTML>"] {
            assert!(matches!(answer(403, page), JoinError::Unavailable(_)));
        }
        assert!(matches!(answer(404, ""), JoinError::NotFound(_)));
        for status in [200, 302, 400, 429, 500, 503] {
            assert!(matches!(answer(status, "x"), JoinError::Unavailable(_)));
        }
        let long = answer(500, &"\u{1b}é\n".repeat(10_000)).to_string();
        assert!(long.len() < 1000 && !long.contains(['\n', '\u{1b}']));
    }
}
