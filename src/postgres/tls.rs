//! TLS to a server: with what it is spoken, and when a certificate will do.

mod trouble;

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock, OnceLock},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{self, CryptoProvider},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use tokio_postgres::{Socket, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;
use x509_cert::{
    Certificate,
    der::{Decode, Encode},
};

pub use self::trouble::TlsTrouble;
use super::conninfo::{Roots, Trust};

/// Nothing that another part of the program might have installed.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(crypto::aws_lc_rs::default_provider()));

/// Makes the driver speak TLS.
#[derive(Clone)]
pub(super) struct Connector(Trust);

impl Connector {
    pub(super) fn new(trust: Trust) -> Self {
        Self(trust)
    }
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
    type TlsConnect = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
    type Error = RootError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Self::TlsConnect, RootError> {
        let mut tls = MakeRustlsConnect::new(client_config(&self.0)?);
        let Ok(connect) = MakeTlsConnect::<Socket>::make_tls_connect(&mut tls, host);
        Ok(connect)
    }
}

/// What a server's certificate is checked against cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum RootError {
    /// There is no such file, or it cannot be read.
    #[error("sslrootcert names {}, which cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is something else.
    #[error(
        "sslrootcert names {}, in which there is no certificate in PEM form ({reason}); it has to \
         begin with -----BEGIN CERTIFICATE-----; `openssl x509 -inform der -in FILE` converts another \
         form",
        path.display()
    )]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no certificates.
    #[error(
        "sslrootcert=system finds no certificates on this system ({0}); install them (on Debian and \
         Ubuntu: apt-get install ca-certificates), or name a PEM file"
    )]
    NoneInSystem(String),
}

fn client_config(trust: &Trust) -> Result<ClientConfig, RootError> {
    let roots = match trust {
        Trust::Anybody => None,
        Trust::Chain(roots) | Trust::Name(roots) => Some(load(roots)?),
    };
    // No verifier of the library checks the signer without the name, as `verify-ca` does.
    let verifier = Verifier {
        roots,
        is_name_checked: matches!(trust, Trust::Name(_)),
    };
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|error| unreachable!("the provider speaks TLS: {error}"))
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // Servers from 17 on ask for it when TLS is spoken from the first byte on; others do not mind.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(config)
}

/// Certificates that are believed.
#[derive(Debug, Clone)]
struct Anchors {
    store: Arc<RootCertStore>,
    /// The same, whole.
    certificates: Arc<[CertificateDer<'static>]>,
}

impl Anchors {
    fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, rustls::Error> {
        let mut store = RootCertStore::empty();
        for certificate in &certificates {
            store.add(certificate.clone())?;
        }
        Ok(Self {
            store: Arc::new(store),
            certificates: certificates.into(),
        })
    }
}

fn load(roots: &Roots) -> Result<Anchors, RootError> {
    match roots {
        Roots::File(path) => {
            let bad = |reason: String| RootError::NotPem {
                path: path.clone(),
                reason,
            };
            let text = std::fs::read(path).map_err(|error| RootError::Unreadable {
                path: path.clone(),
                reason: error.to_string(),
            })?;
            let certificates = CertificateDer::pem_slice_iter(&text)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| bad(error.to_string()))?;
            // A file with something else in it is read without an error.
            if certificates.is_empty() {
                return Err(bad("none was found".to_owned()));
            }
            Anchors::new(certificates).map_err(|error| bad(error.to_string()))
        }
        Roots::System => of_system(),
    }
}

/// The system's certificates. A hundred and more, so they are read once.
fn of_system() -> Result<Anchors, RootError> {
    static LOADED: OnceLock<Anchors> = OnceLock::new();
    if let Some(anchors) = LOADED.get() {
        return Ok(anchors.clone());
    }
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // A system may well have some that no longer do.
    let (usable, _) = store.add_parsable_certificates(found.certs);
    if usable == 0 {
        let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(RootError::NoneInSystem(errors.join(", ")));
    }
    let anchors = Anchors {
        store: Arc::new(store),
        // No server presents one of these as its own.
        certificates: Arc::new([]),
    };
    Ok(LOADED.get_or_init(|| anchors).clone())
}

/// Checks as much of a certificate as was asked for.
///
/// That the other end holds the certificate's key is always checked: the certificate also binds the
/// exchange of passwords to this connection (`tls-server-end-point`), which would mean nothing for one that
/// anybody could show.
#[derive(Debug)]
struct Verifier {
    roots: Option<Anchors>,
    is_name_checked: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(roots) = &self.roots else {
            return Ok(ServerCertVerified::assertion());
        };
        let parsed = ParsedCertificate::try_from(certificate)?;
        if roots.certificates.contains(certificate) {
            // A server that signed for itself, as most private ones do, often says that it is an
            // authority, which no end of a chain may be. It is one of those that were named, whole.
            in_its_time(certificate, now)?;
        } else {
            let algorithms = PROVIDER.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &roots.store,
                intermediates,
                now,
                algorithms,
            )?;
        }
        if self.is_name_checked {
            verify_server_name(&parsed, host)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        // By the key alone, because certificates of version 1, which many servers still have, are not
        // taken otherwise.
        let key = read(certificate)?
            .tbs_certificate
            .subject_public_key_info
            .to_der()
            .map_err(|_| CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(key);
        crypto::verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn read(certificate: &CertificateDer<'_>) -> Result<Certificate, rustls::Error> {
    let read = Certificate::from_der(certificate);
    Ok(read.map_err(|_| CertificateError::BadEncoding)?)
}

fn in_its_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let time = now;
    let validity = read(certificate)?.tbs_certificate.validity;
    let not_before = UnixTime::since_unix_epoch(validity.not_before.to_unix_duration());
    let not_after = UnixTime::since_unix_epoch(validity.not_after.to_unix_duration());
    if time < not_before {
        return Err(CertificateError::NotValidYetContext { time, not_before }.into());
    }
    if time > not_after {
        return Err(CertificateError::ExpiredContext { time, not_after }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
