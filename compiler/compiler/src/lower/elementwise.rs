//! Elementwise ops: affine, two operands, tables, casts.

use hs_fixed::{Format, Type};
use hs_hw::{Act, Codes, Index, Lut, Op, ValueId as HwId};
use hs_ir::{Tensor, ValueId};

use super::{
    Cost, Lowerer, TableNote,
    constants::{self, Choice},
    exact::Exact,
    layout::{Val, identity},
    table::{self, Function},
    types::{Part, SCALED_WIDTH, plain},
};
use crate::{
    diagnostic::Diagnostic,
    ops::{self, Activation},
};

/// Bits that hold each entry between two quantisers as it is.
const ENTRY_WIDTH: u32 = 40;

/// x × scale + bias with real constants, each of an ONNX shape that broadcasts to the input's.
pub struct FloatAffine<'a> {
    /// Factor; 1 when omitted.
    pub scale: Option<&'a Tensor>,
    /// The graph value that the factor stems from, for its grid.
    pub scale_value: Option<ValueId>,
    /// Summand; 0 when omitted.
    pub bias: Option<&'a Tensor>,
    /// The graph value that the summand stems from.
    pub bias_value: Option<ValueId>,
}

/// A table for a value, before it is pushed.
pub(super) struct Tabulated {
    /// The table.
    pub(super) built: table::Built,
    /// The value's type.
    ty: Type,
    /// The value that has it: behind a quantiser that was absorbed.
    out: ValueId,
}

