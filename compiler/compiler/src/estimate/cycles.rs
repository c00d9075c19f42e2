//! Cycles of each process, from the loops of its C++, and of a row through all of them.
//!
//! Depths of pipelines are guesses at 250 MHz; intervals follow from the loops.

use hs_hw::{Accum, Act, BinaryOp, Dot, Op, Order, Program, Softmax, SoftmaxKind, ValueId};

use super::layer::Style;
use crate::hls::design::Design;
use crate::hls::layout::is_tree;
use crate::hls::moves::{self, Move};
use crate::hls::network::{Network, Process, Role};
use crate::schedule::traffic::{Ports, Traffic};

/// When a process works on a row, in cycles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    /// From one row to the next.
    pub(super) interval: u64,
    /// From its first read to its first write, its pipeline left out.
    lead: u64,
    /// From its last read to its last write, its pipeline left out.
    tail: u64,
    /// Stages of its pipeline.
    depth: u64,
}

impl Timing {
    fn busy(interval: u64, depth: u64) -> Self {
        Self { interval, lead: 0, tail: 0, depth }
    }
}

/// Levels of a balanced tree over `n` leaves.
fn levels(n: usize) -> u64 {
    u64::from(n.max(1).next_power_of_two().ilog2())
}

/// Stages of a sum of `terms`: a level of a tree each, or, where the order counts, two additions each.
fn sum_depth(accum: &Accum, terms: usize) -> u64 {
    match accum {
        Accum::Exact(_) | Accum::Stepwise { order: Order::Any | Order::Tree, .. } => levels(terms) + 1,
        Accum::Stepwise {
            order: Order::Sequential | Order::Strided { .. } | Order::Blocked { .. }, ..
        } => (terms as u64).div_ceil(2) + 1,
    }
}

const MULTIPLY: u64 = 3;
const STORE: u64 = 2;

fn act_depth(act: &Act) -> u64 {
    match act {
        Act::None => 0,
        Act::Clamp { .. } => 1,
        Act::Slope(_) => MULTIPLY + 1,
    }
}

/// Stages of the pipeline of a node's process.
fn depth(design: &Design<'_>, id: ValueId) -> u64 {
    let node = design.program.node(id);
    STORE
        + match &node.op {
            Op::Dot(d) => {
                let terms =
                    design.dot_layout(id, d).map_or(1, |l| if is_tree(&d.accum) { l.terms } else { l.depth });
                MULTIPLY + sum_depth(&d.accum, terms) + act_depth(&d.act)
            }
            Op::Affine { act, .. } => MULTIPLY + 1 + act_depth(act),
            Op::Requant(act) => 1 + act_depth(act),
            Op::Binary { op: BinaryOp::Mul, act } => MULTIPLY + act_depth(act),
            Op::Binary { op: BinaryOp::Add | BinaryOp::Sub | BinaryOp::Max | BinaryOp::Min, act } => {
                1 + act_depth(act)
            }
            Op::Table(lut) => MULTIPLY + 2 + if lut.interpolate { MULTIPLY + 1 } else { 0 },
            Op::Pool(p) => 1 + levels(p.window.iter().map(|w| w.kernel).product()),
            Op::Softmax(Softmax::Argmax) => 1 + node.channels() as u64,
            Op::Softmax(Softmax::Tables(s)) => {
                let look_up = MULTIPLY + 2;
                let largest = match s.kind {
                    SoftmaxKind::Stable => levels(node.channels()),
                    SoftmaxKind::Latency | SoftmaxKind::Legacy => 0,
                };
                largest + 2 * look_up + sum_depth(&s.sum, node.channels()) + MULTIPLY
            }
            Op::Reshape
            | Op::Permute(_)
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Input { .. }
            | Op::Output { .. }
            | Op::Const(_) => 0,
        }
}

/// Cycles that a dot's loops take for a pixel, its pipeline left out: turns × steps, or an output each.
fn turns(design: &Design<'_>, id: ValueId, d: &Dot) -> u64 {
    if is_tree(&d.accum) {
        return design.program.node(id).channels() as u64;
    }
    design.dot_layout(id, d).map_or(1, |l| l.reuse() as u64)
}

/// Timing of a process.
pub(super) fn timing(design: &Design<'_>, process: &Process, style: Style) -> Timing {
    match style {
        Style::Stream => streamed(design, process),
        Style::Arrays => on_arrays(design, process),
        Style::Unrolled => match process.role {
            Role::Node(id) => Timing::busy(1, depth(design, id)),
            Role::Clone(_) | Role::Forward(_) | Role::Drain(_) => Timing::busy(1, 0),
        },
    }
}

