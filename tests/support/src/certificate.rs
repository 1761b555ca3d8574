//! Certificates that nobody but a test trusts.

use crate::error::{Result, RigError};
use std::{os::unix::fs::PermissionsExt, path::Path};

/// A certificate that has signed itself, and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// PEM.
    pub cert: String,
    /// PKCS #8 in PEM.
    pub key: String,
}

impl Certificate {
    /// A new one for these names and addresses.
    ///
    /// # Errors
    /// When one of them is neither.
    pub fn new(names: &[&str]) -> Result<Self> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names)
            .map_err(|error| RigError::unexpected("making a certificate", error))?;
        Ok(Self {
            cert: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        })
    }

    /// Writes both, the key for us alone.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write(&self, cert: &Path, key: &Path) -> Result<()> {
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::write(cert, &self.cert)
            .and_then(|()| std::fs::write(key, &self.key))
            .and_then(|()| std::fs::set_permissions(key, private))
            .map_err(RigError::io("writing a certificate"))
    }
}
