//! TLS, with certificates that may change while the server runs.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_secs(2);

/// Where a port's certificates are, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those that lead to its authority.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// Authorities whose clients may connect; `None`: everybody may.
    pub client_ca: Option<PathBuf>,
}

/// TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file that holds something else.
    #[error("{path} holds no {expected} in PEM: {found}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// Certificates and key that do not make a server.
    #[error("certificate {certificate} with key {key}: {message}")]
    Setup {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why not.
        message: String,
    },
}

/// What the files hold. They are compared by content: a mount that is switched over keeps its times.
#[derive(PartialEq, Eq)]
struct Contents(Vec<Vec<u8>>);

struct State {
    looked: Instant,
    contents: Contents,
    config: Arc<ServerConfig>,
}

/// TLS for a port, mutual where the files name authorities of clients. The files are read again when they change;
/// when they are wrong then, the last good ones stay in use.
pub struct Tls {
    files: TlsFiles,
    protocols: Vec<Vec<u8>>,
    state: Mutex<State>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files. `protocols`: what the port speaks by ALPN, the best first.
    ///
    /// # Errors
    /// A file cannot be read, or what they hold does not fit together.
    pub fn new(files: TlsFiles, protocols: &[&str]) -> Result<Self, TlsError> {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let contents = read(&files)?;
        let config = configure(&files, &contents, &protocols)?;
        let state = Mutex::new(State { looked: Instant::now(), contents, config });
        Ok(Self { files, protocols, state })
    }

    /// The configuration for the next connection.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            self.reload(&mut state);
        }
        Arc::clone(&state.config)
    }

    fn reload(&self, state: &mut State) {
        let fresh = read(&self.files).and_then(|contents| {
            if contents == state.contents {
                return Ok(None);
            }
            let config = configure(&self.files, &contents, &self.protocols)?;
            Ok(Some((contents, config)))
        });
        match fresh {
            Ok(None) => {}
            Ok(Some((contents, config))) => {
                tracing::info!(certificate = %self.files.certificate.display(), "certificates reloaded");
                (state.contents, state.config) = (contents, config);
            }
            // Files that are being replaced are half there for a moment.
            Err(error) => {
                tracing::warn!(%error, "the certificates changed and cannot be used; the last good ones stay")
            }
        }
    }
}

fn read(files: &TlsFiles) -> Result<Contents, TlsError> {
    let paths = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
    let one = |path: &PathBuf| fs::read(path).map_err(|source| TlsError::Read { path: path.clone(), source });
    Ok(Contents(paths.into_iter().flatten().map(one).collect::<Result<_, _>>()?))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |found: String| TlsError::Pem { path: path.to_owned(), expected: "certificate", found };
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|e| wrong(e.to_string()))?;
    if all.is_empty() { Err(wrong("nothing that is one".to_owned())) } else { Ok(all) }
}

fn configure(
    files: &TlsFiles,
    Contents(contents): &Contents,
    protocols: &[Vec<u8>],
) -> Result<Arc<ServerConfig>, TlsError> {
    let setup = |message: String| TlsError::Setup {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        message,
    };
    let chain = certificates(&files.certificate, &contents[0])?;
    let key = PrivateKeyDer::from_pem_slice(&contents[1]).map_err(|e| TlsError::Pem {
        path: files.key.clone(),
        expected: "private key",
        found: e.to_string(),
    })?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| setup(e.to_string()))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(path, &contents[2])? {
                roots.add(authority).map_err(|e| TlsError::Pem {
                    path: path.clone(),
                    expected: "certificate of an authority",
                    found: e.to_string(),
                })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|e| setup(e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|e: rustls::Error| setup(e.to_string()))?;
    config.alpn_protocols = protocols.to_vec();
    Ok(Arc::new(config))
}
