//! Inference: from a body to a request, from an answer to a body.

mod json;
mod raw;
mod request;
mod response;

use std::sync::Arc;

use axum::http::{HeaderMap, request::Parts};
use bytes::Bytes;
use hs_serve::{InferRequest, Server};

use crate::net;

use super::{
    answer::{Answer, HEADER_LENGTH},
    error::HttpError,
    offload::offload,
    routes::Target,
};

/// A request, and how the client wants its answer.
#[derive(Debug)]
struct Asked {
    request: InferRequest,
    wanted: Wanted,
}

/// How a client wants the outputs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    /// Of outputs that the request does not name.
    binary: bool,
    /// Of the outputs that it names, in its order; empty: none.
    outputs: Vec<Form>,
}

/// The form of one output.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// In the JSON.
    Json,
    /// After the JSON.
    Binary,
    /// In shared memory.
    Shared(Place),
}

/// A place in shared memory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    region: String,
    offset: u64,
    byte_size: u64,
}

/// Bytes of JSON that are parsed where they are; more of them would keep other connections waiting.
const SHORT_JSON: usize = 64 << 10;

/// Answers an inference request.
pub(super) async fn infer(
    server: &Arc<Server>,
    target: &Target<'_>,
    parts: &Parts,
    body: Bytes,
) -> Result<Answer, HttpError> {
    let Asked { mut request, wanted } = match json_length(&parts.headers, body.len())? {
        0 => raw::parse(server, target, body)?,
        length if length <= SHORT_JSON => request::parse(&target.name, server.shm(), &body, length)?,
        length => {
            let (server, model) = (Arc::clone(server), target.name.clone().into_owned());
            offload(true, move || request::parse(&model, server.shm(), &body, length)).await?
        }
    };
    request.version = target.version.to_owned();
    let id = request.id.clone();
    let trace = net::trace_of(&parts.extensions);
    let answer = net::infer(server, trace.map(|t| &**t), request).await?;
    response::print(server, answer, id, wanted).await
}

/// Bytes of JSON at the start of a body of `size` bytes; 0: the body is a tensor and nothing else.
fn json_length(headers: &HeaderMap, size: usize) -> Result<usize, HttpError> {
    let Some(value) = headers.get(HEADER_LENGTH) else {
        if size == 0 {
            return Err(HttpError::bad("failed to parse the request JSON buffer: the body is empty"));
        }
        return Ok(size);
    };
    let digits = value.to_str().ok().map(str::trim).filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|v| v.parse().ok()) {
        Some(length) if length <= size => Ok(length),
        Some(length) => Err(HttpError::bad(format_args!(
            "inference header size should be in range (0, {size}), got: {length}"
        ))),
        None => Err(HttpError::bad(format_args!(
            "Inference-Header-Content-Length is {value:?}, expected the number of JSON bytes before binary tensors"
        ))),
    }
}

/// Elements of a shape that a client wrote for the tensor `name`.
fn elements(name: &str, shape: &[i64]) -> Result<usize, HttpError> {
    let mut count = 1usize;
    for size in shape {
        let size = usize::try_from(*size).ok();
        let product = size.and_then(|size| count.checked_mul(size));
        count = product.ok_or_else(|| {
            HttpError::bad(format_args!("input '{name}' has the shape {shape:?}, which no tensor can have"))
        })?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_of_a_body_is_json() {
        let length = |header: Option<&str>, size| {
            let mut headers = HeaderMap::new();
            headers.extend(header.map(|h| (HEADER_LENGTH, h.parse().unwrap())));
            json_length(&headers, size).map_err(|e| e.message)
        };
        assert_eq!(length(None, 7), Ok(7));
        assert_eq!(length(Some("0"), 7), Ok(0));
        assert_eq!(length(Some("0"), 0), Ok(0));
        assert_eq!(length(Some("5"), 7), Ok(5));
        assert_eq!(length(Some("7"), 7), Ok(7));
        for (header, size, why) in [
            (None, 0, "is empty"),
            (Some("8"), 7, "in range (0, 7), got: 8"),
            (Some("abc"), 7, "is \"abc\""),
            (Some(""), 7, "is \"\""),
            (Some("-1"), 7, "is \"-1\""),
            (Some("+1"), 7, "is \"+1\""),
            (Some("99999999999999999999999"), 7, "is \"99999999999999999999999\""),
        ] {
            let message = length(header, size).unwrap_err();
            assert!(message.contains(why), "{message}");
        }
    }

    #[test]
    fn shapes_of_clients() {
        assert_eq!(elements("x", &[]).unwrap(), 1);
        assert_eq!(elements("x", &[2, 3]).unwrap(), 6);
        assert_eq!(elements("x", &[i64::MAX, 0]).unwrap(), 0);
        for shape in [&[-1, 2][..], &[i64::MAX, 3], &[1 << 32, 1 << 32]] {
            assert!(elements("x", shape).unwrap_err().message.contains("input 'x' has the shape"));
        }
    }
}
