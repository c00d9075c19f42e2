//! What a design takes of a device, and how fast it is: formulas over the design that emission writes down.
//!
//! Nothing here was measured. Every number is ours and unproven until synthesis has said what it thinks; whoever shows
//! them says so with [`UNPROVEN`].

mod cost;
mod cycles;
mod kernel;
mod layer;
#[cfg(test)]
mod tests;

use hs_fixed::Format;
use hs_hw::{Op, Program, Schedule, Strategy, ValueId};
use serde::Serialize;

pub use cost::Resources;

use crate::hls::EmitError;
use crate::hls::design::Design;
use crate::hls::layout::{DotLayout, MAX_PARTITION, is_tree};
use crate::hls::network::{Channel, Place, Role};
use crate::hls::top::END_DEPTH;
use cost::{fifo, memory};
use layer::Style;

/// Said wherever an estimate is shown.
pub const UNPROVEN: &str = "estimated by Hypersonic, unproven until evidence.json says otherwise";

/// What a design takes, and its cycles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Always [`UNPROVEN`].
    pub status: &'static str,
    /// One entry a process of a node, in order.
    pub layers: Vec<Layer>,
    /// FIFOs, or arrays, between the processes.
    pub channels: Resources,
    /// Memory ports, packing and unpacking of rows.
    pub ports: Resources,
    /// Everything.
    pub total: Resources,
    /// Cycles from one row to the next.
    pub interval: u64,
    /// What the interval is due to: a node, `loading rows`, `storing rows`, or all layers of a parallel design.
    pub bottleneck: String,
    /// Cycles from the first beat of a row to its last result; the memory's own delay is left out.
    pub latency: u64,
    /// Cycles to load weights into the chip's memories, once a launch.
    pub weights_cycles: u64,
    /// Bytes that a row takes, in and out.
    pub row_bytes: u64,
    /// What the kernel reads and writes in memory.
    pub pointers: Pointers,
}

/// Pointers of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pointers {
    /// Model inputs.
    pub inputs: usize,
    /// Model outputs.
    pub outputs: usize,
    /// Whether weights are read from memory.
    pub weights: bool,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// Name of the node.
    pub name: String,
    /// Keyword of its op.
    pub op: &'static str,
    /// What it takes.
    pub resources: Resources,
    /// Cycles from one row to the next.
    pub interval: u64,
    /// The same layer under the latency strategy, where it has the resource strategy and could have it: sharing
    /// multipliers between two or three products can cost more than constants do.
    pub latency_strategy: Option<Resources>,
}

impl Estimate {
    /// The process that takes most of a resource, by its name in [`Resources::kinds`].
    pub fn largest(&self, kind: &str) -> Option<(&Layer, u64)> {
        let of = |l: &Layer| l.resources.kinds().into_iter().find(|(k, _)| *k == kind).map_or(0, |(_, n)| n);
        self.layers.iter().rev().max_by_key(|l| of(l)).map(|l| (l, of(l))).filter(|(_, n)| *n > 0)
    }
}

/// Estimates the kernel of a Program laid out by `schedule`. An error where nothing could be emitted either.
pub fn estimate(program: &Program, schedule: &Schedule) -> Result<Estimate, Vec<EmitError>> {
    let design = Design::new(program, schedule, "net")?;
    let style = Style::of(&design);
    let timings: Vec<_> =
        design.network.processes.iter().map(|p| cycles::timing(&design, p, style)).collect();
    let mut layers = Vec::new();
    let mut slowest = (0, String::new());
    let mut slower = |interval: u64, name: &str| {
        if interval > slowest.0 {
            slowest = (interval, name.to_owned());
        }
    };
    for (process, timing) in design.network.processes.iter().zip(&timings) {
        let (Role::Node(id) | Role::Clone(id) | Role::Forward(id) | Role::Drain(id)) = process.role;
        let node = program.node(id);
        slower(timing.interval, &node.name);
        if process.role == Role::Node(id) {
            layers.push(Layer {
                name: node.name.clone(),
                op: node.op.keyword(),
                resources: layer::node(&design, id, style),
                interval: timing.interval,
                latency_strategy: latency_strategy(&design, id, style),
            });
        }
    }
    let ports = kernel::ports(&design, style);
    slower(ports.load, "loading rows");
    slower(ports.store, "storing rows");
    let channels = channels(&design, style);
    let total = layers.iter().map(|l| l.resources).sum::<Resources>() + channels + ports.resources;
    let through = cycles::latency(program, &design.network, &timings, style, ports.load);
    let (mut interval, mut bottleneck) = slowest;
    match style {
        Style::Stream => {}
        // The pipeline takes a row when the ports have handed one over.
        Style::Unrolled => interval = interval.max(ports.most_words),
        // A row is read, goes through one layer after the other, and is written.
        Style::Arrays => {
            bottleneck = format!("one layer after the other, most of all {bottleneck}");
            interval = ports.words + timings.iter().map(|t| t.interval).sum::<u64>();
        }
    }
    Ok(Estimate {
        status: UNPROVEN,
        layers,
        channels,
        ports: ports.resources,
        total,
        interval: interval.max(1),
        bottleneck,
        latency: through + ports.store,
        weights_cycles: ports.weights,
        row_bytes: ports.row_bytes,
        pointers: Pointers {
            inputs: program.inputs().len(),
            outputs: program.outputs().len(),
            weights: design.arrays.values().any(|a| a.loaded),
        },
    })
}

/// The layer with all its products at once, where that could be built.
fn latency_strategy(design: &Design<'_>, id: ValueId, style: Style) -> Option<Resources> {
    let Op::Dot(d) = &design.program.node(id).op else { return None };
    let now = design.dot_layout(id, d)?;
    let loaded = design.arrays.get(&format!("w_{}", design.id(id))).is_some_and(|a| a.loaded);
    if loaded || is_tree(&d.accum) || design.schedule.layers[id.index()].strategy == Strategy::Latency {
        return None;
    }
    let layout = DotLayout::new(now.terms, now.outputs, 1).filter(DotLayout::fits)?;
    Some(layer::dot(design, id, d, layout, style))
}

fn bits(format: Format) -> u64 {
    u64::from(format.width())
}

/// FIFOs of a streamed design, those at its ends included; arrays between layers otherwise.
fn channels(design: &Design<'_>, style: Style) -> Resources {
    if style == Style::Stream {
        let of = |channel: &Channel| {
            let node = design.program.node(channel.value);
            let depth = match channel.place {
                Place::Local => design.depth(channel).unwrap_or(1),
                Place::Input(_) | Place::Output(_) => END_DEPTH,
            };
            fifo(depth as u64, bits(node.format()) * node.channels() as u64)
        };
        return design.network.channels.iter().map(of).sum();
    }
    let local = design.network.channels.iter().filter(|c| c.place == Place::Local);
    local
        .map(|channel| {
            let node = design.program.node(channel.value);
            let width = bits(node.format());
            if node.len() <= MAX_PARTITION {
                return Resources { ff: width * node.len() as u64, ..Resources::default() };
            }
            let banks = node.channels().min(MAX_PARTITION) as u64;
            memory((node.len() as u64).div_ceil(banks), width) * banks
        })
        .sum()
}
