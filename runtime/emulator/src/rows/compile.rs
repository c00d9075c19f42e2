//! From a Program to steps over rows.

use std::sync::Arc;

use hs_hw::{Node, Op, Program};

use super::{
    Operation, Rows, Step,
    cut::{self, Carried, Cut},
    dot::{Dot, macs},
    each::Each,
    lanes::{Lanes, place},
    moves::Gather,
    storage::Storage,
};
use crate::{
    Isa, PlanError,
    compile::{Fused, Slot, Slots, Value, choice, fuse, last_uses, plan_node, values},
    dot::Narrow,
    eltwise::codes_range,
    lane::{Packing, Width},
    plan::NodePlan,
    step::{self, Operand, StepOp},
};

/// Compiles a verified Program for integers of at least `least`.
pub(super) fn compile(program: &Program, least: Width, isa: Isa) -> Result<Rows, PlanError> {
    let mut values = values(program, least);
    let narrow = |node: &Node| {
        let Op::Dot(dot) = &node.op else { return None };
        let (input, value) = (program.node(node.inputs[0]), &values[node.inputs[0].index()]);
        Dot::narrow(node, dot, input.channels(), (input.format(), value.range), least)
    };
    let narrows: Vec<Option<Narrow>> = program.nodes.iter().map(narrow).collect();
    let fused = fuse(program, &mut values, |dot| narrows[dot].is_some());
    let storage = storage(program, &values);
    let planner = Planner { program, values, storage, narrows, fused, least, isa };
    let last_use = last_uses(program, &planner.values);
    let home = |id: &hs_hw::ValueId| planner.values[id.index()].home;
    let (mut steps, mut nodes) = (Vec::new(), Vec::new());
    for (id, node) in program.iter() {
        let at = id.index();
        let (operation, mut plan) = planner.node(at, node)?;
        plan.stores = planner.storage[at].width();
        nodes.push(plan);
        if let Some((width, operation)) = operation {
            let lens = node.inputs.iter().map(|id| program.node(*id).len()).collect();
            // Buffers are given out below.
            steps.push(Step {
                node: at,
                operation,
                inputs: Vec::new(),
                lens,
                out: 0,
                len: node.len(),
                width,
            });
        }
    }
    let bytes = |at: usize| planner.storage[at].bytes();
    let traffic = |s: &Step| {
        s.traffic((program.nodes[s.node].inputs.iter().map(|id| bytes(id.index())), bytes(s.node)))
    };
    let early = cut::choose(&steps.iter().map(traffic).collect::<Vec<_>>());
    let mut cut = None;
    let mut slots = Slots::default();
    let mut slot_of: Vec<Option<usize>> = vec![None; program.nodes.len()];
    let mut next = steps.iter_mut().enumerate().peekable();
    for (id, node) in program.iter() {
        let at = id.index();
        let storage = planner.storage[at];
        if let Some((i, step)) = next.next_if(|(_, step)| step.node == at) {
            if early == Some(i) {
                slots.no_more_of_these();
                let count = slots.all.len();
                let live = (0..at).filter(|home| last_use[*home] >= at);
                let carry = |home: usize| {
                    let (from, len) = (slot_of[home]?, program.nodes[home].len());
                    let to = slots.take(Slot { width: slots.all[from].width, len });
                    slot_of[home] = Some(to);
                    Some(Carried { from, to, len })
                };
                let carried = live.filter_map(carry).collect();
                cut = Some(Cut { steps: i, slots: count, carried });
            }
            let operand = |id: &hs_hw::ValueId| {
                if let Op::Const(c) = &program.node(*id).op {
                    Operand::Const(Arc::clone(&c.data))
                } else {
                    Operand::Slot(slot_of[home(id)].expect("computed before"))
                }
            };
            step.inputs = node.inputs.iter().map(operand).collect();
            step.out = slots.take(Slot { width: storage, len: node.len() });
            slot_of[at] = Some(step.out);
        }
        // Buffers whose last reader this was, or whose value nobody reads.
        let read = node.inputs.iter().map(home).chain([planner.values[at].home]);
        let mut done: Vec<usize> = read.filter(|home| last_use[*home] <= at).collect();
        done.sort_unstable();
        done.dedup();
        done.into_iter().filter_map(|home| slot_of[home]).for_each(|slot| slots.free(slot));
    }
    let slot = |id: &hs_hw::ValueId| slot_of[home(id)].expect("every output was computed");
    let outputs = program.outputs().iter().map(slot).collect();
    let scratch = |s: &Step| if let Operation::Dot(d) = &s.operation { d.scratch() } else { 0 };
    let scratch = steps.iter().map(scratch).max().unwrap_or(0);
    Ok(Rows { steps, slots: slots.all, scratch, cut, outputs, nodes })
}

