use hs_fixed::Type;
use hs_hw::{Io, Strategy};
use hs_ir::Graph;

use super::{from_hls4ml, names};
use crate::{
    config::Config,
    lower::{LayerOptions, SoftmaxImplementation},
    onnx::{builder::ModelBuilder, import_bytes},
};

/// Two dense branches of one input, added; then Relu, dense, softmax. No name is one that qonnx gives.
fn branches() -> Graph {
    let mut m = ModelBuilder::new(13);
    m.input("in.put", &[1, 2]);
    for w in ["wa", "wb", "wc"] {
        m.floats(w, &[2, 2], &[0.5, -1.0, 0.25, 2.0]);
        m.floats(&format!("{w}_bias"), &[2], &[0.5, 0.25]);
    }
    m.node("Gemm", &["in.put", "wa", "wa_bias"], &["a"]).name("left");
    m.node("Gemm", &["in.put", "wb", "wb_bias"], &["b"]).name("right");
    m.node("Add", &["a", "b"], &["sum"]).name("join");
    m.node("Relu", &["sum"], &["r"]).name("act");
    m.node("Gemm", &["r", "wc", "wc_bias"], &["z"]).name("head");
    m.node("Softmax", &["z"], &["y"]).name("prob").int("axis", -1);
    m.output("y", &[1, 2]);
    import_bytes(&m.to_bytes(), None).unwrap().0
}

fn read(text: &str) -> (Config, Vec<String>) {
    let (config, warnings) = from_hls4ml(text, &branches()).unwrap_or_else(|e| panic!("{e}"));
    (config, warnings.iter().map(ToString::to_string).collect())
}

fn text(ty: Option<Type>) -> String {
    ty.map_or_else(|| "auto".into(), |t| t.to_string())
}

/// An image is made channels-last in front of its quantiser, which therefore comes after those of the weights.
#[test]
fn the_quantiser_of_an_image_comes_after_those_of_constants() {
    for (image, expected) in [(false, ["Quant_0", "Quant_1"]), (true, ["Quant_1", "Quant_0"])] {
        let mut m = ModelBuilder::new(13);
        m.input("x", if image { &[1, 2, 3] } else { &[1, 2] });
        m.floats("w", if image { &[4, 2, 1] } else { &[2, 4] }, &[0.5; 8]);
        m.floats("s", &[], &[0.25]).floats("z", &[], &[0.0]).floats("b", &[], &[4.0]);
        for (of, name) in [("x", "data"), ("w", "weights")] {
            m.node("Quant", &[of, "s", "z", "b"], &[&format!("{of}_q")])
                .domain("qonnx.custom_op.general")
                .name(name)
                .int("signed", 1);
        }
        m.node(if image { "Conv" } else { "MatMul" }, &["x_q", "w_q"], &["y"]).name("layer");
        m.output("y", if image { &[1, 4, 3] } else { &[1, 4] });
        let graph = import_bytes(&m.to_bytes(), None).unwrap().0;
        let (names, _) = names::qonnx(&graph);
        let of = |i: usize| names[&(i, names::Part::Main)].as_str();
        assert_eq!([of(0), of(1)], expected);
    }
}

#[test]
fn names_are_those_of_qonnx() {
    let (names, _) = names::qonnx(&branches());
    let of = |i: usize, part| names[&(i, part)].as_str();
    use names::Part::{Bias, Main};
    // The second bias comes first: its Add was put in front of the other one.
    assert_eq!(
        [of(0, Main), of(0, Bias), of(1, Main), of(1, Bias)],
        ["MatMul_0", "Add_1", "MatMul_1", "Add_0"]
    );
    assert_eq!(
        [of(2, Main), of(3, Main), of(4, Main), of(4, Bias)],
        ["Add_2", "Relu_0", "MatMul_2", "Add_3"]
    );
}

#[test]
fn granularity_model_states_every_type() {
    let (c, warnings) = read("Model:\n  Precision: ap_fixed<12,5>\n  ReuseFactor: 4\n  Strategy: resource\n");
    assert_eq!(warnings, [""; 0]);
    let ty = "fixed<12,5,TRN,WRAP>";
    assert_eq!(text(c.precision), ty);
    let head = &c.nodes["head"];
    assert_eq!([text(head.weight), text(head.accum), text(head.result)], [ty; 3]);
    assert_eq!((head.split_bias, head.strategy, head.reuse), (Some(true), Some(Strategy::Resource), Some(4)));
    assert_eq!(text(c.nodes["in.put"].result), ty);
    // The bias is a layer of its own.
    let bias = &c.nodes["head/bias"];
    assert_eq!([text(bias.bias), text(bias.result)], [ty; 2]);
    assert!(c.unfused.contains("head/bias"));
    // Softmax tables keep their own type; their sum has the model's.
    let prob = &c.nodes["prob"];
    assert_eq!(text(prob.exp_table), "fixed<18,8,RND,SAT>");
    assert_eq!(text(prob.accum), ty);
}

