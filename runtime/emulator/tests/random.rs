//! Random Programs: the emulator gives the interpreter's codes, whatever the options.

mod common;

use common::difference;
use hs_hw::testing::{Config, OpKind, random_program, shrink};

fn check(seeds: std::ops::Range<u64>, config: &Config) {
    for seed in seeds {
        let program = random_program(seed, config);
        if difference(&program, seed).is_some() {
            let small = shrink(program, |p| difference(p, seed).is_some());
            let found = difference(&small, seed).unwrap_or_default();
            panic!("seed {seed} of {config:?}: {found}\n{}", hs_hw::text::print(&small));
        }
    }
}

#[test]
fn any_op_any_width() {
    check(0..150, &Config::default());
}

#[test]
fn narrow_programs() {
    check(1000..1120, &Config { max_width: 12, ..Config::default() });
}

#[test]
fn deep_programs() {
    check(2000..2030, &Config { max_nodes: 24, max_width: 24, max_inputs: 4, ..Config::default() });
}

#[test]
fn each_op_alone() {
    for (i, op) in OpKind::ALL.into_iter().enumerate() {
        let config =
            Config { ops: vec![op], max_nodes: 2, max_inputs: 2, max_outputs: 1, ..Config::default() };
        check(3000 + 100 * i as u64..3014 + 100 * i as u64, &config);
    }
}

#[test]
fn wide_layers() {
    let config = Config {
        ops: vec![OpKind::Dot, OpKind::Pool, OpKind::Softmax],
        max_width: 18,
        max_nodes: 4,
        max_dim: 24,
        max_elements: 1500,
        ..Config::default()
    };
    check(5000..5030, &config);
}

#[test]
fn softmaxes() {
    let config = Config { ops: vec![OpKind::Softmax], max_nodes: 2, max_inputs: 1, ..Config::default() };
    check(6000..6080, &config);
}
