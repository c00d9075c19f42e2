//! From a Program to steps over a few buffers.

use std::sync::Arc;

use hs_fixed::{Format, Interval};
use hs_hw::{Node, Op, Program, Softmax, range};

use crate::{
    Isa,
    dot::{Choice, Found, Stage},
    eltwise::{Affine, Binary, Requant},
    finish::narrowest,
    lane::{Packing, Width},
    lut::Table,
    moves::{Concat, Gather},
    plan::NodePlan,
    pool::PoolStep,
    run::PlanError,
    softmax::{ArgmaxStep, SoftmaxStep},
    step::{Operand, Step, StepOp},
};

/// A buffer that tensors share, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot<W = Width> {
    /// Integers it holds.
    pub(crate) width: W,
    /// Most words of a tensor in it.
    pub(crate) len: usize,
}

/// A Program ready to run.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) steps: Vec<Step>,
    pub(crate) slots: Vec<Slot>,
    /// Buffer of each model output.
    pub(crate) outputs: Vec<usize>,
    pub(crate) nodes: Vec<NodePlan>,
}

/// What is known of a node's tensor.
pub(crate) struct Value {
    pub(crate) range: Interval,
    pub(crate) stores: Width,
    /// How it lies there.
    packing: Packing,
    /// The node whose buffer holds it.
    pub(crate) home: usize,
}

/// What is known of every tensor, elements in words of their own.
pub(crate) fn values(program: &Program, least: Width) -> Vec<Value> {
    let mut values: Vec<Value> = Vec::with_capacity(program.nodes.len());
    for ((id, node), range) in program.iter().zip(range::ranges(program)) {
        let stores = if least <= Width::I32 && Width::I32.fits(range) { Width::I32 } else { Width::I64 };
        let home = match node.op {
            Op::Reshape | Op::Output { .. } => values[node.inputs[0].index()].home,
            Op::Input { .. }
            | Op::Const(_)
            | Op::Dot(_)
            | Op::Affine { .. }
            | Op::Requant(_)
            | Op::Binary { .. }
            | Op::Table(_)
            | Op::Pool(_)
            | Op::Softmax(_)
            | Op::Permute(_)
            | Op::Concat { .. }
            | Op::Pad { .. } => id.index(),
        };
        values.push(Value { range, stores, packing: Packing::Single, home });
    }
    values
}

/// Compiles a verified Program for integers of at least `least`.
pub(crate) fn compile(program: &Program, least: Width, isa: Isa) -> Result<Compiled, PlanError> {
    let mut values = values(program, least);
    let mut choices = choices(program, &values, least, isa)?;
    settle(program, &values, &mut choices)?;
    let takes = |dot: usize| choices[dot].as_ref().is_some_and(Choice::takes_stage);
    let fused = fuse(program, &mut values, takes);
    pack(program, &mut values, &choices);
    let lanes_least = least.max(Width::I32);
    let last_use = last_uses(program, &values);
    let mut slots = Slots::default();
    let mut slot_of: Vec<Option<usize>> = vec![None; program.nodes.len()];
    let (mut steps, mut nodes) = (Vec::new(), Vec::new());
    for (id, node) in program.iter() {
        let at = id.index();
        let value = &values[at];
        let choice = choices[at].take();
        let (step, mut plan) = plan_node(program, node, &values, lanes_least, (choice, &fused[at]))?;
        plan.stores = value.width();
        nodes.push(plan);
        if let Some((width, op)) = step {
            let operand = |id: &hs_hw::ValueId| {
                if let Op::Const(c) = &program.node(*id).op {
                    Operand::Const(Arc::clone(&c.data))
                } else {
                    Operand::Slot(slot_of[values[id.index()].home].expect("computed before"))
                }
            };
            let inputs = node.inputs.iter().map(operand).collect();
            let packing = value.packing;
            let out = slots.take(Slot { width: value.stores, len: node.len().div_ceil(packing.group()) });
            slot_of[at] = Some(out);
            steps.push(Step { node: at, op, inputs, out, packing, len: node.len(), width });
        }
        // Buffers whose last reader this was, or whose value nobody reads.
        let read = node.inputs.iter().map(|id| values[id.index()].home);
        let mut done: Vec<usize> = read.chain([value.home]).filter(|home| last_use[*home] <= at).collect();
        done.sort_unstable();
        done.dedup();
        done.into_iter().filter_map(|home| slot_of[home]).for_each(|slot| slots.free(slot));
    }
    let home = |id: &hs_hw::ValueId| slot_of[values[id.index()].home].expect("every output was computed");
    let outputs = program.outputs().iter().map(home).collect();
    Ok(Compiled { steps, slots: slots.all, outputs, nodes })
}

