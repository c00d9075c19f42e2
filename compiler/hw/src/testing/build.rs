//! The skeleton of a random Program: which value the next node reads, and the interface around it.

use hs_fixed::{Format, Interval, Overflow, Rounding, Type};

use super::{Config, OpKind, Rng};
use crate::{Codes, Node, Op, Program, ValueId, range};

/// A Program in the making.
pub(super) struct Builder<'a> {
    pub(super) rng: Rng,
    pub(super) config: &'a Config,
    nodes: Vec<Node>,
    ranges: Vec<Interval>,
    used: Vec<bool>,
}

pub(super) fn program(seed: u64, config: &Config) -> Program {
    assert!(!config.ops.is_empty() && (1..=64).contains(&config.max_width), "{config:?}");
    assert!((1..=3).contains(&config.max_rank), "{config:?}");
    let mut b =
        Builder { rng: Rng::new(seed), config, nodes: Vec::new(), ranges: Vec::new(), used: Vec::new() };
    b.inputs();
    let wanted = b.rng.size(1..=config.max_nodes);
    let mut computed = 0;
    // Some draws do not apply (a pool of a vector, a sum too wide); they only cost time.
    for _ in 0..20 * wanted {
        if computed == wanted {
            break;
        }
        computed += usize::from(b.step());
    }
    b.outputs();
    let program = Program { name: format!("random {seed}"), nodes: b.nodes };
    debug_assert_eq!(program.verify(), Ok(()), "{program}");
    program
}

