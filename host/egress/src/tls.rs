//! Whom to believe.

use std::sync::Arc;

use manyhands_addresses::Host;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::{SettingsError, Why};

pub(crate) fn config(own: Vec<CertificateDer<'static>>) -> Result<ClientConfig, SettingsError> {
    let system = rustls_native_certs::load_native_certs();
    for problem in &system.errors {
        tracing::warn!(%problem, "some of the operating system's certificates cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system.certs);
    for (at, certificate) in own.into_iter().enumerate() {
        roots.add(certificate).map_err(|source| SettingsError::Root { number: at + 1, source })?;
    }
    if roots.is_empty() {
        tracing::warn!(
            "no certificate authority is trusted: no call can go out by https; install the package ca-certificates"
        );
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(SettingsError::Tls)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A session that is taken up again tells the other end which calls are from one place, across tenants.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Whom the certificate has to name.
pub(crate) fn server_name(host: &Host) -> Result<ServerName<'static>, Why> {
    match host {
        Host::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        Host::Name(name) => ServerName::try_from(name.clone())
            .map_err(|why| Why::Tls(std::io::Error::new(std::io::ErrorKind::InvalidInput, why))),
    }
}
