//! Dense layers of every kernel, at the ends of their types, against the interpreter.

mod common;

use common::difference;
use hs_emulator::{Emulator, Isa, Layout, Options};
use hs_hw::{Program, text};

/// Codes that grow from one end of a type to the other in odd steps, ends included.
fn codes(n: usize, lo: i64, hi: i64, seed: i64) -> String {
    let code = |i: i64| match (i + seed) % 7 {
        0 => lo,
        1 => hi,
        _ => lo + (i * 7919 + seed * 104_729).rem_euclid(hi - lo + 1),
    };
    (0..n as i64).map(|i| code(i).to_string()).collect::<Vec<_>>().join(", ")
}

struct Layer {
    x: &'static str,
    weight: &'static str,
    ends: (i64, i64),
    accum: &'static str,
    act: &'static str,
    y: &'static str,
}

/// Three layers of 5 to 11 to 9 to 3 features, the same types in each but for the input of the second and third.
fn program(l: &Layer) -> Program {
    let dot = |id: usize, inputs: usize, outputs: usize| {
        format!(
            "%{id} = dot(%{}) \"d{id}\" {{\n  window: [],\n  groups: 1,\n  weight: {}[{}],\n  bias: {}[{}],\n  \
             accum: {},\n  act: {},\n}} : [{outputs}] {}\n",
            id - 1,
            l.weight,
            codes(inputs * outputs, l.ends.0, l.ends.1, id as i64),
            l.weight,
            codes(outputs, l.ends.0, l.ends.1, 3),
            l.accum,
            l.act,
            l.y,
        )
    };
    let text = format!(
        "program \"dense\" version 1\n\n%0 = input \"x\" {{index: 0, tensor: \"x\", onnx_shape: [5], perm: [0]}} : [5] \
         {}\n{}{}{}%4 = output(%3) \"y\" {{index: 0, tensor: \"y\", onnx_shape: [3], perm: [0]}} : [3] {}\n",
        l.x.replace('>', ",RND,SAT>"),
        dot(1, 5, 11),
        dot(2, 11, 9),
        dot(3, 9, 3),
        l.y
    );
    text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// The same bits as the interpreter, by a kernel of this name where the instruction set has it.
fn check(l: &Layer, kernel: &str, isa: Isa) {
    let program = program(l);
    if let Err(errors) = program.verify() {
        panic!("{errors:?}");
    }
    if isa.is_available() {
        let options = Options { isa: Some(isa), ..Options::default() };
        let plan = Emulator::new(program.clone(), &options).unwrap().plan();
        let found: Vec<&str> = plan.nodes[1..4].iter().map(|n| n.kernel.as_str()).collect();
        assert!(found.iter().all(|k| k.contains(kernel)), "{kernel}: {plan}");
    }
    if let Some(found) = difference(&program, 7) {
        panic!("{found}\n{}", text::print(&program));
    }
}

const EXACT: &str = "exact{format: fixed<46,26>}";

#[test]
fn eight_bits() {
    for (x, y) in [("fixed<8,4>", "ufixed<8,4,RND,SAT>"), ("ufixed<8,4>", "fixed<8,4,RND,SAT>")] {
        for act in ["none", "clamp{lo: 0}", "clamp{lo: 0, hi: 60000}"] {
            let y = if act == "none" { "fixed<8,4,RND_MIN_INF,SAT_SYM>" } else { y };
            let accum = "exact{format: fixed<40,32>}";
            let l = Layer { x, weight: "fixed<8,4>", ends: (-128, 127), accum, act, y };
            check(&l, "vpdpbusd", Isa::Avx512Vnni);
        }
    }
}

#[test]
fn sixteen_bits() {
    for (x, y) in [("fixed<16,6>", "ufixed<16,6,RND,SAT>"), ("ufixed<16,6>", "fixed<16,6,TRN,SAT>")] {
        let l = Layer { x, weight: "fixed<8,4>", ends: (-128, 127), accum: EXACT, act: "none", y };
        check(&l, "i16 x i16", Isa::Avx2);
        let l = Layer { x, weight: "fixed<16,6>", ends: (-32768, 32767), accum: EXACT, act: "none", y };
        check(&l, "i16 x (i9, i8)", Isa::Avx512);
        let wrapping = if y.starts_with('u') { "ufixed<12,6,RND,WRAP>" } else { "fixed<12,6,TRN,WRAP>" };
        let l = Layer { y: wrapping, ..l };
        check(&l, "i16 x i16", Isa::Avx512Vnni);
    }
}

#[test]
fn wide_operands() {
    let l = Layer {
        x: "fixed<20,8>",
        weight: "fixed<10,4>",
        ends: (-512, 511),
        accum: "exact{format: fixed<46,28>}",
        act: "clamp{lo: 0}",
        y: "fixed<20,8,RND,SAT>",
    };
    check(&l, "", Isa::Avx512);
    let l = Layer { weight: "fixed<7,4>", ends: (-64, 63), accum: "exact{format: fixed<46,31>}", ..l };
    check(&l, "vpmulld", Isa::Avx512);
}

#[test]
fn shifted_products() {
    let stepwise = |product: &str, ty: &str| -> &'static str {
        format!("stepwise{{product: {product}, ty: {ty}, order: sequential}}").leak()
    };
    let all = [
        ("fixed<16,6,TRN,WRAP>", "fixed<16,6,TRN,WRAP>", "vpmulhw"),
        ("fixed<16,6,TRN,WRAP>", "fixed<14,6,TRN,WRAP>", "vpmulhw"),
        ("fixed<18,8,TRN,WRAP>", "fixed<18,8,TRN,WRAP>", "shift each"),
        ("fixed<16,6,RND,WRAP>", "fixed<16,6,TRN,WRAP>", ""),
        ("fixed<24,14,TRN,WRAP>", "fixed<30,20,TRN,SAT>", ""),
    ];
    for (product, ty, kernel) in all {
        for ends in [(-32768, 32767), (-100, 100)] {
            let l = Layer {
                x: "fixed<16,6>",
                weight: "fixed<16,6>",
                ends,
                accum: stepwise(product, ty),
                act: "clamp{lo: 0}",
                y: "fixed<16,6,TRN,WRAP>",
            };
            // Small weights leave sums that 16 bits hold.
            check(&l, if ends.1 > 100 { kernel } else { "" }, Isa::Avx512Vbmi2);
        }
    }
}

