//! TLS to a TURN server, with the certificate authorities of the system (`SSL_CERT_FILE` and
//! `SSL_CERT_DIR` name others), as the signalling connection has it.

use super::link::LinkError;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Shakes hands as a client of this host, which is a name or an IP address.
pub(super) async fn connect(
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, LinkError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| LinkError::Tls(format!("{host} is no name of a host")))?;
    // Reads files.
    let config = tokio::task::spawn_blocking(config)
        .await
        .map_err(|error| LinkError::Tls(error.to_string()))??;
    Ok(TlsConnector::from(config).connect(name, stream).await?)
}

/// Made once: some systems have hundreds of authorities.
fn config() -> Result<Arc<ClientConfig>, LinkError> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let native = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        let errors: Vec<_> = native.errors.iter().map(ToString::to_string).collect();
        return Err(LinkError::Tls(match errors.as_slice() {
            [] => "there are none".into(),
            errors => errors.join(", "),
        }));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| LinkError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(CONFIG.get_or_init(|| Arc::new(config)).clone())
}
