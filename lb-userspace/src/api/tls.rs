//! TLS of the API (rustls): the certificate that is shown, taken anew from its files while connections go on.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::Signal;

use crate::config::certificate::{Certificate, CertificateError};
use crate::observe;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// A certificate that is being served. What is in use stays in use until its files hold another pair that can be.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    shown: RwLock<Arc<CertifiedKey>>,
    /// The files as they were read last, whether or not they could be used.
    seen: Mutex<[Option<Stamp>; 2]>,
}

/// What changes when a file is written or replaced: inode, size and time of the last change, also of the mode.
type Stamp = (u64, u64, i64, i64);

impl Tls {
    /// Reads a pair of files. One that clients do not take by its dates is served nevertheless, and said in the log: an
    /// agent that does not start for it would check no server's health.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn open(certificate: &Path, key: &Path) -> Result<Arc<Self>, CertificateError> {
        let seen = Mutex::new([certificate, key].map(stamp));
        let read = Certificate::read(certificate, key)?;
        say(certificate, &read);
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Ok(Arc::new(Self { certificate, key, shown: RwLock::new(Arc::new(read.key)), seen }))
    }

    /// A server's settings that show this certificate.
    ///
    /// # Errors
    /// rustls', when its own defaults do not fit together.
    pub fn config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Takes the files' pair for new connections; what is there stays when it cannot be used.
    ///
    /// # Errors
    /// [`CertificateError`] with the fault of the files.
    pub fn reload(&self) -> Result<(), CertificateError> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = self.stamps();
        let read = Certificate::read(&self.certificate, &self.key)?;
        say(&self.certificate, &read);
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read.key);
        Ok(())
    }

    /// Reloads whenever a file changes or the signal comes; never ends.
    pub async fn follow(self: Arc<Self>, mut hangup: Signal) {
        loop {
            let is_asked = tokio::select! {
                _ = hangup.recv() => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let has_changed = || *self.seen.lock().unwrap_or_else(PoisonError::into_inner) != self.stamps();
            if !is_asked && !has_changed() {
                continue;
            }
            match self.reload() {
                Ok(()) => log::info!("the API shows the certificate of {} as it is now", self.certificate.display()),
                Err(error) => {
                    log::error!("the API goes on with the certificate it has: {}", observe::chain(&error));
                }
            }
        }
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        [&self.certificate, &self.key].map(|path| stamp(path))
    }
}

impl ResolvesServerCert for Tls {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.size(), metadata.ctime(), metadata.ctime_nsec()))
}

fn say(path: &Path, certificate: &Certificate) {
    if let Some(what) = certificate.warning(Timestamp::now()) {
        log::error!("the API's certificate {}: {what}", path.display());
    }
}
