//! How a Program is laid out: io type, strategy and reuse of each layer, FIFO depths.

mod fifo;
#[cfg(test)]
mod tests;
pub(crate) mod traffic;

use std::collections::BTreeMap;

use hs_hw::{Io, LayerSchedule, Node, Op, Program, Schedule, Strategy, ValueId, VerifyError};

pub use fifo::{Blocked, Deadlock, simulate};

use crate::hls::layout::{DotLayout, Fold, Geometry, MAX_PARTITION, MAX_UNROLL, is_tree};
use crate::hls::network::{Network, Place};

/// What a user asks of a layer; `None`: decided here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerOptions {
    /// Strategy.
    pub strategy: Option<Strategy>,
    /// Products that share a multiplier; snapped to the nearest legal factor.
    pub reuse: Option<usize>,
}

/// What a user asks of a layout; `None`: decided here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScheduleOptions {
    /// Transport between layers.
    pub io: Option<Io>,
    /// Strategy of all layers.
    pub strategy: Option<Strategy>,
    /// Reuse of all layers.
    pub reuse: Option<usize>,
    /// By node name; stronger than the above.
    pub layers: BTreeMap<String, LayerOptions>,
}

/// Something that was decided differently than asked, or that the user should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The node concerned.
    pub node: Option<String>,
    /// What was asked, what is done.
    pub message: String,
}

