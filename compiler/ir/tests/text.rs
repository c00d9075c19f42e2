//! The text form parses back, and the verifier finds what it should.

use std::sync::Arc;

use hs_ir::{Attr, DType, Graph, Grid, Node, Tensor, TensorData, TensorError, Value, VerifyError};
use proptest::prelude::*;

fn sample(name: &str, weights: Vec<f32>) -> Graph {
    let mut g = Graph::new(name);
    let x = g.add_value(Value::typed("x", DType::F32, vec![1, weights.len()]));
    let w = g.add_value(Value::constant(name, Tensor::from_f32(vec![1, weights.len()], weights).unwrap()));
    g.value_mut(w).grid = Some(Arc::new(Grid {
        scale: vec![0.125],
        axis: None,
        zero_point: 0.0,
        bits: 6,
        signed: true,
        narrow: false,
    }));
    let d = g.add_value(Value::constant(
        "d",
        Tensor::new(DType::F64, vec![], TensorData::F64(vec![1e-300])).unwrap(),
    ));
    let h = g.add_value(Value::typed("h", DType::F32, vec![]));
    let y = g.add_value(Value::named("y"));
    let attrs = [
        ("axis", Attr::Int(-1)),
        ("axes", Attr::Ints(vec![i64::MIN, 3])),
        ("alpha", Attr::Float(1e-7)),
        ("f", Attr::Floats(vec![])),
        ("mode", Attr::Str(name.to_owned())),
        ("strs", Attr::Strs(vec!["a\u{7}b".to_owned()])),
        ("t", Attr::Tensor(Tensor::vec_i64(vec![1, -2]))),
    ];
    g.nodes.push(Node {
        name: "first".into(),
        domain: "odd domain".into(),
        op: "Op".into(),
        attrs: attrs.into_iter().collect(),
        inputs: vec![Some(x), None, Some(w), Some(d)],
        outputs: vec![None, Some(h)],
        sources: vec!["first".into(), "other".into()],
    });
    g.nodes.push(Node {
        name: "_".into(),
        domain: String::new(),
        op: "Relu".into(),
        attrs: Default::default(),
        inputs: vec![Some(h)],
        outputs: vec![Some(y)],
        sources: vec!["_".into()],
    });
    g.inputs = vec![x];
    g.outputs = vec![y, y];
    g
}

proptest! {
    #[test]
    fn round_trip(name in "[^xydh].{0,12}", weights in prop::collection::vec(-1e30f32..1e30, 0..20)) {
        let graph = sample(&name, weights);
        let parsed: Graph = graph.to_text().parse().unwrap();
        prop_assert_eq!(parsed.to_text(), graph.to_text());
        prop_assert_eq!(parsed, graph);
    }

    #[test]
    fn parsing_never_panics(text in "(graph|input|node|const| |\"|\\[|\\(|:|,|->|f32|1|\n|\\\\u\\{){0,30}") {
        let _ = text.parse::<Graph>();
    }
}

#[test]
fn summary_leaves_out_large_constants() {
    let graph = sample("m", vec![0.5; 17]);
    assert!(graph.to_string().contains("<17 elements in 0.5 to 0.5>"));
    assert_eq!(format!("{graph:#}"), graph.to_text());
    assert!(graph.to_string().parse::<Graph>().is_err());
}

#[test]
fn errors_name_the_line() {
    let error = "graph \"g\"\n\ninput x".parse::<Graph>().unwrap_err();
    assert_eq!(error.to_string(), "line 3: expected a quoted string, found 'x'");
}

#[test]
fn verifier_finds_bad_graphs() {
    let good = sample("m", vec![0.5]);
    good.verify().unwrap();

    let mut bad = good.clone();
    bad.nodes.swap(0, 1);
    assert!(matches!(bad.verify(), Err(VerifyError::Undefined { .. })));

    let mut bad = good.clone();
    bad.nodes[1].outputs = bad.nodes[0].outputs.clone();
    assert!(matches!(bad.verify(), Err(VerifyError::Redefined { .. })));

    let mut bad = good.clone();
    bad.nodes[1].name = "first".into();
    assert!(matches!(bad.verify(), Err(VerifyError::Name { .. })));

    let mut bad = good.clone();
    bad.values[1].shape = Some(vec![7]);
    assert!(matches!(bad.verify(), Err(VerifyError::ConstantType { .. })));
}

#[test]
fn compact_renumbers() {
    let mut graph = sample("m", vec![0.5]);
    graph.values.insert(2, Value::named("unused"));
    let shift = |id: &mut hs_ir::ValueId| {
        if id.index() >= 2 {
            *id = hs_ir::ValueId::new(id.index() + 1);
        }
    };
    for node in &mut graph.nodes {
        node.inputs.iter_mut().chain(&mut node.outputs).flatten().for_each(shift);
    }
    graph.outputs.iter_mut().for_each(shift);
    graph.verify().unwrap();
    graph.compact();
    assert_eq!(graph, sample("m", vec![0.5]));
}

#[test]
fn tensors_are_checked() {
    let lying = Tensor::from_f32(vec![2, 2], vec![0.0; 3]);
    assert_eq!(lying, Err(TensorError::Length { shape: vec![2, 2], expected: 4, found: 3 }));
    assert!(matches!(Tensor::from_f32(vec![usize::MAX, 2], vec![]), Err(TensorError::TooLarge(_))));
    let range = Tensor::new(DType::I8, vec![1], TensorData::I64(vec![128]));
    assert_eq!(range, Err(TensorError::Range { dtype: DType::I8, value: 128, index: 0 }));
    assert!(matches!(
        Tensor::new(DType::F32, vec![1], TensorData::I64(vec![1])),
        Err(TensorError::Storage(..))
    ));
    assert_eq!(Tensor::vec_f32(vec![1.0, f32::NAN]).first_non_finite().unwrap().0, 1);
}
