//! The server without wire formats.
//!
//! A [`Server`] holds a model repository and answers [`InferRequest`]s; frontends translate HTTP and gRPC into its
//! calls and back. What runs a model comes from a [`ModelLoader`] that the binary injects.
//!
//! The way of a request: [`Server::infer`] admits it, finds the version ([`Served`]), which checks the request against
//! its [`Spec`] and hands its buffers to the scheduler; that forms batches, runs them on the first healthy backend of
//! the model, and gives each request its rows back.

mod admission;
mod classify;
mod error;
mod loader;
mod metrics;
mod repository;
mod request;
pub mod scheduler;
mod served;
mod server;
mod settings;
mod shm;
mod spec;
mod statistics;

pub use error::{Code, ServeError};
pub use loader::{LoadRequest, LoadedModel, ModelLoader, Runner};
pub use request::{InferRequest, InferResponse, InputTensor, OutputTensor, RequestedOutput};
pub use served::{ModelMetadata, Served, TensorMetadata};
pub use server::{EXTENSIONS, IndexEntry, LoadOverride, ModelControl, Server, ServerMetadata, ServerOptions};
pub use settings::{LogSettings, Settings};
pub use shm::{Region, SharedMemory};
pub use spec::{DEFAULT_MAX_BATCH, Port, Spec, SpecError, inside};
pub use statistics::{
    BatchStatistics, Duration as StatisticDuration, Histogram, ModelStatistics, Statistics,
};
