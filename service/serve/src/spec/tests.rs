//! Configurations, complete and not, right and wrong.

use std::{collections::BTreeSet, fs, sync::Arc, time::Duration};

use hs_model_config::{ModelConfig, parse_pbtxt, to_pbtxt};
use hs_runtime::{Buffer, Datatype, Executable, RunError, Tensor, TensorInfo};

use super::*;
use crate::{LoadedModel, Runner, scheduler::TimeoutAction};

/// A model of these tensors; run, it gives as many empty outputs.
struct Model {
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
}

impl Executable for Model {
    fn name(&self) -> &str {
        "model"
    }
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }
    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }
    fn run(&self, _: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        Ok((0..self.outputs.len()).map(|i| Tensor::of([1], vec![i as i64]).unwrap()).collect())
    }
    fn concurrency(&self) -> usize {
        7
    }
}

fn info(name: &str, datatype: Datatype, shape: &[i64]) -> TensorInfo {
    let shape = shape.iter().map(|d| usize::try_from(*d).ok()).collect();
    TensorInfo { name: name.to_owned(), datatype, shape }
}

/// `a` FP32 [-1, 3] and `b` INT64 [] into `y` FP32 [5] and `z` FP16 [-1], with a batch axis or without.
fn loaded(batched: bool) -> LoadedModel {
    let model = Model {
        inputs: vec![info("a", Datatype::Fp32, &[-1, 3]), info("b", Datatype::Int64, &[])],
        outputs: vec![info("y", Datatype::Fp32, &[5]), info("z", Datatype::Fp16, &[-1])],
    };
    let executable: Arc<dyn Executable> = Arc::new(model);
    LoadedModel {
        runners: vec![Runner { backend: "x".into(), device: "cpu".to_owned(), executable }],
        platform: "p".to_owned(),
        backend: "b".to_owned(),
        batched,
        ..LoadedModel::default()
    }
}

fn config(text: &str) -> ModelConfig {
    parse_pbtxt(text).unwrap()
}

fn completed(text: &str, batched: bool, strict: bool) -> Result<ModelConfig, SpecError> {
    complete("m", config(text), &mut loaded(batched), strict)
}

fn spec(text: &str) -> Result<Spec, SpecError> {
    let directory = tempfile::tempdir().unwrap();
    Spec::new("m", config(text), directory.path())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, SpecError>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    assert!(message.starts_with("model 'm'"), "{message}");
    for part in parts {
        assert!(message.contains(part), "{message} lacks {part}");
    }
}

const PORTS: &str = r#"
    input { name: "a" data_type: TYPE_FP32 dims: [-1, 3] }
    input { name: "b" data_type: TYPE_INT64 }
    output { name: "y" data_type: TYPE_FP32 dims: 5 }
    output { name: "z" data_type: TYPE_FP16 dims: -1 }
"#;

#[test]
fn nothing_becomes_everything() {
    let found = completed("", true, false).unwrap();
    let expected = format!(
        r#"name: "m" platform: "p" backend: "b" max_batch_size: 65536 version_policy {{ latest {{ num_versions: 1 }} }}
           instance_group {{ name: "m_0" kind: KIND_CPU count: 7 }} dynamic_batching {{}} {PORTS}"#
    );
    assert_eq!(to_pbtxt(&found), to_pbtxt(&config(&expected)));
    let spec = Spec::new("m", found, Path::new("/")).unwrap();
    assert_eq!((spec.max_batch, spec.policy.max_batch, spec.policy.instances), (65_536, 65_536, 7));
    assert!(spec.policy.batching.is_some());
    assert_eq!(spec.inputs[0].dims, [-1, 3]);
    assert_eq!((spec.inputs[1].datatype, spec.inputs[1].dims.len()), (Datatype::Int64, 0));
    let whole = completed("", false, false).unwrap();
    assert_eq!((whole.max_batch_size, whole.scheduling_choice), (0, None));
}

