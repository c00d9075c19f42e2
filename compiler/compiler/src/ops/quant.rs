//! QONNX's `Quant`.

use hs_ir::Grid;

use super::{
    Arg, Call, Inferred, OpDef, QONNX_DOMAINS, broadcast_indices, broadcast_shape, call::same_as_input,
    strides,
};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Quant", infer, eval, lower).in_domains(QONNX_DOMAINS)];

/// Marks a `Quant` that means ONNX's `QuantizeLinear` and `DequantizeLinear`: the zero point is added after rounding, and
/// several scales are a list along the attribute `axis`.
pub const LINEAR_ATTR: &str = "linear";

/// How a quantiser rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To nearest, ties to even.
    HalfEven,
    /// To nearest, ties away from zero.
    HalfUp,
    /// To nearest, ties to zero.
    HalfDown,
    /// Up.
    Ceil,
    /// Down.
    Floor,
    /// Away from zero.
    Up,
    /// To zero.
    Down,
}

impl Rounding {
    /// The integer that `x` rounds to.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::HalfEven => x.round_ties_even(),
            Self::HalfUp => x.round(),
            Self::HalfDown => x.signum() * (x.abs() - 0.5).ceil(),
            Self::Ceil => x.ceil(),
            Self::Floor => x.floor(),
            Self::Up => x.signum() * x.abs().ceil(),
            Self::Down => x.trunc(),
        }
    }
}

/// A quantiser: `x` becomes `(q - zero_point) * scale` with `q` the integer nearest to `x / scale + zero_point` within
/// the range of the grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Quant {
    /// Scale, zero point, width and signedness.
    pub grid: Grid,
    /// How it rounds.
    pub rounding: Rounding,
    /// Whether the zero point is added after rounding, which changes where ties go when it is odd.
    pub linear: bool,
}

impl Quant {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.float_arg(0)?;
        let linear = call.flag(LINEAR_ATTR, false)?;
        let (scale, axis) = scales(call, x, call.float_arg(1)?, linear)?;
        let zero_point = call.constant_scalar(2)?.ok_or_else(|| call.error("lacks its zero point"))?;
        let width = call.constant_scalar(3)?.ok_or_else(|| call.error("lacks its bit width"))?;
        if zero_point.fract() != 0.0 || zero_point.abs() > (1i64 << 32) as f64 {
            return Err(call.error(format!("its zero point is {zero_point}; an integer is expected")));
        }
        if width.fract() != 0.0 || !(1.0..=32.0).contains(&width) {
            return Err(call.error(format!("its bit width is {width}; an integer from 1 to 32 is expected")));
        }
        let signed = call.flag("signed", true)?;
        let bits = width as u32;
        if bits == 1 && signed {
            let help = "give it one scale and no zero point, or quantise with at least 2 bits";
            return Err(call.error("quantises to one signed bit (bipolar)").help(help));
        }
        let rounding = rounding(call)?;
        let narrow = call.flag("narrow", false)?;
        Ok(Self { grid: Grid { scale, axis, zero_point, bits, signed, narrow }, rounding, linear })
    }

    /// The smallest and largest `q`.
    pub fn range(&self) -> (i64, i64) {
        let (one, narrow) = (1i64, i64::from(self.grid.narrow));
        if self.grid.signed {
            let half = one << (self.grid.bits - 1);
            (narrow - half, half - 1)
        } else {
            (0, (one << self.grid.bits) - 1 - narrow)
        }
    }

    /// What of the zero point must be added before rounding, so that ties go where they go with all of it. The rest may be
    /// added behind, or left out.
    pub fn added(&self) -> f64 {
        match self.rounding {
            _ if self.linear => 0.0,
            Rounding::HalfEven => self.grid.zero_point.rem_euclid(2.0),
            Rounding::Ceil | Rounding::Floor => 0.0,
            Rounding::HalfUp | Rounding::HalfDown | Rounding::Up | Rounding::Down => self.grid.zero_point,
        }
    }

    /// The scale at an index along the grid's axis.
    pub fn scale_at(&self, channel: usize) -> f64 {
        if self.grid.axis.is_some() { self.grid.scale[channel] } else { self.grid.scale[0] }
    }
}

