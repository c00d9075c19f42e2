//! Answers: JSON, and binary tensors after it.

use std::{io::Write, sync::Arc};

use bytes::Bytes;
use hs_serve::{InferResponse, OutputTensor, ServeError, Server};

use super::{Answer, Form, HttpError, Wanted, json, offload};

/// Bytes of tensors that are printed as JSON where they are; more would keep other connections waiting.
const SHORT: usize = 16 << 10;

/// The answer in the form that was wanted; `id` is what the client called the request, empty: nothing.
pub(super) async fn print(
    server: &Arc<Server>,
    answer: InferResponse,
    id: String,
    wanted: Wanted,
) -> Result<Answer, HttpError> {
    let outputs = answer.outputs.iter().enumerate();
    let printed = outputs.filter(|(at, _)| *wanted.form(*at) == Form::Json);
    let size: usize = printed.map(|(_, o)| o.buffer.data().len()).sum();
    if size <= SHORT {
        return print_now(server, &answer, &id, &wanted);
    }
    let server = Arc::clone(server);
    offload(true, move || print_now(&server, &answer, &id, &wanted)).await
}

impl Wanted {
    fn form(&self, at: usize) -> &Form {
        let default = if self.binary { &Form::Binary } else { &Form::Json };
        self.outputs.get(at).unwrap_or(default)
    }
}

fn print_now(
    server: &Server,
    answer: &InferResponse,
    id: &str,
    wanted: &Wanted,
) -> Result<Answer, HttpError> {
    let mut json = Vec::with_capacity(512);
    let mut tensors = Vec::new();
    json.push(b'{');
    if !id.is_empty() {
        field(&mut json, "id", id);
        json.push(b',');
    }
    field(&mut json, "model_name", &answer.model);
    put(&mut json, format_args!(",\"model_version\":\"{}\",\"parameters\":{{", answer.version));
    field(&mut json, "hypersonic_backend", &answer.backend);
    put(&mut json, format_args!(",\"hypersonic_exact\":{}}},\"outputs\":[", answer.exact));
    for (at, output) in answer.outputs.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        print_output(server, output, wanted.form(at), &mut json, &mut tensors)?;
    }
    json.extend_from_slice(b"]}");
    Ok(Answer::tensors(json, tensors))
}

fn print_output(
    server: &Server,
    output: &OutputTensor,
    form: &Form,
    to: &mut Vec<u8>,
    tensors: &mut Vec<Bytes>,
) -> Result<(), HttpError> {
    let data = output.buffer.data();
    let datatype = output.buffer.datatype();
    to.push(b'{');
    field(to, "name", &output.name);
    put(to, format_args!(",\"datatype\":\"{datatype}\",\"shape\":["));
    for (at, size) in output.buffer.shape().iter().enumerate() {
        put(to, format_args!("{}{size}", if at > 0 { "," } else { "" }));
    }
    to.push(b']');
    match form {
        Form::Json => {
            to.extend_from_slice(b",\"data\":");
            json::write(datatype, data, to).map_err(|e| {
                HttpError::bad(format_args!(
                    "output '{}', {datatype}: {e}; ask for it as binary data, with 'binary_data' in its 'parameters'",
                    output.name
                ))
            })?;
        }
        Form::Binary => {
            put(to, format_args!(",\"parameters\":{{\"binary_data_size\":{}}}", data.len()));
            tensors.push(data.clone());
        }
        Form::Shared(place) => {
            let written = server.shm().write(&place.region, place.offset, place.byte_size, data);
            written.map_err(|e| ServeError::new(e.code, format_args!("output '{}': {e}", output.name)))?;
            // No parameters: C++ clients take those of an output for binary data's.
        }
    }
    to.push(b'}');
    Ok(())
}

/// `"name":"text"`; the name needs no escapes.
fn field(to: &mut Vec<u8>, name: &str, text: &str) {
    put(to, format_args!("\"{name}\":"));
    // Strings can be written, and memory takes what is written to it.
    let _ = serde_json::to_writer(to, text);
}

fn put(to: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = to.write_fmt(text);
}
