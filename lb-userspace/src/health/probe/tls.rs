//! TLS of a probe (rustls). Certificates are not verified: a probe asks whether the server answers, as HAProxy's does, and
//! sends no secret.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::health::ProbeOutcome;

static CONFIG: LazyLock<Result<Arc<ClientConfig>, Error>> = LazyLock::new(|| {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    // Every probe is a whole handshake, and nothing is kept between two.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
});

/// A TLS connection over a connection; `sni` is the name that is asked for, none when it is empty.
pub(super) async fn connect(
    stream: TcpStream,
    address: IpAddr,
    sni: &str,
) -> Result<TlsStream<TcpStream>, ProbeOutcome> {
    let failed = |what: String| ProbeOutcome::Unexpected(format!("no TLS: {what}"));
    let config = CONFIG.as_ref().map_err(|error| failed(error.to_string()))?;
    let name = if sni.is_empty() {
        ServerName::IpAddress(address.into())
    } else {
        ServerName::try_from(sni.to_owned()).map_err(|error| failed(error.to_string()))?
    };
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(|error| failed(error.to_string()))
}

/// Takes every certificate; the handshake must be signed with its key all the same.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
