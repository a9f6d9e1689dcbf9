//! The hub's side of TLS: a certificate that was given, or one made for the occasion.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::hub::config::{HubError, HubTls};

/// The names that a self-made certificate is for, besides those asked for.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Makes what accepts TLS connections.
///
/// # Errors
/// A file that cannot be read or holds something else, or a key that does not fit.
pub(crate) fn acceptor(tls: &HubTls) -> Result<TlsAcceptor, HubError> {
    let (chain, key) = match tls {
        HubTls::Files { certificate, key } => (chain_of(certificate)?, key_of(key)?),
        HubTls::SelfMade {
            names,
            certificate_out,
        } => self_made(names, certificate_out.as_deref())?,
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| HubError::Tls(format!("certificate and key: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn chain_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, HubError> {
    let bad = |why: String| {
        HubError::Tls(format!(
            "certificate file {}: {why}; it must be PEM, with BEGIN CERTIFICATE lines",
            path.display()
        ))
    };
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(error.to_string()))?;
    if chain.is_empty() {
        return Err(bad("it has no certificate".into()));
    }
    Ok(chain)
}

fn key_of(path: &Path) -> Result<PrivateKeyDer<'static>, HubError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        HubError::Tls(format!(
            "key file {}: {error}; it must be PEM, with a BEGIN PRIVATE KEY line",
            path.display()
        ))
    })
}

type ChainAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn self_made(names: &[String], certificate_out: Option<&Path>) -> Result<ChainAndKey, HubError> {
    let failed = |error: rcgen::Error| HubError::Tls(format!("making a certificate: {error}"));
    let names: Vec<String> = OWN_NAMES
        .into_iter()
        .map(str::to_owned)
        .chain(names.iter().cloned())
        .collect();
    let made = rcgen::generate_simple_self_signed(names).map_err(failed)?;
    if let Some(path) = certificate_out {
        std::fs::write(path, made.cert.pem()).map_err(|error| {
            HubError::Tls(format!(
                "cannot write the certificate to {}: {error}",
                path.display()
            ))
        })?;
    }
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok((vec![made.cert.der().clone()], key.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let certificate = dir.path().join("cert.pem");
        let made = HubTls::SelfMade {
            names: vec!["hub.test".into()],
            certificate_out: Some(certificate.clone()),
        };
        assert!(acceptor(&made).is_ok());
        let files = HubTls::Files {
            certificate: certificate.clone(),
            key: certificate,
        };
        let error = acceptor(&files).err().unwrap().to_string();
        assert!(
            error.contains("cert.pem") && error.contains("PRIVATE KEY"),
            "{error}"
        );
    }
}
