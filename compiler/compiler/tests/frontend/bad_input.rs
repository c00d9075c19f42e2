//! Files that are wrong, by accident or on purpose: one clear error, no panic, little memory.

use std::fs;
use std::time::{Duration, Instant};

use hs_compiler::limits::{Limit, Limits};
use hs_compiler::onnx::builder::ModelBuilder;
use hs_compiler::onnx::proto::StringStringEntryProto;
use hs_compiler::onnx::{import, import_bytes, import_bytes_within};
use hs_compiler::passes::{PassOptions, normalise, normalise_with};

use crate::support::{build, fixture, import_error, normal};

/// A model `y = x * w` with 2 weights.
fn small() -> ModelBuilder {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]).floats("w", &[2, 1], &[1.0, 2.0]);
    m.node("MatMul", &["x", "w"], &["y"]).name("fc");
    m.output("y", &[-1, 1]);
    m
}

fn one_error(model: &ModelBuilder, expected: &str) {
    let errors = import_error(model);
    assert_eq!(errors.0.len(), 1, "{errors}");
    assert!(errors.to_string().contains(expected), "{errors}");
}

#[test]
fn truncated_at_any_length() {
    let bytes = fs::read(fixture("exports/torch_legacy-digits_cnn.onnx")).unwrap();
    for len in (0..bytes.len()).step_by(97) {
        if let Ok((graph, _)) = import_bytes(&bytes[..len], None) {
            panic!("{len} bytes make a graph of {} nodes", graph.nodes.len());
        }
    }
    let error = import_bytes(&bytes[..bytes.len() / 2], None).unwrap_err();
    assert!(error.to_string().contains("not a readable ONNX model"), "{error}");
    assert!(error.to_string().contains("truncated"), "{error}");
}

#[test]
fn damaged_bytes_never_panic() {
    let bytes = fs::read(fixture("exports/torch_legacy-digits_cnn.onnx")).unwrap();
    let mut state = 1u64;
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % damaged.len();
            damaged[at] = (state >> 20) as u8;
        }
        if let Ok((graph, _)) = import_bytes(&damaged, None) {
            let _ = normalise(graph);
        }
    }
}

#[test]
fn nan_and_infinite_weights() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut m = small();
        m.graph().initializer[0].raw_data = [1.0, bad].iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
        one_error(&m, "initialiser 'w': element [1, 0] is ");
    }
}

#[test]
fn shapes_that_lie_about_the_data() {
    for (dims, expected) in [
        (vec![3, 1], "needs 12 bytes, but there are 8"),
        (vec![-1, 1], "negative dimension"),
        (vec![i64::MAX, 2], "more than"),
        (vec![1 << 20, 1 << 20, 1 << 20, 1 << 20], "more than"),
        (vec![1 << 26], "needs 268435456 bytes, but there are 8"),
    ] {
        let mut m = small();
        m.graph().initializer[0].dims = dims;
        one_error(&m, expected);
    }
    let mut m = small();
    let w = &mut m.graph().initializer[0];
    (w.raw_data, w.float_data) = (Vec::new(), vec![1.0; 3]);
    one_error(&m, "needs 2 elements, but there are 3");
}

#[test]
fn huge_inputs_and_results() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, i64::MAX, i64::MAX]);
    m.node("Relu", &["x"], &["y"]);
    m.output("y", &[]);
    one_error(&m, "too large");

    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 1, 8, 8]);
    m.ints("p", &[0, 0, 1 << 31, 1 << 31, 0, 0, 1 << 31, 1 << 31]);
    m.node("Pad", &["x", "p"], &["y"]).name("huge");
    m.output("y", &[]);
    let errors = normalise(build(&m)).unwrap_err();
    let errors = errors.to_string();
    assert!(errors.contains("'huge'") && errors.contains("elements in one tensor are more than"), "{errors}");

    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 1, 8, 8]).floats("w", &[1, 1, 1, 1], &[1.0]);
    m.node("Conv", &["x", "w"], &["y"]).ints("pads", &[i64::MAX, 0, i64::MAX, 0]);
    m.output("y", &[]);
    assert!(normalise(build(&m)).is_err());
}

