//! The two facts of an offer that str0m doesn't give; pure.

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
    fn a_truncated_offer_is_read_as_far_as_it_goes() {
        for end in 0..OFFER.len() {
            assert!(main_ssrcs(&OFFER[..end]).len() <= 2);
        }
    }
}
