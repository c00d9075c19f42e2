//! The configuration: what a user decides about a model, as one value.
//!
//! [`parse`] reads our TOML, [`from_hls4ml`] a configuration of hls4ml; [`template`] writes a TOML file to start from.
//! Every field may also be filled in by hand. A [`Config`] then tells each stage its part:
//! [`Config::pass_options`], [`Config::lower_options`], [`Config::schedule_options`].

mod hls4ml;
mod keys;
mod nearest;
mod parse;
mod template;

use std::collections::{BTreeMap, BTreeSet};

use hs_fixed::Type;
use hs_hw::Io;
use hs_ir::Graph;

use crate::{
    limits::Limits,
    lower::{Arithmetic, LayerOptions, LowerOptions, types::DEFAULT_WIDTH},
    passes::{NormalGraph, PassOptions, rescale::INTEGER},
    schedule,
};

pub use hls4ml::from_hls4ml;
pub use parse::parse;
pub use template::template;

/// What a user decides about a model. Everything may be left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Rules of arithmetic.
    pub arithmetic: Arithmetic,
    /// Type of inputs, constants and results of which nothing else is said.
    pub precision: Option<Type>,
    /// Type of the model's inputs.
    pub input: Option<Type>,
    /// Native arithmetic: the integer bits of weights are fitted to each output channel.
    pub per_channel: bool,
    /// Transport between layers.
    pub io: Option<Io>,
    /// Clock in MHz.
    pub clock_mhz: Option<f64>,
    /// Platform or part that the hardware is built for.
    pub platform: Option<String>,
    /// Said of all layers.
    pub model: LayerOptions,
    /// Said of all nodes of an op type, by the model's own name of it.
    pub types: BTreeMap<String, LayerOptions>,
    /// Said of one node or one input of the model, by its name.
    pub nodes: BTreeMap<String, LayerOptions>,
    /// Nodes into which nothing behind is folded, since their result has a type of its own.
    pub unfused: BTreeSet<String>,
    /// Nodes that are folded into nothing, since their scale has a type of its own.
    pub apart: BTreeSet<String>,
    /// Op type of each node of the imported model.
    pub ops: BTreeMap<String, String>,
}

impl Config {
    /// An empty configuration of the model `graph`, as it was imported.
    pub fn of(graph: &Graph) -> Self {
        let ops = graph.nodes.iter().map(|n| (n.name.clone(), n.op.clone())).collect();
        Self { ops, ..Self::default() }
    }

    /// What the passes need.
    pub fn pass_options(&self) -> PassOptions {
        let lowering = self.lower_options();
        let splits = |(name, op): &(&String, &String)| {
            let layer = lowering.layer(name, &[(*name).clone()], op);
            matches!(op.as_str(), "Gemm" | "MatMul") && layer.is_split()
        };
        PassOptions {
            arithmetic: self.arithmetic,
            unfused: self.unfused.clone(),
            split: self.ops.iter().filter(splits).map(|(name, _)| name.clone()).collect(),
            apart: self.apart.clone(),
            limits: Limits::default(),
            per_channel: self.per_channel.then(|| self.weight_width()),
            weighted: self
                .nodes
                .iter()
                .filter_map(|(name, layer)| layer.weight.map(|_| name.clone()))
                .collect(),
        }
    }

    /// Bits of a weight of which nothing is said by name or op type.
    fn weight_width(&self) -> u32 {
        self.model.weight.or(self.precision).map_or(DEFAULT_WIDTH, |t| t.format.width())
    }

    /// What lowering needs; observed ranges are the caller's to add.
    pub fn lower_options(&self) -> LowerOptions {
        LowerOptions {
            arithmetic: self.arithmetic,
            precision: self.precision,
            ranges: None,
            io: self.io,
            input: self.input,
            per_channel: self.per_channel,
            model: self.model.clone(),
            types: self.types.clone(),
            nodes: self.nodes.clone(),
            ops: self.ops.clone(),
        }
    }

    /// What the schedule needs. `graph` is the one that is lowered.
    pub fn schedule_options(&self, graph: &NormalGraph) -> schedule::ScheduleOptions {
        let lowering = self.lower_options();
        let mut layers = BTreeMap::new();
        for node in graph.graph().nodes.iter().filter(|n| n.op == "Conv" || n.op == "Dense") {
            let model_name = node.name.strip_suffix(INTEGER).unwrap_or(&node.name);
            let own = lowering.by_name(model_name, &node.sources);
            let own = own.or(&lowering.by_type(&node.sources, &node.op));
            if own.strategy.is_some() || own.reuse.is_some() {
                let layer = schedule::LayerOptions { strategy: own.strategy, reuse: own.reuse };
                layers.insert(node.name.clone(), layer);
            }
        }
        schedule::ScheduleOptions {
            io: self.io,
            strategy: self.model.strategy,
            reuse: self.model.reuse,
            layers,
        }
    }
}

#[cfg(test)]
mod tests;
