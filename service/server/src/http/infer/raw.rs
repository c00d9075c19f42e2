//! A request that is a tensor and nothing else: what it is says the model.

use bytes::Bytes;
use hs_serve::{InferRequest, InputTensor, Port, Server};

use super::{Asked, HttpError, Target, Wanted, elements};

/// The request of a `body`; its outputs are binary.
pub(super) fn parse(server: &Server, target: &Target<'_>, body: Bytes) -> Result<Asked, HttpError> {
    let model = server.model(&target.name, target.version)?;
    let spec = model.spec();
    let [port] = spec.inputs.as_slice() else {
        return Err(HttpError::bad(format_args!(
            "a body that is one tensor (Inference-Header-Content-Length 0) needs a model with one input, but model \
             '{}' has {}",
            spec.name,
            spec.inputs.len()
        )));
    };
    let input = tensor(port, spec.max_batch > 0, body)?;
    let request = InferRequest {
        model: target.name.clone().into_owned(),
        inputs: vec![input],
        ..InferRequest::default()
    };
    Ok(Asked { request, wanted: Wanted { binary: true, outputs: Vec::new() } })
}

/// A batch of one. The size of one free axis follows from the length of `body`.
fn tensor(port: &Port, batched: bool, body: Bytes) -> Result<InputTensor, HttpError> {
    let name = &port.name;
    let mut dims = port.dims.clone();
    let data = if let Some(size) = port.datatype.size() {
        let mut free = dims.iter_mut().filter(|d| **d < 0);
        match (free.next(), free.next()) {
            (Some(axis), None) => {
                *axis = 1;
                let rest = elements(name, &dims)?.saturating_mul(size).max(1);
                let axis = dims.iter().zip(&port.dims).position(|(_, d)| *d < 0).unwrap_or(0);
                dims[axis] = i64::try_from(body.len() / rest).unwrap_or(i64::MAX);
            }
            (None, _) => {}
            (Some(_), Some(_)) => {
                return Err(HttpError::bad(format_args!(
                    "the shape of input '{name}', {:?}, does not follow from a body of {} bytes; say it in JSON",
                    port.dims,
                    body.len()
                )));
            }
        }
        body
    } else {
        // One string: the body, without a length before it.
        let length = u32::try_from(body.len()).ok().filter(|_| dims.iter().all(|d| *d == 1));
        let Some(length) = length else {
            return Err(HttpError::bad(format_args!(
                "For BYTE datatype raw input '{name}', the model must have input shape [1]; it has {:?}",
                port.dims
            )));
        };
        [&length.to_le_bytes()[..], &body].concat().into()
    };
    if batched {
        dims.insert(0, 1);
    }
    Ok(InputTensor { name: String::from(&**name), datatype: port.datatype, shape: dims, data: data.into() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hs_runtime::Datatype;

    use super::*;

    fn port(datatype: Datatype, dims: &[i64]) -> Port {
        Port {
            name: Arc::from("x"),
            datatype,
            dims: dims.to_vec(),
            reshape: None,
            optional: false,
            labels: Vec::new(),
        }
    }

    #[test]
    fn the_shape_follows_from_the_model_and_the_length() {
        let shape = |datatype, dims: &[i64], batched, size: usize| {
            let port = port(datatype, dims);
            tensor(&port, batched, vec![7; size].into()).map(|t| t.shape).map_err(|e| e.message)
        };
        assert_eq!(shape(Datatype::Fp32, &[4], true, 16).unwrap(), [1, 4]);
        assert_eq!(shape(Datatype::Fp32, &[4], false, 16).unwrap(), [4]);
        assert_eq!(shape(Datatype::Fp32, &[2, -1], false, 24).unwrap(), [2, 3]);
        assert_eq!(shape(Datatype::Int8, &[-1], true, 5).unwrap(), [1, 5]);
        // What does not fit is for the core to say.
        assert_eq!(shape(Datatype::Fp32, &[4], true, 3).unwrap(), [1, 4]);
        assert_eq!(shape(Datatype::Fp32, &[0, -1], false, 8).unwrap(), [0, 8]);
        assert!(shape(Datatype::Fp32, &[-1, -1], true, 16).unwrap_err().contains("does not follow"));
    }

    #[test]
    fn a_body_is_one_string() {
        let t = tensor(&port(Datatype::Bytes, &[1]), true, Bytes::from_static(b"ab")).unwrap();
        assert_eq!((t.shape, &t.data.bytes().unwrap()[..]), (vec![1, 1], &b"\x02\0\0\0ab"[..]));
        for dims in [&[-1][..], &[2]] {
            let e = tensor(&port(Datatype::Bytes, dims), false, Bytes::from_static(b"ab")).unwrap_err();
            assert!(e.message.contains("must have input shape [1]"), "{}", e.message);
        }
    }
}
