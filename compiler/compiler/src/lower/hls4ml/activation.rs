//! Activations: exact ones, and hls4ml's tables.

use hs_fixed::{Format, Rounding, Type};
use hs_hw::{Act, BinaryOp, Codes, Index, Io, Lut, Op, ValueId as HwId};
use hs_ir::ValueId;

use super::{
    super::{Lowerer, constants, layout::Val},
    one_bit,
};
use crate::{diagnostic::Diagnostic, ops::Activation};

/// Significant bits of a slope whose type the user leaves to hls4ml.
const PARAM_BITS: i32 = 8;
/// What hls4ml takes where a model states no alpha.
const DEFAULT_ALPHA: f64 = 0.01;
/// SELU's two constants.
const SELU_LAMBDA: f64 = 1.050_700_987_355_480_5;
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;

/// A function that hls4ml tabulates, as it computes the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tabulated {
    Sigmoid,
    Tanh,
    Softplus,
    Softsign,
    Elu,
    Selu,
}

impl Tabulated {
    /// log2 of the interval that the table spans.
    fn span(self) -> i32 {
        match self {
            Self::Sigmoid | Self::Softplus | Self::Softsign => 4,
            Self::Tanh => 3,
            Self::Elu | Self::Selu => 3,
        }
    }

    /// Entry `i` of `n`, by hls4ml's float arithmetic.
    fn entry(self, i: usize, n: usize) -> f64 {
        let (i, n) = (i as f32, n as f32);
        let centred =
            |span: f32| (f64::from(2.0f32) * f64::from(span) * f64::from(i - n / 2.0) / f64::from(n)) as f32;
        match self {
            Self::Sigmoid => {
                let x = centred(8.0);
                f64::from((1.0 / f64::from(1.0f32 + (-x).exp())) as f32)
            }
            Self::Tanh => f64::from(f64::from(centred(4.0)).tanh() as f32),
            Self::Softplus => f64::from((f64::from(centred(8.0).exp()) + 1.0).ln() as f32),
            Self::Softsign => {
                let x = centred(8.0);
                f64::from((f64::from(x) / (f64::from(x.abs()) + 1.0)) as f32)
            }
            Self::Elu => f64::from((f64::from(negative(i, n).exp()) - 1.0) as f32),
            Self::Selu => {
                let e = f64::from(negative(i, n).exp()) - 1.0;
                f64::from((SELU_LAMBDA * (SELU_ALPHA * e)) as f32)
            }
        }
    }
}

/// Cell edge `i` of `n` over (-8, 0].
fn negative(i: f32, n: f32) -> f32 {
    (-8.0 * f64::from(i) / f64::from(n)) as f32
}

