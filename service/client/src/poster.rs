//! JSON for servers that speak something else than the protocol.

use crate::{
    ClientError, Options, Protocol, Url,
    client::{in_time, token},
    connect::Connector,
    http::Http,
};

/// Sends JSON to one path of an HTTP server, over connections that it opens when they are needed.
pub struct Poster {
    http: Http,
    path: String,
    url: String,
    timeout: Option<std::time::Duration>,
}

impl std::fmt::Debug for Poster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Poster").field(&self.url).finish()
    }
}

impl Poster {
    /// `path` comes after the address's own, unless that ends with it.
    ///
    /// # Errors
    /// Certificates that cannot be read, options that contradict each other, an address that is not HTTP's.
    pub fn new(url: &Url, path: &str, options: &Options) -> Result<Self, ClientError> {
        if url.protocol() != Protocol::Http {
            return Err(ClientError::Options(format!("{url} is not HTTP: write http:// or https://")));
        }
        let before = url.path().trim_end_matches(path);
        let connector = Connector::new(url.clone(), options)?;
        Ok(Self {
            http: Http::new(connector, token(options)?)?,
            path: format!("{before}{path}"),
            url: url.to_string(),
            timeout: options.timeout,
        })
    }

    /// Sends a document.
    ///
    /// # Errors
    /// No connection, no answer in time, an answer that is not success.
    pub async fn post(&self, json: Vec<u8>) -> Result<(), ClientError> {
        in_time(&self.url, self.timeout, self.http.post(&self.path, json)).await
    }
}
