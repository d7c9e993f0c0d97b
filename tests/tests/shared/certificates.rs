//! Certificates for tests: an authority of its own, and what it signs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// A certificate authority and a directory with its certificate, `ca.pem`.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
}

/// Until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Valid {
    /// Past any test.
    Now,
    /// Until 2020.
    Expired,
}

impl Authority {
    /// A new authority.
    pub fn new(directory: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Snowshed's tests");
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(directory.join("ca.pem"), certificate.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), directory: directory.to_owned() }
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// Writes `NAME.pem` and `NAME.key` for hosts, names or addresses; returns their paths.
    pub fn sign(&self, name: &str, hosts: &[&str], valid: Valid) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(if valid == Valid::Now { 2099 } else { 2020 }, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (self.directory.join(format!("{name}.pem")), self.directory.join(format!("{name}.key")));
        // The key first and whole: who looks at both meets a pair again as soon as the second is there.
        for (path, text, mode) in [(&paths.1, key.serialize_pem(), 0o600), (&paths.0, certificate.pem(), 0o644)] {
            let draft = path.with_extension("draft");
            std::fs::write(&draft, text).unwrap();
            std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(mode)).unwrap();
            std::fs::rename(&draft, path).unwrap();
        }
        paths
    }
}