#[test]
fn what_is_written_stays() {
    let text = r#"
        platform: "mine" max_batch_size: 4
        output { name: "z" dims: 8 label_filename: "l" } output { name: "y" }
        input { name: "b" } version_policy { all {} }
    "#;
    let found = completed(text, true, false).unwrap();
    assert_eq!((found.platform.as_str(), found.backend.as_str(), found.max_batch_size), ("mine", "b", 4));
    // In the model's order; smaller than the model allows.
    let names: Vec<_> = found.output.iter().map(|o| (o.name.as_str(), o.dims.as_slice())).collect();
    assert_eq!(names, [("y", [5].as_slice()), ("z", [8].as_slice())]);
    assert_eq!(found.output[1].label_filename, "l");
    let names: Vec<_> = found.input.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    // Whoever sets a batch size does not get batching he did not ask for.
    assert_eq!(found.scheduling_choice, None);
}

#[test]
fn shapes_tell_whether_a_batch_size_of_zero_is_meant() {
    let whole = completed(r#"input { name: "a" dims: [-1, -1, 3] }"#, true, false).unwrap();
    assert_eq!((whole.max_batch_size, whole.scheduling_choice), (0, None));
    assert_eq!(
        (whole.input[1].dims.as_slice(), whole.output[0].dims.as_slice()),
        ([-1].as_slice(), [-1, 5].as_slice())
    );
    let rows = completed(r#"input { name: "a" dims: [-1, 3] }"#, true, false).unwrap();
    assert_eq!(rows.max_batch_size, DEFAULT_MAX_BATCH);
}

#[test]
fn what_contradicts_the_model_is_refused() {
    for (text, parts) in [
        (r#"input { name: "c" }"#, ["input 'c'", "is none of the model's, which are 'a', 'b'"]),
        (r#"output { name: "a" }"#, ["output 'a'", "'y', 'z'"]),
        (
            r#"input { name: "a" data_type: TYPE_FP64 }"#,
            ["input 'a': data_type", "is TYPE_FP64, but the model's is TYPE_FP32"],
        ),
        (
            r#"input { name: "a" dims: [-1, 4] }"#,
            ["input 'a': dims", "is [-1, 4], but the model's is [-1, 3]"],
        ),
        (r#"max_batch_size: 2 input { name: "a" dims: 3 }"#, ["dims", "is [3]"]),
        (r#"output { name: "y" dims: -1 }"#, ["output 'y': dims", "the model's is [5]"]),
        (r#"input { name: "a" dims: 6 reshape { shape: [3, 2] } }"#, ["reshape", "is [3, 2]"]),
        (r#"input { name: "a" } input { name: "a" }"#, ["input 'a'", "is listed twice"]),
    ] {
        refused(completed(text, true, false), &parts);
    }
    refused(completed("max_batch_size: 8", false, false), &["max_batch_size is 8", "has no batch axis"]);
    let reshaped =
        completed(r#"input { name: "a" dims: 6 reshape { shape: [2, 3] } }"#, true, false).unwrap();
    assert_eq!(reshaped.input[0].dims, [6]);
}

#[test]
fn strict_configurations_are_taken_as_they_are() {
    let text = format!("max_batch_size: 8 {PORTS}");
    assert_eq!(completed(&text, true, true).unwrap(), config(&text));
    refused(
        completed("max_batch_size: 8", true, true),
        &["input 'a'", "is not listed", "TYPE_FP32 dims: [-1, 3]"],
    );
    refused(completed(PORTS, true, true), &["dims", "with the batch axis, as max_batch_size is 0"]);
}

#[test]
fn outputs_that_are_not_listed_are_not_served() {
    let mut model = loaded(true);
    let found = complete("m", config(r#"output { name: "z" }"#), &mut model, false).unwrap();
    assert_eq!(found.output.len(), 1);
    let executable = &model.runners[0].executable;
    assert_eq!(executable.outputs(), [info("z", Datatype::Fp16, &[-1])]);
    assert_eq!(executable.inputs().len(), 2);
    let expected = Tensor::of([1], vec![1i64]).unwrap();
    let row = [Tensor::of([1, 3], vec![0f32; 3]).unwrap(), Tensor::of([1], vec![0i64]).unwrap()];
    assert_eq!(executable.run_buffers(&row.map(Buffer::from)).unwrap(), [Buffer::from(expected.clone())]);
    assert_eq!(executable.run(&[]).unwrap(), [expected]);
    assert_eq!(executable.concurrency(), 7);
}

#[test]
fn queues_and_instances_are_read() {
    let text = format!(
        r#"max_batch_size: 8 {PORTS}
        dynamic_batching {{
            preferred_batch_size: [8, 4, 4] max_queue_delay_microseconds: 100 preserve_ordering: true
            priority_levels: 2 default_priority_level: 2
            default_queue_policy {{ timeout_action: DELAY default_timeout_microseconds: 5 max_queue_size: 3 }}
            priority_queue_policy {{ key: 1 value {{ allow_timeout_override: true }} }}
        }}
        instance_group {{ kind: KIND_GPU count: 2 gpus: [0, 1] }} instance_group {{ kind: KIND_CPU }}
        parameters {{ key: "execution_timeout_us" value {{ string_value: "250" }} }}"#
    );
    let policy = spec(&text).unwrap().policy;
    let batching = policy.batching.unwrap();
    assert_eq!((batching.delay, batching.preserve_ordering), (Duration::from_micros(100), true));
    assert_eq!(batching.preferred, [4, 8]);
    assert_eq!((policy.levels, policy.default_level, policy.instances), (2, 2, 5));
    assert_eq!(policy.default_queue.action, TimeoutAction::Delay);
    assert_eq!(
        (policy.default_queue.timeout, policy.default_queue.max_size),
        (Some(Duration::from_micros(5)), 3)
    );
    assert!(policy.queues[&1].allow_override && policy.queues[&1].timeout.is_none());
    assert_eq!(policy.execution_timeout, Some(Duration::from_micros(250)));
}

#[test]
fn wrong_values_are_refused() {
    let with = |text: &str| spec(&format!("{PORTS} {text}"));
    let batched = |text: &str| with(&format!("max_batch_size: 8 dynamic_batching {{ {text} }}"));
    refused(with("max_batch_size: -1"), &["max_batch_size is -1"]);
    refused(with(r#"name: "n""#), &["name is 'n'", "the name of its directory"]);
    refused(spec("max_batch_size: 1"), &["name nothing"]);
    for (port, parts) in [
        (r#"name: "c" dims: 1"#, ["input 'c':", "data_type is TYPE_INVALID"]),
        ("data_type: TYPE_FP32", ["input '':", "name is empty"]),
        (r#"name: "a" data_type: TYPE_FP32"#, ["input 'a'", "is there twice"]),
        (r#"name: "c" data_type: TYPE_FP32 dims: [2, 0]"#, ["input 'c': dims", "[2, 0] has 0"]),
        (r#"name: "c" data_type: TYPE_FP32 dims: -2"#, ["dims", "has -2"]),
        (r#"name: "c" data_type: TYPE_FP32 dims: [65536, 65536]"#, ["dims", "more elements"]),
        (r#"name: "c" data_type: TYPE_FP32 dims: [4, 9223372036854775807]"#, ["dims", "more elements"]),
        (r#"name: "c" data_type: TYPE_FP32 dims: 6 reshape { shape: 5 }"#, ["reshape", "[6] to [5]"]),
        (r#"name: "c" data_type: TYPE_FP32 dims: 6 reshape { shape: -1 }"#, ["reshape", "does not keep"]),
        (r#"name: "c" data_type: TYPE_FP32 is_shape_tensor: true"#, ["input 'c':", "is_shape_tensor"]),
    ] {
        refused(with(&format!("input {{ {port} }}")), &parts);
    }
    refused(batched("preferred_batch_size: 9"), &["preferred_batch_size has 9", "which is 8"]);
    refused(batched("preferred_batch_size: 0"), &["has 0"]);
    refused(batched("priority_levels: 2"), &["default_priority_level is 0", "1 to priority_levels"]);
    refused(batched("priority_levels: 2 default_priority_level: 3"), &["is 3"]);
    refused(batched("priority_levels: 1000000 default_priority_level: 1"), &["priority_levels is 1000000"]);
    refused(batched("priority_queue_policy { key: 1 value {} }"), &["priority_queue_policy has a key of 1"]);
    refused(with("instance_group { count: -1 }"), &["instance_group[0]: count is -1"]);
    refused(with("instance_group {} instance_group { gpus: -1 }"), &["instance_group[1]: gpus has -1"]);
    refused(with("instance_group { count: 2147483647 }"), &["instance_group: count"]);
    refused(
        with(r#"parameters { key: "execution_timeout_us" value { string_value: "1s" } }"#),
        &["parameters: execution_timeout_us is '1s'"],
    );
}

#[test]
fn what_is_not_supported_is_named() {
    for (text, part) in [
        (r#"ensemble_scheduling { step { model_name: "x" } }"#, "ensemble_scheduling is not supported"),
        ("sequence_batching {}", "sequence_batching is not supported"),
        (r#"platform: "ensemble""#, "platform 'ensemble' is not supported"),
        ("model_transaction_policy { decoupled: true }", "decoupled is not supported"),
        ("batch_input {}", "batch_input"),
        (r#"model_operations { op_library_filename: "x.so" }"#, "op_library_filename"),
    ] {
        refused(check_supported("m", &config(text)), &[part]);
    }
    let accepted = r#"optimization { graph { level: 1 } } response_cache { enable: true } runtime: "x"
        metric_tags { key: "a" value: "b" } model_repository_agents { agents { name: "checksum" } }
        instance_group { passive: true host_policy: "h" rate_limiter { priority: 1 } }"#;
    check_supported("m", &config(accepted)).unwrap();
    note_ignored("m", &config(accepted));
}

#[test]
fn labels_come_from_the_models_directory_alone() {
    let outer = tempfile::tempdir().unwrap();
    let directory = outer.path().join("m");
    fs::create_dir_all(directory.join("sub")).unwrap();
    fs::write(directory.join("sub/labels.txt"), "zero\r\none\n\ntwo").unwrap();
    fs::write(outer.path().join("secret"), "s").unwrap();
    std::os::unix::fs::symlink(outer.path().join("secret"), directory.join("link")).unwrap();
    std::os::unix::fs::symlink("sub/labels.txt", directory.join("good")).unwrap();
    let labels = |file: &str| {
        let output =
            format!(r#"output {{ name: "y" data_type: TYPE_FP32 dims: 3 label_filename: "{file}" }}"#);
        Spec::new("m", config(&output), &directory).map(|s| s.outputs[0].labels.clone())
    };
    for good in ["sub/labels.txt", "good"] {
        assert_eq!(labels(good).unwrap(), ["zero", "one", "", "two"]);
    }
    let absolute = directory.join("sub/labels.txt").display().to_string();
    for bad in ["../secret", "sub/../../secret", "/etc/passwd", &absolute, "link", "sub", "none", "."] {
        refused(labels(bad), &["output 'y': label_filename:", bad]);
    }
}

#[test]
fn versions_are_chosen_by_policy() {
    let lie = BTreeSet::from([1, 2, 5, 9]);
    let chosen = |text: &str| {
        let policy = config(&format!("version_policy {{ {text} }}")).version_policy;
        Versions::of("m", policy.as_ref()).map(|v| v.choose(&lie).into_iter().collect::<Vec<_>>())
    };
    assert_eq!(Versions::of("m", None).unwrap().choose(&lie), BTreeSet::from([9]));
    assert_eq!(chosen("latest { num_versions: 3 }").unwrap(), [2, 5, 9]);
    assert_eq!(chosen("latest { num_versions: 30 }").unwrap(), [1, 2, 5, 9]);
    assert_eq!(chosen("all {}").unwrap(), [1, 2, 5, 9]);
    assert_eq!(chosen("specific { versions: [2, 7] }").unwrap(), [2, 7]);
    refused(chosen("latest {}"), &["version_policy latest: num_versions is 0"]);
    refused(chosen("specific {}"), &["versions is empty"]);
    refused(chosen("specific { versions: -1 }"), &["versions has -1"]);
}

#[test]
fn parameters_that_are_switches() {
    let is = |value: &str| {
        let text = format!(r#"parameters {{ key: "raw" value {{ string_value: "{value}" }} }}"#);
        flag("m", &config(&text), "raw")
    };
    assert_eq!((is("true"), is("False"), is("1")), (Ok(true), Ok(false), Ok(true)));
    assert!(!flag("m", &ModelConfig::default(), "raw").unwrap());
    refused(is("maybe"), &["parameters: raw is 'maybe'"]);
}
