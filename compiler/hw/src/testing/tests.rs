use std::collections::{BTreeMap, BTreeSet};

use hs_fixed::{Overflow, Rounding};

use super::*;
use crate::{Accum, Act, Divide, Op, Order, PoolKind, Softmax, interp, range};

#[test]
fn random_programs_verify_and_stay_in_their_ranges() {
    let usual = Config { usual_types: true, ..Config::default() };
    let all =
        (0..4000).map(|seed| (seed, Config::default())).chain((0..1000).map(|seed| (seed, usual.clone())));
    for (seed, config) in all {
        let p = random_program(seed, &config);
        assert_eq!(p.verify(), Ok(()), "{p}");
        assert_eq!(p, random_program(seed, &config));
        let ranges = range::ranges(&p);
        for row in random_inputs(&p, seed, 6) {
            for ((_, node), (range, codes)) in p.iter().zip(ranges.iter().zip(interp::trace(&p, &row))) {
                for code in codes {
                    assert!(range.lo <= code && code <= range.hi, "{code} in {}: {range:?}\n{p}", node.name);
                    assert!(node.format().contains(code), "{code} in {}\n{p}", node.name);
                }
            }
        }
    }
}

/// A Program whose values are always the same tells two backends apart by luck only.
#[test]
fn most_values_vary() {
    let (mut all, mut constant) = (0, 0);
    for seed in 0..1000 {
        let p = random_program(seed, &Config::default());
        let rows: Vec<_> = random_inputs(&p, seed, 12).iter().map(|row| interp::trace(&p, row)).collect();
        for (i, node) in p.nodes.iter().enumerate() {
            if !matches!(node.op, Op::Const(_) | Op::Input { .. } | Op::Output { .. }) {
                let codes: BTreeSet<i128> =
                    rows.iter().flat_map(|values| values[i].iter().copied()).collect();
                all += 1;
                constant += usize::from(codes.len() == 1);
            }
        }
    }
    assert!(constant * 100 < all * 20, "{constant} of {all} computed tensors are constant");
}

fn accum(a: &Accum) -> &'static str {
    match a {
        Accum::Exact(_) => "exact",
        Accum::Stepwise { product: None, order: Order::Any, .. } => "any",
        Accum::Stepwise { product: Some(_), order: Order::Any, .. } => "product, any",
        Accum::Stepwise { order: Order::Sequential, .. } => "sequential",
        Accum::Stepwise { order: Order::Strided { .. }, .. } => "strided",
        Accum::Stepwise { order: Order::Blocked { .. }, .. } => "blocked",
        Accum::Stepwise { order: Order::Tree, .. } => "tree",
    }
}

fn act(a: &Act) -> &'static str {
    match a {
        Act::None => "none",
        Act::Clamp { lo: Some(0), hi: None } => "relu",
        Act::Clamp { .. } => "clamp",
        Act::Slope(_) => "slope",
    }
}

