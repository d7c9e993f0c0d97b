//! The API's certificate and its key on disk: read, and held against each other before anybody is shown them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::secret::{self, SecretError};

/// A certificate that ends within this time is warned of.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// A certificate with its chain and its key.
#[derive(Debug)]
pub struct Certificate {
    /// What a TLS server shows and signs with.
    pub key: CertifiedKey,
    /// From when on clients take it.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// Why a certificate cannot be served. Variants are facts.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The certificate's file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The key's file cannot be read, or everybody can.
    #[error(transparent)]
    Key(#[from] SecretError),
    /// A file does not hold what it should.
    #[error("{path} holds no {expected}: {what}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is expected in it.
        expected: &'static str,
        /// What is wrong with what is there.
        what: String,
    },
    /// They are not a pair.
    #[error(
        "the key in {key} is not the key of the first certificate in {certificate}: give the pair that was made together, \
         the server's own certificate before those that signed it",
        key = key.display(), certificate = certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

impl Certificate {
    /// Reads a pair of PEM files: the certificate before those that signed it, and its private key.
    ///
    /// # Errors
    /// [`CertificateError`] when a file cannot be read or does not hold what it should, or they are not a pair.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let wrong =
            |path: &Path, expected, what: String| CertificateError::Content { path: path.to_owned(), expected, what };
        let no_chain = |what| wrong(certificate, "certificate in PEM (-----BEGIN CERTIFICATE-----)", what);
        let pem = std::fs::read(certificate)
            .map_err(|source| CertificateError::Read { path: certificate.to_owned(), source })?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|error| no_chain(error.to_string()))?;
        let first = chain.first().ok_or_else(|| no_chain("there is none".to_owned()))?;
        let (_, parsed) = X509Certificate::from_der(first).map_err(|error| no_chain(error.to_string()))?;
        let (not_before, not_after) =
            (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
        let no_key =
            |what| wrong(key, "private key in PEM that TLS can use (ECDSA, Ed25519 or RSA, no password)", what);
        let secret =
            PrivateKeyDer::from_pem_slice(secret::read(key)?.as_bytes()).map_err(|error| no_key(error.to_string()))?;
        let secret = any_supported_type(&secret).map_err(|error| no_key(error.to_string()))?;
        let pair = CertifiedKey::new(chain, secret);
        match pair.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(CertificateError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() });
            }
            Err(error) => return Err(no_chain(error.to_string())),
        }
        let instant = |seconds| Timestamp::from_second(seconds).map_err(|error| no_chain(error.to_string()));
        Ok(Self { key: pair, not_before: instant(not_before)?, not_after: instant(not_after)? })
    }

    /// Why clients do not take it now.
    #[must_use]
    pub fn refusal(&self, now: Timestamp) -> Option<String> {
        if now > self.not_after {
            return Some(format!("it expired at {}: clients refuse it; put a new one in its place", self.not_after));
        }
        (now < self.not_before).then(|| {
            format!("it is valid from {} on: clients refuse it until then; is the clock right?", self.not_before)
        })
    }

    /// What is to be said of its dates: that clients do not take it, or soon will not.
    #[must_use]
    pub fn warning(&self, now: Timestamp) -> Option<String> {
        let ends_soon = || {
            let left = self.not_after.duration_since(now);
            (left.unsigned_abs() < SOON)
                .then(|| format!("it expires at {}: put a new one in its place", self.not_after))
        };
        self.refusal(now).or_else(ends_soon)
    }
}
