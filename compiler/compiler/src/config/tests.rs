use hs_hw::{Io, Op, Strategy};
use hs_ir::Graph;

use super::*;
use crate::{
    diagnostic::Diagnostics,
    lower,
    onnx::{builder::ModelBuilder, import_bytes},
    passes,
};

/// x → Gemm fc1 → BatchNormalization bn → Relu act → Gemm fc2 → Softmax sm → y.
fn model() -> Graph {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]);
    m.floats("w1", &[2, 2], &[0.5, -1.0, 0.25, 2.0]);
    m.floats("b1", &[2], &[0.125, -0.25]);
    for (name, values) in
        [("gamma", [1.0, 2.0]), ("beta", [0.5, 0.0]), ("mean", [0.0, 0.25]), ("var", [1.0, 1.0])]
    {
        m.floats(name, &[2], &values);
    }
    m.floats("w2", &[3, 2], &[1.0, 0.5, 0.25, -0.5, -0.75, 1.5]);
    m.floats("b2", &[3], &[0.0, 0.5, 1.0]);
    m.node("Gemm", &["x", "w1", "b1"], &["h"]).name("fc1").int("transB", 1);
    m.node("BatchNormalization", &["h", "gamma", "beta", "mean", "var"], &["n"]).name("bn");
    m.node("Relu", &["n"], &["a"]).name("act");
    m.node("Gemm", &["a", "w2", "b2"], &["z"]).name("fc2").int("transB", 1);
    m.node("Softmax", &["z"], &["y"]).name("sm").int("axis", -1);
    m.output("y", &[-1, 3]);
    import_bytes(&m.to_bytes(), None).unwrap().0
}

