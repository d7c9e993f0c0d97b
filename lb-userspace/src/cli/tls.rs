//! TLS of the command line: whom it trusts, and what it says when the agent's certificate will not do.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::client::Place;
use super::failure::Failure;
use super::global::Global;

/// Settings for an agent: signed by the given certificates, or else by one that this system trusts.
///
/// # Errors
/// When the file of certificates cannot be read or holds none.
pub(super) fn config(global: &Global) -> Result<ClientConfig, Failure> {
    let unusable = |error: &dyn std::fmt::Display| Failure::error(format!("TLS cannot be set up: {error}"));
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    let is_needed = global.url.as_ref().is_some_and(|url| url.starts_with("https://"));
    match &global.ca_file {
        Some(path) => Ok(trusting(builder, roots(path)?)),
        // Reading the system's takes time that a socket has no use for.
        None if !is_needed => Ok(trusting(builder, RootCertStore::empty())),
        None => Ok(builder.with_platform_verifier().map_err(|error| unusable(&error))?.with_no_client_auth()),
    }
}

fn trusting(builder: ConfigBuilder<ClientConfig, WantsVerifier>, roots: RootCertStore) -> ClientConfig {
    builder.with_root_certificates(roots).with_no_client_auth()
}

fn roots(path: &Path) -> Result<RootCertStore, Failure> {
    let wrong = |what: String| {
        Failure::usage(format!("{} holds no certificates to trust: {what}", path.display())).help(
            "a PEM file is expected (-----BEGIN CERTIFICATE-----): that of the CA that signed the agent's certificate",
        )
    };
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("there is none in it".to_owned())) } else { Ok(roots) }
}

/// The fault of TLS that an error stands for. `io::Error` holds it without naming it as its source, often in layers.
pub(super) fn fault<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    match cause.downcast_ref::<io::Error>() {
        Some(wrapper) => wrapper.get_ref().and_then(|inner| fault(inner)),
        None => cause.downcast_ref::<rustls::Error>(),
    }
}

/// What to say of it.
pub(super) fn failure(place: &Place, fault: &rustls::Error) -> Failure {
    use CertificateError as Certificate;
    let (what, help) = match fault {
        rustls::Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => (
            "its certificate has expired".to_owned(),
            "put a new one in its place on the agent's machine (`api.tls_certificate`): it is taken within seconds. Or is \
             this machine's clock wrong?",
        ),
        rustls::Error::InvalidCertificate(Certificate::NotValidYet | Certificate::NotValidYetContext { .. }) => {
            ("its certificate is not valid yet".to_owned(), "is the clock of this machine right?")
        }
        rustls::Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => (
            "its certificate is for another name".to_owned(),
            "name the agent in the URL as its certificate does, or make one with this name or address in it",
        ),
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer) => (
            "its certificate is signed by nobody whom you trust".to_owned(),
            "name the file of the CA that signed it: --ca-file, SNOWSHED_CA_FILE, or `context set … --agent-ca-file`",
        ),
        rustls::Error::InvalidMessage(_) => {
            ("it does not speak TLS there".to_owned(), "is it the port of the agent's TLS listener (`api.listen`)?")
        }
        other => (
            other.to_string(),
            "`api.tls_certificate` and `api.tls_key` in the agent's configuration say what it shows",
        ),
    };
    Failure::error(format!("{place} is not spoken to: {what}")).help(help)
}