/// A scale directly behind sums that are kept in two parts.
#[test]
fn scaled_sums_in_halves() {
    let text = format!(
        "program \"scaled\" version 1\n\n%0 = input \"x\" {{index: 0, tensor: \"x\", onnx_shape: [3], perm: [0]}} : \
         [3] fixed<16,16,RND,SAT>\n%1 = dot(%0) \"d\" {{\n  window: [],\n  groups: 1,\n  weight: \
         fixed<16,16>[{}],\n  accum: exact{{format: fixed<35,35>}},\n  act: none,\n}} : [2] \
         fixed<27,35,TRN,SAT>\n%2 = affine(%1) \"s\" {{scale: fixed<4,4>[-7, 5], bias: fixed<30,38>[99, -88], act: \
         none}} : [2] fixed<16,39,TRN,SAT>\n%3 = output(%2) \"y\" {{index: 0, tensor: \"y\", onnx_shape: [2], perm: \
         [0]}} : [2] fixed<16,39,TRN,SAT>\n",
        codes(6, -32768, 32767, 1),
    );
    let program = text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(program.verify(), Ok(()));
    for (layout, kernel) in [(Layout::Lanes, "(i9, i8)"), (Layout::Rows, "scaled, weights in halves")] {
        // Only vectors keep sums of lanes in two parts.
        if layout == Layout::Rows || Isa::best() != Isa::Generic {
            let options = Options { layout: Some(layout), ..Options::default() };
            let plan = Emulator::new(program.clone(), &options).unwrap().plan();
            assert!(plan.nodes[1].kernel.contains(kernel), "{plan}");
            assert!(plan.nodes[2].why.contains("in the registers of"), "{plan}");
        }
    }
    if let Some(found) = difference(&program, 5) {
        panic!("{found}\n{text}");
    }
}

/// Two layers read one tensor: the first would take it as pairs of 16 bits and the requantisation behind it into its
/// registers, the second has weights that only whole words hold.
#[test]
fn readers_that_want_a_tensor_in_different_words() {
    let dot = |id: usize, weight: &str, ends: (i64, i64), accum: &str, y: &str| {
        format!(
            "%{id} = dot(%0) \"d{id}\" {{\n  window: [],\n  groups: 1,\n  weight: {weight}[{}],\n  accum: \
             exact{{format: {accum}}},\n  act: none,\n}} : [2] {y}\n",
            codes(10, ends.0, ends.1, id as i64),
        )
    };
    let text = format!(
        "program \"readers\" version 1\n\n%0 = input \"x\" {{index: 0, tensor: \"x\", onnx_shape: [5], perm: [0]}} : \
         [5] fixed<16,6,RND,SAT>\n{}%2 = requant(%1) \"r\" {{act: clamp{{lo: 0}}}} : [2] ufixed<10,9,TRN,SAT>\n{}%4 = \
         output(%2) \"y\" {{index: 0, tensor: \"y\", onnx_shape: [2], perm: [0]}} : [2] ufixed<10,9,TRN,SAT>\n%5 = \
         output(%3) \"z\" {{index: 1, tensor: \"z\", onnx_shape: [2], perm: [0]}} : [2] fixed<16,8,RND,SAT>\n",
        dot(1, "fixed<16,6>", (-32768, 32767), "fixed<40,20>", "fixed<18,14,RND,SAT>"),
        dot(3, "fixed<20,6>", (-524_288, 524_287), "fixed<44,20>", "fixed<16,8,RND,SAT>"),
    );
    let program = text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(program.verify(), Ok(()));
    if let Some(found) = difference(&program, 11) {
        panic!("{found}\n{text}");
    }
}