impl Lowerer<'_> {
    /// The `alpha` of the current node, by ONNX's default `alpha` where the model states none: hls4ml has a default of its
    /// own.
    pub(crate) fn hls4ml_alpha(&mut self, alpha: f64) -> f64 {
        if self.current().attrs.get("alpha").is_some() || alpha == DEFAULT_ALPHA {
            return alpha;
        }
        self.warn(
            format!(
                "hls4ml takes {DEFAULT_ALPHA} for the alpha that the model leaves out; ONNX says {alpha}"
            ),
            format!("state alpha = {alpha} in the model, or use native arithmetic"),
        );
        DEFAULT_ALPHA
    }

    /// ReLU and its kin.
    pub(crate) fn hls4ml_activate(
        &mut self,
        name: &str,
        input: &Val,
        activation: Activation,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let layer = self.layer();
        let (ty, out) = self.hls4ml_activation_type(&layer, v)?;
        let x = self.node(input.hw).format();
        let act = match activation {
            Activation::Identity => Act::None,
            Activation::Relu => Act::RELU,
            Activation::Leaky(alpha) => Act::Slope(param(alpha, layer.param)?),
            Activation::Slopes(slopes) => {
                let ty = layer.param.unwrap_or(self.hls4ml_type_of(input.hw));
                Act::Slope(self.hls4ml_constants("slope", &self.spread(&slopes, input)?, ty)?)
            }
            Activation::Clip { .. } => {
                let channels = self.node(input.hw).channels();
                self.act(&activation, x, input, channels)?
            }
        };
        let like = input.clone();
        self.hls4ml_push(name, Op::Requant(act), vec![input.hw], ty, out, |hw| like.with(hw))
    }

    /// A tabulated activation; `alpha` is ELU's.
    pub(crate) fn hls4ml_tabulated(
        &mut self,
        name: &str,
        input: &Val,
        function: Tabulated,
        alpha: f64,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let layer = self.layer();
        let (ty, out) = self.hls4ml_activation_type(&layer, v)?;
        let (table, size) = self.hls4ml_table(&layer)?;
        let x = self.node(input.hw).format();
        let data = (0..size).map(|i| entry(function.entry(i, size), table)).collect::<Result<Vec<_>, _>>()?;
        let shift = x.frac() + function.span();
        let like = input.clone();
        if !matches!(function, Tabulated::Elu | Tabulated::Selu) {
            let index = Index { mul: size as i64, shift, toward_zero: true, offset: size as i64 / 2 };
            let lut = Lut { index, entries: Codes::new(table.format, data), interpolate: false };
            return self.hls4ml_push(name, Op::Table(lut), vec![input.hw], ty, out, |hw| like.with(hw));
        }
        // The negative side from the table, which holds 0 for everything else; the positive side exact. One of the
        // two is always 0, so their sum is exact in the result's type.
        let (entries, gain) = if function == Tabulated::Elu {
            let alpha = param(alpha, layer.param)?;
            let format = table.format.mul(alpha.format).map_err(|e| Diagnostic::error(e.to_string()))?;
            let product: Option<Vec<i64>> = data.iter().map(|t| t.checked_mul(alpha.data[0])).collect();
            let product = product.ok_or_else(|| super::super::too_wide("alpha × table"))?;
            (Codes::new(format, product), None)
        } else {
            // In streams hls4ml writes the constant in the input's own type.
            let lambda = match self.options.io {
                Some(Io::Stream) => self.hls4ml_type_of(input.hw),
                _ => Type::trn_wrap(false, 16, 1).map_err(|e| Diagnostic::error(e.to_string()))?,
            };
            (
                Codes::new(table.format, data),
                Some(entry(SELU_LAMBDA, lambda).map(|c| Codes::new(lambda.format, vec![c]))?),
            )
        };
        let index = Index { mul: -(size as i64), shift, toward_zero: true, offset: 0 };
        let lut = Lut { index, entries, interpolate: false };
        let shape = self.node(input.hw).shape.clone();
        let below = self.push(&format!("{name}/below"), Op::Table(lut), vec![input.hw], shape.clone(), ty)?;
        let above = match gain {
            None => self.push(&format!("{name}/above"), Op::Requant(Act::RELU), vec![input.hw], shape, ty)?,
            Some(scale) => {
                let op = Op::Affine { scale, bias: Codes::new(one_bit()?, vec![0]), act: Act::RELU };
                self.push(&format!("{name}/above"), op, vec![input.hw], shape, ty)?
            }
        };
        self.hls4ml_sum(name, (above, below), ty, out, &like)
    }

    fn hls4ml_sum(
        &mut self,
        name: &str,
        (a, b): (HwId, HwId),
        ty: Type,
        v: ValueId,
        like: &Val,
    ) -> Result<(), Diagnostic> {
        let op = Op::Binary { op: BinaryOp::Add, act: Act::None };
        let like = like.clone();
        self.hls4ml_push(name, op, vec![a, b], ty, v, |hw| like.with(hw))
    }

    /// `x` above `theta`, else 0: x times a table of two entries.
    pub(crate) fn hls4ml_thresholded(
        &mut self,
        name: &str,
        input: &Val,
        theta: f64,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let layer = self.layer();
        let (ty, out) = self.hls4ml_activation_type(&layer, v)?;
        let theta_ty = layer.param.unwrap_or(self.hls4ml_type_of(input.hw));
        let theta = entry(theta, theta_ty)?;
        let x = self.node(input.hw).format();
        // x > theta, both as integers of x's grid: the largest code that is not above.
        let at = hs_fixed::round_to(i128::from(theta), theta_ty.format.frac() - x.frac(), Rounding::Trn)
            .and_then(|c| i64::try_from(c).ok())
            .ok_or_else(|| super::super::too_wide("the threshold"))?;
        let index =
            Index { mul: 1, shift: 0, toward_zero: false, offset: at.checked_neg().unwrap_or(i64::MAX) };
        let lut = Lut { index, entries: Codes::new(one_bit()?, vec![0, 1]), interpolate: false };
        let shape = self.node(input.hw).shape.clone();
        let bit = super::super::types::plain(one_bit()?);
        let step = self.push(&format!("{name}/step"), Op::Table(lut), vec![input.hw], shape, bit)?;
        let like = input.clone();
        let op = Op::Binary { op: BinaryOp::Mul, act: Act::None };
        self.hls4ml_push(name, op, vec![input.hw, step], ty, out, |hw| like.with(hw))
    }

    /// clip(slope × x + shift, 0, 1).
    pub(crate) fn hls4ml_hard_sigmoid(
        &mut self,
        name: &str,
        input: &Val,
        (slope, shift): (f64, f64),
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let layer = self.layer();
        let (ty, out) = self.hls4ml_activation_type(&layer, v)?;
        let unsigned = |w, i| Type::trn_wrap(false, w, i).map_err(|e| Diagnostic::error(e.to_string()));
        let (slope_ty, shift_ty) = (unsigned(16, 0)?, unsigned(2, 0)?);
        let scale = Codes::new(slope_ty.format, vec![entry(slope, slope_ty)?]);
        let bias = Codes::new(shift_ty.format, vec![entry(shift, shift_ty)?]);
        let x = self.node(input.hw).format();
        let exact = x
            .mul(scale.format)
            .and_then(|p| p.add(bias.format))
            .map_err(|e| Diagnostic::error(e.to_string()))?;
        let one = u32::try_from(exact.frac()).ok().filter(|f| *f < 62).map(|f| 1i64 << f);
        let act = Act::Clamp { lo: Some(0), hi: one.filter(|one| exact.contains(i128::from(*one))) };
        let like = input.clone();
        self.hls4ml_push(name, Op::Affine { scale, bias, act }, vec![input.hw], ty, out, |hw| like.with(hw))
    }
}

/// A real in a type, by the type's modes.
pub(super) fn entry(value: f64, ty: Type) -> Result<i64, Diagnostic> {
    ty.quantize(value)
        .and_then(|c| i64::try_from(c).ok())
        .ok_or_else(|| Diagnostic::error(format!("a table entry is {value}, which {ty} cannot hold")))
}

/// An activation's parameter: in the user's type, or in as few bits as hold it, at most [`PARAM_BITS`].
fn param(value: f64, given: Option<Type>) -> Result<Codes, Diagnostic> {
    if let Some(ty) = given {
        return Ok(Codes::new(ty.format, vec![entry(value, ty)?]));
    }
    let top = if value == 0.0 { 0 } else { value.abs().log2().floor() as i32 + 1 };
    let frac = PARAM_BITS - top;
    let ty = Type::new(
        Format::new(true, 32, 32 - frac).map_err(|e| Diagnostic::error(e.to_string()))?,
        Rounding::Trn,
        hs_fixed::Overflow::Sat,
    );
    constants::trimmed(&[entry(value, ty)?], frac)
        .ok_or_else(|| Diagnostic::error(format!("the parameter {value}")))
}