/// How a call rounds.
fn rounding(call: &Call<'_>) -> Result<Rounding, Diagnostic> {
    Ok(match call.str("rounding_mode", "ROUND")?.to_ascii_uppercase().as_str() {
        "ROUND" | "HALF_EVEN" => Rounding::HalfEven,
        "HALF_UP" => Rounding::HalfUp,
        "HALF_DOWN" => Rounding::HalfDown,
        "CEIL" => Rounding::Ceil,
        "FLOOR" => Rounding::Floor,
        "UP" => Rounding::Up,
        "DOWN" | "ROUND_TO_ZERO" => Rounding::Down,
        other => {
            return Err(call.error(format!("its attribute 'rounding_mode' is '{other}', which is not known")));
        }
    })
}

/// The scales, positive and finite, and the axis that they run along.
fn scales(
    call: &Call<'_>,
    x: Arg<'_>,
    scale: Arg<'_>,
    linear: bool,
) -> Result<(Vec<f64>, Option<usize>), Diagnostic> {
    let values = call.constant(scale)?.to_f64();
    if let Some(bad) = values.iter().find(|s| !s.is_finite() || **s <= 0.0) {
        return Err(call.error(format!("its scale holds {bad}; positive numbers are expected")));
    }
    if values.len() == 1 {
        return Ok((values, None));
    }
    if linear {
        let axis = call.axis(call.int("axis")?.unwrap_or(1), x.shape.len())?;
        if x.shape[axis] == values.len() {
            return Ok((values, Some(axis)));
        }
    }
    let (rank, long) =
        (x.shape.len(), scale.shape.iter().enumerate().filter(|(_, d)| **d != 1).collect::<Vec<_>>());
    if let [(at, len)] = long[..]
        && let Some(axis) = (rank + at).checked_sub(scale.shape.len())
        && x.shape[axis] == *len
    {
        return Ok((values, Some(axis)));
    }
    Err(call.error(format!(
        "its scale has the shape {:?} for an input {:?}; one scale, or one for each index of one axis, is expected",
        scale.shape, x.shape
    )))
}

/// Whether this quantises a constant with parameters of single elements, which leave no grid behind.
pub(crate) fn by_element(call: &Call<'_>) -> bool {
    let several = |index: usize| call.optional(index).and_then(|a| a.tensor).is_some_and(|t| t.len() > 1);
    let one_axis =
        call.optional(0).zip(call.optional(1)).is_some_and(|(x, s)| scales(call, x, s, false).is_ok());
    call.optional(0).is_some_and(|x| x.tensor.is_some())
        && (several(2) || several(3) || several(1) && !one_axis)
}

