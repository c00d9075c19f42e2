//! What the verbs that call a server share.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use hs_client::{Client, Metadata, Options, Status, TensorMetadata, Url};
use hs_runtime::{Buffer, Tensor, convert};

use super::exit::Failure;

/// Bytes of a request's inputs, where the number of rows is ours to choose.
const REQUEST: usize = 16 << 20;
/// Seconds that a server has, where nothing is said.
const TIMEOUT: f64 = 60.0;

/// A server's model, and how to reach it.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// Name of the model
    #[arg(long, value_name = "NAME")]
    pub(crate) model: String,
    /// Version of the model [default: the server's choice]
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<String>,
    #[command(flatten)]
    pub(crate) access: Access,
}

/// How to reach a server.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct Access {
    /// Certificates (PEM) of those who may have signed the server's [default: those that this machine trusts]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Our own certificate (PEM), for a server that asks for one
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// A file whose first line is a bearer token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Seconds that the server has for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT, value_parser = seconds)]
    timeout: f64,
}

impl Default for Access {
    fn default() -> Self {
        Self { ca: None, cert: None, key: None, token_file: None, timeout: TIMEOUT }
    }
}

/// A time of some length, at most a day.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if seconds > 0.0 && seconds <= 86_400.0 {
        Ok(seconds)
    } else {
        Err("expected more than 0, at most 86400".to_owned())
    }
}

/// A server with the model of the command line.
pub(crate) struct Remote {
    pub(crate) options: Options,
    pub(crate) client: Arc<Client>,
    pub(crate) metadata: Metadata,
    /// Rows of a request at most; `None`: the model has no batch axis.
    pub(crate) max_batch: Option<usize>,
    version: Option<String>,
}

/// The inputs of a request, and its rows where the model has a batch axis.
pub(crate) type Chunk<'a> = (Option<usize>, Vec<(&'a str, Buffer)>);

impl Remote {
    /// Connects and asks for the model.
    pub(crate) async fn open(url: &Url, args: &ServerArgs) -> Result<Self, Failure> {
        let access = &args.access;
        let token = access.token_file.as_deref().map(|path| {
            let text = std::fs::read_to_string(path).map_err(|e| Failure::file(path, e))?;
            let token = text.lines().next().unwrap_or("").trim();
            if token.is_empty() {
                Err(Failure::file(path, "there is no token in its first line"))
            } else {
                Ok(token.to_owned())
            }
        });
        let options = Options {
            ca: access.ca.clone(),
            cert: access.cert.clone(),
            key: access.key.clone(),
            token: token.transpose()?,
            timeout: Some(Duration::from_secs_f64(access.timeout)),
        };
        let client = Arc::new(Client::connect(url, &options).await?);
        let version = args.version.as_deref();
        let metadata = client.metadata(&args.model, version).await?;
        Self::described(options, client, metadata, version).await
    }

