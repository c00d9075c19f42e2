//! TLS, with certificates of openssl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use axum::{Router, routing::get as get_route};
use hs_server::net::{Options, Tls, TlsError, TlsFiles};
use tokio::{net::TcpStream, time::sleep};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use crate::support::{Port, closed, get, h2, h2_get, h2_send};

/// An authority and what it signed, in a directory.
struct Authority(tempfile::TempDir);

impl Authority {
    fn new() -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        authority.openssl(&format!(
            "req -x509 -newkey {EC} -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=ca"
        ));
        authority
    }

    fn openssl(&self, arguments: &str) {
        let run = Command::new("openssl").args(arguments.split(' ')).current_dir(&self.0).output().unwrap();
        assert!(run.status.success(), "{arguments}: {}", String::from_utf8_lossy(&run.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A certificate and a key for `name`.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        fs::write(self.path("ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1").unwrap();
        self.openssl(&format!("req -newkey {EC} -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out {name}.crt"
        ));
        (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")))
    }

    fn port(&self, client_ca: Option<PathBuf>, options: Options) -> Port {
        let (certificate, key) = self.sign("server");
        let files = TlsFiles { certificate, key, client_ca };
        let tls = Tls::new(files, &["h2", "http/1.1"]).unwrap();
        let options = Options { tls: Some(Arc::new(tls)), ..options };
        Port::start(Router::new().route("/", get_route(async || "hello")), options)
    }
}

const EC: &str = "ec -pkeyopt ec_paramgen_curve:P-256";

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

/// Connects, trusting `ca`, speaking one protocol, showing a certificate.
async fn connect(
    port: &Port,
    ca: &Path,
    protocol: &str,
    identity: Option<(PathBuf, PathBuf)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(ca)).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((crt, key)) => {
            let key = PrivateKeyDer::from_pem_file(key).unwrap();
            builder.with_client_auth_cert(vec![certificate(&crt)], key).unwrap()
        }
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, port.connect().await).await
}

#[tokio::test]
async fn both_versions_over_tls() {
    let authority = Authority::new();
    let port = authority.port(None, Options::default());
    let ca = authority.path("ca.crt");
    let mut stream = connect(&port, &ca, "http/1.1", None).await.unwrap();
    assert_eq!(get(&mut stream, "/", "").await.body, "hello");
    let stream = connect(&port, &ca, "h2", None).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = h2(stream).await;
    assert_eq!(h2_send(&mut client, h2_get("/")).await.unwrap().1, "hello");
    let other = Authority::new();
    assert!(connect(&port, &other.path("ca.crt"), "h2", None).await.is_err());
    drop(client);
    assert_eq!(port.stop().await, 0);
}

#[tokio::test]
async fn mutual_tls_lets_only_its_clients_in() {
    let authority = Authority::new();
    let ca = authority.path("ca.crt");
    let port = authority.port(Some(ca.clone()), Options::default());
    let mut stream = connect(&port, &ca, "http/1.1", Some(authority.sign("client"))).await.unwrap();
    assert_eq!(get(&mut stream, "/", "").await.body, "hello");
    let stranger = Authority::new();
    for identity in [None, Some(stranger.sign("client"))] {
        // In TLS 1.3 a client learns only afterwards that it was refused.
        if let Ok(mut stream) = connect(&port, &ca, "http/1.1", identity).await {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes).await;
            assert!(bytes.is_empty(), "{}", String::from_utf8_lossy(&bytes));
        }
    }
}

#[tokio::test]
async fn certificates_are_read_again() {
    let authority = Authority::new();
    let ca = authority.path("ca.crt");
    let port = authority.port(None, Options::default());
    let shown = async || {
        let stream = connect(&port, &ca, "h2", None).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let first = certificate(&authority.path("server.crt"));
    assert_eq!(shown().await, first);
    authority.sign("server");
    let second = certificate(&authority.path("server.crt"));
    assert_ne!(first, second);
    sleep(Duration::from_millis(2100)).await;
    assert_eq!(shown().await, second);
    // A key of another certificate changes nothing.
    fs::copy(authority.path("ca.key"), authority.path("server.key")).unwrap();
    sleep(Duration::from_millis(2100)).await;
    assert_eq!(shown().await, second);
}

#[tokio::test]
async fn a_handshake_must_end() {
    let authority = Authority::new();
    let short = Duration::from_millis(200);
    let port = authority.port(None, Options { handshake_timeout: short, ..Options::default() });
    let mut silent = port.connect().await;
    assert!(closed(&mut silent).await + Duration::from_millis(50) >= short);
    let mut plain = port.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    closed(&mut plain).await;
}

#[test]
fn files_that_are_wrong_are_named() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("server");
    let error = |files: TlsFiles| Tls::new(files, &["h2"]).unwrap_err();
    let nowhere = authority.path("nowhere");
    let files = TlsFiles { certificate, key: key.clone(), client_ca: None };
    let missing = error(TlsFiles { key: nowhere.clone(), ..files.clone() });
    assert!(matches!(&missing, TlsError::Read { path, .. } if *path == nowhere));
    let swapped = error(TlsFiles { certificate: key.clone(), ..files.clone() });
    assert!(
        matches!(&swapped, TlsError::Pem { path, expected: "certificate", .. } if *path == key),
        "{swapped}"
    );
    let no_key = error(TlsFiles { key: files.certificate.clone(), ..files.clone() });
    assert!(matches!(no_key, TlsError::Pem { expected: "private key", .. }), "{no_key}");
    let other = error(TlsFiles { key: authority.path("ca.key"), ..files.clone() });
    assert!(matches!(other, TlsError::Setup { .. }), "{other}");
    let authorities = error(TlsFiles { client_ca: Some(key), ..files });
    assert!(matches!(authorities, TlsError::Pem { .. }), "{authorities}");
}
