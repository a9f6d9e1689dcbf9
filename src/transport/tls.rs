//! The TLS configuration of a dialer: whom to trust.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Whom to trust. The default trusts what the system trusts.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// A PEM file with the authorities to trust, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Trust anybody: for test rigs, never a default. The connection is still encrypted.
    pub insecure: bool,
}

/// Why the TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA file cannot be read, or is not PEM.
    #[error(
        "cannot read certificates from CA file {file}: {why}; it must be PEM, with BEGIN CERTIFICATE lines"
    )]
    CaFile {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The TLS library refused the configuration.
    #[error("cannot set up TLS")]
    Setup(#[from] rustls::Error),
}

/// The client side of TLS for `options`: rustls with ring, HTTP/1.1 only.
///
/// Sessions are not resumed, so that a storm of reconnects costs the hub what the full
/// handshakes of real clients cost.
pub(super) fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let mut config = if options.insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAnybody(provider)))
            .with_no_client_auth()
    } else {
        let roots = match &options.ca_file {
            Some(file) => roots_of_file(file)?,
            None => system_roots(),
        };
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    // A WebSocket upgrade needs HTTP/1.1: a hub that chose h2 could not upgrade.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The system's authorities, or the usual public ones in a system that has none (a bare
/// container).
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Certificates that the system holds but rustls cannot read are passed over.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn roots_of_file(file: &Path) -> Result<RootCertStore, TlsError> {
    let bad = |why: String| TlsError::CaFile {
        file: file.into(),
        why,
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).map_err(|e| bad(e.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|e| bad(e.to_string()))?;
        roots.add(certificate).map_err(|e| bad(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("it has no certificate".into()));
    }
    Ok(roots)
}

/// Accepts every certificate, but still checks that the peer holds its key.
#[derive(Debug)]
struct TrustAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