#[test]
fn empty_tensors_with_huge_axes() {
    let huge = 1 << 40;
    let mut m = small();
    m.floats("empty", &[0, huge, huge], &[]);
    one_error(&m, "more than");

    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]).ints("shape", &[huge, 0]);
    m.node("ConstantOfShape", &["shape"], &["empty"]).name("fill");
    m.node("Concat", &["empty", "empty"], &["both"]).int("axis", 1);
    m.node("Concat", &["x", "both"], &["y"]).int("axis", 1);
    m.output("y", &[]);
    let errors = normalise(build(&m)).unwrap_err();
    assert_eq!(errors.0[0].node.as_deref(), Some("fill"));
}

#[test]
fn softmax_over_the_batch() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]);
    m.node("Softmax", &["x"], &["y"]).name("wrong").int("axis", 0);
    m.output("y", &[-1, 2]);
    let errors = normalise(build(&m)).unwrap_err();
    assert!(errors.to_string().contains("node 'wrong' (Softmax): runs over axis 0, the batch"), "{errors}");
}

#[test]
fn cycles() {
    let mut m = small();
    m.node("Add", &["y", "c"], &["a"]).name("one");
    m.node("Relu", &["a"], &["b"]).name("two");
    m.node("Relu", &["b"], &["c"]).name("three");
    one_error(&m, "cycle through");
    let text = import_error(&m).to_string();
    assert!(["'one'", "'two'", "'three'"].iter().all(|n| text.contains(n)), "{text}");
}

#[test]
fn missing_initialiser() {
    let mut m = small();
    m.graph().initializer.clear();
    one_error(&m, "node 'fc' (MatMul): reads 'w', which is no input");
}

#[test]
fn twice_defined() {
    let mut m = small();
    m.node("Relu", &["x"], &["y"]).name("again");
    one_error(&m, "produces 'y', which something else");

    let mut m = small();
    m.floats("w", &[2, 1], &[0.0, 0.0]);
    one_error(&m, "initialiser 'w': there is another");

    let mut m = small();
    m.output("y", &[]);
    one_error(&m, "lists its output 'y' twice");
}

#[test]
fn missing_outputs() {
    let mut m = small();
    m.graph().output.clear();
    one_error(&m, "no outputs");
    m.output("nothing", &[]);
    one_error(&m, "output 'nothing' is no result");
}

#[test]
fn dimensions_other_than_the_batch_must_be_fixed() {
    let mut m = small();
    m.graph().input.clear();
    m.input("x", &[-1, -1]);
    one_error(&m, "dimension 1 of size 'dim_1'; only the first, the batch, may vary");

    let mut m = small();
    m.graph().input.clear();
    m.input("x", &[32, 2]);
    one_error(&m, "fixed first dimension of 32");

    let mut m = small();
    m.graph().input[0].r#type = None;
    one_error(&m, "is no tensor");
}

#[test]
fn opsets() {
    let mut m = small();
    m.model.opset_import[0].version = 6;
    one_error(&m, "uses opset 6; the oldest that is read is 7");
    m.model.opset_import[0].version = 99;
    let (_, warnings) = import_bytes(&m.to_bytes(), None).unwrap();
    assert!(warnings[0].to_string().contains("opset 99"));
}

#[test]
fn external_data_outside_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let model_folder = folder.path().join("model");
    fs::create_dir(&model_folder).unwrap();
    fs::write(folder.path().join("secret"), [0; 8]).unwrap();
    fs::write(model_folder.join("w.data"), [0; 8]).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path().join("secret"), model_folder.join("link")).unwrap();
    let with = |entries: &[(&str, &str)]| {
        let mut m = small();
        let w = &mut m.graph().initializer[0];
        (w.raw_data, w.data_location) = (Vec::new(), 1);
        let entry =
            |(k, v): &(&str, &str)| StringStringEntryProto { key: (*k).to_owned(), value: (*v).to_owned() };
        w.external_data = entries.iter().map(entry).collect();
        fs::write(model_folder.join("m.onnx"), m.to_bytes()).unwrap();
        import(&model_folder.join("m.onnx")).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(with(&[("location", "w.data")]), Ok(()));
    assert_eq!(with(&[("location", "./w.data"), ("offset", "0"), ("length", "8")]), Ok(()));
    let absolute = folder.path().join("secret");
    for (entries, expected) in [
        (vec![("location", "../../x")], "outside the model's own folder"),
        (vec![("location", "../secret")], "outside the model's own folder"),
        (vec![("location", absolute.to_str().unwrap())], "outside the model's own folder"),
        (vec![("location", "")], "outside the model's own folder"),
        (vec![("location", "link")], "links to outside"),
        (vec![("location", ".")], "not a regular file"),
        (vec![("location", "absent")], "cannot open its data file 'absent'"),
        (
            vec![("location", "w.data"), ("offset", "1")],
            "needs 8 bytes at offset 1 of 'w.data', which has only 8",
        ),
        (vec![("location", "w.data"), ("offset", "18446744073709551615")], "which has only 8"),
        (vec![("location", "w.data"), ("offset", "-1")], "which is no size"),
        (vec![("location", "w.data"), ("length", "4")], "needs 8 bytes, but 4 bytes are declared"),
        (vec![], "no location"),
    ] {
        let error = with(&entries).unwrap_err();
        assert!(error.contains(expected) && error.contains("'w'"), "{error}");
    }
}

