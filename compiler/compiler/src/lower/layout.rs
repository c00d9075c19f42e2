//! Layouts: ONNX's axis order against the hardware's, which keeps channels last.
//!
//! A lowered value remembers how its hardware axes map to ONNX's, so Transpose costs nothing and Reshape nothing
//! until somebody needs the other order. What cannot be expressed becomes a `permute` or `reshape` node.

use hs_hw::{Op, ValueId as HwId};
use hs_ir::ValueId;

use super::{Lowerer, constants, types::Part};
use crate::diagnostic::Diagnostic;

/// A value in hardware: node `hw`, whose axis i is axis `perm[i]` of an ONNX tensor of shape `base`, seen in
/// row-major order as a tensor of shape `shape` (all without batch axis).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Val {
    /// Hardware node.
    pub hw: HwId,
    /// ONNX shape that `perm` speaks of.
    pub base: Vec<usize>,
    /// Hardware axis → axis of `base`.
    pub perm: Vec<usize>,
    /// ONNX shape of the value.
    pub shape: Vec<usize>,
    /// Where `hw` is a model input: axis of `base` → axis of the input, whose order may still be open.
    origin: Vec<usize>,
}

impl Val {
    /// A value whose hardware axes are a permutation of its ONNX axes.
    pub fn plain(hw: HwId, shape: Vec<usize>, perm: Vec<usize>) -> Self {
        let origin = identity(shape.len());
        Self { hw, base: shape.clone(), perm, shape, origin }
    }

    /// Node `hw` as a permutation of `base`, seen under the shape `shape`.
    pub fn viewed(hw: HwId, base: Vec<usize>, perm: Vec<usize>, shape: Vec<usize>) -> Self {
        Self { shape, ..Self::plain(hw, base, perm) }
    }

    /// The value that node `hw` makes of this one element by element.
    pub fn with(&self, hw: HwId) -> Self {
        Self { hw, ..self.clone() }
    }

    /// Whether no reshape is pending.
    pub fn is_plain(&self) -> bool {
        self.base == self.shape
    }

    /// ONNX flat index of each hardware element, in hardware order.
    pub fn onnx_order(&self) -> Vec<usize> {
        onnx_order(&self.base, &self.perm)
    }
}

fn onnx_order(base: &[usize], perm: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; base.len()];
    for i in (1..base.len()).rev() {
        strides[i - 1] = strides[i] * base[i];
    }
    let mut order = vec![0];
    for axis in perm {
        order = order
            .iter()
            .flat_map(|at| (0..base[*axis]).map(move |i| (at, i)))
            .map(|(at, i)| at + i * strides[*axis])
            .collect();
    }
    order
}

/// The identity over `rank` axes.
pub fn identity(rank: usize) -> Vec<usize> {
    (0..rank).collect()
}

/// ONNX (C, spatial…) as (spatial…, C).
pub fn channels_last(rank: usize) -> Vec<usize> {
    (1..rank).chain((rank > 0).then_some(0)).collect()
}

/// Axes longer than 1, in hardware order, numbered among the long axes of the ONNX shape.
fn long_axes(shape: &[usize], perm: &[usize]) -> Vec<usize> {
    let rank_of = |axis: usize| (0..axis).filter(|a| shape[*a] != 1).count();
    perm.iter().filter(|a| shape[**a] != 1).map(|a| rank_of(*a)).collect()
}

fn permuted(shape: &[usize], perm: &[usize]) -> Vec<usize> {
    perm.iter().map(|p| shape[*p]).collect()
}

/// Shape of a hardware tensor: at least one axis.
fn hw_shape(shape: Vec<usize>) -> Vec<usize> {
    if shape.is_empty() { vec![1] } else { shape }
}

