//! Inference requests and answers, between messages and the server's own form.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use hs_proto::{
    ModelInferRequest, ModelInferResponse,
    model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
    model_infer_response::InferOutputTensor,
};
use hs_runtime::Datatype;
use hs_serve::{InferRequest, InferResponse, InputTensor, RequestedOutput, ServeError, Server, SharedMemory};

use crate::net::{self, Trace};

use super::{
    contents,
    parameters::{self, Parameters, bool_param, number_param, string_param},
};

/// The only parameter under the reserved prefix that clients may send.
pub(super) const EMPTY_FINAL: &str = "triton_enable_empty_final_response";

const REGION: &str = "shared_memory_region";
const OFFSET: &str = "shared_memory_offset";
const BYTE_SIZE: &str = "shared_memory_byte_size";

/// A place in shared memory.
#[derive(Debug)]
struct Place {
    region: String,
    offset: u64,
    byte_size: u64,
}

impl Place {
    /// Where a tensor's parameters say that it is or shall go; `tensor` for messages.
    fn of(parameters: &Parameters, tensor: &str) -> Result<Option<Self>, ServeError> {
        let Some(region) = parameters::string(parameters, REGION)? else {
            if let Some(key) = [OFFSET, BYTE_SIZE].into_iter().find(|k| parameters.contains_key(*k)) {
                return Err(ServeError::invalid(format!("'{key}' of {tensor} needs '{REGION}' beside it")));
            }
            return Ok(None);
        };
        let Some(byte_size) = parameters::number(parameters, BYTE_SIZE)? else {
            return Err(ServeError::invalid(format!("'{REGION}' of {tensor} needs '{BYTE_SIZE}' beside it")));
        };
        let offset = parameters::number(parameters, OFFSET)?.unwrap_or(0);
        Ok(Some(Self { region: region.to_owned(), offset, byte_size }))
    }
}

/// Where the outputs of a request go that do not travel in the answer, by name.
type Places = BTreeMap<String, Place>;

/// Answers a request.
pub(super) async fn infer(
    server: &Server,
    trace: Option<&Trace>,
    request: ModelInferRequest,
) -> Result<ModelInferResponse, ServeError> {
    let id = request.id.clone();
    let (request, places) = self::request(server.shm(), request)?;
    let response = net::infer(server, trace, request).await?;
    self::response(server.shm(), id, &places, response)
}

fn request(shm: &SharedMemory, request: ModelInferRequest) -> Result<(InferRequest, Places), ServeError> {
    let own = &request.parameters;
    if let Some(key) = own.keys().find(|k| k.starts_with("triton_") && *k != EMPTY_FINAL) {
        return Err(ServeError::invalid(format!(
            "parameter keys starting with 'triton_' are reserved for the server's use, found '{key}'; rename it"
        )));
    }
    parameters::switch(own, EMPTY_FINAL)?;
    parameters::sequence_id(own)?;
    parameters::switch(own, "sequence_start")?;
    parameters::switch(own, "sequence_end")?;
    let priority = parameters::number(own, "priority")?.unwrap_or(0);
    let timeout = parameters::number(own, "timeout")?.filter(|t| *t > 0).map(Duration::from_micros);
    let mut raw =
        Raw { sent: request.raw_input_contents.len(), contents: request.raw_input_contents.into_iter() };
    let model = request.model_name;
    let mut inputs = Vec::with_capacity(request.inputs.len());
    for tensor in request.inputs {
        inputs.push(input(shm, &model, tensor, &mut raw)?);
    }
    if raw.contents.len() > 0 {
        return Err(ServeError::invalid(format!(
            "expected {} entries in raw_input_contents for model '{model}', one for each input that is not in shared \
             memory, got {}",
            raw.sent - raw.contents.len(),
            raw.sent
        )));
    }
    let mut places = Places::new();
    let mut outputs = Vec::with_capacity(request.outputs.len());
    for requested in request.outputs {
        outputs.push(output(requested, &mut places)?);
    }
    let request = InferRequest {
        model,
        version: request.model_version,
        id: request.id,
        inputs,
        outputs,
        priority,
        timeout,
    };
    Ok((request, places))
}

/// The entries of `raw_input_contents` that no input has taken yet.
struct Raw {
    sent: usize,
    contents: std::vec::IntoIter<Bytes>,
}