impl Value {
    /// Width of an element in memory.
    fn width(&self) -> Width {
        match self.packing {
            Packing::Single => self.stores,
            Packing::Pairs { .. } => Width::I16,
            Packing::Quads { .. } => Width::I8,
        }
    }
}

/// The kernel of every dot product.
fn choices<'a>(
    program: &'a Program,
    values: &[Value],
    least: Width,
    isa: Isa,
) -> Result<Vec<Option<Choice<'a>>>, PlanError> {
    program.nodes.iter().map(|node| choice(program, node, values, least, isa)).collect()
}

/// The kernel of a dot product; `None` for another op.
pub(crate) fn choice<'a>(
    program: &'a Program,
    node: &'a Node,
    values: &[Value],
    least: Width,
    isa: Isa,
) -> Result<Option<Choice<'a>>, PlanError> {
    let Op::Dot(dot) = &node.op else { return Ok(None) };
    let (input, value) = (program.node(node.inputs[0]), &values[node.inputs[0].index()]);
    let x = (input.format(), value.range);
    Choice::new(node, dot, &input.shape, x, (least, value.stores), isa)
        .map(Some)
        .ok_or_else(|| PlanError::TooWide { node: node.name.clone() })
}

/// Whether a node is computed together with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fused {
    No,
    /// With what is behind it.
    With(Vec<Stage>),
    /// With the dot product in front of it.
    Into(usize),
}

impl Fused {
    pub(crate) fn stages(&self) -> &[Stage] {
        match self {
            Self::With(stages) => stages,
            Self::No | Self::Into(_) => &[],
        }
    }
}

/// Affine functions and requantisations of a dot product that nothing else reads are done to its sums: the tensors
/// between are never stored, and the dot product's buffer holds the last one. `takes`: whether a node is a dot product
/// whose sums take more stages.
pub(crate) fn fuse(program: &Program, values: &mut [Value], takes: impl Fn(usize) -> bool) -> Vec<Fused> {
    let mut fused = vec![Fused::No; values.len()];
    let mut readers = vec![0usize; values.len()];
    let mut last: Vec<usize> = (0..values.len()).collect();
    program.nodes.iter().flat_map(|node| &node.inputs).for_each(|id| readers[id.index()] += 1);
    for (id, node) in program.iter() {
        let (at, Some(input)) = (id.index(), node.inputs.first().map(|i| i.index())) else { continue };
        let first = if let Fused::Into(first) = fused[input] { first } else { input };
        if readers[input] != 1 || values[at].stores != Width::I32 || !takes(first) {
            continue;
        }
        let (from, range) = (program.nodes[input].format(), values[input].range);
        let stage = if let Op::Requant(act) = &node.op {
            Stage::plan(act, from, range, &node.ty)
        } else if let Op::Affine { scale, bias, act } = &node.op {
            Stage::affine(node, (scale, bias, act), (from, range))
        } else {
            None
        };
        let Some(stage) = stage else { continue };
        let mut stages = fused[first].stages().to_vec();
        stages.push(stage);
        fused[first] = Fused::With(stages);
        fused[at] = Fused::Into(first);
        last[first] = at;
        values.iter_mut().filter(|v| v.home == at).for_each(|v| v.home = first);
    }
    for (first, last) in last.into_iter().enumerate() {
        values[first].range = values[last].range;
    }
    fused
}

