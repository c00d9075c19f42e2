//! Requests that start with JSON.

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;
use hs_runtime::Datatype;
use hs_serve::{InferRequest, InputTensor, RequestedOutput, SharedMemory};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{super::object::Object, Asked, Form, HttpError, Place, Wanted, elements, json};

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(default)]
    id: String,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<Object<Input<'a>>>,
    #[serde(default)]
    outputs: Vec<Object<Output>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    shape: Vec<i64>,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    #[serde(default)]
    parameters: Object<InputParameters>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InputParameters {
    binary_data_size: Option<usize>,
    shared_memory_region: Option<String>,
    shared_memory_offset: u64,
    shared_memory_byte_size: Option<u64>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Object<OutputParameters>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OutputParameters {
    classification: usize,
    binary_data: Option<bool>,
    shared_memory_region: Option<String>,
    shared_memory_offset: u64,
    shared_memory_byte_size: Option<u64>,
}

/// The parameters of a request that mean something here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parameters {
    binary_data_output: bool,
    priority: u64,
    timeout: u64,
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Parameters;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameters, A::Error> {
                let mut known = Parameters::default();
                while let Some(key) = map.next_key::<String>()? {
                    let of = |e: A::Error| A::Error::custom(format_args!("parameter '{key}': {e}"));
                    match key.as_str() {
                        "binary_data_output" => known.binary_data_output = map.next_value().map_err(of)?,
                        "priority" => known.priority = map.next_value().map_err(of)?,
                        "timeout" => known.timeout = map.next_value().map_err(of)?,
                        // Each request gives one answer, which is its last.
                        "sequence_start" | "sequence_end" | "triton_enable_empty_final_response" => {
                            map.next_value::<bool>()?;
                        }
                        key if key.starts_with("triton_") => {
                            return Err(A::Error::custom(format_args!(
                                "parameter keys starting with 'triton_' are reserved for Triton usage, and '{key}' \
                                 is none of its"
                            )));
                        }
                        key => match map.next_value()? {
                            Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
                            Value::Null | Value::Array(_) | Value::Object(_) => {
                                return Err(A::Error::custom(format_args!(
                                    "parameter '{key}' has invalid type. It should be either 'int', 'bool', or \
                                     'string'"
                                )));
                            }
                        },
                    }
                }
                Ok(known)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// The request in a `body` whose first `length` bytes are JSON. Binary tensors are parts of the body, not copies.
pub(super) fn parse(
    model: &str,
    shm: &SharedMemory,
    body: &Bytes,
    length: usize,
) -> Result<Asked, HttpError> {
    let text = &body[..length];
    let Object(wire) = serde_json::from_slice::<Object<Wire<'_>>>(text).map_err(|e| unreadable(text, &e))?;
    let mut rest = body.slice(length..);
    let mut inputs = Vec::with_capacity(wire.inputs.len());
    for Object(input) in wire.inputs {
        inputs.push(tensor(input, shm, &mut rest)?);
    }
    if !rest.is_empty() {
        return Err(HttpError::bad(format_args!(
            "unexpected additional input data for model '{model}': {} bytes after those of the inputs",
            rest.len()
        )));
    }
    let binary = wire.parameters.binary_data_output;
    let mut outputs = Vec::with_capacity(wire.outputs.len());
    let mut forms = Vec::with_capacity(wire.outputs.len());
    for Object(output) in wire.outputs {
        forms.push(form(&output, binary)?);
        outputs.push(RequestedOutput { name: output.name, classes: output.parameters.0.classification });
    }
    let request = InferRequest {
        id: wire.id,
        model: model.to_owned(),
        inputs,
        outputs,
        priority: wire.parameters.priority,
        timeout: (wire.parameters.timeout > 0).then(|| Duration::from_micros(wire.parameters.timeout)),
        ..InferRequest::default()
    };
    Ok(Asked { request, wanted: Wanted { binary, outputs: forms } })
}

fn unreadable(text: &[u8], error: &serde_json::Error) -> HttpError {
    let words = [&b"NaN"[..], b"Infinity"];
    let hint = if error.is_syntax() && words.iter().any(|w| text.windows(w.len()).any(|t| t == *w)) {
        "; JSON has neither NaN nor infinity: send such tensors as binary data"
    } else {
        ""
    };
    HttpError::bad(format_args!("failed to parse the request JSON buffer: {error}{hint}"))
}

/// The tensor of an input; a binary one is the start of `rest`.
fn tensor(input: Input<'_>, shm: &SharedMemory, rest: &mut Bytes) -> Result<InputTensor, HttpError> {
    let Input { name, shape, datatype, parameters: Object(parameters), data } = input;
    let Some(datatype) = Datatype::parse(&datatype) else {
        let known: Vec<&str> = Datatype::ALL.iter().map(|d| d.name()).collect();
        return Err(HttpError::bad(format_args!(
            "invalid datatype for input '{name}': '{datatype}', expected one of {}",
            known.join(", ")
        )));
    };
    let data = match (data, parameters.binary_data_size, parameters.shared_memory_region) {
        (Some(data), None, None) => {
            let count = elements(&name, &shape)?;
            let read = json::read(datatype, count, data);
            read.map_err(|e| HttpError::bad(format_args!("input '{name}', {datatype}: {e}")))?.into()
        }
        (None, Some(size), None) if size <= rest.len() => rest.split_to(size).into(),
        (None, Some(size), None) => {
            return Err(HttpError::bad(format_args!(
                "unexpected size for input '{name}', expecting {} additional bytes: 'binary_data_size' is {size}, the \
                 body has {} bytes for it",
                size - rest.len(),
                rest.len()
            )));
        }
        (None, None, Some(region)) => {
            let place =
                place(&name, region, parameters.shared_memory_offset, parameters.shared_memory_byte_size)?;
            shm.payload(&place.region, place.offset, place.byte_size)?
        }
        (data, size, region) => {
            let set = [
                data.map(|_| "'data'"),
                size.map(|_| "'binary_data_size'"),
                region.map(|_| "'shared_memory_region'"),
            ];
            let set: Vec<&str> = set.into_iter().flatten().collect();
            let found =
                if set.is_empty() { "no field is set".to_owned() } else { format!("set {}", set.join(" ")) };
            return Err(HttpError::bad(format_args!(
                "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', \
                 'shared_memory_region' in 'parameters'. But {found} for input '{name}'"
            )));
        }
    };
    Ok(InputTensor { name, datatype, shape, data })
}

fn place(tensor: &str, region: String, offset: u64, byte_size: Option<u64>) -> Result<Place, HttpError> {
    let byte_size = byte_size.ok_or_else(|| {
        HttpError::bad(format_args!(
            "'{tensor}' is in the shared memory region '{region}', but 'shared_memory_byte_size' is missing"
        ))
    })?;
    Ok(Place { region, offset, byte_size })
}

fn form(output: &Output, binary: bool) -> Result<Form, HttpError> {
    let Object(parameters) = &output.parameters;
    if let Some(region) = &parameters.shared_memory_region {
        if parameters.binary_data == Some(true) {
            return Err(HttpError::bad(format_args!(
                "output '{}' must set only one of 'binary_data' and 'shared_memory_region' in 'parameters'",
                output.name
            )));
        }
        let place = place(
            &output.name,
            region.clone(),
            parameters.shared_memory_offset,
            parameters.shared_memory_byte_size,
        )?;
        return Ok(Form::Shared(place));
    }
    Ok(if parameters.binary_data.unwrap_or(binary) { Form::Binary } else { Form::Json })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str, binary: &[u8]) -> Result<Asked, HttpError> {
        let body = Bytes::from([text.as_bytes(), binary].concat());
        parse("m", &SharedMemory::new(false), &body, text.len())
    }

    #[test]
    fn all_that_a_request_can_say() {
        let text = r#"{
            "id": "x\u00e9", "other": [],
            "parameters": {
                "priority": 2, "timeout": 1500, "binary_data_output": true, "sequence_id": "s",
                "sequence_start": true, "triton_enable_empty_final_response": false, "mine": 1.5
            },
            "inputs": [
                {"shape": [1, 2], "data": [[1, 2]], "datatype": "INT8", "name": "a"},
                {"name": "b", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4, "other": {}}},
                {"name": "c", "shape": [0], "datatype": "FP32", "parameters": {"binary_data_size": 0}},
                {"name": "d", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 5}}
            ],
            "outputs": [
                {"name": "y"},
                {"name": "z", "parameters": {"binary_data": false, "classification": 3}},
                {"name": "w", "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 8}}
            ]
        }"#;
        let Asked { request, wanted } = parsed(text, b"\0\0\x80\x3f\x01\0\0\0q").unwrap();
        assert_eq!(request.id, "xé");
        assert_eq!((request.priority, request.timeout), (2, Some(Duration::from_micros(1500))));
        let input = |i: &'_ InputTensor| {
            (i.name.clone(), i.datatype.name(), i.shape.clone(), i.data.bytes().unwrap().to_vec())
        };
        let inputs: Vec<_> = request.inputs.iter().map(input).collect();
        assert_eq!(
            inputs,
            [
                ("a".to_owned(), "INT8", vec![1, 2], vec![1, 2]),
                ("b".to_owned(), "FP32", vec![1], vec![0, 0, 0x80, 0x3f]),
                ("c".to_owned(), "FP32", vec![0], vec![]),
                ("d".to_owned(), "BYTES", vec![1], b"\x01\0\0\0q".to_vec()),
            ]
        );
        let outputs: Vec<_> = request.outputs.iter().map(|o| (&*o.name, o.classes)).collect();
        assert_eq!(outputs, [("y", 0), ("z", 3), ("w", 0)]);
        let place = Place { region: "r".to_owned(), offset: 0, byte_size: 8 };
        let outputs = vec![Form::Binary, Form::Json, Form::Shared(place)];
        assert_eq!(wanted, Wanted { binary: true, outputs });
    }

    #[test]
    fn binary_tensors_are_not_copied() {
        let text =
            r#"{"inputs":[{"name":"b","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}"#;
        let body = Bytes::from([text.as_bytes(), &[1, 2, 3, 4]].concat());
        let asked = parse("m", &SharedMemory::new(false), &body, text.len()).unwrap();
        assert_eq!(asked.request.inputs[0].data.bytes().unwrap().as_ptr(), body[text.len()..].as_ptr());
        assert_eq!(asked.wanted, Wanted::default());
        assert_eq!(asked.request.timeout, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let one =
            |fields: &str| format!(r#"{{"inputs":[{{"name":"a","shape":[1],"datatype":"FP32"{fields}}}]}}"#);
        let with = |parameters: &str| format!(r#"{{"inputs":[],"parameters":{parameters}}}"#);
        let output =
            |fields: &str| format!(r#"{{"inputs":[],"outputs":[{{"name":"y","parameters":{fields}}}]}}"#);
        for (text, binary, why) in [
            ("{", &b""[..], "EOF"),
            ("{}", b"", "missing field `inputs`"),
            ("[]", b"", "expected an object"),
            ("[[]]", b"", "expected an object"),
            ("{\"inputs\":[]}}", b"", "trailing characters"),
            ("{\"inputs\":{}}", b"", "expected a sequence"),
            ("{\"inputs\":[[\"a\",[1],\"FP32\"]]}", b"", "expected an object"),
            ("{\"inputs\":[],\"id\":5}", b"", "expected a string"),
            ("{\"inputs\":[],\"inputs\":[]}", b"", "duplicate field `inputs`"),
            ("{\"inputs\":[{\"name\":\"a\"}]}", b"", "missing field `shape`"),
            (r#"{"inputs":[{"name":"a","shape":["x"],"datatype":"FP32"}]}"#, b"", "expected i64"),
            (
                r#"{"inputs":[{"name":"a","shape":[1],"datatype":"FP31"}]}"#,
                b"",
                "invalid datatype for input 'a': 'FP31'",
            ),
            (
                r#"{"inputs":[{"name":"a","shape":[-1],"datatype":"FP32","data":[1]}]}"#,
                b"",
                "input 'a' has the shape [-1]",
            ),
            (&one(""), b"", "But no field is set for input 'a'"),
            (
                &one(r#","data":[1],"parameters":{"binary_data_size":4,"shared_memory_region":"r"}"#),
                b"",
                "But set 'data' 'binary_data_size' 'shared_memory_region' for input 'a'",
            ),
            (&one(r#","data":[1,2]"#), b"", "input 'a', FP32: 'data' has 2 elements, the shape has 1"),
            (&one(r#","data":[NaN]"#), b"", "send such tensors as binary data"),
            (&one(r#","data":[-Infinity]"#), b"", "send such tensors as binary data"),
            (&one(r#","data":[1]"#), b"x", "unexpected additional input data for model 'm': 1 bytes"),
            (
                &one(r#","parameters":{"binary_data_size":4}"#),
                b"x",
                "unexpected size for input 'a', expecting 3 additional bytes",
            ),
            (&one(r#","parameters":{"binary_data_size":-4}"#), b"", "expected usize"),
            (&one(r#","parameters":{"binary_data_size":"4"}"#), b"", "expected usize"),
            (
                &one(r#","parameters":{"shared_memory_region":"r"}"#),
                b"",
                "'shared_memory_byte_size' is missing",
            ),
            (
                &one(r#","parameters":{"shared_memory_region":"r","shared_memory_byte_size":4}"#),
                b"",
                "Unable to find shared memory region: 'r'",
            ),
            (&with(r#"{"triton_x":1}"#), b"", "'triton_x' is none of its"),
            (&with(r#"{"triton_enable_empty_final_response":1}"#), b"", "expected a boolean"),
            (&with(r#"{"x":null}"#), b"", "parameter 'x' has invalid type"),
            (&with(r#"{"x":{}}"#), b"", "parameter 'x' has invalid type"),
            (&with(r#"{"timeout":-1}"#), b"", "expected u64"),
            (&with(r#"{"priority":"high"}"#), b"", "expected u64"),
            (&with("[]"), b"", "expected an object"),
            (&output(r#"{"classification":-1}"#), b"", "expected usize"),
            (&output(r#"{"binary_data":1}"#), b"", "expected a boolean"),
            (&output(r#"{"shared_memory_region":"r"}"#), b"", "'shared_memory_byte_size' is missing"),
            (
                &output(r#"{"binary_data":true,"shared_memory_region":"r","shared_memory_byte_size":4}"#),
                b"",
                "must set only one of",
            ),
        ] {
            let e = parsed(text, binary).unwrap_err();
            assert!(e.message.contains(why), "{text}: {}", e.message);
            let missing = why.starts_with("Unable to find");
            assert_eq!(e.status, if missing { 404 } else { 400 }, "{text}");
        }
        let deep = with(&format!(r#"{{"x":{}1{}}}"#, "[".repeat(1000), "]".repeat(1000)));
        assert!(parsed(&deep, b"").unwrap_err().message.contains("recursion limit"));
        let invalid = Bytes::from_static(b"{\"inputs\":[],\"id\":\"\xff\"}");
        assert!(parse("m", &SharedMemory::new(false), &invalid, invalid.len()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(body in proptest::collection::vec(any::<u8>(), 0..64), cut in 0usize..65) {
            let body = Bytes::from(body);
            let _ = parse("m", &SharedMemory::new(false), &body, cut.min(body.len()));
        }

        /// Bodies near what is right: one byte of a good one changed.
        #[test]
        fn a_changed_byte_is_safe(at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let good = br#"{"id":"1","parameters":{"priority":1},"inputs":[{"name":"a","shape":[2],"datatype":"INT8",
                "data":[1,2]},{"name":"b","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}],
                "outputs":[{"name":"y","parameters":{"binary_data":true}}]}abcd"#;
            let mut body = good.to_vec();
            *at.get_mut(&mut body) = to;
            let _ = parse("m", &SharedMemory::new(false), &Bytes::from(body.clone()), good.len() - 4);
            let cut = cut.index(body.len());
            let _ = parse("m", &SharedMemory::new(false), &Bytes::from(body), cut);
        }
    }
}