/// [`eval`] where each parameter broadcasts to the constant `x`.
fn eval_by_element(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let (x, shape) = (call.floats(0)?, call.arg(0)?.shape);
    let mut parameters = Vec::with_capacity(3);
    for index in 1..4 {
        let arg = call.arg(index)?;
        if broadcast_shape(arg.shape, shape).as_deref() != Some(shape) {
            let message = format!("'{}' has the shape {:?} for an input {shape:?}", arg.name, arg.shape);
            return Err(call.error(message));
        }
        let values = call.constant(arg)?.to_f64();
        parameters
            .push(broadcast_indices(arg.shape, shape).into_iter().map(|i| values[i]).collect::<Vec<_>>());
    }
    let (signed, narrow) = (call.flag("signed", true)?, call.flag("narrow", false)?);
    let rounding = rounding(call)?;
    let mut out = Vec::with_capacity(x.len());
    for (i, x) in x.iter().enumerate() {
        let (scale, zero, bits) = (parameters[0][i], parameters[1][i], parameters[2][i]);
        if !(scale > 0.0
            && scale.is_finite()
            && zero.fract() == 0.0
            && bits.fract() == 0.0
            && (0.0..=32.0).contains(&bits))
        {
            let message = format!("element {i} has the scale {scale}, the zero point {zero} and {bits} bits");
            let help = "positive scales, whole zero points and 0 to 32 bits are expected";
            return Err(call.error(message).help(help));
        }
        let (half, least) = (2f64.powf(bits - 1.0), f64::from(u8::from(narrow)));
        let (min, max) = if signed { (least - half, half - 1.0) } else { (0.0, 2.0 * half - 1.0 - least) };
        let q = rounding.apply(f64::from(*x) / scale + zero).max(min).min(max);
        // An element of no bits is pruned.
        out.push(if bits == 0.0 { 0.0 } else { ((q - zero) * scale) as f32 });
    }
    call.float_result(shape.to_vec(), out)
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    if by_element(call) {
        return same_as_input(call);
    }
    Quant::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    if by_element(call) {
        return eval_by_element(call);
    }
    let quant = Quant::parse(call)?;
    let (x, shape) = (call.floats(0)?, call.arg(0)?.shape);
    let (min, max) = quant.range();
    let axis = quant.grid.axis.map(|axis| (strides(shape)[axis], shape[axis]));
    let zero = quant.grid.zero_point;
    let out = x.iter().enumerate().map(|(place, x)| {
        let scale = quant.scale_at(axis.map_or(0, |(step, len)| place / step % len));
        let (before, after) = if quant.linear { (0.0, zero) } else { (zero, 0.0) };
        // ONNX divides in single precision.
        let steps = if quant.linear { f64::from(*x / scale as f32) } else { f64::from(*x) / scale };
        let q = quant.rounding.apply(steps + before) + after;
        ((q.clamp(min as f64, max as f64) - zero) * scale) as f32
    });
    call.float_result(shape.to_vec(), out.collect())
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let ty = match call.node.input(0) {
        Some(v) if !lw.hls4ml() => lw.quantiser_type(v, call.node)?,
        _ => hardware_type(call)?,
    };
    let input = lw.input_val(call, 0)?;
    if lw.range(input.hw).fits(ty.format) && lw.node(input.hw).format() == ty.format {
        // The model's input has the type already.
        lw.bind(lw.result(call)?, input);
        return Ok(());
    }
    lw.cast(&call.node.name, &input, ty, lw.result(call)?)
}

/// The type into which the quantiser `node` casts.
pub fn cast_type(graph: &hs_ir::Graph, node: &hs_ir::Node) -> Result<hs_fixed::Type, Diagnostic> {
    let call = Call::of(graph, node)
        .ok_or_else(|| Diagnostic::error("its operands are not all known").at_node(node))?;
    hardware_type(&call)
}

fn hardware_type(call: &Call<'_>) -> Result<hs_fixed::Type, Diagnostic> {
    use hs_fixed::{Overflow, Rounding as Mode};
    let quant = Quant::parse(call)?;
    let format = crate::lower::constants::grid_format(&quant.grid).map_err(|e| e.at_node(call.node))?;
    let rounding = match quant.rounding {
        Rounding::HalfEven => Mode::RndConv,
        Rounding::HalfUp => Mode::RndInf,
        Rounding::HalfDown => Mode::RndZero,
        Rounding::Floor => Mode::Trn,
        Rounding::Down => Mode::TrnZero,
        Rounding::Ceil | Rounding::Up => {
            return Err(call
                .error(format!("rounds by {:?}, which hardware types do not have", quant.rounding))
                .help("train with rounding_mode ROUND"));
        }
    };
    let overflow = match (quant.grid.narrow, quant.grid.signed) {
        (false, _) => Overflow::Sat,
        (true, true) => Overflow::SatSym,
        (true, false) => {
            return Err(call
                .error("is narrow and unsigned, which hardware types do not have")
                .help("train with narrow=0 for unsigned activations"));
        }
    };
    Ok(hs_fixed::Type::new(format, rounding, overflow))
}
