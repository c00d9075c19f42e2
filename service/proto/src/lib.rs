//! The messages of the v2 inference protocol, and its gRPC service `inference.GRPCInferenceService`.

mod generated;

pub use generated::inference::*;