#[test]
fn auto_is_left_to_inference_and_folds_the_bias() {
    let (c, warnings) = read(
        r#"{"Model": {"Precision": {"default": "fixed<16,6>"}, "ReuseFactor": 1, "Strategy": "Latency"},
            "LayerName": {
                "global_in": {"Precision": {"result": "auto"}},
                "MatMul_0": {"Precision": {"result": "auto", "accum": "auto", "weight": "fixed<8,2>"}},
                "Add_1": {"Precision": {"result": "fixed<9,3>", "bias": "fixed<7,2>"}},
                "MatMul_1": {"Precision": {"result": "fixed<10,4,RND,SAT>", "accum": "auto"}},
                "Add_0": {"Precision": {"result": "auto", "bias": "fixed<6,2>"}},
                "Relu_0": {"Precision": {"result": "ufixed<8,3,RND_CONV,SAT>", "table": "fixed<18,8,TRN,WRAP,0>"}},
                "Softmax_0": {"Precision": {"result": "auto", "exp_table": "fixed<9,1>"}, "Implementation": "latency"}
            }}"#,
    );
    let (left, right) = (&c.nodes["left"], &c.nodes["right"]);
    let types = |l: &LayerOptions| [l.weight, l.bias, l.accum, l.unbiased, l.result].map(text);
    let wide = "fixed<16,6,TRN,WRAP>";
    assert_eq!(types(left), ["fixed<8,2,TRN,WRAP>", wide, "auto", "auto", "auto"]);
    assert_eq!(left.split_bias, Some(false));
    assert_eq!(types(right), [wide, wide, "auto", "auto", "fixed<10,4,RND,SAT>"]);
    assert_eq!(types(&c.nodes["right/bias"]), ["auto", "fixed<6,2,TRN,WRAP>", "auto", "auto", "auto"]);
    assert_eq!((right.split_bias, c.nodes.contains_key("left/bias")), (Some(true), false));
    assert!(
        ["left", "right", "left/bias", "right/bias"]
            .iter()
            .all(|n| c.unfused.contains(*n) == (*n == "left/bias"))
    );
    assert_eq!(text(c.nodes["act"].result), "ufixed<8,3,RND_CONV,SAT>");
    assert_eq!(c.nodes["prob"].softmax, Some(SoftmaxImplementation::Latency));
    assert_eq!(text(c.nodes["prob"].exp_table), "fixed<18,8,RND,SAT>");
    assert!(!c.nodes.contains_key("in.put"));
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    for (warning, parts) in warnings.iter().zip([
        ["LayerName.Add_1.Precision.result", "folds it into 'Dense_MatMul_0'"],
        ["LayerName.Add_1.Precision.bias", "folds it into 'Dense_MatMul_0'"],
        ["LayerName.Softmax_0.Precision.exp_table", "'exp_table_t' beside Precision"],
    ]) {
        assert!(parts.iter().all(|p| warning.contains(p)), "{parts:?}: {warning}");
    }
}

#[test]
fn what_hls4ml_ignores_is_reported() {
    let (c, warnings) = read(
        r#"{"Model": {"Precision": "fixed<16,6>", "ReuseFactor": 1, "TableSize": 64, "Strategie": "Resource"},
            "LayerType": {"ReLU": {"Precision": "fixed<9,3>"}, "Densse": {"Precision": "fixed<9,3>"},
                          "Dense": {"Precision": {"wieght": "fixed<9,3>", "weight": "fixed<8,2>"}}},
            "LayerName": {"MatMull_0": {"Precision": {"accum": "fixed<9,3>"}},
                          "MatMul_0_param0": {"Precision": {"result": "fixed<9,3>"}},
                          "head": {"Precision": "fixed<9,3>"},
                          "relu_0": {"precision": "fixed<9,3>"}},
            "LayerNames": {}}"#,
    );
    assert_eq!(text(c.nodes["left"].weight), "fixed<8,2,TRN,WRAP>");
    assert_eq!(text(c.nodes["act"].result), "fixed<16,6,TRN,WRAP>");
    let wanted = [
        ["LayerNames", "did you mean 'LayerName'?"],
        ["Model.TableSize", "hls4ml ignores"],
        ["Model.Strategie", "did you mean 'Strategy'?"],
        ["LayerType.ReLU", "class 'Activation'"],
        ["LayerType.Densse", "did you mean 'Dense'?"],
        ["LayerType.Dense.Precision.wieght", "did you mean 'weight'?"],
        ["LayerName.MatMull_0", "did you mean 'MatMul_0'?"],
        ["LayerName.MatMul_0_param0", "weight or bias type of 'MatMul_0'"],
        ["LayerName.head", "no layer has this name"],
        ["LayerName.relu_0.precision", "did you mean 'Precision'?"],
    ];
    assert_eq!(warnings.len(), wanted.len(), "{warnings:#?}");
    for (warning, parts) in warnings.iter().zip(wanted) {
        assert!(parts.iter().all(|p| warning.contains(p)), "{parts:?}: {warning}");
    }
}

