//! Random Programs: the emulator gives the interpreter's codes, whatever the options, and every kernel has its share.

#![allow(clippy::print_stdout, reason = "an instruction set that is not there is said to be skipped")]

mod common;

use std::{collections::BTreeSet, ops::Range};

use common::{difference, options};
use hs_emulator::{Emulator, Isa, Layout, Width};
use hs_hw::testing::{Config, OpKind, random_program, shrink};

/// Seeds, and what their Programs may look like.
type Suite = (Range<u64>, Config);

fn any() -> Suite {
    (0..150, Config::default())
}

fn narrow() -> Suite {
    (1000..1120, Config { max_width: 12, ..Config::default() })
}

fn deep() -> Suite {
    (2000..2030, Config { max_nodes: 24, max_width: 24, max_inputs: 4, ..Config::default() })
}

fn alone() -> impl Iterator<Item = Suite> {
    OpKind::ALL.into_iter().zip((3000..).step_by(100)).map(|(op, first)| {
        let config =
            Config { ops: vec![op], max_nodes: 2, max_inputs: 2, max_outputs: 1, ..Config::default() };
        (first..first + 14, config)
    })
}

fn wide() -> Suite {
    let config = Config {
        ops: vec![OpKind::Dot, OpKind::Pool, OpKind::Softmax],
        max_width: 18,
        max_nodes: 4,
        max_dim: 24,
        max_elements: 1500,
        ..Config::default()
    };
    (5000..5030, config)
}

fn softmax() -> Suite {
    let config = Config { ops: vec![OpKind::Softmax], max_nodes: 2, max_inputs: 1, ..Config::default() };
    (6000..6080, config)
}

/// Layers with casts and scales behind them, of the types that kernels are made for.
fn usual() -> impl Iterator<Item = Suite> {
    [(8, 7000..7060), (16, 7100..7220), (24, 7300..7400)].into_iter().map(|(max_width, seeds)| {
        let config = Config {
            ops: vec![OpKind::Dot, OpKind::Dot, OpKind::Affine, OpKind::Requant],
            max_width,
            max_nodes: 4,
            max_inputs: 1,
            max_dim: 24,
            max_elements: 500,
            usual_types: true,
            ..Config::default()
        };
        (seeds, config)
    })
}

fn check((seeds, config): Suite) {
    for seed in seeds {
        let program = random_program(seed, &config);
        if difference(&program, seed).is_some() {
            let small = shrink(program, |p| difference(p, seed).is_some());
            let found = difference(&small, seed).unwrap_or_default();
            panic!("seed {seed} of {config:?}: {found}\n{}", hs_hw::text::print(&small));
        }
    }
}

#[test]
fn any_op_any_width() {
    check(any());
}

#[test]
fn narrow_programs() {
    check(narrow());
}

#[test]
fn deep_programs() {
    check(deep());
}

#[test]
fn each_op_alone() {
    alone().for_each(check);
}

#[test]
fn wide_layers() {
    check(wide());
}

#[test]
fn softmaxes() {
    check(softmax());
}

#[test]
fn usual_layers() {
    usual().for_each(check);
}