/// Every op, with the choices inside it, occurs often; every mode of casts too.
#[test]
fn random_programs_cover_the_ops() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut modes = BTreeSet::new();
    let (mut widths, mut several_inputs, mut several_outputs, mut forks) = (BTreeSet::new(), 0, 0, 0);
    for seed in 0..2500 {
        let p = random_program(seed, &Config::default());
        several_inputs += usize::from(p.inputs().len() > 1);
        several_outputs += usize::from(p.outputs().len() > 1);
        forks += p.uses().iter().filter(|u| u.len() > 1).count();
        for node in &p.nodes {
            modes.insert((node.ty.rounding, node.ty.overflow.name(), node.ty.overflow.saturated_bits() > 0));
            widths.insert((node.ty.format.is_signed(), node.ty.format.width()));
            let what = match &node.op {
                Op::Dot(d) => {
                    let groups = if d.groups > 1 { "grouped " } else { "" };
                    format!("{groups}dot {}d {} {}", d.window.len(), accum(&d.accum), act(&d.act))
                }
                Op::Pool(p) => match &p.kind {
                    PoolKind::Max => format!("max pool {}d", p.window.len()),
                    PoolKind::Average(a) => {
                        let divide = matches!(a.divide, Divide::TowardZero);
                        format!("average pool {} {divide} {}", accum(&a.accum), a.include_pad)
                    }
                },
                Op::Softmax(Softmax::Tables(s)) => format!("softmax {:?} {}", s.kind, accum(&s.sum)),
                Op::Softmax(Softmax::Argmax) => "argmax".to_owned(),
                Op::Table(t) => format!("table {} {}", t.interpolate, t.index.toward_zero),
                Op::Affine { act: a, .. } => format!("affine {}", act(a)),
                Op::Requant(a) => format!("requant {}", act(a)),
                Op::Binary { op, act: a } => format!("{op:?} {}", act(a)),
                Op::Input { .. }
                | Op::Output { .. }
                | Op::Const(_)
                | Op::Reshape
                | Op::Permute(_)
                | Op::Concat { .. }
                | Op::Pad { .. } => format!("{} {}d", node.op.keyword(), node.shape.len()),
            };
            *seen.entry(what).or_default() += 1;
        }
    }
    let count =
        |prefix: &str| seen.iter().filter(|(k, _)| k.starts_with(prefix)).map(|(_, n)| n).sum::<usize>();
    for dims in 0..3 {
        for accum in ["exact", "any", "product, any", "sequential", "strided", "blocked", "tree"] {
            assert!(count(&format!("dot {dims}d {accum}")) >= 5, "{dims} {accum}: {seen:#?}");
        }
        assert!(count(&format!("grouped dot {dims}d")) >= 20, "{seen:#?}");
    }
    for op in ["dot 0d exact", "affine", "requant", "Add", "Sub", "Mul", "Max", "Min"] {
        for act in ["none", "relu", "clamp", "slope"] {
            assert!(count(&format!("{op} {act}")) >= 5, "{op} {act}: {seen:#?}");
        }
    }
    for table in ["false false", "false true", "true false"] {
        assert!(count(&format!("table {table}")) >= 50, "{seen:#?}");
    }
    for kind in ["max pool 1d", "max pool 2d", "average pool exact true", "average pool exact false"] {
        assert!(count(kind) >= 20, "{kind}: {seen:#?}");
    }
    assert!(count("argmax") >= 20, "{seen:#?}");
    for kind in ["softmax Stable", "softmax Latency", "softmax Legacy"] {
        for accum in ["exact", "any", "sequential", "strided", "blocked", "tree"] {
            assert!(count(&format!("{kind} {accum}")) >= 5, "{kind} {accum}: {seen:#?}");
        }
    }
    for op in ["input", "output", "const", "reshape", "permute", "concat", "pad"] {
        for rank in 1..=3 {
            assert!(count(&format!("{op} {rank}d")) >= 10, "{op} {rank}: {seen:#?}");
        }
    }
    // 7 roundings × (3 saturations, WRAP and WRAP_SM with and without saturated bits).
    assert_eq!(modes.len(), 7 * 7);
    for width in 1..=64 {
        assert!(widths.contains(&(true, width)), "fixed of {width} bits");
        assert!(width == 64 || widths.contains(&(false, width)), "ufixed of {width} bits");
    }
    assert!(several_inputs > 300 && several_outputs > 300 && forks > 300);
}

#[test]
fn config_restricts() {
    let config = Config {
        ops: vec![OpKind::Dot, OpKind::Binary],
        max_width: 12,
        max_nodes: 4,
        max_inputs: 1,
        max_outputs: 1,
        max_rank: 2,
        max_dim: 3,
        max_elements: 20,
        stepwise: false,
        usual_types: false,
        odd_names: false,
    };
    for seed in 0..500 {
        let p = random_program(seed, &config);
        assert!(p.inputs().len() == 1 && p.outputs().len() == 1);
        let computing = p.nodes.iter().filter(|n| matches!(n.op, Op::Dot(_) | Op::Binary { .. })).count();
        assert!(computing <= 4);
        for node in &p.nodes {
            assert!(node.ty.format.width() <= 12 && node.shape.len() <= 2 && node.len() <= 20, "{p}");
            match &node.op {
                Op::Dot(d) => assert!(matches!(d.accum, Accum::Exact(_))),
                Op::Input { .. } | Op::Output { .. } | Op::Const(_) | Op::Binary { .. } => {}
                op => panic!("{}", op.keyword()),
            }
        }
    }
}