#[test]
fn external_data_needs_a_folder() {
    let mut m = small();
    m.graph().initializer[0].data_location = 1;
    one_error(&m, "not read from a folder");
}

#[test]
fn a_hundred_thousand_nodes() {
    let start = Instant::now();
    let mut m = ModelBuilder::new(17);
    m.input("v0", &[-1, 2]).floats("one", &[1], &[1.0]);
    for i in 0..100_000 {
        let op = if i % 3 == 0 { "Relu" } else { "Identity" };
        m.node(op, &[&format!("v{i}")], &[&format!("v{}", i + 1)]);
    }
    m.output("v100000", &[-1, 2]);
    one_error(&m, "100000 nodes one behind the other are more than the limit of 20000");
    let mut limits = Limits::default();
    limits.set(Limit::Depth, 100_000);
    let nodes = |m: &ModelBuilder| {
        let (graph, _) = import_bytes_within(&m.to_bytes(), None, &limits).unwrap();
        normalise(graph).unwrap().graph().nodes.len()
    };
    assert_eq!(nodes(&m), 33_334);
    // Backwards, so that everything must be sorted.
    m.graph().node.reverse();
    assert_eq!(nodes(&m), 33_334);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn names_may_hold_anything() {
    let mut m = ModelBuilder::new(17);
    let odd = "x\"; system(\"rm\"); //\n\u{0}é";
    m.input(odd, &[-1, 2]);
    m.node("Relu", &[odd], &["y"]).name(odd);
    m.node("Relu", &["y"], &["z"]).name(odd);
    m.node("Relu", &["z"], &["u"]);
    m.output("u", &[-1, 2]);
    let graph = normal(&m).into_graph();
    assert_eq!(graph.nodes[0].name, odd);
    assert_eq!(graph.nodes[1].name, format!("{odd}_0"));
    assert_eq!(graph.nodes[2].name, "Relu_0");
    let text: hs_ir::Graph = graph.to_text().parse().unwrap();
    assert_eq!(text.to_text(), graph.to_text());
}

#[test]
fn files_that_cannot_be_read() {
    assert!(import(&fixture("absent.onnx")).unwrap_err().to_string().contains("cannot read"));
    assert!(import(&fixture("")).unwrap_err().to_string().contains("is not a file"));
}

/// Each limit refuses what is just beyond it, names its flag, and takes the model when it is raised.
#[test]
fn limits_can_be_raised() {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 4]).floats("w", &[4, 8], &[0.5; 32]).floats("v", &[8, 8], &[0.25; 64]);
    m.node("MatMul", &["w", "v"], &["wv"]).name("product");
    m.node("MatMul", &["x", "wv"], &["a"]).name("fc");
    m.node("Relu", &["a"], &["y"]).name("act");
    m.output("y", &[-1, 8]);
    let run = |limits: Limits| {
        let (graph, _) = import_bytes_within(&m.to_bytes(), None, &limits).map_err(|e| e.to_string())?;
        let options = PassOptions { limits, ..PassOptions::default() };
        normalise_with(graph, &options).map(drop).map_err(|e| e.to_string())
    };
    for (limit, needs) in [
        (Limit::Nodes, 3),
        (Limit::Depth, 3),
        (Limit::Elements, 64),
        (Limit::Constants, 128),
        (Limit::Folding, 256),
    ] {
        let mut limits = Limits::default();
        limits.set(limit, needs - 1);
        let error = run(limits).unwrap_err();
        let flag = format!("--limit {}={needs}", limit.name());
        assert!(error.contains(&flag), "{error}");
        limits.set(limit, needs);
        assert_eq!(run(limits), Ok(()), "{}", limit.name());
    }
}
