//! The messages of the v2 inference protocol as gRPC carries them, and the service
//! `inference.GRPCInferenceService`: the Open Inference Protocol and Triton's extensions of it.
//!
//! The types are those of `proto/grpc_service.proto`, generated; the model configuration is
//! [`hs_model_config::ModelConfig`]. All `bytes` fields are [`bytes::Bytes`](prost::bytes::Bytes): the tensors of a
//! decoded message are slices of the buffer that it came in. Maps are ordered, so equal messages are equal bytes.
//!
//! A server implements [`grpc_inference_service_server::GrpcInferenceService`] and wraps it in
//! [`GrpcInferenceServiceServer`](grpc_inference_service_server::GrpcInferenceServiceServer), a tower service;
//! [`GrpcInferenceServiceClient`](grpc_inference_service_client::GrpcInferenceServiceClient) calls it through any
//! tower service. Transport, compression and limits on sizes are the business of who wraps and who calls.

mod generated;

pub use generated::inference::*;