fn errors(text: &str) -> Vec<String> {
    let Err(Diagnostics(all)) = parse(text, &model()) else { panic!("accepted: {text}") };
    all.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let all = errors(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    for part in parts {
        assert!(all[0].contains(part), "'{part}' is missing in: {}", all[0]);
    }
}

fn program(text: &str) -> hs_hw::Program {
    let graph = model();
    let config = parse(text, &graph).unwrap_or_else(|e| panic!("{e}"));
    let normal = passes::normalise_with(graph, &config.pass_options()).unwrap();
    lower::lower(&normal, &config.lower_options()).unwrap_or_else(|e| panic!("{e}")).program
}

fn result(program: &hs_hw::Program, name: &str) -> String {
    program.nodes.iter().find(|n| n.name == name).unwrap_or_else(|| panic!("no {name}")).ty.format.to_string()
}

#[test]
fn everything_is_read() {
    let text = r#"
        [model]
        precision = "fixed<12,4>"
        input = "fixed<10,3>"
        io = "stream"
        strategy = "resource"
        reuse = 2
        clock_mhz = 250
        platform = "u250"
        [type.Gemm]
        weight = "fixed<8,2>"
        [node.fc2]
        strategy = "latency"
        bias = "ap_fixed<9,3>"
        [node.x]
        result = "fixed<11,3,TRN,SAT_SYM>"
    "#;
    let graph = model();
    let c = parse(text, &graph).unwrap();
    let ty = |t: Option<hs_fixed::Type>| t.map(|t| t.to_string()).unwrap_or_default();
    assert_eq!(ty(c.precision), "fixed<12,4,RND,SAT>");
    assert_eq!(ty(c.input), "fixed<10,3,RND,SAT>");
    assert_eq!((c.io, c.clock_mhz, c.platform.as_deref()), (Some(Io::Stream), Some(250.0), Some("u250")));
    assert_eq!(ty(c.types["Gemm"].weight), "fixed<8,2,RND,SAT>");
    assert_eq!(ty(c.nodes["fc2"].bias), "fixed<9,3,TRN,WRAP>");
    assert_eq!(ty(c.nodes["x"].result), "fixed<11,3,TRN,SAT_SYM>");
    let schedule = c.schedule_options(&passes::normalise(graph).unwrap());
    assert_eq!((schedule.strategy, schedule.reuse), (Some(Strategy::Resource), Some(2)));
    assert_eq!(schedule.layers.keys().collect::<Vec<_>>(), ["fc2"]);
    assert_eq!(schedule.layers["fc2"].strategy, Some(Strategy::Latency));
}

#[test]
fn omitted_modes_follow_the_arithmetic_wherever_it_stands() {
    let text = "[model]\nprecision = \"fixed<8,3>\"\naccum = \"fixed<9,4>\"\narithmetic = \"hls4ml\"\n";
    let c = parse(text, &model()).unwrap();
    assert_eq!(c.precision.unwrap().to_string(), "fixed<8,3,TRN,WRAP>");
    assert_eq!(c.model.accum.unwrap().to_string(), "fixed<9,4,TRN,WRAP>");
}

#[test]
fn mistakes_name_what_was_meant() {
    refused("[modle]\n", &["line 1", "'modle'", "did you mean [model]?"]);
    refused("precision = \"fixed<8,3>\"\n", &["line 1", "'precision'"]);
    refused("[model]\n\nprecison = \"fixed<8,3>\"\n", &["line 3", "'precison'", "did you mean 'precision'?"]);
    refused("[node.fc3]\nweight = \"fixed<8,3>\"\n", &["[node.\"fc3\"]", "did you mean 'fc1'?"]);
    refused("[node.z]\nresult = \"fixed<8,3>\"\n", &["is a tensor", "'fc2'"]);
    refused("[type.Conv]\nweight = \"fixed<8,3>\"\n", &["no node of this type", "BatchNormalization"]);
    refused("[type.gemm]\nweight = \"fixed<8,3>\"\n", &["did you mean 'Gemm'?"]);
    refused("[node.fc1]\nwieght = \"fixed<8,3>\"\n", &["line 2", "did you mean 'weight'?"]);
    refused(
        "[node.act]\nweight = \"fixed<8,3>\"\n",
        &["'weight' means nothing to a Relu", "it takes: result"],
    );
    refused("[node.fc2]\ninput = \"fixed<8,3>\"\n", &["a tensor has one type", "[node.\"act\"]"]);
    refused("[type.Gemm]\noverride = true\n", &["'override' means nothing to a Gemm"]);
}

#[test]
fn impossible_values_are_errors() {
    refused("[model]\nprecision = \"fixed<8>\"\n", &["line 2", "write fixed<W,I>"]);
    refused("[model]\nprecision = 16\n", &["'precision' is 16", "a type such as"]);
    refused("[model]\nprecision = \"fixed<65,3>\"\n", &["more than 64 bits"]);
    refused("[model]\nio = \"strem\"\n", &["cannot be \"strem\"", "did you mean 'stream'?"]);
    refused("[model]\nreuse = 0\n", &["'reuse' is 0", "from 1"]);
    refused("[model]\nreuse = 1.5\n", &["'reuse' is 1.5"]);
    refused("[model]\nclock_mhz = -4\n", &["1 to 2000 MHz"]);
    refused("[model]\nplatform = \" \"\n", &["a name in quotes"]);
    refused("model = 3\n", &["'model' is 3", "a table"]);
    refused("[model\n", &["line 1", "not TOML"]);
    refused("[node.fc1]\noverride = 1\n", &["true or false"]);
}

#[test]
fn keys_without_effect_are_errors() {
    refused("[node.fc1]\naccum = \"fixed<8,3>\"\n", &["no effect under native arithmetic", "hls4ml"]);
    refused("[model]\nsoftmax = \"stable\"\n", &["no effect under native arithmetic"]);
    let text = "[model]\narithmetic = \"hls4ml\"\n[node.fc1]\naccum = \"fixed<8,3>\"\n[node.sm]\nsoftmax = \"legacy\"\n";
    let c = parse(text, &model()).unwrap();
    assert_eq!(c.nodes["sm"].softmax, Some(lower::SoftmaxImplementation::Legacy));
}

#[test]
fn all_mistakes_are_found_at_once() {
    let all = errors("[model]\nio = 1\nreuse = 0\n[node.nobody]\nx = 1\n[type.Gemm]\nbeta = 1\n");
    assert_eq!(all.len(), 4, "{all:#?}");
}

#[test]
fn the_template_decides_nothing_and_names_everything() {
    let graph = model();
    let text = template(&graph, &passes::normalise(graph.clone()).unwrap());
    assert_eq!(parse(&text, &graph).unwrap(), Config::of(&graph));
    for part in
        ["[node.\"x\"]  # input of the model, [2]", "[node.\"bn\"]  # BatchNormalization", "part of \"fc1\""]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    // Every line that is off can be switched on, one at a time, under one of the arithmetics.
    for (at, line) in text.lines().enumerate().filter(|(_, l)| l.starts_with("# ") && l.contains(" = ")) {
        let native = !line.contains("hls4ml arithmetic only");
        let on: String = text
            .lines()
            .enumerate()
            .map(|(i, l)| match l {
                _ if i == at => format!("{}\n", l.trim_start_matches("# ")),
                "[model]" if !native => "[model]\narithmetic = \"hls4ml\"\n".to_owned(),
                l => format!("{l}\n"),
            })
            .collect();
        if let Err(e) = parse(&on, &graph) {
            panic!("{line}: {e}");
        }
    }
}

#[test]
fn native_types_by_precedence() {
    let base = "[model]\nprecision = \"fixed<16,6>\"\n";
    // Fused: the Gemm's result is that behind the activation.
    let p = program(base);
    assert_eq!((result(&p, "fc1"), result(&p, "fc2")), ("ufixed<16,6>".into(), "fixed<16,6>".into()));
    let p = program(&format!("{base}result = \"fixed<15,5>\"\n"));
    assert_eq!(result(&p, "fc2"), "fixed<15,5>");
    let p = program(&format!("{base}result = \"fixed<15,5>\"\n[type.Gemm]\nresult = \"fixed<14,5>\"\n"));
    assert_eq!(result(&p, "fc2"), "fixed<14,5>");
    // Of fused nodes the last one's type is the result's.
    let p = program(&format!(
        "{base}[type.Gemm]\nresult = \"fixed<14,5>\"\n[type.Relu]\nresult = \"ufixed<13,5>\"\n"
    ));
    assert_eq!((result(&p, "fc1"), result(&p, "fc2")), ("ufixed<13,5>".into(), "fixed<14,5>".into()));
    let p = program(&format!(
        "{base}[type.Gemm]\nresult = \"fixed<14,5>\"\n[node.fc2]\nresult = \"fixed<12,5>\"\n"
    ));
    assert_eq!(result(&p, "fc2"), "fixed<12,5>");
    assert_eq!(result(&program("[model]\ninput = \"fixed<10,3>\"\n"), "x"), "fixed<10,3>");
    assert_eq!(
        result(&program("[model]\ninput = \"fixed<10,3>\"\n[node.x]\ninput = \"fixed<9,3>\"\n"), "x"),
        "fixed<9,3>"
    );
}

#[test]
fn a_type_on_a_node_keeps_its_tensor() {
    // Without it, batch normalisation and activation are part of the Gemm.
    let names = |p: &hs_hw::Program| p.nodes.iter().map(|n| n.name.clone()).collect::<Vec<_>>();
    assert!(!names(&program("")).iter().any(|n| n == "bn" || n == "act"));
    let p = program("[node.fc1]\nresult = \"fixed<9,4,TRN,WRAP>\"\n");
    assert_eq!(p.nodes.iter().find(|n| n.name == "fc1").unwrap().ty.to_string(), "fixed<9,4,TRN,WRAP>");
    assert!(names(&p).contains(&"bn".to_owned()));
    let p = program("[node.bn]\nweight = \"fixed<8,3>\"\n");
    let bn = p.nodes.iter().find(|n| n.name == "bn").unwrap();
    let Op::Affine { scale, .. } = &bn.op else { panic!("{bn:?}") };
    assert_eq!(scale.format.to_string(), "fixed<8,3>");
    let p = program("[node.bn]\nresult = \"fixed<8,3>\"\n");
    assert_eq!(result(&p, "fc1"), "fixed<8,3>");
    assert!(names(&p).contains(&"act".to_owned()));
}

#[test]
fn weights_have_the_type_they_are_given() {
    let weight = |p: &hs_hw::Program, name: &str| {
        let node = p.nodes.iter().find(|n| n.name == name).unwrap();
        let Op::Dot(d) = &node.op else { panic!("{node:?}") };
        d.weight.format.to_string()
    };
    let p = program("[type.Gemm]\nweight = \"fixed<12,4>\"\n[node.fc2]\nweight = \"fixed<7,3>\"\n");
    assert_eq!((weight(&p, "fc1"), weight(&p, "fc2")), ("fixed<12,4>".into(), "fixed<7,3>".into()));
    let graph = model();
    let config = parse("[node.fc2]\nweight = \"fixed<4,1>\"\n", &graph).unwrap();
    let normal = passes::normalise_with(graph, &config.pass_options()).unwrap();
    let e = lower::lower(&normal, &config.lower_options()).unwrap_err().to_string();
    assert!(e.contains("fc2") && e.contains("which fixed<4,1> cannot hold"), "{e}");
}

#[test]
fn calibration_fits_integer_bits_except_of_single_nodes() {
    let graph = model();
    let text = "[type.Gemm]\nresult = \"fixed<14,9>\"\n[node.x]\nresult = \"fixed<10,7>\"\n";
    let config = parse(text, &graph).unwrap();
    let normal = passes::normalise_with(graph, &config.pass_options()).unwrap();
    let ranges =
        [("x", 0.9), ("a", 3.0), ("z", 3.0), ("y", 1.0)].map(|(n, m)| (n.to_owned(), (-m, m).into()));
    let options = lower::LowerOptions { ranges: Some(ranges.into()), ..config.lower_options() };
    let p = lower::lower(&normal, &options).unwrap().program;
    assert_eq!((result(&p, "x"), result(&p, "fc2")), ("fixed<10,7>".into(), "fixed<14,4>".into()));
}

/// x → Quant q → Relu act → Quant aq → y, of power-of-two scales.
fn quantised() -> Graph {
    let mut m = ModelBuilder::new(17);
    m.input("x", &[-1, 2]);
    m.floats("scale", &[], &[0.25]);
    m.floats("zero", &[], &[0.0]);
    m.floats("bits", &[], &[6.0]);
    for (name, from, to) in [("q", "x", "xq"), ("aq", "a", "y")] {
        m.node("Quant", &[from, "scale", "zero", "bits"], &[to])
            .name(name)
            .domain("qonnx.custom_op.general")
            .int("signed", 1)
            .int("narrow", 0)
            .str("rounding_mode", "ROUND");
        if name == "q" {
            m.node("Relu", &["xq"], &["a"]).name("act");
        }
    }
    m.output("y", &[-1, 2]);
    import_bytes(&m.to_bytes(), None).unwrap().0
}

#[test]
fn a_quantiser_of_the_model_is_only_overruled_on_purpose() {
    let run = |text: &str| {
        let graph = quantised();
        let config = parse(text, &graph).unwrap_or_else(|e| panic!("{e}"));
        let normal = passes::normalise_with(graph, &config.pass_options()).unwrap();
        lower::lower(&normal, &config.lower_options()).map(|l| l.program).map_err(|e| e.to_string())
    };
    let last = |p: &hs_hw::Program| result(p, &p.nodes[p.nodes.len() - 2].name);
    assert_eq!(last(&run("").unwrap()), "fixed<6,4>");
    // Weaker than the quantiser: no contradiction.
    assert_eq!(last(&run("[type.Relu]\nresult = \"fixed<9,4>\"\n").unwrap()), "fixed<6,4>");
    for node in ["act", "aq"] {
        let text = format!("[node.{node}]\nresult = \"fixed<9,4>\"\n");
        let e = run(&text).unwrap_err();
        assert!(e.contains("a quantiser of the model fixed<6,4") && e.contains("override = true"), "{e}");
        assert_eq!(last(&run(&format!("{text}override = true\n")).unwrap()), "fixed<9,4>");
    }
    let e = run("[node.x]\nresult = \"fixed<9,4>\"\n").unwrap_err();
    assert!(e.contains("override = true"), "{e}");
}