impl Builder<'_> {
    pub(super) fn node(&self, id: ValueId) -> &Node {
        &self.nodes[id.index()]
    }

    pub(super) fn range(&self, id: ValueId) -> Interval {
        self.ranges[id.index()]
    }

    fn is_tensor(&self, i: usize) -> bool {
        !matches!(self.nodes[i].op, Op::Const(_) | Op::Output { .. })
    }

    /// Every value that ops may read.
    pub(super) fn tensors(&self) -> Vec<ValueId> {
        (0..self.nodes.len()).filter(|i| self.is_tensor(*i)).map(|i| ValueId(i as u32)).collect()
    }

    fn leaves(&self) -> Vec<ValueId> {
        self.tensors().into_iter().filter(|id| !self.used[id.index()]).collect()
    }

    /// Appends a node; `None` when its values' range is too wide for the IR.
    pub(super) fn push(
        &mut self,
        op: Op,
        inputs: Vec<ValueId>,
        shape: Vec<usize>,
        ty: Type,
    ) -> Option<ValueId> {
        let name = self.name(op.keyword());
        let node = Node { name, op, inputs, shape, ty };
        let ranges: Vec<Interval> = node.inputs.iter().map(|id| self.range(*id)).collect();
        let range = range::result(&node, &ranges)?;
        for id in &node.inputs {
            self.used[id.index()] = true;
        }
        self.nodes.push(node);
        self.ranges.push(range);
        self.used.push(false);
        Some(ValueId(self.nodes.len() as u32 - 1))
    }

    fn name(&mut self, keyword: &str) -> String {
        const ODD: [&str; 8] =
            ["a\"; system(\"x\");//", "int", "π/∞", "line\nbreak", "", "9 lives", "a\\b", "__x__"];
        let id = self.nodes.len();
        if self.config.odd_names && self.rng.chance(8) {
            return format!("{}{}", self.rng.pick(&ODD), "'".repeat(id));
        }
        format!("/m/{keyword}_{id}")
    }

    /// Adds one op; false when the draw does not apply.
    fn step(&mut self) -> bool {
        let leaves = self.leaves();
        let all = self.tensors();
        // A further leaf is a further output.
        let fork = leaves.len() < self.config.max_outputs && self.rng.chance(30);
        let x = *if fork || leaves.is_empty() { self.rng.pick(&all) } else { self.rng.pick(&leaves) };
        let before = (self.nodes.len(), self.used.clone());
        let kind = *self.rng.pick(&self.config.ops);
        if self.op(kind, x).is_some() {
            return true;
        }
        self.nodes.truncate(before.0);
        self.ranges.truncate(before.0);
        self.used = before.1;
        false
    }

    fn op(&mut self, kind: OpKind, x: ValueId) -> Option<ValueId> {
        match kind {
            OpKind::Dot => self.dot(x),
            OpKind::Affine => self.affine(x),
            OpKind::Requant => self.requant(x),
            OpKind::Binary => self.binary(x),
            OpKind::Table => self.table(x),
            OpKind::Pool => self.pool(x),
            OpKind::Softmax => self.softmax(x),
            OpKind::Reshape => self.reshape(x),
            OpKind::Permute => self.permute(x),
            OpKind::Concat => self.concat(x),
            OpKind::Pad => self.pad(x),
        }
    }

    fn inputs(&mut self) {
        let n = if self.rng.chance(65) { 1 } else { self.rng.size(1..=self.config.max_inputs) };
        let first = self.shape();
        for index in 0..n {
            let shape = if index == 0 || self.rng.chance(60) { first.clone() } else { self.shape() };
            let width = self.width();
            let int = self.rng.int(-2..=i64::from(width) + 1) as i32;
            let signed = self.rng.chance(65);
            let format = self.format(signed, width, int);
            let ty = self.modes(format);
            let op = self.interface(&shape, |onnx_shape, perm| Op::Input {
                index,
                tensor: format!("x{index}"),
                onnx_shape,
                perm,
            });
            self.push(op, Vec::new(), shape, ty);
        }
    }

    fn outputs(&mut self) {
        let mut ends = self.leaves();
        let all = self.tensors();
        while ends.len() < self.config.max_outputs && self.rng.chance(15) {
            ends.push(*self.rng.pick(&all));
        }
        for (index, id) in ends.into_iter().enumerate() {
            let (shape, ty) = (self.node(id).shape.clone(), self.node(id).ty);
            let op = self.interface(&shape, |onnx_shape, perm| Op::Output {
                index,
                tensor: format!("y{index}"),
                onnx_shape,
                perm,
            });
            self.push(op, vec![id], shape, ty);
        }
    }

    fn interface(&mut self, shape: &[usize], op: impl FnOnce(Vec<usize>, Vec<usize>) -> Op) -> Op {
        let rank = shape.len();
        let perm = if self.rng.chance(20) {
            self.rng.permutation(rank)
        } else {
            // Channels first in ONNX, last here.
            (0..rank).map(|i| (i + 1) % rank).collect()
        };
        let mut onnx_shape = vec![0; rank];
        for (axis, to) in perm.iter().enumerate() {
            onnx_shape[*to] = shape[axis];
        }
        op(onnx_shape, perm)
    }

    fn shape(&mut self) -> Vec<usize> {
        let rank = self.rng.size(1..=self.config.max_rank);
        let (dim, most) = (self.config.max_dim, self.config.max_elements);
        let mut shape: Vec<usize> = (0..rank).map(|_| self.rng.size(1..=dim)).collect();
        while shape.iter().product::<usize>() > most {
            let largest = (0..rank).max_by_key(|i| shape[*i]).unwrap_or(0);
            shape[largest] -= 1;
        }
        shape
    }

    /// Whether tensors of this shape are small enough.
    pub(super) fn allows(&self, shape: &[usize]) -> bool {
        let longest = shape.iter().copied().max().unwrap_or(0);
        let count = shape.iter().product::<usize>();
        longest <= self.config.max_elements && (1..=self.config.max_elements).contains(&count)
    }

    /// A width within the configured one; mostly that of a small model's.
    pub(super) fn width(&mut self) -> u32 {
        if self.config.usual_types {
            let max = self.config.max_width;
            return (*self.rng.pick(&[8, 16, 16, max])).min(max);
        }
        let max = i64::from(self.config.max_width);
        let n = match self.rng.size(0..=9) {
            0 if self.rng.chance(60) => self.rng.int(1..=max.min(3)),
            1 | 2 => self.rng.int(1..=max),
            3 => max,
            _ => self.rng.int(max.min(3)..=max.min(18)),
        };
        n as u32
    }

    /// A tensor's format: unsigned ones have at most 63 bits, and `int` stays moderate.
    pub(super) fn format(&self, signed: bool, width: u32, int: i32) -> Format {
        let width = width.min(63 + u32::from(signed));
        Format::new(signed, width, int.clamp(-300, 300)).expect("within limits")
    }

    /// Any modes for a cast into `format`, within the configured ones.
    pub(super) fn modes(&mut self, format: Format) -> Type {
        if self.config.usual_types {
            let rounding = *self.rng.pick(&[Rounding::Trn, Rounding::Rnd]);
            return Type::new(format, rounding, *self.rng.pick(&[Overflow::Sat, Overflow::WRAP]));
        }
        let n = i64::from(format.width());
        let overflow = match self.rng.size(0..=8) {
            0..=2 => Overflow::Sat,
            3 => Overflow::SatZero,
            4 if !format.is_signed() || n > 1 => Overflow::SatSym,
            5 | 6 => Overflow::WRAP,
            7 => Overflow::Wrap { n: self.rng.int(1..=n.min(4)) as u32 },
            8 if format.is_signed() => Overflow::WrapSm { n: self.rng.int(0..=n.min(3)) as u32 },
            // HLS has no SAT_SYM of one signed bit and no unsigned WRAP_SM.
            _ => Overflow::Sat,
        };
        Type::new(format, *self.rng.pick(&Rounding::ALL), overflow)
    }

    /// A type for values in `near`: often it holds them all, often it is a little too small.
    pub(super) fn ty(&mut self, near: Interval) -> Type {
        // An unsigned type for mostly negative values would leave nothing of them.
        let negative = if near.hi <= near.lo.unsigned_abs() as i128 { 98 } else { 80 };
        let signed = self.rng.chance(if near.lo < 0 { negative } else { 25 });
        let bits = |v: i128| 128 - (if v < 0 { !v } else { v }).leading_zeros() as i32;
        let needed = bits(near.lo).max(bits(near.hi)).max(1) - near.frac + i32::from(signed);
        let slack = match self.rng.size(0..=9) {
            0..=4 => 0,
            5..=7 => -self.rng.int(1..=3),
            8 => self.rng.int(1..=3),
            _ => self.rng.int(-8..=8),
        };
        let width = self.width();
        let format = self.format(signed, width, needed + slack as i32);
        self.modes(format)
    }

    /// A format for constants of up to `max_width` bits.
    pub(super) fn constant_format(&mut self, max_width: u32) -> Format {
        let width = self.width().min(max_width.max(1));
        let signed = self.rng.chance(75);
        let int = self.rng.int(-3..=i64::from(width) + 1) as i32;
        self.format(signed, width, int)
    }

    /// `n` codes of `format`.
    pub(super) fn codes(&mut self, format: Format, n: usize) -> Codes {
        Codes::new(format, (0..n).map(|_| self.rng.code(format) as i64).collect::<Vec<_>>())
    }

    /// Codes to broadcast over a tensor: one, one a channel or one an element.
    pub(super) fn broadcast(&mut self, format: Format, shape: &[usize]) -> Codes {
        let channels = *shape.last().unwrap_or(&1);
        let n = *self.rng.pick(&[1, channels, channels, shape.iter().product()]);
        self.codes(format, n)
    }
}
