//! The server's events, read as a browser reads them.

use super::{PATIENCE, Server};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::time::timeout;

/// Server-sent events, as a browser's EventSource reads them.
pub(crate) struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    pub(crate) async fn open(server: &Server, last_id: Option<&str>) -> Self {
        let mut request = server.http.get(server.url("/api/events"));
        if let Some(id) = last_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut events = Self {
            response,
            text: String::new(),
        };
        // The first block says that the stream stands: what happens from now on is in it.
        assert!(events.block().await.unwrap().starts_with("retry: "));
        events
    }

    pub(crate) async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.unwrap();
            let chunk = chunk.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event's id and fields.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| {
                let mut lines = block.lines();
                lines
                    .find_map(|line| line.strip_prefix(name))
                    .map(ToOwned::to_owned)
            };
            if let (Some(id), Some(text)) = (field("id: "), field("data: ")) {
                let event: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(
                    Some(event["type"].as_str().unwrap()),
                    field("event: ").as_deref()
                );
                return Some((id, event));
            }
        }
    }

    /// Reads on to an event of this kind.
    pub(crate) async fn until(&mut self, kind: &str) -> (String, Value) {
        loop {
            let (id, event) = self.next().await.expect("the stream ended");
            if event["type"] == kind {
                return (id, event);
            }
        }
    }
}