fn input(
    shm: &SharedMemory,
    model: &str,
    tensor: InferInputTensor,
    raw: &mut Raw,
) -> Result<InputTensor, ServeError> {
    let InferInputTensor { name, datatype, shape, parameters, contents } = tensor;
    let Some(datatype) = Datatype::parse(&datatype) else {
        return Err(ServeError::invalid(format!(
            "invalid datatype '{datatype}' for input '{name}' of model '{model}'; there are {}",
            Datatype::ALL.iter().map(|d| d.name()).collect::<Vec<_>>().join(", ")
        )));
    };
    let place =
        if parameters.is_empty() { None } else { Place::of(&parameters, &format!("input '{name}'"))? };
    let data = match (place, contents) {
        (Some(_), Some(_)) => {
            return Err(ServeError::invalid(format!(
                "contents field must not be specified for input '{name}' of model '{model}', which is in shared memory"
            )));
        }
        (Some(place), None) => shm.payload(&place.region, place.offset, place.byte_size)?,
        (None, Some(_)) if raw.sent > 0 => {
            return Err(ServeError::invalid(format!(
                "contents field must not be specified when using raw_input_contents for '{name}' for model '{model}'"
            )));
        }
        (None, None) if raw.sent > 0 => raw.contents.next().ok_or_else(|| {
            ServeError::invalid(format!(
                "raw_input_contents has {} entries, but model '{model}' is sent more inputs that are not in shared \
                 memory, '{name}' among them",
                raw.sent
            ))
        })?.into(),
        (None, contents) => contents::bytes(datatype, &contents.unwrap_or_default()).map_err(|e| {
            ServeError::invalid(format!("input '{name}' of type '{datatype}' for model '{model}': {e}"))
        })?.into(),
    };
    Ok(InputTensor { name, datatype, shape, data })
}

fn output(requested: InferRequestedOutputTensor, places: &mut Places) -> Result<RequestedOutput, ServeError> {
    let InferRequestedOutputTensor { name, parameters } = requested;
    if parameters.is_empty() {
        return Ok(RequestedOutput { name, classes: 0 });
    }
    let classes = match parameters::number(&parameters, "classification")? {
        Some(0) => {
            let message =
                format!("'classification' of output '{name}' is 0, expected the number of classes wanted");
            return Err(ServeError::invalid(message));
        }
        classes => usize::try_from(classes.unwrap_or(0)).unwrap_or(usize::MAX),
    };
    if let Some(place) = Place::of(&parameters, &format!("output '{name}'"))? {
        places.insert(name.clone(), place);
    }
    Ok(RequestedOutput { name, classes })
}

fn response(
    shm: &SharedMemory,
    id: String,
    places: &Places,
    response: InferResponse,
) -> Result<ModelInferResponse, ServeError> {
    let mut outputs = Vec::with_capacity(response.outputs.len());
    let mut raw_output_contents = Vec::with_capacity(response.outputs.len());
    for output in response.outputs {
        let buffer = output.buffer;
        let mut tensor = InferOutputTensor {
            name: output.name.as_ref().to_owned(),
            datatype: buffer.datatype().name().to_owned(),
            shape: buffer.shape().iter().map(|d| *d as i64).collect(),
            ..Default::default()
        };
        let mut raw = buffer.into_data();
        if let Some(place) = places.get(&tensor.name) {
            let written = shm.write(&place.region, place.offset, place.byte_size, &raw);
            written.map_err(|e| ServeError::new(e.code, format_args!("output '{}': {e}", tensor.name)))?;
            tensor.parameters = [
                (REGION, string_param(&place.region)),
                (OFFSET, number_param(place.offset)),
                (BYTE_SIZE, number_param(raw.len() as u64)),
            ]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
            // Clients index this list by output.
            raw = Bytes::new();
        }
        outputs.push(tensor);
        raw_output_contents.push(raw);
    }
    let parameters = BTreeMap::from([
        ("hypersonic_backend".to_owned(), string_param(response.backend.as_ref())),
        ("hypersonic_exact".to_owned(), bool_param(response.exact)),
    ]);
    Ok(ModelInferResponse {
        model_name: response.model.as_ref().to_owned(),
        model_version: response.version.to_string(),
        id,
        parameters,
        outputs,
        raw_output_contents,
    })
}
