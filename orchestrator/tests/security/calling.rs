//! Who may call: tokens, pages, hosts and addresses.

use crate::{
    TOKEN,
    support::{
        Options, PATIENCE, Upstream,
        operations::{ask, is_finite, open, operations},
    },
};
use reqwest::Method;
use serde_json::{Value, json};

/// What is answered without a token: the page, and what a supervisor asks.
const PUBLIC: [&str; 10] = [
    "/",
    "/app.js",
    "/app.css",
    "/player.js",
    "/sound.js",
    "/api/docs",
    "/api/docs.js",
    "/healthz",
    "/health",
    "/readyz",
];

#[tokio::test]
async fn every_operation_but_the_public_ones_needs_the_token() {
    let upstream = Upstream::start().await;
    let server = upstream
        .options()
        .livekit()
        .env("HAVEN_API_TOKEN", TOKEN)
        .start()
        .await;
    let right = format!("Bearer {TOKEN}");
    let all = operations(&server, &[("authorization", &right)]).await;
    let wrong = format!("Bearer {TOKEN}x");
    for (method, path) in all {
        let is_public = PUBLIC.contains(&path.as_str());
        for given in [
            None,
            Some(&*wrong),
            Some("Bearer "),
            Some("Basic x"),
            Some(TOKEN),
        ] {
            let headers: Vec<_> = given
                .map(|given| ("authorization", given))
                .into_iter()
                .collect();
            let (status, _, text) = ask(&server, method.clone(), &path, &headers).await;
            assert_eq!(
                status == 401,
                !is_public,
                "{method} {path} {given:?}: {status}"
            );
            assert!(!text.contains(TOKEN), "{text}");
            if !is_public {
                let answer: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(answer["code"], "unauthorized");
            }
        }
        // With it, every other operation is carried out, or refused for another reason.
        if method == Method::GET && is_finite(&path) {
            let (status, ..) = ask(&server, method, &path, &[("authorization", &right)]).await;
            assert_ne!(status, 401, "{path}");
        }
    }
    for path in PUBLIC {
        let (status, ..) = ask(&server, Method::GET, path, &[]).await;
        assert_ne!(status, 401, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_viewers_socket_takes_the_token_as_a_header_or_in_its_address() {
    let server = Options::default()
        .livekit()
        .env("HAVEN_API_TOKEN", TOKEN)
        .start()
        .await;
    let right = format!("Bearer {TOKEN}");
    let room = json!({"room_name": "r"}).to_string();
    let request = server.http.post(server.url("/api/live-sessions/start"));
    let request = request.bearer_auth(TOKEN).body(room);
    assert_eq!(request.send().await.unwrap().status(), 200);
    for path in [
        "/api/live-sessions/stream/r",
        "/api/live-sessions/ws/live/r",
    ] {
        assert_eq!(open(&server, path, &[]).await, 401);
        assert_eq!(open(&server, &format!("{path}?token=x"), &[]).await, 401);
        let in_address = format!("{path}?token={TOKEN}");
        assert_eq!(open(&server, &in_address, &[]).await, 101);
        assert_eq!(open(&server, path, &[("authorization", &right)]).await, 101);
        // The token is no leave for a page of somebody else.
        let foreign = [("origin", "https://evil.example")];
        assert_eq!(open(&server, &in_address, &foreign).await, 403);
        let rebound = [("host", "evil.example")];
        assert_eq!(open(&server, &in_address, &rebound).await, 421);
    }
    server.stop().await;
}

#[tokio::test]
async fn foreign_pages_change_nothing_and_read_nothing() {
    let upstream = Upstream::start().await;
    let server = upstream
        .options()
        .livekit()
        .arg("--allowed-origin")
        .arg("https://friend.example")
        .start()
        .await;
    let own = format!("http://{}", server.address);
    for (method, path) in operations(&server, &[]).await {
        let changes = method != Method::GET;
        if !changes && !is_finite(&path) {
            continue;
        }
        for origin in [
            "https://evil.example",
            "null",
            "https://friend.example.evil",
        ] {
            let (status, headers, text) =
                ask(&server, method.clone(), &path, &[("origin", origin)]).await;
            assert_eq!(
                status == 403,
                changes,
                "{method} {path} of {origin}: {text}"
            );
            assert!(
                !headers.contains_key("access-control-allow-origin"),
                "{path}"
            );
        }
        if changes {
            for origin in [&*own, "http://localhost:3000", "https://friend.example"] {
                let asked = [
                    ("origin", origin),
                    ("access-control-request-method", "POST"),
                ];
                let (status, headers, _) = ask(&server, Method::OPTIONS, &path, &asked).await;
                assert_eq!(status, 204);
                assert_eq!(headers["access-control-allow-origin"], origin);
            }
        }
    }
    let (status, ..) = ask(
        &server,
        Method::POST,
        "/api/live-sessions/stop",
        &[("origin", "https://friend.example")],
    )
    .await;
    assert_eq!(status, 400, "it may ask, and asked for nothing");
    server.stop().await;
}

#[tokio::test]
async fn who_takes_the_server_for_another_host_is_told_so() {
    let upstream = Upstream::start().await;
    let server = upstream
        .options()
        .arg("--allowed-host")
        .arg("haven.example")
        .start()
        .await;
    for (method, path) in operations(&server, &[]).await {
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "haven.example.evil",
            "10.0.0.1",
        ] {
            let (status, ..) = ask(&server, method.clone(), &path, &[("host", host)]).await;
            assert_eq!(status, 421, "{method} {path} of {host}");
        }
    }
    for path in PUBLIC {
        let (status, ..) = ask(&server, Method::GET, path, &[("host", "evil.example")]).await;
        assert_eq!(status, 421, "{path}");
    }
    for host in [
        "localhost",
        "haven.example",
        "HAVEN.example:80",
        "[::1]:9",
        "127.0.0.1",
    ] {
        let (status, ..) = ask(&server, Method::GET, "/healthz", &[("host", host)]).await;
        assert_eq!(status, 200, "{host}");
    }
    server.stop().await;
}

#[tokio::test]
async fn another_address_than_loopback_is_not_served_without_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_haven"));
    command
        .args(["serve", "--listen", "0.0.0.0:0", "--data-dir"])
        .arg(dir.path())
        .env_clear()
        .kill_on_drop(true);
    let said = command.output();
    let said = tokio::time::timeout(PATIENCE, said).await.unwrap().unwrap();
    assert!(!said.status.success());
    let text = String::from_utf8(said.stderr).unwrap();
    assert!(
        text.contains("--api-token-file") && text.contains("--no-auth"),
        "{text}"
    );
}
