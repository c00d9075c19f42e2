//! What the verbs that call a server share.

use std::{future::Future, path::PathBuf, time::Duration};

use hs_client::{Client, Metadata, Options, TensorMetadata, Url};

use super::exit::Failure;

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
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    timeout: f64,
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
    pub(crate) client: Client,
    pub(crate) metadata: Metadata,
    /// Rows of a request at most; `None`: the model has no batch axis.
    pub(crate) max_batch: Option<usize>,
}

impl Remote {
    /// Connects and asks for the model.
    pub(crate) async fn open(url: &Url, args: &ServerArgs) -> Result<Self, Failure> {
        let token = args.token_file.as_deref().map(|path| {
            let text = std::fs::read_to_string(path).map_err(|e| Failure::file(path, e))?;
            let token = text.lines().next().unwrap_or("").trim();
            if token.is_empty() {
                Err(Failure::file(path, "there is no token in its first line"))
            } else {
                Ok(token.to_owned())
            }
        });
        let options = Options {
            ca: args.ca.clone(),
            cert: args.cert.clone(),
            key: args.key.clone(),
            token: token.transpose()?,
            timeout: Some(Duration::from_secs_f64(args.timeout)),
        };
        let client = Client::connect(url, &options).await?;
        let version = args.version.as_deref();
        let metadata = client.metadata(&args.model, version).await?;
        let max_batch = match client.max_batch_size(&args.model, version).await {
            Ok(size) => Some(size).filter(|size| *size > 0),
            // The configuration is an extension of the protocol.
            Err(error) if error.status().is_some_and(hs_client::Status::is_unsupported) => None,
            Err(error) => return Err(error.into()),
        };
        if max_batch.is_some() && metadata.inputs.iter().any(|i| i.shape.is_empty()) {
            return Err(Failure::environment(format!(
                "the server says that '{}' has a batch axis, but an input has no axis",
                args.model
            )));
        }
        Ok(Self { options, client, metadata, max_batch })
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
