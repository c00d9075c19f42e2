//! Moves a `Pad` into the convolution or pool behind it, where that means the same.

use hs_ir::{Attr, Graph, Tensor, Uses};

use super::{Constants, PassOptions, absorb, drop_marked};
use crate::diagnostic::Diagnostics;
use crate::ops::Call;
use crate::ops::conv::Conv;
use crate::ops::pad::Pad;
use crate::ops::pool::{Pool, PoolKind};
use crate::ops::reshape::Reshape;
use crate::ops::window::Window;

pub(super) fn run(graph: &mut Graph, _: &PassOptions) -> Result<(), Diagnostics> {
    let uses = Uses::of(graph);
    let mut constants = Constants::new(graph);
    let mut dead = vec![false; graph.nodes.len()];
    for (index, dead) in dead.iter_mut().enumerate() {
        let node = &graph.nodes[index];
        let Some(reader) = node.output(0).and_then(|y| uses.sole_consumer(y)) else { continue };
        let Some(pad) =
            node.is("Pad").then(|| Call::of(graph, node)).flatten().and_then(|c| Pad::parse(&c).ok())
        else {
            continue;
        };
        if graph.nodes[reader].is("Unsqueeze") {
            swap(graph, index, reader, &pad, &mut constants);
        } else if merge(graph, index, reader, &pad) {
            *dead = true;
        }
    }
    drop_marked(graph, &dead);
    Ok(())
}

/// Pads behind an `Unsqueeze` rather than in front of it: the two nodes change places.
fn swap(graph: &mut Graph, at: usize, reader: usize, pad: &Pad, constants: &mut Constants) -> Option<()> {
    let axes = Reshape::parse(&Call::of(graph, &graph.nodes[reader])?).ok()?.axes;
    let (x, y, z) = (graph.nodes[at].input(0)?, graph.nodes[at].output(0)?, graph.nodes[reader].output(0)?);
    let rank = pad.pads.len() + axes.len();
    let (mut pads, mut dims) = (pad.pads.iter(), graph.shape(x)?.iter());
    let (mut begin, mut end, mut shape) = (Vec::new(), Vec::new(), Vec::new());
    for axis in 0..rank {
        let inserted = axes.contains(&axis);
        let (b, e) = if inserted { (0, 0) } else { *pads.next()? };
        begin.push(b as i64);
        end.push(e as i64);
        shape.push(if inserted { 1 } else { *dims.next()? });
    }
    begin.extend(end);
    let amounts =
        constants.add(graph, &format!("{}_pads", graph.nodes[at].name), Tensor::vec_i64(begin), None);
    let value = graph.nodes[at].input(2);
    graph.value_mut(y).shape = Some(shape);
    graph.nodes.swap(at, reader);
    graph.nodes[at].inputs[0] = Some(x);
    graph.nodes[at].outputs = vec![Some(y)];
    graph.nodes[reader].inputs = vec![Some(y), Some(amounts), value];
    graph.nodes[reader].outputs = vec![Some(z)];
    Some(())
}

/// Works `pad` into the window operator that reads it; false when that is not the same.
fn merge(graph: &mut Graph, at: usize, reader: usize, pad: &Pad) -> bool {
    let Some(x) = graph.nodes[at].input(0) else { return false };
    let node = &graph.nodes[reader];
    let Some(call) = Call::of(graph, node) else { return false };
    let spatial = pad.pads.get(2..).unwrap_or_default();
    if pad.pads.iter().take(2).any(|p| *p != (0, 0)) || call.flag("ceil_mode", false).unwrap_or(true) {
        return false;
    }
    let fits = |windows: &[Window]| {
        windows
            .iter()
            .zip(spatial)
            .all(|(w, (b, e))| w.pad_begin + b < w.extent() && w.pad_end + e < w.extent())
    };
    let mut counted = false;
    let windows = match node.op.as_str() {
        "Conv" if pad.value == 0.0 => Conv::parse(&call).ok().map(|c| c.windows),
        "MaxPool" if pad.value <= f64::from(f32::MIN) => {
            Pool::parse(&call).ok().map(|p| p.windows).filter(|w| fits(w))
        }
        "AveragePool" if pad.value == 0.0 => {
            let pool = Pool::parse(&call).ok().filter(|p| fits(&p.windows));
            let unpadded = |w: &Window| w.pad_begin == 0 && w.pad_end == 0;
            counted = true;
            pool.filter(|p| {
                p.kind == PoolKind::Average { count_include_pad: true } || p.windows.iter().all(unpadded)
            })
            .map(|p| p.windows)
        }
        _ => None,
    };
    let Some(windows) = windows else { return false };
    let begin = windows.iter().zip(spatial).map(|(w, (b, _))| (w.pad_begin + b) as i64);
    let end = windows.iter().zip(spatial).map(|(w, (_, e))| (w.pad_end + e) as i64);
    let pads = begin.chain(end).collect();
    let sources = graph.nodes[at].sources.clone();
    let node = &mut graph.nodes[reader];
    node.attrs.set("pads", Attr::Ints(pads));
    node.attrs.remove("auto_pad");
    if counted {
        node.attrs.set("count_include_pad", Attr::Int(1));
    }
    node.inputs[0] = Some(x);
    absorb(node, sources);
    true
}