impl Lowerer<'_> {
    /// Lowers model input `index`. Its axis order is left to its first reader.
    pub(crate) fn input(&mut self, index: usize, v: ValueId) -> Result<(), Diagnostic> {
        let name = self.graph.value(v).name.clone();
        let shape = self.shape(v)?;
        // A quantiser that alone reads the input is the host's cast.
        let (ty, bound) = match self.only_reader(v) {
            Some((reader, node)) if node.op == "Quant" && !self.hls4ml() => {
                let ty = self.quantiser_type(v, node)?;
                self.fused.insert(reader);
                (ty, node.output(0).unwrap_or(v))
            }
            _ => (self.input_type(v)?, v),
        };
        let perm = if self.feeds_windows(bound) { channels_last(shape.len()) } else { identity(shape.len()) };
        let op = Op::Input { index, tensor: name.clone(), onnx_shape: shape.clone(), perm: perm.clone() };
        let hw = self.push(&name, op, vec![], hw_shape(permuted(&shape, &perm)), ty)?;
        self.undecided.insert(hw);
        self.bind(bound, Val::plain(hw, shape, perm));
        Ok(())
    }

    /// Whether a convolution or pool reads `v`, directly or through ops that keep the axes.
    fn feeds_windows(&self, v: ValueId) -> bool {
        let mut next = vec![v];
        let mut seen = std::collections::HashSet::new();
        while let Some(v) = next.pop() {
            for reader in &self.uses[v.index()] {
                let node = &self.graph.nodes[*reader];
                match node.op.as_str() {
                    "Conv" | "MaxPool" | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool"
                    | "ReduceMean" | "ConvTranspose" | "Resize" | "Upsample" => {
                        return true;
                    }
                    "Add" | "Sub" | "Mul" | "Div" | "BatchNormalization" | "Relu" | "LeakyRelu" | "Clip"
                    | "Sigmoid" | "Tanh" | "Quant" | "Pad" | "Affine" | "BipolarQuant" | "Elu"
                    | "HardSigmoid" | "HardSwish" | "Abs" | "Celu" | "Erf" | "Exp" | "Gelu" | "Mish"
                    | "Swish" | "Max" | "Mean" | "Min" | "PRelu" | "Selu" | "Softplus" | "Softsign"
                    | "Sum" | "ThresholdedRelu" | "Lut"
                        if seen.insert(*reader) =>
                    {
                        next.extend(node.outputs.iter().flatten());
                    }
                    _ => {}
                }
            }
        }
        false
    }

    /// Lowers model output `index`.
    pub(crate) fn output(&mut self, index: usize, v: ValueId) -> Result<(), Diagnostic> {
        let name = self.graph.value(v).name.clone();
        if self.graph.constant(v).is_some() {
            return Err(Diagnostic::error(format!("output '{name}' is a constant"))
                .help("remove it from the model's outputs"));
        }
        let val = self.val(v)?;
        let perm = if val.is_plain() { val.perm.clone() } else { identity(val.shape.len()) };
        let hw = self.demand(&val, &perm)?;
        let ty = super::types::plain(self.node(hw).format());
        let shape = self.node(hw).shape.clone();
        let op = Op::Output { index, tensor: name.clone(), onnx_shape: val.shape.clone(), perm };
        self.push(&format!("{name} (output)"), op, vec![hw], shape, ty)?;
        Ok(())
    }

    /// Gives an input whose order is open the order `order` of `val`'s base.
    fn decide(&mut self, val: &Val, order: &[usize]) {
        if let Op::Input { onnx_shape, perm, .. } = &mut self.nodes[val.hw.index()].op {
            *perm = order.iter().map(|a| val.origin[*a]).collect();
            let shape = hw_shape(permuted(onnx_shape, perm));
            self.nodes[val.hw.index()].shape = shape;
        }
        self.undecided.remove(&val.hw);
    }

    /// `val` with the axis order that its model input has by now.
    pub(crate) fn fresh(&self, val: &Val) -> Val {
        let Op::Input { perm, .. } = &self.node(val.hw).op else { return val.clone() };
        let at = |p: &usize| val.origin.iter().position(|o| o == p).unwrap_or(0);
        Val { perm: perm.iter().map(at).collect(), ..val.clone() }
    }

    /// The hardware tensor whose axis i is ONNX axis `want[i]` of `val`.
    pub fn demand(&mut self, val: &Val, want: &[usize]) -> Result<HwId, Diagnostic> {
        let val = &self.fresh(val);
        if want.len() != val.shape.len() {
            return Err(Diagnostic::error(format!(
                "its input has the shape {:?} without the batch of 1, where {} axes are expected",
                val.shape,
                want.len()
            ))
            .help("the first axis is the batch: rows that are run together are no part of the model"));
        }
        let target = hw_shape(permuted(&val.shape, want));
        // Where only axes of length 1 were added or dropped, the long axes tell the order.
        let long = |s: &[usize]| s.iter().copied().filter(|n| *n != 1).collect::<Vec<_>>();
        if long(&val.base) == long(&val.shape) {
            let wanted = long_axes(&val.shape, want);
            if self.undecided.contains(&val.hw) {
                self.decide(val, &order_with(&val.base, &wanted, &val.shape, want));
                return self.reshape(val.hw, target);
            }
            if long_axes(&val.base, &val.perm) == wanted {
                return self.reshape(val.hw, target);
            }
            if !val.is_plain() {
                let perm = order_with(&val.base, &wanted, &val.shape, want);
                let hw = self.permute(val, &perm)?;
                return self.reshape(hw, target);
            }
            return self.permute(val, want);
        }
        let canonical = self.canonical(val)?;
        self.demand(&Val::plain(canonical, val.shape.clone(), identity(val.shape.len())), want)
    }

    /// The hardware tensor in ONNX's own order.
    fn canonical(&mut self, val: &Val) -> Result<HwId, Diagnostic> {
        let rank = identity(val.base.len());
        let plain = Val { shape: val.base.clone(), ..val.clone() };
        let hw = self.demand(&plain, &rank)?;
        self.reshape(hw, hw_shape(val.shape.clone()))
    }

    fn permute(&mut self, val: &Val, want: &[usize]) -> Result<HwId, Diagnostic> {
        let perm: Vec<usize> = want
            .iter()
            .map(|w| val.perm.iter().position(|p| p == w))
            .collect::<Option<_>>()
            .ok_or_else(|| Diagnostic::error(format!("axes {want:?} of {:?}", val.base)))?;
        let from = self.node(val.hw);
        let (name, ty) = (format!("{}/permute", from.name), super::types::plain(from.format()));
        let shape = permuted(&from.shape, &perm);
        self.push(&name, Op::Permute(perm), vec![val.hw], shape, ty)
    }

    /// `hw` under another shape, the order of its elements kept.
    pub(crate) fn reshape(&mut self, hw: HwId, shape: Vec<usize>) -> Result<HwId, Diagnostic> {
        self.undecided.remove(&hw);
        let from = self.node(hw);
        if from.shape == shape {
            return Ok(hw);
        }
        let (name, ty) = (format!("{}/reshape", from.name), super::types::plain(from.format()));
        self.push(&name, Op::Reshape, vec![hw], shape, ty)
    }

    /// `val` as a vector in whatever order is free, with the ONNX flat index of each element.
    pub fn flat(&mut self, val: &Val) -> Result<(HwId, Vec<usize>), Diagnostic> {
        let order = self.fresh(val).onnx_order();
        let len = order.len();
        Ok((self.reshape(val.hw, vec![len])?, order))
    }

    /// `val` with its ONNX axes permuted: nothing moves.
    pub fn transposed(&mut self, val: &Val, by: &[usize]) -> Result<Val, Diagnostic> {
        let val = self.fresh(val);
        let shape = permuted(&val.shape, by);
        let val = if val.is_plain() {
            val
        } else {
            let hw = self.canonical(&val)?;
            Val::plain(hw, val.shape.clone(), identity(val.shape.len()))
        };
        let perm = val
            .perm
            .iter()
            .map(|old| by.iter().position(|b| b == old))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Diagnostic::error(format!("{by:?} is no permutation")))?;
        let origin = permuted(&val.origin, by);
        Ok(Val { hw: val.hw, base: shape.clone(), perm, shape, origin })
    }

    /// `val` seen under another ONNX shape with as many elements: nothing moves yet.
    pub fn reshaped(&self, val: &Val, shape: Vec<usize>) -> Val {
        let mut val = Val { shape, ..self.fresh(val) };
        let input = matches!(self.node(val.hw).op, Op::Input { .. });
        if !input
            && val.base != val.shape
            && val.base.iter().filter(|n| **n != 1).eq(val.shape.iter().filter(|n| **n != 1))
        {
            // Only axes of length 1 come or go: the value stays plain when the hardware shape allows it.
            let wanted = long_axes(&val.base, &val.perm);
            let perm = order_of(&val.shape, &wanted);
            if hw_shape(permuted(&val.shape, &perm)) == self.node(val.hw).shape {
                val = Val::plain(val.hw, val.shape, perm);
            }
        }
        val
    }

    /// A constant's values in the hardware order of `val`, after ONNX broadcasting to `val`'s shape; one, one a
    /// channel or one an element.
    pub(crate) fn spread(&self, constant: &hs_ir::Tensor, val: &Val) -> Result<Vec<f64>, Diagnostic> {
        self.spread_over(constant, val, self.node(val.hw).channels())
    }

    /// The same for a value whose node, with `channels` in its last axis, is yet to come.
    pub(crate) fn spread_over(
        &self,
        constant: &hs_ir::Tensor,
        val: &Val,
        channels: usize,
    ) -> Result<Vec<f64>, Diagnostic> {
        let shape = match constant.shape() {
            [1, rest @ ..] if rest.len() >= val.shape.len() => rest,
            all => all,
        };
        let fits = shape.len() <= val.shape.len()
            && shape.iter().rev().zip(val.shape.iter().rev()).all(|(c, n)| c == n || *c == 1);
        if !fits {
            return Err(Diagnostic::error(format!(
                "a constant of shape {:?} does not broadcast to {:?}",
                constant.shape(),
                val.shape
            )));
        }
        let data = constant.to_f64();
        let mut strides = vec![0usize; val.shape.len()];
        let mut step = 1;
        for (axis, n) in shape.iter().enumerate().rev() {
            let at = axis + val.shape.len() - shape.len();
            strides[at] = if *n == 1 { 0 } else { step };
            step *= n;
        }
        let mut flat = vec![0usize];
        for (axis, n) in val.shape.iter().enumerate() {
            flat = flat
                .iter()
                .flat_map(|f| (0..*n).map(move |i| (f, i)))
                .map(|(f, i)| f + i * strides[axis])
                .collect();
        }
        let values: Vec<f64> = val.onnx_order().into_iter().map(|i| data[flat[i]]).collect();
        if values.iter().all(|v| v == &values[0]) {
            return Ok(vec![values[0]]);
        }
        let one = values[..channels].to_vec();
        Ok(if values.chunks(channels).all(|c| c == one) { one } else { values })
    }

    /// The constant `v` as a tensor node in `like`'s layout.
    pub(crate) fn constant_node(&mut self, name: &str, v: ValueId, like: &Val) -> Result<HwId, Diagnostic> {
        let tensor = self.graph.constant(v).cloned().ok_or_else(|| Diagnostic::error("not a constant"))?;
        let node = self.node(like.hw);
        let (shape, channels) = (node.shape.clone(), node.channels());
        let spread = self.spread(&tensor, like)?;
        let codes = constants::codes("constant", &spread, self.constant_choice(Some(v), Part::Operand)?)?;
        let len: usize = shape.iter().product();
        let data: Vec<i64> = (0..len).map(|i| codes.broadcast(i, channels) as i64).collect();
        self.push_constant(name, codes.format, data, shape)
    }

    /// The constant `v`, of ONNX shape `shape`, as a tensor node in the axis order `perm`.
    pub(crate) fn loose_constant(
        &mut self,
        name: &str,
        v: ValueId,
        shape: Vec<usize>,
        perm: &[usize],
    ) -> Result<HwId, Diagnostic> {
        let tensor = self.graph.constant(v).cloned().ok_or_else(|| Diagnostic::error("not a constant"))?;
        let values = tensor.to_f64();
        let ordered: Vec<f64> = onnx_order(&shape, perm).into_iter().map(|i| values[i]).collect();
        let codes = constants::codes("constant", &ordered, self.constant_choice(Some(v), Part::Operand)?)?;
        self.push_constant(name, codes.format, codes.data.to_vec(), hw_shape(permuted(&shape, perm)))
    }

    fn push_constant(
        &mut self,
        name: &str,
        format: hs_fixed::Format,
        data: Vec<i64>,
        shape: Vec<usize>,
    ) -> Result<HwId, Diagnostic> {
        let op = Op::Const(hs_hw::Codes::new(format, data));
        self.push(name, op, vec![], shape, super::types::plain(format))
    }
}

/// An order of `shape`'s axes in which the long ones come as `wanted` numbers them.
fn order_of(shape: &[usize], wanted: &[usize]) -> Vec<usize> {
    let long: Vec<usize> = (0..shape.len()).filter(|a| shape[*a] != 1).collect();
    let mut next = wanted.iter();
    // Short axes keep their place; long ones fill theirs in the wanted order.
    (0..shape.len()).map(|a| if shape[a] == 1 { a } else { next.next().map_or(a, |w| long[*w]) }).collect()
}

/// Like [`order_of`] for `base`; where `base` is the wanted shape itself, exactly `want`.
fn order_with(base: &[usize], wanted: &[usize], shape: &[usize], want: &[usize]) -> Vec<usize> {
    if base == shape { want.to_vec() } else { order_of(base, wanted) }
}
