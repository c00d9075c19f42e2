use serde_json::json;

use super::tagger;
use crate::{ConfigError, MAX_BYTES, ModelConfig, from_json, parse_pbtxt, to_json};

fn error(text: &str) -> String {
    from_json(text).unwrap_err().to_string()
}

/// The form of a real server's answer for a model with an input, an output, batching and an instance group.
#[test]
fn the_answer_of_the_config_call() {
    let config = parse_pbtxt(
        r#"name: "m" platform: "onnxruntime_onnx" backend: "onnxruntime" max_batch_size: 4
           version_policy { latest { num_versions: 1 } }
           input { name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] }
           output { name: "y" data_type: TYPE_FP32 dims: 10 }
           optimization { input_pinned_memory { enable: true } output_pinned_memory { enable: true } }
           dynamic_batching { preferred_batch_size: 4 max_queue_delay_microseconds: 18446744073709551615 }
           instance_group { name: "m_0" kind: KIND_CPU count: 2 }
           default_model_filename: "model.onnx" parameters { key: "k" value { string_value: "v" } }"#,
    )
    .unwrap();
    let expected = json!({
        "name": "m", "platform": "onnxruntime_onnx", "backend": "onnxruntime", "runtime": "",
        "version_policy": {"latest": {"num_versions": 1}}, "max_batch_size": 4,
        "input": [{
            "name": "x", "data_type": "TYPE_FP32", "format": "FORMAT_NONE", "dims": [3, -1],
            "is_shape_tensor": false, "allow_ragged_batch": false, "optional": false,
            "is_non_linear_format_io": false
        }],
        "output": [{
            "name": "y", "data_type": "TYPE_FP32", "dims": [10], "label_filename": "", "is_shape_tensor": false,
            "is_non_linear_format_io": false
        }],
        "batch_input": [], "batch_output": [],
        "optimization": {
            "priority": "PRIORITY_DEFAULT", "input_pinned_memory": {"enable": true},
            "output_pinned_memory": {"enable": true}, "gather_kernel_buffer_threshold": 0, "eager_batching": false
        },
        "dynamic_batching": {
            "preferred_batch_size": [4], "max_queue_delay_microseconds": 18_446_744_073_709_551_615_u64,
            "preserve_ordering": false, "priority_levels": 0, "default_priority_level": 0,
            "priority_queue_policy": {}
        },
        "instance_group": [{
            "name": "m_0", "kind": "KIND_CPU", "count": 2, "gpus": [], "secondary_devices": [], "profile": [],
            "passive": false, "host_policy": ""
        }],
        "default_model_filename": "model.onnx", "cc_model_filenames": {}, "metric_tags": {},
        "parameters": {"k": {"string_value": "v"}}, "model_warmup": []
    });
    assert_eq!(to_json(&config), expected);
    assert_eq!(from_json(&expected.to_string()), Ok(config));
}

#[test]
fn what_is_written_reads_back() {
    assert_eq!(from_json(&to_json(&tagger()).to_string()), Ok(tagger()));
    assert_eq!(from_json("{}"), Ok(ModelConfig::default()));
}

#[test]
fn protobufs_other_spellings_are_read() {
    let expected = parse_pbtxt(
        "max_batch_size: 8 input { data_type: TYPE_INT8 dims: [ -1 ] }
         dynamic_batching { max_queue_delay_microseconds: 100 priority_queue_policy { key: 7 } }",
    );
    for text in [
        r#"{"max_batch_size": 8, "input": [{"data_type": "TYPE_INT8", "dims": ["-1"]}],
            "dynamic_batching": {"max_queue_delay_microseconds": "100", "priority_queue_policy": {"7": {}}}}"#,
        r#"{"maxBatchSize": 8.0, "input": [{"dataType": 6, "dims": [-1], "name": null}], "runtime": null,
            "dynamicBatching": {"maxQueueDelayMicroseconds": 1e2, "priorityQueuePolicy": {"7": {}}}}"#,
    ] {
        assert_eq!(from_json(text), expected);
    }
}

#[test]
fn floats_are_written_as_short_as_they_are_read() {
    let text = r#"{"sequence_batching": {"direct": {"minimum_slot_utilization": 0.1}}}"#;
    let written = to_json(&from_json(text).unwrap());
    assert_eq!(written["sequence_batching"]["direct"]["minimum_slot_utilization"], json!(0.1));
    let text = text.replace("0.1", "\"-Infinity\"");
    let written = to_json(&from_json(&text).unwrap());
    assert_eq!(written["sequence_batching"]["direct"]["minimum_slot_utilization"], json!("-Infinity"));
}

#[test]
fn errors_say_where_what_and_what_else() {
    let cases = [
        (r#"{"max_batch": 8}"#, "config: ModelConfig has no field 'max_batch': there are "),
        (r#"{"inputs": []}"#, "config: ModelConfig has no field 'inputs': did you mean 'input'?"),
        (
            r#"{"input": [{}, {"dim": 1}]}"#,
            "config.input[1]: ModelInput has no field 'dim': did you mean 'dims'?",
        ),
        (
            r#"{"input": [{"dims": [1, "x"]}]}"#,
            "config.input[0].dims[1]: found \"x\", expected an integer of -9223372036854775808 to 9223372036854775807",
        ),
        (r#"{"input": {}}"#, "config.input: found an object, expected a list"),
        (r#"{"parameters": {"a": "b"}}"#, "config.parameters[\"a\"]: found \"b\", expected an object"),
        (r#"{"parameters": []}"#, "config.parameters: found a list, expected an object"),
        (
            r#"{"max_batch_size": 3000000000}"#,
            "config.max_batch_size: found 3000000000, expected an integer of -2147483648 to 2147483647",
        ),
        (
            r#"{"max_batch_size": 1.5}"#,
            "config.max_batch_size: found 1.5, expected an integer of -2147483648 to 2147483647",
        ),
        (
            r#"{"instance_group": [{"kind": "KIND_GPUS"}]}"#,
            "config.instance_group[0].kind: 'KIND_GPUS' is not a Kind: did you mean 'KIND_GPU'?",
        ),
        (r#"{"name": 5}"#, "config.name: found 5, expected a string in quotes"),
        (
            r#"{"name": "a", "maxBatchSize": 1, "max_batch_size": 2}"#,
            "config: 'max_batch_size' is set a second time, but is not a list: keep one of them",
        ),
        (
            r#"{"dynamic_batching": {}, "ensemble_scheduling": {}}"#,
            "config: 'ensemble_scheduling' and 'dynamic_batching' exclude each other: keep one of them",
        ),
        (
            r#"{"sequence_batching": {"direct": {"minimum_slot_utilization": 1e39}}}"#,
            "config.sequence_batching.direct.minimum_slot_utilization: found 1e+39, expected a number",
        ),
        ("[]", "config: found a list, expected an object"),
        ("{\n \"name\": }", "line 2, column 10: not valid JSON: expected value"),
        ("", "line 1, column 0: not valid JSON: EOF while parsing a value"),
    ];
    for (text, expected) in cases {
        let found = error(text);
        assert!(found.starts_with(expected), "{text}: {found}");
    }
}

#[test]
fn hostile_json_is_an_error() {
    for part in ["[", "{\"input\":", "{\"input\":[", "{\"a\":"] {
        assert!(error(&part.repeat(50_000)).contains("not valid JSON: recursion limit exceeded"), "{part}");
    }
    assert_eq!(from_json(&" ".repeat(MAX_BYTES + 1)), Err(ConfigError::TooLong { bytes: MAX_BYTES + 1 }));
}