    /// The same server's model `name`, of the same version; `None` where it has none.
    pub(crate) async fn sibling(&self, name: &str) -> Result<Option<Self>, Failure> {
        let version = self.version.as_deref();
        let metadata = match self.client.metadata(name, version).await {
            Ok(metadata) => metadata,
            Err(error) if error.status().is_some_and(Status::is_clients_fault) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Self::described(self.options.clone(), Arc::clone(&self.client), metadata, version).await.map(Some)
    }

    async fn described(
        options: Options,
        client: Arc<Client>,
        metadata: Metadata,
        version: Option<&str>,
    ) -> Result<Self, Failure> {
        let max_batch = match client.max_batch_size(&metadata.name, version).await {
            Ok(size) => Some(size).filter(|size| *size > 0),
            // The configuration is an extension of the protocol.
            Err(error) if error.status().is_some_and(Status::is_unsupported) => None,
            Err(error) => return Err(error.into()),
        };
        if max_batch.is_some() && metadata.inputs.iter().any(|i| i.shape.is_empty()) {
            return Err(Failure::environment(format!(
                "the server says that '{}' has a batch axis, but an input has no axis",
                metadata.name
            )));
        }
        let version = version.map(str::to_owned);
        Ok(Self { options, client, metadata, max_batch, version })
    }

    /// The inputs, request by request; `batch`: rows of a request, by default as many as the model takes and
    /// [`REQUEST`] allows.
    pub(crate) fn chunks<'a>(
        &self,
        inputs: &[(&'a str, Buffer)],
        batch: Option<usize>,
    ) -> Result<Vec<Chunk<'a>>, Failure> {
        let model = &self.metadata.name;
        let max = match (self.max_batch, batch) {
            (None, None) => return Ok(vec![(None, inputs.to_vec())]),
            (None, Some(_)) => {
                return Err(Failure::usage(format!(
                    "--batch: model '{model}' has no batches (max_batch_size is 0)"
                )));
            }
            (Some(max), Some(n)) if n > max => {
                return Err(Failure::usage(format!("--batch {n}: model '{model}' takes {max} rows at most")));
            }
            (Some(max), _) => max,
        };
        let rows = inputs.first().map_or(0, |(_, b)| b.rows());
        if rows == 0 {
            return Err(Failure::input("the input has no rows"));
        }
        let bytes: usize = inputs.iter().map(|(_, b)| b.data().len().div_ceil(rows)).sum();
        let step = batch.unwrap_or_else(|| max.min(REQUEST / bytes.max(1)).max(1));
        let chunk = |from: usize| {
            let to = (from + step).min(rows);
            (Some(to - from), inputs.iter().map(|(name, b)| (*name, b.slice_rows(from..to))).collect())
        };
        Ok((0..rows).step_by(step).map(chunk).collect())
    }

    /// The outputs `wanted`, in that order, the rows of all requests joined.
    pub(crate) async fn infer(&self, chunks: &[Chunk<'_>], wanted: &[&str]) -> Result<Vec<Tensor>, Failure> {
        let mut parts: Vec<Vec<Buffer>> = vec![Vec::new(); wanted.len()];
        for (rows, chunk) in chunks {
            let (model, version) = (&self.metadata.name, self.version.as_deref());
            let mut answer = self.client.infer(model, version, chunk, wanted).await?;
            for (name, parts) in wanted.iter().zip(&mut parts) {
                let found = answer.iter().position(|(n, _)| n == name);
                let (_, buffer) =
                    answer.swap_remove(found.ok_or_else(|| strange(name, "is not in the answer"))?);
                if rows.is_some_and(|rows| rows != buffer.rows()) {
                    let (sent, found) = (rows.unwrap_or_default(), buffer.rows());
                    return Err(strange(name, format!("has {found} rows for the {sent} that were sent")));
                }
                parts.push(buffer);
            }
        }
        let whole = |(name, parts): (&&str, &Vec<Buffer>)| {
            let whole = Buffer::concat_rows(parts)
                .ok_or_else(|| strange(name, "changes its shape or its type from request to request"))?;
            convert::to_tensor(&whole).map_err(|e| strange(name, e))
        };
        wanted.iter().zip(&parts).map(whole).collect()
    }

    /// Refuses a shape that an input does not take. `shape`: with the batch axis, where the model has one.
    pub(crate) fn check_shape(&self, input: &TensorMetadata, shape: &[usize]) -> Result<(), Failure> {
        if input.takes(shape) {
            return Ok(());
        }
        let (name, model) = (&input.name, &self.metadata.name);
        let failure = Failure::input(format!(
            "input '{name}' of model '{model}' has shape {}, but {shape:?} is given",
            input.shape_text()
        ));
        let row = [&[1], shape].concat();
        Err(if self.max_batch.is_some() && input.takes(&row) {
            failure.help(format!("the first axis counts rows: one row has shape {row:?}"))
        } else {
            failure
        })
    }
}

/// Runs the calls of a verb.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::environment(format!("cannot start: {e}")))?
        .block_on(work)
}

fn strange(output: &str, what: impl std::fmt::Display) -> Failure {
    Failure::environment(format!("output '{output}' {what}"))
}
