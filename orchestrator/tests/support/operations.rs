//! What the server describes, asked for in any way.

use super::{LIVE, PATIENCE, Server};
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::Value;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, client::IntoClientRequest},
};

/// A request as it is, with these headers; its status, headers and text.
pub(crate) async fn ask(
    server: &Server,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap, String) {
    let mut request = server.http.request(method, server.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.timeout(PATIENCE).send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    (status, headers, answer.text().await.unwrap())
}

/// Every operation that the server describes: method, and path with something for its parameters.
pub(crate) async fn operations(server: &Server, headers: &[(&str, &str)]) -> Vec<(Method, String)> {
    let (_, _, text) = ask(server, Method::GET, "/api/openapi.json", headers).await;
    let document: Value = serde_json::from_str(&text).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let mut all = Vec::new();
    for (path, operations) in paths {
        let path = path.replace("{mint_id}", LIVE).replace("{id}", "1");
        assert!(!path.contains('{'), "{path}");
        for method in operations.as_object().unwrap().keys() {
            let method = method.to_uppercase().parse().unwrap();
            all.push((method, path.clone()));
        }
    }
    assert!(all.len() > 30, "{all:?}");
    all
}

/// An answer that has an end.
pub(crate) fn is_finite(path: &str) -> bool {
    !path.contains("/stream/") && path != "/api/events"
}

/// How a WebSocket's opening is answered: its status.
pub(crate) async fn open(server: &Server, path: &str, headers: &[(&'static str, &str)]) -> u16 {
    let url = format!("ws://{}{path}", server.address);
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((_, answer)) => answer.status().as_u16(),
        Err(Error::Http(answer)) => answer.status().as_u16(),
        Err(error) => panic!("{path}: {error}"),
    }
}
