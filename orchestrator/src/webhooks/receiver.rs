//! Somebody who is told what happens, as others see it.

use crate::db::WebhookRow;
use url::Url;

/// A receiver as others see it.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    pub(crate) row: WebhookRow,
}

impl Receiver {
    /// Its address without what only the receiver should know: of most services the path is the
    /// secret.
    pub(crate) fn shown_url(&self) -> String {
        match Url::parse(&self.row.url) {
            Ok(url) => {
                let is_bare =
                    url.path() == "/" && url.query().is_none() && url.fragment().is_none();
                let rest = if is_bare { "" } else { "…" };
                format!("{}/{rest}", url.origin().ascii_serialization())
            }
            Err(_) => "…".into(),
        }
    }

    /// Whether it is told these kinds of events, which are in order.
    pub(super) fn is_told(&self, events: &[String]) -> bool {
        let mut told = self.row.events.clone();
        put_in_order(&mut told);
        told == events
    }
}

/// Puts kinds of events in the order in which they are stored: each once.
pub(super) fn put_in_order(events: &mut Vec<String>) {
    events.sort();
    events.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(url: &str, events: &[&str]) -> Receiver {
        Receiver {
            row: WebhookRow {
                id: 1,
                url: url.into(),
                events: events.iter().map(ToString::to_string).collect(),
                configured: false,
                created_at_ms: 0,
                delivered: 0,
                dropped: 0,
                last_delivered_at_ms: None,
                last_error: None,
                waiting: 0,
            },
        }
    }

    #[test]
    fn of_an_address_what_may_be_secret_is_hidden() {
        for (url, shown) in [
            ("https://example.org/", "https://example.org/"),
            ("http://example.org:81/", "http://example.org:81/"),
            (
                "https://hooks.example/services/T0/s3cret",
                "https://hooks.example/…",
            ),
            ("http://[::1]:9/?token=s3cret", "http://[::1]:9/…"),
            ("https://example.org/#s3cret", "https://example.org/…"),
            ("s3cret", "…"),
        ] {
            assert_eq!(receiver(url, &[]).shown_url(), shown);
        }
    }

    #[test]
    fn the_same_kinds_are_the_same_in_any_order() {
        let known = receiver("https://example.org/", &["b", "a", "b"]);
        let mut events = vec!["a".to_owned(), "b".to_owned(), "a".to_owned()];
        put_in_order(&mut events);
        assert!(known.is_told(&events));
        assert!(!known.is_told(&events[1..]));
    }
}