#[test]
fn usual_types_are_few() {
    let config = Config { usual_types: true, max_width: 24, ..Config::default() };
    let (mut one_type, mut exact_sums) = (0, 0);
    for seed in 0..500 {
        for node in random_program(seed, &config).nodes {
            assert!(matches!(node.ty.rounding, Rounding::Trn | Rounding::Rnd), "{}", node.ty);
            assert!(matches!(node.ty.overflow, Overflow::Sat | Overflow::WRAP), "{}", node.ty);
            if let Op::Dot(dot) = &node.op {
                let format = node.format();
                exact_sums += usize::from(format.frac() == dot.accum.format().frac());
                assert!([8, 16, 24].contains(&dot.weight.format.width()), "{}", dot.weight.format);
                if let Accum::Stepwise { product: Some(product), ty, order } = &dot.accum {
                    assert!(*order == Order::Any || product == ty, "{product} and {ty}");
                    one_type += 1;
                }
            } else if matches!(node.op, Op::Input { .. } | Op::Requant(_)) {
                assert!([8, 16, 24].contains(&node.format().width()), "{}", node.ty);
            }
        }
    }
    assert!(one_type > 50 && exact_sums > 100, "{one_type}, {exact_sums}");
}

#[test]
fn first_rows_are_edges() {
    let p = random_program(7, &Config::default());
    let rows = random_inputs(&p, 1, 9);
    assert_eq!(rows.len(), 9);
    assert_eq!(rows, random_inputs(&p, 1, 9));
    assert_ne!(rows[4..], random_inputs(&p, 2, 9)[4..]);
    for (slot, id) in p.inputs().into_iter().enumerate() {
        let f = p.node(id).format();
        assert_eq!(rows[1][slot], vec![f.min(); p.node(id).len()]);
        assert_eq!(rows[2][slot], vec![f.max(); p.node(id).len()]);
        assert!(rows.iter().all(|r| r[slot].iter().all(|c| f.contains(*c))));
    }
}

/// Shrinks the first `n` Programs that fail and hands each result to `check`.
fn shrunk(n: usize, fails: impl Fn(&Program) -> bool, check: impl Fn(&Program)) {
    let config = Config::default();
    let failing = (0..).map(|seed| random_program(seed, &config)).filter(|p| fails(p)).take(n);
    for program in failing {
        let mut asked = 0;
        let small = shrink(program, |p| {
            asked += 1;
            assert_eq!(p.verify(), Ok(()), "{p}");
            fails(p)
        });
        assert!(fails(&small), "{small}");
        assert!(asked < 3000, "{asked} questions");
        check(&small);
    }
}

#[test]
fn shrinks_to_the_op_at_fault() {
    let has_softmax = |p: &Program| p.nodes.iter().any(|n| matches!(n.op, Op::Softmax(_)));
    shrunk(20, has_softmax, |p| {
        assert_eq!(p.nodes.len(), 3, "{p}");
        assert!(p.nodes.iter().all(|n| n.len() == 1), "{p}");
    });
    let has_bias = |p: &Program| {
        p.nodes.iter().any(|n| {
            matches!(&n.op, Op::Dot(d) if d.bias.as_ref().is_some_and(|b| b.data.iter().any(|v| *v != 0)))
        })
    };
    shrunk(20, has_bias, |p| {
        assert_eq!(p.nodes.len(), 3, "{p}");
        let Op::Dot(d) = &p.nodes[1].op else { panic!("{p}") };
        assert!(d.weight.data.iter().all(|w| *w == 0) && d.act == Act::None, "{p}");
    });
}

/// A wrong backend: it forgets to round.
#[test]
fn shrinks_what_a_backend_gets_wrong() {
    let wrong = |p: &Program| {
        let mut truncated = p.clone();
        for node in &mut truncated.nodes {
            if matches!(node.op, Op::Requant(_)) {
                node.ty.rounding = hs_fixed::Rounding::Trn;
            }
        }
        truncated.verify() == Ok(())
            && random_inputs(p, 0, 20).iter().any(|row| interp::run(p, row) != interp::run(&truncated, row))
    };
    shrunk(20, wrong, |p| {
        assert!(p.nodes.len() <= 4 && p.nodes[1].len() <= 8, "{p}");
    });
}