/// How every node's tensor is stored. What is only moved is stored alike.
fn storage(program: &Program, values: &[Value]) -> Vec<Storage> {
    let mut all: Vec<Storage> = Vec::with_capacity(program.nodes.len());
    for (node, value) in program.nodes.iter().zip(values) {
        all.push(if node.op.moves_data() { all[node.inputs[0].index()] } else { Storage::of(value.range) });
    }
    all
}

struct Planner<'a> {
    program: &'a Program,
    values: Vec<Value>,
    storage: Vec<Storage>,
    /// Sums of dot products that have kernels here.
    narrows: Vec<Option<Narrow>>,
    fused: Vec<Fused>,
    least: Width,
    isa: Isa,
}

type Planned = (Option<(Width, Operation)>, NodePlan);

impl Planner<'_> {
    fn node(&self, at: usize, node: &Node) -> Result<Planned, PlanError> {
        if let (Op::Dot(dot), Some(narrow)) = (&node.op, &self.narrows[at]) {
            let (step, plan) = self.dot(at, node, dot, narrow);
            return Ok((Some((Width::I32, Operation::Dot(Box::new(step)))), plan));
        }
        let choice = choice(self.program, node, &self.values, self.least, self.isa)?;
        let least = self.least.max(Width::I32);
        let choice = (choice, &self.fused[at]);
        let (step, mut plan) = plan_node(self.program, node, &self.values, least, choice)?;
        let Some((width, op)) = step else { return Ok((None, plan)) };
        let operation = match op {
            StepOp::Input(i) => Ok(Operation::Input(i)),
            StepOp::Affine(a) if a.finish.is_uniform() => Ok(Operation::Each(Box::new(Each::Affine(a)))),
            StepOp::Requant(r) if r.finish.is_uniform() => Ok(Operation::Each(Box::new(Each::Requant(r)))),
            StepOp::Binary(b) if b.finish.is_uniform() => Ok(Operation::Each(Box::new(Each::Binary(b)))),
            StepOp::Table(t) => Ok(Operation::Each(Box::new(Each::Table(t)))),
            StepOp::Pool(p) => Ok(Operation::Pool(p)),
            StepOp::Gather(g) => Ok(Operation::Gather(Gather::new(&g))),
            StepOp::Concat(c) => Ok(Operation::Concat(c)),
            op @ (StepOp::Dot(_)
            | StepOp::Affine(_)
            | StepOp::Requant(_)
            | StepOp::Binary(_)
            | StepOp::Softmax(_)
            | StepOp::Argmax(_)) => Err(op),
        };
        let operation = operation.unwrap_or_else(|op| {
            plan.kernel.push_str(", transposed to lanes");
            Operation::Lanes(Box::new(self.lanes(at, node, width, op)))
        });
        Ok((Some((width, operation)), plan))
    }

    fn dot(&self, at: usize, node: &Node, dot: &hs_hw::Dot, narrow: &Narrow) -> (Dot, NodePlan) {
        let (input, from) = (self.program.node(node.inputs[0]), node.inputs[0].index());
        let range = self.values[from].range;
        let stored = (self.storage[from], self.storage[at]);
        let sums = (dot, narrow, self.fused[at].stages());
        let step = Dot::plan(node, sums, &input.shape, range, stored, (self.isa, self.least));
        let bits = |i: hs_fixed::Interval| i.format().map_or(128, hs_fixed::Format::width);
        let plan = NodePlan {
            node: node.name.clone(),
            op: node.op.keyword(),
            kernel: step.describe(self.isa),
            computes: Some(Width::I32),
            stores: Width::I32,
            operand_bits: vec![bits(range), bits(codes_range(&dot.weight))],
            range: Some((narrow.partial.lo.to_string(), narrow.partial.hi.to_string())),
            macs: macs(node, dot, &input.shape),
            gmacs: None,
            why: narrow.why.clone(),
        };
        (step, plan)
    }

    /// The step in lanes.
    fn lanes(&self, at: usize, node: &Node, width: Width, op: StepOp) -> Lanes {
        let mut operands = Vec::new();
        let mut inputs = Vec::new();
        for (i, id) in node.inputs.iter().enumerate() {
            if let Op::Const(c) = &self.program.node(*id).op {
                operands.push(Operand::Const(Arc::clone(&c.data)));
                inputs.push(None);
            } else {
                let place = place(i, self.values[id.index()].stores);
                operands.push(Operand::Slot(place));
                inputs.push(Some((self.program.node(*id).len(), place)));
            }
        }
        let out = place(node.inputs.len(), self.values[at].stores);
        let packing = Packing::Single;
        Lanes {
            step: step::Step { node: at, op, inputs: operands, out, packing, len: node.len(), width },
            inputs,
        }
    }
}
