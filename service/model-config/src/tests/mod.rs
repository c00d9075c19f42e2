//! Both forms, by what is published of them.

mod json;
mod pbtxt;
mod whole;

use crate::{ModelConfig, parse_pbtxt};

/// A configuration as people write them.
const TAGGER: &str = r#"
# Jets in, scores out.
name: "tagger"
platform: "onnxruntime_onnx"
max_batch_size : 64
input [
  {
    name: "points"   # eta, phi
    data_type: TYPE_FP32
    dims: [ 2, -1 ]
  },
  {
    name: "mask"
    data_type: TYPE_BOOL
    dims: 1
    dims: -1
    optional: true
  }
]
output [
  {
    name: "softmax"
    data_type: TYPE_FP32
    dims: [ 10 ]
    label_filename: "labels.txt"
  }
]
version_policy: { specific { versions: [ 1, 3 ] } }
instance_group [
  { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] }
]
dynamic_batching {
  preferred_batch_size: [ 16, 64 ]
  max_queue_delay_microseconds: 0x64
  priority_levels: 18446744073709551615
  default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 500000 }
  priority_queue_policy: [ { key: 4294967296 value: { max_queue_size: 010 } } ]
}
parameters: {
  key: "backends"
  value: { string_value: "xrt,"
                         'emulator' }
}
parameters [ { key: "raw", value: < string_value: "tr\165\x65\n\u00e9" > } ];
model_repository_agents { agents [ { name: "checksum"
  parameters { key: "MD5:1/model.onnx", value: "d41d8cd98f00b204e9800998ecf8427e" } } ] }
"#;

fn tagger() -> ModelConfig {
    parse_pbtxt(TAGGER).unwrap()
}
