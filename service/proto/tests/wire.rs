//! What the generated code makes of bytes.

use bytes::Bytes;
use hs_model_config::ModelConfig;
use hs_proto::grpc_inference_service_server::SERVICE_NAME;
use hs_proto::infer_parameter::ParameterChoice;
use hs_proto::{InferParameter, ModelConfigResponse, ModelInferRequest, ModelInferResponse};
use prost::Message as _;

#[test]
fn the_service_has_the_name_that_clients_call() {
    assert_eq!(SERVICE_NAME, "inference.GRPCInferenceService");
}

/// A request as a client sends it, and no copy of its tensors on the way in.
#[test]
fn tensors_are_slices_of_the_message() {
    let wire =
        Bytes::from_static(b"\x0a\x01m\x2a\x0b\x0a\x01x\x12\x04FP32\x1a\x00\x3a\x04\x00\x00\x80\x3f\x3a\x00");
    let request = ModelInferRequest::decode(wire.clone()).unwrap();
    assert_eq!((request.model_name.as_str(), request.inputs[0].datatype.as_str()), ("m", "FP32"));
    assert_eq!(request.raw_input_contents, [&1f32.to_le_bytes()[..], &[]]);
    assert!(wire.as_ptr_range().contains(&request.raw_input_contents[0].as_ptr()));
}

/// Equal messages are equal bytes.
#[test]
fn parameters_are_written_in_order() {
    let parameter = |v| InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(v)) };
    let parameters = [("b", 1), ("a", 2), ("c", 3)].map(|(k, v)| (k.to_owned(), parameter(v))).into();
    let response = ModelInferResponse { parameters, ..Default::default() };
    let expected = b"\x22\x07\x0a\x01a\x12\x02\x10\x02\x22\x07\x0a\x01b\x12\x02\x10\x01\x22\x07\x0a\x01c\x12\x02\x10\x03";
    assert_eq!(response.encode_to_vec(), expected);
}

/// The configuration of the call is the one of `config.pbtxt`.
#[test]
fn the_configuration_is_the_other_crates() {
    let config = ModelConfig { max_batch_size: 8, ..Default::default() };
    let response = ModelConfigResponse { config: Some(config) };
    assert_eq!(response.encode_to_vec(), b"\x0a\x02\x20\x08");
}