/// What the plan of a node must say, all of it, with each of these instruction sets, so that it has been compared.
type Kind = (Layout, &'static [Isa], &'static [&'static str]);

const ALL: &[Isa] = &Isa::ALL;
const VECTORS: &[Isa] = &[Isa::Avx2, Isa::Avx512, Isa::Avx512Vnni, Isa::Avx512Vbmi2];
const PLAIN: &[Isa] = &[Isa::Avx2, Isa::Avx512];
const VNNI: &[Isa] = &[Isa::Avx512Vnni, Isa::Avx512Vbmi2];
const GENERIC: &[Isa] = &[Isa::Generic];

const KINDS: &[Kind] = &[
    (Layout::Lanes, VNNI, &["dot", "u8 x i8"]),
    (Layout::Lanes, VNNI, &["dot", "i16 x i16", "vpdpwssd"]),
    (Layout::Lanes, PLAIN, &["dot", "i16 x i16", "vpmaddwd"]),
    (Layout::Lanes, VECTORS, &["dot", "i16 x (i9, i8)"]),
    (Layout::Lanes, VECTORS, &["dot", "i16, vpmullw"]),
    (Layout::Lanes, VECTORS, &["dot", "i32, vpmulld;"]),
    (Layout::Lanes, VECTORS, &["dot", "i32, vpmulld", "shift each"]),
    (Layout::Lanes, VECTORS, &["dot", "i32, vpmulld", "casts apart"]),
    (Layout::Lanes, GENERIC, &["dot", "tiled", "in i32"]),
    (Layout::Lanes, ALL, &["dot", "tiled", "in i64"]),
    (Layout::Lanes, ALL, &["dot", "tiled", "in i128"]),
    (Layout::Lanes, ALL, &["dot", "modular", "in i64"]),
    (Layout::Lanes, ALL, &["dot", "ordered", "in i32"]),
    (Layout::Lanes, ALL, &["dot", "ordered", "in i64"]),
    (Layout::Lanes, ALL, &["dot", "ordered", "in i128"]),
    (Layout::Lanes, VECTORS, &["affine", "in the registers of"]),
    (Layout::Lanes, VECTORS, &["requant", "in the registers of"]),
    // Elements that share words.
    (Layout::Lanes, VNNI, &["stored in i8"]),
    (Layout::Lanes, VECTORS, &["stored in i16"]),
    (Layout::Rows, VNNI, &["dot", "u8 x i8", "outputs in lanes"]),
    (Layout::Rows, ALL, &["dot", "i16 x i16", "outputs in lanes"]),
    (Layout::Rows, ALL, &["dot", "i32 x i32, outputs in lanes"]),
    (Layout::Rows, ALL, &["dot", "shift each", "outputs in lanes"]),
    (Layout::Rows, VNNI, &["dot", "u8 x i8", "channels in lanes"]),
    (Layout::Rows, ALL, &["dot", "i16 x i16", "channels in lanes"]),
    (Layout::Rows, ALL, &["dot", "i32 x i32", "channels in lanes"]),
    (Layout::Rows, ALL, &["dot", "casts in stages"]),
    (Layout::Rows, ALL, &["dot", "scaled"]),
    (Layout::Rows, ALL, &["dot", "i16 x i16", "weights in halves"]),
    (Layout::Rows, ALL, &["dot", "i32 x i32", "weights in halves"]),
    (Layout::Rows, ALL, &["dot", "weights in halves and sections"]),
    (Layout::Rows, ALL, &["dot", "transposed to lanes", "in i64"]),
    (Layout::Rows, ALL, &["affine", "in the registers of"]),
    (Layout::Rows, ALL, &["requant", "in the registers of"]),
    (Layout::Rows, ALL, &["stored in i8"]),
    (Layout::Rows, ALL, &["stored in i16"]),
];

/// Kinds of both layouts.
const COMMON: &[&[&str]] = &[
    &["table", "result of each of"],
    &["table", "computed position"],
    &["table", "interpolated"],
    &["table", "definition"],
    &["softmax", "exp: result of each of"],
    &["softmax", "exp: computed position"],
    &["softmax", "exp: interpolated"],
    &["softmax", "compare"],
    &["pool", "lanes"],
    &["affine", "casts by definition"],
];

#[test]
fn every_kernel_is_compared() {
    let mut said: BTreeSet<(String, String)> = BTreeSet::new();
    let single = [any(), narrow(), deep(), wide(), softmax()];
    for (seeds, config) in single.into_iter().chain(alone()).chain(usual()) {
        for seed in seeds {
            let program = random_program(seed, &config);
            // Wider integers than need be have no kernels of their own.
            for (options, _) in options(seed).into_iter().filter(|(o, _)| o.least_width == Some(Width::I8)) {
                let plan = Emulator::new(program.clone(), &options).unwrap().plan();
                for n in plan.nodes {
                    let computes = n.computes.map_or_else(String::new, |width| width.to_string());
                    let text = format!(
                        "{}; {}; in {computes}; stored in {}; {}",
                        n.op,
                        n.kernel,
                        n.stores,
                        n.why.replace(&n.node, "")
                    );
                    said.insert((format!("{:?}, {:?}", plan.isa, plan.layout), text));
                }
            }
        }
    }
    let both =
        |says: &&'static [&'static str]| [Layout::Lanes, Layout::Rows].map(|layout| (layout, ALL, *says));
    let mut missing = Vec::new();
    for (layout, isas, says) in KINDS.iter().copied().chain(COMMON.iter().flat_map(both)) {
        for isa in isas {
            let with = format!("{isa:?}, {layout:?}");
            let kind = |(of, text): &(String, String)| *of == with && says.iter().all(|s| text.contains(s));
            if !isa.is_available() {
                println!("SKIPPED: {with}: {}: this machine lacks it", says.join(" "));
            } else if !said.iter().any(kind) {
                missing.push(format!("{with}: {}", says.join(" ")));
            }
        }
    }
    assert!(missing.is_empty(), "no random Program has\n{}", missing.join("\n"));
}
