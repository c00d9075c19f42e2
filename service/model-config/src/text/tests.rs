use crate::{DataType, ModelConfig, model_config::SchedulingChoice, parse_pbtxt, to_pbtxt};

fn error(text: &str) -> String {
    parse_pbtxt(text).unwrap_err().to_string()
}

#[test]
fn smoke() {
    let text = r#"
# A tagger.
name: "tagger" platform: 'onnxruntime_onnx'
max_batch_size: 0x400
input [
  {
    name: "x"   # points
    data_type: TYPE_FP32
    dims: [ -1, 2 ]
  },
  { name: "mask" data_type: TYPE_BOOL dims: 10 dims: 1 }
]
output { name: "y" data_type: 11 dims: [2] }
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
parameters { key: "backends" value: { string_value: "xrt," "emulator" } }
parameters [ { key: "raw"; value < string_value: "tr\165e\n" > } ]
"#;
    let config = parse_pbtxt(text).unwrap();
    assert_eq!(config.max_batch_size, 1024);
    assert_eq!(config.input[1].dims, [10, 1]);
    assert_eq!(config.output[0].data_type(), DataType::TypeFp32);
    assert_eq!(config.parameters["raw"].string_value, "true\n");
    let Some(SchedulingChoice::DynamicBatching(batching)) = &config.scheduling_choice else { panic!() };
    assert_eq!(batching.preferred_batch_size, [4, 8]);
    assert_eq!(parse_pbtxt(&to_pbtxt(&config)).unwrap(), config);
    insta::assert_snapshot!(to_pbtxt(&config));
    assert_eq!(parse_pbtxt("").unwrap(), ModelConfig::default());
    println!("{}", error("name: \"a\"\n  max_batchsize: 8"));
}
