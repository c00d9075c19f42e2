use super::{TAGGER, tagger};
use crate::model_config::SchedulingChoice;
use crate::model_queue_policy::TimeoutAction;
use crate::model_version_policy::PolicyChoice;
use crate::{ConfigError, DataType, MAX_BYTES, ModelConfig, model_instance_group, parse_pbtxt, to_pbtxt};

fn error(text: &str) -> String {
    parse_pbtxt(text).unwrap_err().to_string()
}

#[test]
fn what_people_write_is_read() {
    let config = tagger();
    assert_eq!((config.name.as_str(), config.platform.as_str()), ("tagger", "onnxruntime_onnx"));
    assert_eq!(config.max_batch_size, 64);
    assert_eq!(config.input[0].dims, [2, -1]);
    assert_eq!((config.input[1].data_type(), config.input[1].optional), (DataType::TypeBool, true));
    assert_eq!(config.input[1].dims, [1, -1]);
    assert_eq!(config.output[0].label_filename, "labels.txt");
    let Some(PolicyChoice::Specific(policy)) = config.version_policy.unwrap().policy_choice else { panic!() };
    assert_eq!(policy.versions, [1, 3]);
    let group = &config.instance_group[0];
    assert_eq!(
        (group.count, group.kind(), &group.gpus[..]),
        (2, model_instance_group::Kind::Gpu, &[0, 1][..])
    );
    let Some(SchedulingChoice::DynamicBatching(batching)) = config.scheduling_choice else { panic!() };
    assert_eq!(batching.preferred_batch_size, [16, 64]);
    assert_eq!(batching.max_queue_delay_microseconds, 100);
    assert_eq!(batching.priority_levels, u64::MAX);
    let queue = batching.default_queue_policy.unwrap();
    assert_eq!((queue.timeout_action(), queue.default_timeout_microseconds), (TimeoutAction::Delay, 500_000));
    assert_eq!(batching.priority_queue_policy[&4_294_967_296].max_queue_size, 8);
    assert_eq!(config.parameters["backends"].string_value, "xrt,emulator");
    assert_eq!(config.parameters["raw"].string_value, "true\né");
    let agent = &config.model_repository_agents.unwrap().agents[0];
    assert_eq!(agent.parameters["MD5:1/model.onnx"], "d41d8cd98f00b204e9800998ecf8427e");
}

#[test]
fn what_is_printed_is_stable_and_reads_back() {
    let config = parse_pbtxt(
        r#"parameters { key: "b" value { string_value: "q\"\\\177\t" } } parameters { key: "a" value {} }
           dynamic_batching {} name: "n" input { dims: [-1, 8] data_type: 11 }"#,
    )
    .unwrap();
    let expected = r#"name: "n"
input {
  data_type: TYPE_FP32
  dims: [ -1, 8 ]
}
dynamic_batching {
}
parameters {
  key: "a"
  value {
  }
}
parameters {
  key: "b"
  value {
    string_value: "q\"\\\177\t"
  }
}
"#;
    assert_eq!(to_pbtxt(&config), expected);
    assert_eq!(parse_pbtxt(expected).unwrap(), config);
    assert_eq!(parse_pbtxt(&to_pbtxt(&tagger())).unwrap(), tagger());
}

#[test]
fn the_empty_text_is_the_default() {
    for text in ["", " \r\n\t", "# only a comment", "\u{feff}"] {
        assert_eq!(parse_pbtxt(text).unwrap(), ModelConfig::default(), "{text:?}");
    }
    assert_eq!(to_pbtxt(&ModelConfig::default()), "");
}

#[test]
fn separators_brackets_and_numbers_of_the_form() {
    let read = |text: &str| parse_pbtxt(text).unwrap();
    for text in [
        "input{dims:[1,2]}",
        "input<dims:1,dims:2>",
        "input:[{dims:1;dims:2;}],",
        "\u{feff}input [\r\n{ dims: [0x1, 02] }\r\n]",
    ] {
        assert_eq!(read(text).input[0].dims, [1, 2], "{text}");
    }
    assert_eq!(read("input [] output: []"), ModelConfig::default());
    let slots = |text: &str| {
        let text = format!("sequence_batching {{ direct {{ minimum_slot_utilization: {text} }} }}");
        let Some(SchedulingChoice::SequenceBatching(batching)) = read(&text).scheduling_choice else {
            panic!()
        };
        let Some(crate::model_sequence_batching::StrategyChoice::Direct(direct)) = batching.strategy_choice
        else {
            panic!()
        };
        direct.minimum_slot_utilization
    };
    let numbers = [("0.1", 0.1), ("-1e-3", -0.001), (".5f", 0.5), ("3", 3.0), ("-inf", f32::NEG_INFINITY)];
    for (text, value) in numbers {
        assert_eq!(slots(text), value, "{text}");
    }
    for (text, value) in [("true", true), ("t", true), ("1", true), ("False", false), ("0", false)] {
        assert_eq!(
            read(&format!("response_cache {{ enable: {text} }}")).response_cache.unwrap().enable,
            value
        );
    }
    assert_eq!(read("max_batch_size: -2147483648").max_batch_size, i32::MIN);
}