/// Most elements that every dot product that reads a buffer takes from a word, by the buffer's node.
fn groups(program: &Program, values: &[Value], choices: &[Option<Choice<'_>>]) -> Vec<Option<usize>> {
    let mut groups: Vec<Option<usize>> = vec![None; values.len()];
    for (node, choice) in program.nodes.iter().zip(choices) {
        let Some(group) = choice.as_ref().and_then(|c| c.group) else { continue };
        let home = values[node.inputs[0].index()].home;
        groups[home] = Some(groups[home].map_or(group, |g| g.min(group)));
    }
    groups
}

/// Takes other kernels where one needs its input in pairs and another reader does not have them. Before anything is
/// fused: the other kernels take nothing that is behind.
fn settle(program: &Program, values: &[Value], choices: &mut [Option<Choice<'_>>]) -> Result<(), PlanError> {
    let groups = groups(program, values, choices);
    for (node, choice) in program.nodes.iter().zip(choices) {
        let Some(choice) = choice.as_mut().filter(|c| c.is_split()) else { continue };
        if groups[values[node.inputs[0].index()].home] != Some(2) {
            choice.fall_back().ok_or_else(|| PlanError::TooWide { node: node.name.clone() })?;
        }
    }
    Ok(())
}

/// Lets elements share words where every dot product that reads them takes them so.
fn pack(program: &Program, values: &mut [Value], choices: &[Option<Choice<'_>>]) {
    let groups = groups(program, values, choices);
    for at in 0..values.len() {
        let home = values[at].home;
        let range = values[home].range;
        values[at].packing = groups[home].and_then(|g| Packing::of(g, range)).unwrap_or(Packing::Single);
    }
}

/// For each buffer's node the last node that reads it; outputs are read by the caller, after all nodes.
pub(crate) fn last_uses(program: &Program, values: &[Value]) -> Vec<usize> {
    let mut last: Vec<usize> = (0..program.nodes.len()).collect();
    for (id, node) in program.iter() {
        for input in &node.inputs {
            let home = values[input.index()].home;
            last[home] = last[home].max(id.index());
        }
    }
    for id in program.outputs() {
        last[values[id.index()].home] = usize::MAX;
    }
    last
}

pub(crate) struct Slots<W = Width> {
    pub(crate) all: Vec<Slot<W>>,
    free: Vec<usize>,
}

impl<W> Default for Slots<W> {
    fn default() -> Self {
        Self { all: Vec::new(), free: Vec::new() }
    }
}

impl<W: Copy + PartialEq> Slots<W> {
    /// The free buffer that wastes least, else the largest free one, grown, else a new one.
    pub(crate) fn take(&mut self, want: Slot<W>) -> usize {
        let all = &self.all;
        let fitting = self.free.iter().copied().filter(|s| all[*s].width == want.width);
        let enough = fitting.clone().filter(|s| all[*s].len >= want.len).min_by_key(|s| (all[*s].len, *s));
        let found = enough.or_else(|| fitting.max_by_key(|s| (all[*s].len, *s)));
        let Some(slot) = found else {
            self.all.push(want);
            return self.all.len() - 1;
        };
        self.free.retain(|s| *s != slot);
        self.all[slot].len = self.all[slot].len.max(want.len);
        slot
    }

    /// None of the buffers that are free is taken again.
    pub(crate) fn no_more_of_these(&mut self) {
        self.free.clear();
    }

    pub(crate) fn free(&mut self, slot: usize) {
        debug_assert!(!self.free.contains(&slot));
        self.free.push(slot);
    }
}

pub(crate) type Planned = (Option<(Width, StepOp)>, NodePlan);

pub(crate) fn plan_node(
    program: &Program,
    node: &Node,
    values: &[Value],
    least: Width,
    (choice, fused): (Option<Choice<'_>>, &Fused),
) -> Result<Planned, PlanError> {
    let inputs: Vec<(Format, Interval)> =
        node.inputs.iter().map(|id| (program.node(*id).format(), values[id.index()].range)).collect();
    let shape = |i: usize| &program.node(node.inputs[i]).shape[..];
    let stored = node.inputs.first().map_or(least, |id| values[id.index()].stores);
    // Values that are only moved need lanes as wide as they are stored.
    let moving = least.max(stored);
    let bits = |i: &Interval| i.format().map_or(128, Format::width);
    let mut plan = NodePlan {
        node: node.name.clone(),
        op: node.op.keyword(),
        kernel: String::new(),
        computes: None,
        stores: Width::I32,
        operand_bits: inputs.iter().map(|(_, r)| bits(r)).collect(),
        range: None,
        macs: 0,
        gmacs: None,
        why: String::new(),
    };
    let lanes = |why: &mut String, width: Width| {
        *why = format!("every intermediate fits {} bits", width.bits());
    };
    let exact = |plan: &mut NodePlan| {
        let ranges: Vec<Interval> = inputs.iter().map(|(_, r)| *r).collect();
        plan.range = range::exact(node, &ranges).map(|r| (r.lo.to_string(), r.hi.to_string()));
    };
    let casts = |fast: bool| if fast { "lanes" } else { "lanes, casts by definition" };
    if let Fused::Into(first) = fused {
        plan.why = format!("in the registers of '{}'", program.nodes[*first].name);
        return Ok((None, plan));
    }
    let found: Option<Option<(Width, StepOp)>> = match &node.op {
        Op::Input { index, .. } => Some(Some((least, StepOp::Input(*index)))),
        Op::Output { .. } | Op::Reshape => {
            plan.why = "the same elements in the same order: the same buffer".to_owned();
            Some(None)
        }
        Op::Const(_) => {
            plan.why = "read where it is used".to_owned();
            Some(None)
        }
        Op::Dot(d) => choice.and_then(|c| {
            let width = c.width();
            let Found { step, kernel, partial, why } =
                c.build(values[node.inputs[0].index()].packing, fused.stages())?;
            plan.kernel = kernel;
            plan.operand_bits.push(bits(&crate::eltwise::codes_range(&d.weight)));
            plan.range = Some((partial.lo.to_string(), partial.hi.to_string()));
            plan.macs = step.macs();
            plan.why = why;
            Some(Some((width, StepOp::Dot(Box::new(step)))))
        }),
        Op::Affine { scale, bias, act } => {
            Affine::plan(node, (scale, bias, act), inputs[0], least).map(|(width, a)| {
                plan.kernel = casts(a.is_fast()).to_owned();
                plan.macs = node.len() as u64;
                lanes(&mut plan.why, width);
                exact(&mut plan);
                Some((width, StepOp::Affine(a)))
            })
        }
        Op::Requant(act) => Requant::plan(node, act, inputs[0], least).map(|(width, r)| {
            plan.kernel = casts(r.is_fast()).to_owned();
            lanes(&mut plan.why, width);
            exact(&mut plan);
            Some((width, StepOp::Requant(r)))
        }),
        Op::Binary { op, act } => {
            let (formats, ranges) = ([inputs[0].0, inputs[1].0], [inputs[0].1, inputs[1].1]);
            Binary::plan(node, (*op, act), formats, ranges, least).map(|(width, b)| {
                plan.kernel = casts(b.is_fast()).to_owned();
                plan.macs = if *op == hs_hw::BinaryOp::Mul { node.len() as u64 } else { 0 };
                lanes(&mut plan.why, width);
                exact(&mut plan);
                Some((width, StepOp::Binary(b)))
            })
        }
        Op::Table(lut) => Table::plan(lut, inputs[0].1, &node.ty, least).map(|(width, t)| {
            plan.kernel = "table".to_owned();
            plan.why = t.map.describe();
            Some((width, StepOp::Table(t)))
        }),
        Op::Pool(p) => PoolStep::plan(node, p, shape(0), inputs[0], least).map(|(width, p)| {
            plan.kernel = casts(p.is_fast()).to_owned();
            lanes(&mut plan.why, width);
            Some((width, StepOp::Pool(Box::new(p))))
        }),
        Op::Softmax(Softmax::Tables(s)) => SoftmaxStep::plan(node, s, inputs[0], least).map(|(width, s)| {
            plan.kernel = "tables".to_owned();
            plan.why = s.describe();
            Some((width, StepOp::Softmax(Box::new(s))))
        }),
        Op::Softmax(Softmax::Argmax) => ArgmaxStep::plan(node, inputs[0].1, least).map(|(width, a)| {
            plan.kernel = "compare".to_owned();
            lanes(&mut plan.why, width);
            Some((width, StepOp::Argmax(a)))
        }),
        Op::Permute(perm) => {
            plan.kernel = "move".to_owned();
            Some(Some((moving, StepOp::Gather(Gather::permute(shape(0), perm)))))
        }
        Op::Pad { before, .. } => {
            plan.kernel = "move".to_owned();
            Some(Some((moving, StepOp::Gather(Gather::pad(shape(0), before, &node.shape)))))
        }
        Op::Concat { axis } => {
            let part =
                |(i, (f, r)): (usize, &(Format, Interval))| (*f, *r, program.node(node.inputs[i]).len());
            let parts: Vec<_> = inputs.iter().enumerate().map(part).collect();
            narrowest(least, Concat::is_fast, |w| Concat::plan(&node.ty, &node.shape, *axis, &parts, w)).map(
                |(width, c)| {
                    plan.kernel = casts(c.is_fast()).to_owned();
                    lanes(&mut plan.why, width);
                    Some((width, StepOp::Concat(c)))
                },
            )
        }
    };
    let step = found.ok_or_else(|| PlanError::TooWide { node: node.name.clone() })?;
    plan.computes = step.as_ref().map(|(width, _)| *width);
    Ok((step, plan))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_reused_by_width_and_size() {
        let slot = |len| Slot { width: Width::I32, len };
        let mut s = Slots::default();
        assert_eq!((s.take(slot(10)), s.take(slot(4))), (0, 1));
        s.free(0);
        s.free(1);
        assert_eq!(s.take(slot(3)), 1);
        assert_eq!(s.take(Slot { width: Width::I64, len: 1 }), 2);
        assert_eq!(s.take(slot(20)), 0);
        assert_eq!(s.all, [slot(20), slot(4), Slot { width: Width::I64, len: 1 }]);
    }
}
