//! Calls to a server, whatever it speaks.

use std::{future::Future, path::PathBuf, time::Duration};

use hs_runtime::Buffer;
use hyper::{HeaderMap, Method, Request, Uri, header::HeaderValue};

use crate::{
    ClientError, Metadata, Protocol, Url,
    body::{Parts, Sent},
    connect::Connector,
    grpc::Grpc,
    http::Http,
};

/// How a [`Client`] connects and how long it waits. Certificates and keys are files in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Authorities that may have signed the server's certificate; `None`: those that the machine trusts.
    pub ca: Option<PathBuf>,
    /// The client's own certificate, where the server asks for one; with [`key`](Self::key).
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// Bearer token.
    pub token: Option<String>,
    /// Time for a call, connecting included; `None`: any time.
    pub timeout: Option<Duration>,
}

/// Times that a request is sent again on another connection, where the one before took nothing of it.
pub(crate) const TRIES: usize = 2;

/// A request that can be sent many times.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Parts,
}

impl Template {
    pub(crate) fn request(&self) -> Request<Sent> {
        let mut request = Request::new(self.body.body());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// An inference request, put together once for [`Client::send`]; clones share its tensors.
#[derive(Debug, Clone)]
pub struct Prepared(Template);

impl Prepared {
    /// Bytes of the request's body.
    pub fn bytes(&self) -> usize {
        self.0.body.length()
    }
}

enum Transport {
    Http(Http),
    Grpc(Grpc),
}

macro_rules! either {
    ($transport:expr, $t:ident => $call:expr) => {
        match $transport {
            Transport::Http($t) => $call,
            Transport::Grpc($t) => $call,
        }
    };
}

/// A client of one server. Calls may run at the same time: over HTTP each then has a connection of its own, which
/// is kept for later calls; over gRPC all share one. Connections that the server closed are made anew.
pub struct Client {
    transport: Transport,
    url: String,
    timeout: Option<Duration>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to a server; nothing is asked yet.
    ///
    /// # Errors
    /// The options do not go together, a file is refused, or nobody answers.
    pub async fn connect(url: &Url, options: &Options) -> Result<Self, ClientError> {
        let connector = Connector::new(url.clone(), options)?;
        let (token, timeout) = (token(options)?, options.timeout);
        let text = url.to_string();
        let connect = async {
            Ok(match url.protocol() {
                Protocol::Http => Transport::Http(Http::connect(connector, token).await?),
                Protocol::Grpc => Transport::Grpc(Grpc::connect(connector, token, timeout).await?),
            })
        };
        let transport = in_time(&text, timeout, connect).await?;
        Ok(Self { transport, url: text, timeout })
    }

    /// What the server says about a model; `version`: `None` lets the server choose.
    pub async fn metadata(&self, model: &str, version: Option<&str>) -> Result<Metadata, ClientError> {
        in_time(&self.url, self.timeout, async {
            either!(&self.transport, t => t.metadata(model, version).await)
        })
        .await
    }

    /// Rows of a request at most, from the model's configuration; 0: the model has no batch axis.
    pub async fn max_batch_size(&self, model: &str, version: Option<&str>) -> Result<usize, ClientError> {
        let size = in_time(&self.url, self.timeout, async {
            either!(&self.transport, t => t.max_batch_size(model, version).await)
        })
        .await?;
        usize::try_from(size).map_err(|_| {
            ClientError::Answer(format!("max_batch_size is {size} in the model's configuration"))
        })
    }

    /// Puts a request together. `outputs`: the names wanted; none: all.
    ///
    /// # Errors
    /// It is more than the protocol carries.
    pub fn prepare(
        &self,
        model: &str,
        version: Option<&str>,
        inputs: &[(&str, Buffer)],
        outputs: &[&str],
    ) -> Result<Prepared, ClientError> {
        either!(&self.transport, t => t.prepare(model, version, inputs, outputs)).map(Prepared)
    }

    /// Sends a request of this client's [`prepare`](Self::prepare), or of another client's of the same URL and
    /// options. The outputs come in the server's order.
    pub async fn send(&self, prepared: &Prepared) -> Result<Vec<(String, Buffer)>, ClientError> {
        in_time(&self.url, self.timeout, async { either!(&self.transport, t => t.infer(&prepared.0).await) })
            .await
    }

    /// [`prepare`](Self::prepare) and [`send`](Self::send).
    pub async fn infer(
        &self,
        model: &str,
        version: Option<&str>,
        inputs: &[(&str, Buffer)],
        outputs: &[&str],
    ) -> Result<Vec<(String, Buffer)>, ClientError> {
        self.send(&self.prepare(model, version, inputs, outputs)?).await
    }
}

/// The header that shows the token.
pub(crate) fn token(options: &Options) -> Result<Option<HeaderValue>, ClientError> {
    let Some(token) = &options.token else { return Ok(None) };
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| ClientError::Options("the token has characters that no header holds".to_owned()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

pub(crate) async fn in_time<T>(
    url: &str,
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let Some(limit) = limit else { return work.await };
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(ClientError::Timeout { url: url.to_owned(), limit }),
    }
}
