//! The server behind TLS, as a browser and an operator find it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use haven_rig::Certificate;
use rustls::{ClientConfig, RootCertStore, pki_types::pem::PemObject};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc};
use support::{Options, PATIENCE, Server, commands};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{Connector, connect_async_tls_with_config};

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    fn cert(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    /// A new certificate in the place of the one before.
    fn renew(&self) -> Certificate {
        let certificate = Certificate::new(&["localhost"]).unwrap();
        certificate.write(&self.cert(), &self.key()).unwrap();
        certificate
    }

    fn options(&self) -> Options {
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        Options::default()
            .livekit()
            .env("HAVEN_TLS_CERT", &path(self.cert()))
            .env("HAVEN_TLS_KEY", &path(self.key()))
    }
}

/// A client that trusts this certificate alone.
fn client(certificate: &Certificate) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(certificate.cert.as_bytes()).unwrap();
    let builder = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
    builder.tls_certs_only([root]).build().unwrap()
}

fn url(server: &Server, path: &str) -> String {
    format!("https://localhost:{}{path}", server.address.port())
}

/// Opens a viewer's WebSocket, and takes its first message.
async fn watch(server: &Server, certificate: &Certificate) -> String {
    let der = rustls::pki_types::CertificateDer::from_pem_slice(certificate.cert.as_bytes());
    let mut roots = RootCertStore::empty();
    roots.add(der.unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = Connector::Rustls(Arc::new(config));
    let port = server.address.port();
    let url = format!("wss://localhost:{port}/api/live-sessions/stream/r");
    let opened = connect_async_tls_with_config(url, None, true, Some(connector));
    let (mut viewer, _) = timeout(PATIENCE, opened).await.unwrap().unwrap();
    let message = timeout(PATIENCE, futures_util::StreamExt::next(&mut viewer));
    message
        .await
        .unwrap()
        .unwrap()
        .unwrap()
        .into_text()
        .unwrap()
        .to_string()
}

#[tokio::test]
async fn the_page_the_api_and_viewers_are_served_encrypted() {
    let files = Files::new();
    let certificate = files.renew();
    let server = files.options().start().await;
    let http = client(&certificate);
    let page = http.get(url(&server, "/")).send().await.unwrap();
    assert_eq!(page.status(), 200);
    // The page itself, of its own origin.
    let own = url(&server, "");
    let room = json!({"room_name": "r"}).to_string();
    let start = http.post(url(&server, "/api/live-sessions/start"));
    let start = start
        .header("origin", &own)
        .body(room)
        .send()
        .await
        .unwrap();
    assert_eq!(start.status(), 200);
    let first: Value = serde_json::from_str(&watch(&server, &certificate).await).unwrap();
    assert!(first["type"].is_string(), "{first}");
    server.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_without_a_restart() {
    let files = Files::new();
    let old = files.renew();
    let server = files.options().start().await;
    let healthz = url(&server, "/healthz");
    client(&old).get(&healthz).send().await.unwrap();
    let new = files.renew();
    server.signal(rustix::process::Signal::HUP);
    let until = tokio::time::Instant::now() + PATIENCE;
    while client(&new).get(&healthz).send().await.is_err() {
        assert!(
            tokio::time::Instant::now() < until,
            "still the old certificate"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(client(&old).get(&healthz).send().await.is_err());
    // A broken one changes nothing.
    std::fs::write(files.cert(), "nothing\n").unwrap();
    server.signal(rustix::process::Signal::HUP);
    client(&new).get(&healthz).send().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn who_speaks_http_to_it_is_told_and_who_says_nothing_holds_nobody_up() {
    let files = Files::new();
    let certificate = files.renew();
    let server = files.options().start().await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut told = String::new();
    timeout(PATIENCE, plain.read_to_string(&mut told))
        .await
        .unwrap()
        .unwrap();
    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400"), "{told}");
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{told}"
    );
    let healthy = client(&certificate).get(url(&server, "/healthz"));
    assert_eq!(healthy.send().await.unwrap().status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn files_that_can_not_be_used_are_told_at_the_start() {
    let files = Files::new();
    let (cert, key) = (files.cert(), files.key());
    let said = async || {
        let mut command = files.options().command();
        let output = command.stderr(std::process::Stdio::piped()).output();
        let output = timeout(PATIENCE, output).await.unwrap().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let told = said().await;
    assert!(told.contains("cert.pem"), "{told}");
    files.renew();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&key, open).unwrap();
    let told = said().await;
    assert!(told.contains("key.pem") && told.contains("0600"), "{told}");
    // The key of another certificate.
    let other = Certificate::new(&["localhost"]).unwrap();
    files.renew();
    std::fs::write(&cert, other.cert).unwrap();
    let told = said().await;
    assert!(told.contains("isn't the key of"), "{told}");
    let env = [("HAVEN_TLS_CERT".to_owned(), "/x".to_owned())];
    let told = commands::run(&["config", "show"], &env).await;
    assert!(told.err.contains("--tls-key"), "{told:?}");
}