/// Why there is no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The Program breaks a rule of the hardware IR.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// An option for a node that does not exist, or is no dense or convolution layer.
    #[error("no dense or convolution layer is called '{0}'; the layers are {1}")]
    NoSuchLayer(String, String),
    /// Options that synthesis cannot follow.
    #[error("node '{node}': {message}")]
    Layer {
        /// Its name.
        node: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// Processes that wait for each other whatever the depths.
    #[error(transparent)]
    Deadlock(#[from] Deadlock),
}

/// Lays out a Program. Returns the Schedule and what differs from the request.
pub fn schedule(
    program: &Program,
    options: &ScheduleOptions,
) -> Result<(Schedule, Vec<Note>), Vec<ScheduleError>> {
    program.verify().map_err(|e| e.into_iter().map(ScheduleError::Verify).collect::<Vec<_>>())?;
    let mut errors = Vec::new();
    let mut notes = Vec::new();
    let is_dot = |n: &&Node| matches!(n.op, Op::Dot(_));
    let names: Vec<&str> = program.nodes.iter().filter(is_dot).map(|n| n.name.as_str()).collect();
    for name in options.layers.keys() {
        if !names.contains(&name.as_str()) {
            errors.push(ScheduleError::NoSuchLayer(name.clone(), names.join(", ")));
        }
    }
    let mut layers = Vec::with_capacity(program.nodes.len());
    for (id, node) in program.iter() {
        let own = options.layers.get(&node.name).copied().unwrap_or_default();
        // A layer's own strategy also overrules the reuse meant for all.
        let asked = LayerOptions {
            strategy: own.strategy.or(if own.reuse.is_some() { None } else { options.strategy }),
            reuse: own.reuse.or(if own.strategy.is_some() { None } else { options.reuse }),
        };
        match layer(program, id, asked, &mut notes) {
            Ok(l) => layers.push(l),
            Err(message) => {
                errors.push(ScheduleError::Layer { node: node.name.clone(), message });
                layers.push(LayerSchedule { strategy: Strategy::Latency, reuse: 1 });
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let io =
        options.io.unwrap_or_else(|| if one_pipeline(program, &layers) { Io::Parallel } else { Io::Stream });
    let fifos = match io {
        Io::Parallel => Vec::new(),
        Io::Stream => fifo::depths(program).map_err(|e| vec![ScheduleError::Deadlock(e)])?,
    };
    if io == Io::Stream {
        wide_beats(program, &mut notes);
    } else if !one_pipeline(program, &layers) {
        let message = "io parallel beyond one pipeline: the kernel computes a row layer after layer, and rows do not \
                       overlap; io stream overlaps both";
        notes.push(Note { node: None, message: message.to_owned() });
    }
    Ok((Schedule { io, layers, fifos }, notes))
}

/// Strategy and reuse of one node.
fn layer(
    program: &Program,
    id: ValueId,
    asked: LayerOptions,
    notes: &mut Vec<Note>,
) -> Result<LayerSchedule, String> {
    let node = program.node(id);
    let latency = LayerSchedule { strategy: Strategy::Latency, reuse: 1 };
    let Op::Dot(d) = &node.op else { return Ok(latency) };
    let from = program.node(node.inputs[0]);
    let (terms, outputs) = (d.terms(from.channels()), node.channels());
    let mut note = |message: String| notes.push(Note { node: Some(node.name.clone()), message });
    if is_tree(&d.accum) {
        if asked.reuse.is_some_and(|r| r > 1) {
            note(
                "sums in a tree, which has no reuse factor: outputs are computed one after the other"
                    .to_owned(),
            );
        }
        return Ok(latency);
    }
    let g = Geometry::new(&d.window, &from.shape, &node.shape);
    let at_once =
        DotLayout::new(terms, outputs, 1).is_some_and(|l| l.fits()) && g.taps() * g.channels <= MAX_PARTITION;
    let fold = Fold::of(program, id);
    let folds = |l: &DotLayout| fold.is_none_or(|fold| fold.steps(l).is_some());
    let fitting: Vec<usize> = DotLayout::legal(terms, outputs)
        .into_iter()
        .filter(|r| DotLayout::new(terms, outputs, *r).is_some_and(|l| l.fits() && folds(&l)))
        .collect();
    let Some(smallest) = fitting.iter().copied().find(|r| *r > 1).or(fitting.first().copied()) else {
        return Err(format!(
            "no reuse factor lays out {terms} terms × {outputs} outputs within synthesis' limits"
        ));
    };
    let nearest = |to: usize| {
        let best = fitting.iter().copied().min_by_key(|r| (r.abs_diff(to), usize::MAX - r));
        best.unwrap_or(smallest)
    };
    let refused = || {
        format!(
            "the latency strategy would compute {} products at once; {MAX_UNROLL} can be unrolled and {MAX_PARTITION} \
             inputs and outputs partitioned. Use the resource strategy, reuse {smallest} or more",
            terms * outputs
        )
    };
    match (asked.strategy, asked.reuse) {
        (Some(Strategy::Latency), Some(r)) if r != 1 => Err(format!(
            "the latency strategy has no reuse factor, and {r} is asked for; use the resource strategy"
        )),
        (Some(Strategy::Latency), _) if at_once => Ok(latency),
        (Some(Strategy::Latency), _) => Err(refused()),
        (None, None | Some(1)) if at_once => Ok(latency),
        (None, None) => {
            note(format!(
                "{} products are too many at once: resource strategy, reuse {smallest}",
                terms * outputs
            ));
            Ok(LayerSchedule { strategy: Strategy::Resource, reuse: smallest })
        }
        (Some(Strategy::Resource), None) => {
            Ok(LayerSchedule { strategy: Strategy::Resource, reuse: smallest })
        }
        (Some(Strategy::Resource) | None, Some(r)) => {
            let reuse = nearest(r);
            if reuse != r {
                note(format!(
                    "reuse {r} is not legal for {terms} terms × {outputs} outputs: {reuse} is used"
                ));
            }
            Ok(LayerSchedule { strategy: Strategy::Resource, reuse })
        }
    }
}

/// Whether a parallel design can be one pipeline with every loop unrolled: each layer within the limits of unrolling
/// and partitioning.
pub(crate) fn one_pipeline(program: &Program, layers: &[LayerSchedule]) -> bool {
    program.nodes.iter().zip(layers).all(|(node, layer)| {
        let from = node.inputs.first().map(|i| program.node(*i));
        let operations = match (&node.op, from) {
            (Op::Dot(_), _) if layer.strategy != Strategy::Latency || layer.reuse != 1 => return false,
            (Op::Dot(d), Some(from)) => node.len() * d.terms(from.channels()),
            (Op::Pool(p), _) => node.len() * p.window.iter().map(|w| w.kernel).product::<usize>(),
            (
                Op::Dot(_)
                | Op::Input { .. }
                | Op::Output { .. }
                | Op::Const(_)
                | Op::Affine { .. }
                | Op::Requant(_)
                | Op::Binary { .. }
                | Op::Table(_)
                | Op::Softmax(_)
                | Op::Reshape
                | Op::Permute(_)
                | Op::Concat { .. }
                | Op::Pad { .. },
                _,
            ) => node.len(),
        };
        operations <= MAX_UNROLL && node.len() <= MAX_PARTITION
    })
}

/// Widest beat in bits that passes without a word: the vendor's default limit of one integer.
const WIDE_BEAT: usize = 4096;

fn wide_beats(program: &Program, notes: &mut Vec<Note>) {
    let net = Network::new(program, Io::Stream);
    let mut told = Vec::new();
    for channel in net.channels.iter().filter(|c| c.place == Place::Local) {
        let node = program.node(channel.value);
        let bits = node.channels() * node.format().width() as usize;
        if bits > WIDE_BEAT && !told.contains(&channel.value) {
            told.push(channel.value);
            notes.push(Note {
                node: Some(node.name.clone()),
                message: format!("its beats are {bits} bits wide; FIFOs of them cost much block RAM"),
            });
        }
    }
}