#[test]
fn a_softmax_is_computed_as_its_implementation_says() {
    let implementation = |entries: &str| {
        let (c, warnings) =
            read(&format!("Model: {{Precision: 'fixed<16,6>'}}\nLayerName:\n  Softmax_0: {{{entries}}}\n"));
        (c.nodes["prob"].softmax, warnings)
    };
    for (name, found) in [
        ("stable", SoftmaxImplementation::Stable),
        ("latency", SoftmaxImplementation::Latency),
        ("legacy", SoftmaxImplementation::Legacy),
        ("argmax", SoftmaxImplementation::Argmax),
    ] {
        assert_eq!(implementation(&format!("Implementation: {name}")), (Some(found), Vec::new()));
    }
    let (found, warnings) = implementation("Strategy: argmax");
    assert_eq!(found, None);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    for part in ["hls4ml ignores LayerName.Softmax_0.Strategy", "write Implementation: argmax"] {
        assert!(warnings[0].contains(part), "{warnings:#?}");
    }
    assert_eq!(implementation("Strategy: Latency"), (None, Vec::new()));
}

#[test]
fn types_reach_layers_by_class() {
    let (c, warnings) = read(
        "Model: {Precision: 'fixed<16,6>'}\n\
         LayerType:\n  MatMul: {Precision: {weight: 'fixed<8,1>', result: auto}}\n  \
         dense: {Precision: {accum: 'fixed<20,8>'}}\n  Merge: {Precision: {result: 'fixed<11,5>'}}\n",
    );
    assert_eq!(warnings, [""; 0]);
    let left = &c.nodes["left"];
    assert_eq!([text(left.weight), text(left.accum)], ["fixed<8,1,TRN,WRAP>", "fixed<20,8,TRN,WRAP>"]);
    assert_eq!(text(c.nodes["join"].result), "fixed<11,5,TRN,WRAP>");
}

#[test]
fn a_project_brings_its_io_and_clock() {
    let project = "Backend: Vitis\nIOType: io_stream\nClockPeriod: 5\nPart: xcu250\nOnnxModel: !onnx_model m.onnx\n\
                   HLSConfig:\n  Model: {Precision: 'fixed<16,6>', ReuseFactor: 1}\n";
    let (c, warnings) = read(project);
    assert_eq!(warnings, [""; 0]);
    assert_eq!((c.io, c.clock_mhz, c.platform.as_deref()), (Some(Io::Stream), Some(200.0), Some("xcu250")));
}

#[test]
fn the_models_own_names_count_where_they_fit_better() {
    let (c, warnings) =
        read("Model: {Precision: 'fixed<16,6>'}\nLayerName:\n  act: {Precision: {result: 'fixed<9,3>'}}\n");
    assert_eq!(warnings, [""; 0]);
    assert_eq!(text(c.nodes["act"].result), "fixed<9,3,TRN,WRAP>");
}

#[test]
fn what_cannot_be_followed_is_an_error() {
    let refused = |text: &str, part: &str| {
        let e = from_hls4ml(text, &branches()).unwrap_err().to_string();
        assert!(e.contains(part), "{e}");
    };
    refused("", "configuration");
    refused("[1, 2]", "is empty");
    refused("{\"a\": ", "not YAML or JSON");
    refused("Model: {ReuseFactor: 1}", "Model.Precision.default");
    refused("Model: {Precision: 'fixd<16,6>'}", "Model.Precision: 'fixd<16,6>' is not a type");
    refused("Model: {Precision: 'fixed<16,6>', Strategy: da}", "distributed arithmetic");
    refused("Model: {Precision: {default: 'fixed<16,6>', maximum: 'fixed<20,8>'}}", "maximum");
    refused("Model: {Precision: 'fixed<16,6>', ReuseFactor: 0}", "Model.ReuseFactor is 0");
    refused("IOType: io_serial\nHLSConfig: {Model: {Precision: 'fixed<16,6>'}}", "IOType");
}