#[test]
fn errors_say_where_what_and_what_else() {
    let cases = [
        (
            "name: \"a\"\n  max_batchsize: 8",
            "line 2, column 3: ModelConfig has no field 'max_batchsize': did you mean 'max_batch_size'?",
        ),
        ("input { dim: 1 }", "line 1, column 9: ModelInput has no field 'dim': did you mean 'dims'?"),
        (
            "input { colour: 1 }",
            "line 1, column 9: ModelInput has no field 'colour': there are name, data_type, format, dims, reshape, is_shape_tensor, allow_ragged_batch, optional, is_non_linear_format_io",
        ),
        (
            "input { data_type: FP32 }",
            "line 1, column 20: 'FP32' is not a DataType: there are TYPE_INVALID, TYPE_BOOL, TYPE_UINT8, TYPE_UINT16, TYPE_UINT32, TYPE_UINT64, TYPE_INT8, TYPE_INT16, TYPE_INT32, TYPE_INT64, TYPE_FP16, TYPE_FP32, TYPE_FP64, TYPE_STRING, TYPE_BF16",
        ),
        (
            "instance_group { kind: KIND_CPUS }",
            "line 1, column 24: 'KIND_CPUS' is not a Kind: did you mean 'KIND_CPU'?",
        ),
        (
            "instance_group { kind: 9 }",
            "line 1, column 24: '9' is not a Kind: there are KIND_AUTO, KIND_GPU, KIND_CPU, KIND_MODEL",
        ),
        (
            "instance_group { kind: \"KIND_CPU\" }",
            "line 1, column 24: found \"KIND_CPU\", expected one of KIND_AUTO, KIND_GPU, KIND_CPU, KIND_MODEL",
        ),
        (
            "max_batch_size: 3000000000",
            "line 1, column 17: found '3000000000', expected an integer of -2147483648 to 2147483647",
        ),
        (
            "max_batch_size: 8.5",
            "line 1, column 17: found '8.5', expected an integer of -2147483648 to 2147483647",
        ),
        (
            "dynamic_batching { priority_levels: -1 }",
            "line 1, column 37: found -'1', expected an integer of 0 to 18446744073709551615",
        ),
        ("max_batch_size 8", "line 1, column 16: found '8', expected ':' after 'max_batch_size'"),
        ("name: tagger", "line 1, column 7: found 'tagger', expected a string in quotes"),
        (
            "# ä\nname: \"é\" name: \"b\"",
            "line 2, column 11: 'name' is set a second time, but is not a list: keep one of them",
        ),
        (
            "dynamic_batching {} ensemble_scheduling {}",
            "line 1, column 21: 'ensemble_scheduling' and 'dynamic_batching' exclude each other: keep one of them",
        ),
        ("input [ { } { } ]", "line 1, column 13: found '{', expected ',' or ']'"),
        (
            "input { name: \"x\"",
            "line 1, column 18: found the end of the text, expected a field of ModelInput or '}'",
        ),
        ("input: 5", "line 1, column 8: found '5', expected a ModelInput in braces"),
        ("}", "line 1, column 1: found '}', expected a field of ModelConfig"),
        ("name: \"a", "line 1, column 7: found a string without end, expected a closing \""),
        ("name: \"a\nb\"", "line 1, column 9: found the end of the line, expected a closing \""),
        (
            "name: \"\\q\"",
            r#"line 1, column 8: found the escape \q, expected one such as \n, \", \\, \101, \x41 or \u0041"#,
        ),
        (
            "name: \"\\ud800\"",
            r#"line 1, column 8: found the escape \ud800, expected one such as \n, \", \\, \101, \x41 or \u0041"#,
        ),
        ("name: \"\\xff\"", "line 1, column 7: found bytes that are not UTF-8, expected a text"),
        ("response_cache { enable: 2 }", "line 1, column 26: found '2', expected true or false"),
    ];
    for (text, expected) in cases {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn hostile_text_is_an_error() {
    assert_eq!(
        error(&"input{".repeat(100_000)),
        "line 1, column 7: ModelInput has no field 'input': there are name, data_type, format, dims, reshape, is_shape_tensor, allow_ragged_batch, optional, is_non_linear_format_io"
    );
    assert_eq!(error(&"[".repeat(100_000)), "line 1, column 1: found '[', expected a field of ModelConfig");
    assert_eq!(parse_pbtxt(&" ".repeat(MAX_BYTES + 1)), Err(ConfigError::TooLong { bytes: MAX_BYTES + 1 }));
    assert_eq!(parse_pbtxt(&" ".repeat(MAX_BYTES)), Ok(ModelConfig::default()));
    let word = "a".repeat(MAX_BYTES / 2);
    assert!(error(&word).starts_with("line 1, column 1: ModelConfig has no field 'aaaa"));
    let long = error(&format!("max_batch_size: \"{word}\""));
    assert!(long.len() < 200, "{long}");
}

/// Whatever is cut off or put in between: an error or a configuration that prints and reads back, no panic.
#[test]
fn damaged_text_never_panics() {
    let mut read = 0;
    let mut check = |text: &str| {
        if let Ok(config) = parse_pbtxt(text) {
            read += 1;
            assert_eq!(parse_pbtxt(&to_pbtxt(&config)).as_ref(), Ok(&config), "{text}");
        }
    };
    for at in (0..TAGGER.len()).filter(|at| TAGGER.is_char_boundary(*at)) {
        check(&TAGGER[..at]);
        for put in ["{", "]", "\"", "\\", "0", "é"] {
            check(&format!("{}{put}{}", &TAGGER[..at], &TAGGER[at..]));
            check(&format!("{}{put}{}", &TAGGER[..at], TAGGER[at..].get(1..).unwrap_or_default()));
        }
    }
    assert!(read > 100, "{read}");
}