fn streamed(design: &Design<'_>, process: &Process) -> Timing {
    let traffic = Traffic::of(design.program, &design.network, process);
    let steps = traffic.steps();
    let plain = |depth: u64| {
        let (first, last) = ends(&traffic);
        Timing { interval: steps as u64, lead: first as u64, tail: (steps - 1 - last) as u64, depth }
    };
    let id = match process.role {
        Role::Node(id) => id,
        Role::Clone(_) | Role::Forward(_) | Role::Drain(_) => return plain(STORE),
    };
    let node = design.program.node(id);
    let depth = depth(design, id);
    match &node.op {
        Op::Dot(d) => {
            let turns = turns(design, id, d);
            let pixels = node.pixels() as u64;
            if let (Some(fold), Some(layout)) = (design.fold(id), design.dot_layout(id, d)) {
                // Each pixel of the flattened tensor fills the pipeline; in the end the sums are stored.
                let sums = layout.turns as u64;
                let pixel = turns / fold.pixels as u64 + depth;
                let interval = fold.pixels as u64 * pixel + sums + STORE;
                return Timing { interval, lead: interval - sums, tail: pixel + sums, depth };
            }
            if turns == 1 && !is_tree(&d.accum) {
                // A windowed layer counts its pixels anew in each row, which empties its pipeline.
                let refill = if design.is_windowed(id) { depth } else { 0 };
                let plain = plain(depth);
                return Timing { interval: plain.interval + refill, ..plain };
            }
            // Nothing overlaps between pixels: each fills the pipeline anew. A position without a result takes 2 cycles.
            let pixel = turns + depth;
            if design.is_windowed(id) {
                let p = plain(0);
                let interval = 2 * p.interval + pixels * pixel;
                Timing { interval, lead: 2 * p.lead + turns, tail: 2 * p.tail + turns, depth }
            } else {
                Timing { interval: pixels * pixel, lead: turns, tail: turns, depth }
            }
        }
        Op::Reshape | Op::Permute(_) | Op::Pad { .. } => match moves::kind(design, id) {
            Move::Widen(_) | Move::Narrow(_) | Move::Pad => plain(depth),
            // A memory has two ports, and the loops follow each other.
            Move::Rearrange => {
                let from = design.program.node(node.inputs[0]);
                let ports = |channels: usize| (channels as u64).div_ceil(2);
                let reads = from.pixels() as u64 * ports(from.channels());
                let writes = node.pixels() as u64 * ports(node.channels());
                Timing { interval: reads + writes + 2 * depth, lead: reads, tail: writes, depth }
            }
        },
        Op::Concat { axis } if *axis + 1 < node.shape.len() => {
            // A loop a part, each with a pipeline of its own.
            let outer: usize = node.shape[..*axis].iter().product();
            let loops = (outer * node.inputs.len()) as u64;
            let plain = plain(depth);
            Timing { interval: plain.interval + loops * depth, ..plain }
        }
        Op::Affine { .. }
        | Op::Requant(_)
        | Op::Binary { .. }
        | Op::Table(_)
        | Op::Pool(_)
        | Op::Softmax(_)
        | Op::Concat { .. }
        | Op::Input { .. }
        | Op::Output { .. }
        | Op::Const(_) => plain(depth),
    }
}

/// The first step of a row that writes, and the last that reads.
fn ends(traffic: &Traffic) -> (usize, usize) {
    let steps = traffic.steps();
    let first = (0..steps).find(|i| traffic.step(*i).writes != Ports::None).unwrap_or(0);
    let last = (0..steps).rev().find(|i| traffic.step(*i).reads != Ports::None).unwrap_or(steps - 1);
    (first, last)
}

/// A layer over whole tensors, all of which are computed one after the other.
fn on_arrays(design: &Design<'_>, process: &Process) -> Timing {
    let (trips, depth) = match process.role {
        Role::Clone(v) => (design.program.node(v).len() as u64, STORE),
        Role::Forward(v) => (design.program.node(design.network.carrier[v.index()]).len() as u64, STORE),
        Role::Drain(_) => (0, 0),
        Role::Node(id) => {
            let node = design.program.node(id);
            let (pixels, len) = (node.pixels() as u64, node.len() as u64);
            let depth = depth(design, id);
            let trips = match &node.op {
                Op::Dot(d) => {
                    let turns = turns(design, id, d);
                    if turns == 1 || !design.is_windowed(id) {
                        pixels * turns
                    } else {
                        pixels * (turns + depth)
                    }
                }
                Op::Affine { .. }
                | Op::Requant(_)
                | Op::Binary { .. }
                | Op::Table(_)
                | Op::Pool(_)
                | Op::Softmax(_) => pixels,
                // An element a cycle.
                Op::Reshape | Op::Permute(_) | Op::Pad { .. } | Op::Concat { .. } => len,
                Op::Input { .. } | Op::Output { .. } | Op::Const(_) => 0,
            };
            (trips, depth)
        }
    };
    Timing::busy(trips + depth, 0)
}

/// Cycles from the first beat of a row to its last result, with `arrival` cycles for the row itself.
pub(super) fn latency(
    program: &Program,
    network: &Network,
    timings: &[Timing],
    style: Style,
    arrival: u64,
) -> u64 {
    // First and last beat in each channel.
    let mut times = vec![(0, arrival); network.channels.len()];
    let mut end = arrival;
    for (process, t) in network.processes.iter().zip(timings) {
        let reads: Vec<(u64, u64)> = process.read_channels().iter().map(|c| times[*c]).collect();
        let first_in = reads.iter().map(|r| r.0).max().unwrap_or(0);
        let last_in = reads.iter().map(|r| r.1).max().unwrap_or(0);
        let (first, last) = match style {
            Style::Stream => {
                let last = (first_in + t.interval).max(first_in + t.lead).max(last_in + t.tail);
                (first_in + t.lead + t.depth, last + t.depth)
            }
            Style::Arrays => (end + t.interval, end + t.interval),
            Style::Unrolled => (last_in + t.depth, last_in + t.depth),
        };
        for c in &process.writes {
            times[*c] = (first, last);
        }
        end = end.max(last);
    }
    // A design without a process hands its inputs on.
    if program.outputs().is_empty() { 0 } else { end }
}
