use std::{fs, sync::Arc};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    CertificateError, ClientConnection, Connection, ProtocolVersion, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use super::{PROVIDER, Roots, Trust, client_config};

/// Shows the certificate and signs with the key, whether or not they belong together.
fn server(
    certificate: &CertificateDer<'static>,
    key: &KeyPair,
    version: &'static SupportedProtocolVersion,
) -> ServerConfig {
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = PROVIDER.key_provider.load_private_key(key).unwrap();
    let shown = CertifiedKey::new(vec![certificate.clone()], key);
    ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
}

fn pass(from: &mut Connection, to: &mut Connection) -> Result<(), rustls::Error> {
    let mut sent = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut sent).unwrap();
    }
    let mut sent = sent.as_slice();
    while !sent.is_empty() {
        to.read_tls(&mut sent).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

/// A handshake with no network in between; the version that was spoken.
fn meet(trust: &Trust, server: ServerConfig) -> Result<Option<ProtocolVersion>, rustls::Error> {
    let config = client_config(trust).unwrap();
    let host = ServerName::try_from("localhost").unwrap();
    let mut client = Connection::from(ClientConnection::new(Arc::new(config), host)?);
    let mut server = Connection::from(ServerConnection::new(Arc::new(server))?);
    while client.is_handshaking() {
        pass(&mut client, &mut server)?;
        pass(&mut server, &mut client)?;
    }
    Ok(client.protocol_version())
}

/// Anybody can show a certificate. Without its key that is refused whatever else is checked, since
/// passwords are bound to the certificate.
fn only_the_keys_holder_is_taken(version: &'static SupportedProtocolVersion) {
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let wanted = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = wanted.self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("roots.crt");
    fs::write(&path, certificate.pem()).unwrap();
    let roots = Roots::File(path);
    for trust in [
        Trust::Anybody,
        Trust::Chain(roots.clone()),
        Trust::Name(roots),
    ] {
        let holder = server(certificate.der(), &key, version);
        assert_eq!(meet(&trust, holder), Ok(Some(version.version)), "{trust:?}");
        let impostor = server(certificate.der(), &other, version);
        let refused = Err(CertificateError::BadSignature.into());
        assert_eq!(meet(&trust, impostor), refused, "{trust:?}");
    }
}

#[test]
fn a_certificate_shown_without_its_key_is_refused_over_tls_1_2() {
    only_the_keys_holder_is_taken(&TLS12);
}

#[test]
fn a_certificate_shown_without_its_key_is_refused_over_tls_1_3() {
    only_the_keys_holder_is_taken(&TLS13);
}
