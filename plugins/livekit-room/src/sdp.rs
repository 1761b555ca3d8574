//! The facts of an offer that str0m doesn't give; pure.

/// The main SSRC of each media section, by mid.
///
/// It is the first of `a=ssrc-group:FID`, else the first `a=ssrc`.
pub(crate) fn main_ssrcs(sdp: &str) -> Vec<(&str, u32)> {
    let mut found = Vec::new();
    for section in sdp.split("\nm=").skip(1) {
        let value = |prefix: &str| {
            section
                .lines()
                .find_map(|line| line.trim_end().strip_prefix(prefix))
        };
        let Some(mid) = value("a=mid:") else { continue };
        let ssrc = value("a=ssrc-group:FID ")
            .or_else(|| value("a=ssrc:"))
            .and_then(|rest| rest.split(' ').next())
            .and_then(|number| number.parse().ok());
        if let Some(ssrc) = ssrc {
            found.push((mid, ssrc));
        }
    }
    found
}

/// The name of the ICE session, which changes with each restart.
pub(crate) fn ice_ufrag(sdp: &str) -> Option<&str> {
    attribute(sdp, "a=ice-ufrag:").next()
}

/// The server's candidates, as in a trickle message.
pub(crate) fn candidates(sdp: &str) -> impl Iterator<Item = &str> {
    attribute(sdp, "a=").filter(|line| line.starts_with("candidate:"))
}

fn attribute<'a>(sdp: &'a str, prefix: &'static str) -> impl Iterator<Item = &'a str> {
    sdp.lines()
        .filter_map(move |line| Some(line.strip_prefix(prefix)?.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\ns=-\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=ssrc-group:FID 11 12\r\na=ssrc:12 cname:x\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:2\r\na=ssrc:33 cname:x\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:3\r\na=inactive\r\n";

    #[test]
    fn the_main_ssrc_is_the_first_of_its_group() {
        assert_eq!(main_ssrcs(OFFER), [("1", 11), ("2", 33)]);
    }

    #[test]
    fn the_ice_session_and_the_candidates_are_found() {
        let sdp = "v=0\r\na=ice-ufrag:abc\r\na=candidate:1 1 udp 5 127.0.0.1 9 typ host\r\n\
            m=x\r\na=ice-ufrag:abc\r\na=end-of-candidates\r\n";
        assert_eq!(ice_ufrag(sdp), Some("abc"));
        assert_eq!(
            candidates(sdp).collect::<Vec<_>>(),
            ["candidate:1 1 udp 5 127.0.0.1 9 typ host"]
        );
        assert_eq!(ice_ufrag(OFFER), None);
        assert_eq!(candidates(OFFER).count(), 0);
    }

    #[test]
    fn a_truncated_offer_is_read_as_far_as_it_goes() {
        for end in 0..OFFER.len() {
            assert!(main_ssrcs(&OFFER[..end]).len() <= 2);
        }
    }
}