impl Lowerer<'_> {
    /// Pushes `x × scale + bias` with its tail.
    pub fn affine(
        &mut self,
        name: &str,
        input: &Val,
        constants: &FloatAffine<'_>,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        if self.hls4ml() {
            return self.hls4ml_affine(name, input, constants, v);
        }
        // The channels of a model's input may be of very different sizes, and so their scales.
        let channels = matches!(self.node(input.hw).op, Op::Input { .. })
            && self.options.ranges.is_some()
            && constants.scale.is_some_and(|t| t.len() > 1);
        let least = if channels { SCALED_WIDTH } else { self.constant_bits(v) };
        let scale = match constants.scale {
            Some(t) => {
                let values = self.spread(t, input)?;
                let choice = self.constant_choice(constants.scale_value, Part::Weight)?;
                constants::codes("scale", &values, at_least(choice, least))?
            }
            None => Codes::new(bit()?, vec![1]),
        };
        let bias = match constants.bias {
            Some(t) => {
                let values = self.spread(t, input)?;
                let choice = self.constant_choice(constants.bias_value, Part::Bias)?;
                constants::codes("bias", &values, at_least(choice, least))?
            }
            None => Codes::new(bit()?, vec![0]),
        };
        let shape = self.node(input.hw).shape.clone();
        let op = Op::Affine { scale, bias, act: Act::None };
        let exact = Exact { name: name.to_owned(), op, inputs: vec![input.hw], shape };
        let like = input.clone();
        self.finish(exact, v, |hw| like.with(hw))
    }

    /// Pushes the concatenation of `inputs` along ONNX axis `axis` (without the batch axis).
    pub fn concat(
        &mut self,
        name: &str,
        inputs: &[ValueId],
        axis: usize,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let computed = inputs.iter().find(|v| self.graph.constant(**v).is_none());
        let first = computed.map(|v| self.val(*v)).transpose()?;
        let Some(first) = first else { return Err(Diagnostic::error("concatenates constants only")) };
        let first = self.plain(&first)?;
        let (perm, onnx) = (first.perm.clone(), self.shape(v)?);
        let mut parts = Vec::with_capacity(inputs.len());
        for (i, id) in inputs.iter().enumerate() {
            if self.graph.constant(*id).is_some() {
                let shape = self.shape(*id)?;
                parts.push(self.loose_constant(&format!("{name}/constant{i}"), *id, shape, &perm)?);
            } else {
                let val = self.val(*id)?;
                parts.push(self.demand(&val, &perm)?);
            }
        }
        let range = |lw: &Self, hw: &HwId| lw.range(*hw);
        let mut exact = range(self, &parts[0]);
        for hw in &parts[1..] {
            exact = exact.union(range(self, hw)).ok_or_else(|| super::too_wide("the union of its inputs"))?;
        }
        // One format for all, exact where it is not wider than a tensor may be.
        let mut format = self.node(parts[0]).format();
        for hw in &parts[1..] {
            format = format
                .union(self.node(*hw).format())
                .map_err(|_| super::too_wide("the union of its inputs"))?;
        }
        let ty = if self.hls4ml() {
            self.hls4ml_concat_type(&parts)?
        } else if let Some(ty) = self.stated_result(v) {
            ty
        } else if format.width() <= 63 {
            plain(format)
        } else {
            self.result_type(v, exact)?
        };
        let shape = perm.iter().map(|a| onnx[*a]).collect();
        let at = perm.iter().position(|a| *a == axis).ok_or_else(|| Diagnostic::error("no such axis"))?;
        let id = self.push(name, Op::Concat { axis: at }, parts, shape, ty)?;
        self.bind(v, Val::plain(id, onnx, perm));
        Ok(())
    }

    /// Pushes zeros before and behind each ONNX axis (without the batch axis).
    pub fn pad(
        &mut self,
        name: &str,
        input: &Val,
        pads: &[(usize, usize)],
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let val = self.plain(input)?;
        let before: Vec<usize> = val.perm.iter().map(|a| pads[*a].0).collect();
        let after: Vec<usize> = val.perm.iter().map(|a| pads[*a].1).collect();
        let from = self.node(val.hw);
        let ty = plain(from.format());
        let shape = from.shape.iter().zip(before.iter().zip(&after)).map(|(n, (b, a))| n + b + a).collect();
        let id = self.push(name, Op::Pad { before, after }, vec![val.hw], shape, ty)?;
        self.bind(v, Val::plain(id, self.shape(v)?, val.perm));
        Ok(())
    }

    /// Pushes `value` before and behind each ONNX axis (without the batch axis): zeros around what is less by it.
    pub(crate) fn pad_with(
        &mut self,
        name: &str,
        input: &Val,
        pads: &[(usize, usize)],
        value: f64,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let val = self.plain(input)?;
        let (x, shape) = (self.node(val.hw).format(), self.node(val.hw).shape.clone());
        let one = Codes::new(bit()?, vec![1]);
        let moved = |value: f64| constants::codes("value", &[value], self.derived_choice());
        let less = Op::Affine { scale: one.clone(), bias: moved(-value)?, act: Act::None };
        let more = Op::Affine { scale: one, bias: moved(value)?, act: Act::None };
        let exact = less.exact_format(&[x]).transpose().ok().flatten();
        let ty = plain(exact.ok_or_else(|| super::too_wide("the difference"))?);
        let hw = self.push(&format!("{name}/less"), less, vec![val.hw], shape.clone(), ty)?;
        let before: Vec<usize> = val.perm.iter().map(|a| pads[*a].0).collect();
        let after: Vec<usize> = val.perm.iter().map(|a| pads[*a].1).collect();
        let shape: Vec<usize> =
            shape.iter().zip(before.iter().zip(&after)).map(|(n, (b, a))| n + b + a).collect();
        let pad = Op::Pad { before, after };
        let hw = self.push(&format!("{name}/zeros"), pad, vec![hw], shape.clone(), ty)?;
        let onnx = self.shape(v)?;
        let exact = Exact { name: name.to_owned(), op: more, inputs: vec![hw], shape };
        self.finish(exact, v, |hw| Val::plain(hw, onnx, val.perm))
    }

    /// `val` without a pending reshape, in an axis order that stays.
    pub(crate) fn plain(&mut self, val: &Val) -> Result<Val, Diagnostic> {
        if val.is_plain() {
            // A second operand may be the same model input under another order; it must not decide this one's.
            self.undecided.remove(&val.hw);
            return Ok(val.clone());
        }
        let order = identity(val.shape.len());
        Ok(Val::plain(self.demand(val, &order)?, val.shape.clone(), order))
    }

    /// Pushes a monotone function of one variable as a table.
    pub fn table(
        &mut self,
        name: &str,
        input: &Val,
        function: (&str, &dyn Fn(f64) -> f64),
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let tabulated = self.tabulated(input, function, v)?;
        self.push_table(name, input, tabulated)
    }

    /// The table of a monotone function of `input` for the value `v`.
    pub(super) fn tabulated(
        &mut self,
        input: &Val,
        (function, f): (&str, &dyn Fn(f64) -> f64),
        v: ValueId,
    ) -> Result<Tabulated, Diagnostic> {
        let x = self.range(input.hw);
        let at = |c: i128| f(c as f64 * 2f64.powi(-x.frac));
        let (lo, hi) = (at(x.lo).min(at(x.hi)), at(x.lo).max(at(x.hi)));
        let most = 2f64.powi(40);
        let (below, above) = (lo.clamp(-most, 0.0).floor(), hi.clamp(1.0, most).ceil());
        let reach = hs_fixed::Interval::new(below as i128, above as i128, 0);
        let reach = reach.refine(self.function_frac(v)).ok_or_else(|| super::too_wide("the table"))?;
        let (ty, out) = self.result_or_quantiser(v, reach)?;
        let built = table::build(&Function { name: function, f, x, result: ty.format })?;
        Ok(Tabulated { built, ty, out })
    }

    /// Pushes a table of `input`.
    pub(super) fn push_table(
        &mut self,
        name: &str,
        input: &Val,
        Tabulated { built, ty, out }: Tabulated,
    ) -> Result<(), Diagnostic> {
        let exact = built.lut.format().map_err(|_| super::too_wide("the table"))?;
        let ty = if exact.frac() <= ty.format.frac() {
            Type { rounding: hs_fixed::Rounding::Trn, ..ty }
        } else {
            ty
        };
        let shape = self.node(input.hw).shape.clone();
        let rounding = if ty.rounding == hs_fixed::Rounding::Trn { Cost::None } else { Cost::Logic };
        let interpolated = built.lut.interpolate;
        let ty = if interpolated { ty } else { plain(ty.format) };
        let id = self.push(name, Op::Table(built.lut), vec![input.hw], shape, ty)?;
        self.note(id, rounding, if interpolated { Cost::Logic } else { Cost::None }, Some(built.note));
        let val = input.with(id);
        self.bind(out, val);
        Ok(())
    }

    /// Pushes a table with an entry for each code.
    pub fn lut(
        &mut self,
        name: &str,
        input: &Val,
        lut: &ops::lut::Lut,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let from = self.node(input.hw);
        let (format, shape) = (from.format(), from.shape.clone());
        if format.frac() != lut.frac {
            let message = format!("a table for {} fraction bits reads a {format}", lut.frac);
            return Err(Diagnostic::error(message)
                .help("drop the type that the configuration states for the quantiser in front"));
        }
        let entries = constants::codes("entry", &lut.entries, constants::Choice::Fit(ENTRY_WIDTH))?;
        let result = entries.format;
        let (count, lsb) = (entries.len(), result.value(1));
        let index = Index { mul: 1, shift: 0, toward_zero: false, offset: -lut.first };
        let op = Op::Table(Lut { index, entries, interpolate: false });
        let id = self.push(name, op, vec![input.hw], shape, plain(result))?;
        let note = TableNote { entries: count, interpolated: false, error: 0.0, lsb };
        self.note(id, Cost::None, Cost::None, Some(note));
        self.bind(v, input.with(id));
        Ok(())
    }

    /// Pushes a cast of `input` into `ty`.
    pub fn cast(&mut self, name: &str, input: &Val, ty: Type, v: ValueId) -> Result<(), Diagnostic> {
        let shape = self.node(input.hw).shape.clone();
        let hw: HwId = self.push(name, Op::Requant(Act::None), vec![input.hw], shape, ty)?;
        let lossless = self.range(input.hw).fits(ty.format);
        let cost = if lossless { Cost::None } else { Cost::Logic };
        self.note(hw, cost, cost, None);
        self.bind(v, input.with(hw));
        Ok(())
    }

    /// Pushes an activation of its own.
    pub fn activate(
        &mut self,
        name: &str,
        input: &Val,
        act: Activation,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        if self.hls4ml() {
            return self.hls4ml_activate(name, input, act, v);
        }
        self.finish_alone(name, input, act, v)
    }
}

/// `choice` with `least` bits where it has a choice.
fn at_least(choice: Choice<'_>, least: u32) -> Choice<'_> {
    match choice {
        Choice::Fit(width) => Choice::Fit(width.max(least)),
        choice => choice,
    }
}

/// One bit for 0 and 1.
pub(super) fn bit() -> Result<Format, Diagnostic> {
    Format::new(false, 1, 1).map_err(|e| Diagnostic::error(e.to_string()))
}
