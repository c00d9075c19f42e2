//! Connections: TCP, and TLS over it.

use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use crate::{ClientError, Options, Protocol, Url};

/// Opens connections to one server.
#[derive(Clone)]
pub(crate) struct Connector {
    url: Url,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Connector {
    pub(crate) fn new(url: Url, options: &Options) -> Result<Self, ClientError> {
        let files = [("a CA", &options.ca), ("a certificate", &options.cert), ("a key", &options.key)];
        if !url.is_tls() {
            if let Some((what, _)) = files.iter().find(|(_, file)| file.is_some()) {
                let instead = match url.protocol() {
                    Protocol::Http => "https",
                    Protocol::Grpc => "grpcs",
                };
                return Err(ClientError::Options(format!(
                    "{what} is given, but {url} is not in TLS: write {instead}://"
                )));
            }
            return Ok(Self { url, tls: None });
        }
        let name = ServerName::try_from(url.host().to_owned())
            .map_err(|e| ClientError::Options(format!("'{}' cannot be in a certificate: {e}", url.host())))?;
        let connector = TlsConnector::from(Arc::new(configure(&url, options)?));
        Ok(Self { url, tls: Some((connector, name)) })
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// A new connection.
    pub(crate) async fn connect(&self) -> Result<Io, ClientError> {
        let failed =
            |e: io::Error| ClientError::Connect { url: self.url.to_string(), message: e.to_string() };
        let tcp = TcpStream::connect((self.url.host(), self.url.port())).await.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        let Some((tls, name)) = &self.tls else { return Ok(Io::Plain(tcp)) };
        let stream = tls.connect(name.clone(), tcp).await.map_err(failed)?;
        Ok(Io::Tls(Box::new(stream)))
    }

    /// A connection that broke.
    pub(crate) fn broken(&self, error: &dyn std::error::Error) -> ClientError {
        // hyper's own words are only the class of the error.
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        ClientError::Broken { url: self.url.to_string(), message }
    }
}

fn configure(url: &Url, options: &Options) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    match &options.ca {
        Some(path) => {
            for certificate in certificates(path)? {
                let wrong = |e: rustls::Error| refused(path, e.to_string());
                roots.add(certificate).map_err(wrong)?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(ClientError::Options(
                    "this machine has no certificates of authorities: name a file of them (ca)".to_owned(),
                ));
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| ClientError::Options(e.to_string()))?
        .with_root_certificates(roots);
    let mut config = match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|e| refused(key, format!("no private key in PEM: {e}")))?;
            builder
                .with_client_auth_cert(certificates(cert)?, private)
                .map_err(|e| refused(cert, format!("with the key {}: {e}", key.display())))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(ClientError::Options("a certificate and its key are given together".to_owned())),
    };
    config.alpn_protocols = vec![
        match url.protocol() {
            Protocol::Http => "http/1.1",
            Protocol::Grpc => "h2",
        }
        .into(),
    ];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let all: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|e| refused(path, e.to_string()))?.collect();
    let all = all.map_err(|e| refused(path, e.to_string()))?;
    if all.is_empty() {
        return Err(refused(path, "no certificate in PEM".to_owned()));
    }
    Ok(all)
}

fn refused(path: &Path, message: String) -> ClientError {
    ClientError::Certificate { path: PathBuf::from(path), message }
}

/// A connection, in clear or in TLS.
pub(crate) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! either {
    ($self:expr, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Plain(io) => {
                let $io = Pin::new(io);
                $call
            }
            Self::Tls(io) => {
                let $io = Pin::new(io.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, io => io.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, io => io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }
}
