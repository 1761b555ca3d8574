//! TLS with certificates from files, which may be renewed while the server runs.

use crate::{Error, error::Kind};
use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at: certificates are renewed days before they end.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Where the certificate is, and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The chain, the server's own certificate first (PEM).
    pub(crate) cert: PathBuf,
    /// PKCS #8, PKCS #1 or SEC 1 (PEM); not readable by everybody.
    pub(crate) key: PathBuf,
}

impl TlsFiles {
    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
        let chain = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unusable(&self.cert, "is no certificate (PEM)").caused_by(error))?;
        if chain.is_empty() {
            return Err(unusable(&self.cert, "has no certificate (PEM)"));
        }
        let mode = fs::metadata(&self.key).map(|metadata| metadata.permissions().mode());
        if mode.is_ok_and(|mode| mode & 0o007 != 0) {
            let why = "may be read by everybody: set its mode to 0600 or 0640";
            return Err(unusable(&self.key, why));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| unusable(&self.key, "is no private key (PEM)").caused_by(error))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            let why = format!("isn't the key of {}", self.cert.display());
            unusable(&self.key, &why).caused_by(error)
        })
    }

    /// Changes with the files; none while one of them is missing.
    fn stamp(&self) -> Option<(SystemTime, SystemTime)> {
        let modified = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
        Some((modified(&self.cert)?, modified(&self.key)?))
    }
}

fn unusable(path: &Path, why: &str) -> Error {
    let message = format!("TLS: {} {why}", path.display());
    Error::new(Kind::BadRequest, "invalid_configuration", message)
}

/// The certificate in use.
#[derive(Debug)]
struct Slot(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Slot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

/// What connections are encrypted with; cheap to clone.
#[derive(Clone)]
pub(crate) struct Tls {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    slot: Arc<Slot>,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which of them can't be used, and why.
    pub(crate) fn open(files: TlsFiles) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certified = files.read(&provider)?;
        let slot = Arc::new(Slot(RwLock::new(Arc::new(certified))));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal("setting up TLS", error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&slot) as Arc<dyn ResolvesServerCert>);
        // WebSockets are opened over HTTP/1.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            files,
            provider,
            slot,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    /// What accepts a connection.
    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Reads the files again; connections from now on see what they hold.
    ///
    /// # Errors
    /// As for [`Tls::open`]; what was in use stays.
    pub(crate) async fn reload(&self) -> Result<(), Error> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let certified = this.files.read(&this.provider)?;
            *this.slot.0.write() = Arc::new(certified);
            Ok(())
        })
        .await
        .map_err(|error| Error::internal("reading the certificate", error))?
    }

    /// Reads the files again whenever they have changed; runs for as long as the server.
    pub(crate) async fn watch(self) {
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.stamp().await;
        loop {
            ticks.tick().await;
            let now = self.stamp().await;
            if now.is_none() || now == seen {
                continue;
            }
            seen = now;
            match self.reload().await {
                Ok(()) => tracing::info!("the certificate was read again"),
                Err(error) => {
                    let error = error.chain();
                    tracing::error!(error, "the certificate stays as it was");
                }
            }
        }
    }

    async fn stamp(&self) -> Option<(SystemTime, SystemTime)> {
        let files = self.files.clone();
        let stamp = tokio::task::spawn_blocking(move || files.stamp());
        stamp.await.ok().flatten()
    }
}
