//! Operators on single elements without parameters.

use hs_ir::TensorData;

use super::Activation;
use super::{Call, Inferred, OpDef, call::same_as_input};
use crate::diagnostic::Diagnostic;
use crate::lower::{Lowerer, bend::Bend, composite::Integers, hls4ml::Tabulated};

/// The operators.
pub const OPS: &[OpDef] = &[
    OpDef::new("Relu", infer, eval, lower),
    OpDef::new("Sigmoid", infer, eval, lower),
    OpDef::new("Softplus", infer, eval, lower),
    OpDef::new("Softsign", infer, eval, lower),
    OpDef::new("Tanh", infer, eval, lower),
    OpDef::new("Abs", infer, eval, lower),
    OpDef::new("Ceil", infer, eval, lower),
    OpDef::new("Erf", infer, eval, lower),
    OpDef::new("Exp", infer, eval, lower),
    OpDef::new("Floor", infer, eval, lower),
    OpDef::new("Log", infer, eval, lower),
    OpDef::new("Neg", infer, eval, lower),
    OpDef::new("Reciprocal", infer, eval, lower),
    OpDef::new("Round", infer, eval, lower),
    OpDef::new("Sign", infer, eval, lower),
    OpDef::new("Sqrt", infer, eval, lower),
];

/// A function of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unary {
    /// The magnitude.
    Abs,
    /// The next integer above.
    Ceil,
    /// The error function.
    Erf,
    /// The exponential.
    Exp,
    /// The next integer below.
    Floor,
    /// The natural logarithm.
    Log,
    /// The negative.
    Neg,
    /// One over it.
    Reciprocal,
    /// It or 0, whichever is larger.
    Relu,
    /// The nearest integer, ties to even.
    Round,
    /// The logistic function.
    Sigmoid,
    /// -1, 0 or 1.
    Sign,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// The square root.
    Sqrt,
    /// The hyperbolic tangent.
    Tanh,
}

impl Unary {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.arg(0)?;
        let unary = match call.node.op.as_str() {
            "Abs" => Self::Abs,
            "Ceil" => Self::Ceil,
            "Erf" => Self::Erf,
            "Exp" => Self::Exp,
            "Floor" => Self::Floor,
            "Log" => Self::Log,
            "Neg" => Self::Neg,
            "Reciprocal" => Self::Reciprocal,
            "Relu" => Self::Relu,
            "Round" => Self::Round,
            "Sigmoid" => Self::Sigmoid,
            "Sign" => Self::Sign,
            "Softplus" => Self::Softplus,
            "Softsign" => Self::Softsign,
            "Sqrt" => Self::Sqrt,
            "Tanh" => Self::Tanh,
            other => return Err(call.error(format!("'{other}' is no function of one element"))),
        };
        if !x.dtype.is_float() && !matches!(unary, Self::Abs | Self::Neg | Self::Relu) {
            return Err(call.error(format!("its input has the type {}; floats are expected", x.dtype)));
        }
        Ok(unary)
    }

    /// The function.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Abs => x.abs(),
            Self::Ceil => x.ceil(),
            Self::Erf => libm::erf(x),
            Self::Exp => libm::exp(x),
            Self::Floor => x.floor(),
            Self::Log => libm::log(x),
            Self::Neg => -x,
            Self::Reciprocal => x.recip(),
            Self::Relu => x.max(0.0),
            Self::Round => x.round_ties_even(),
            Self::Sign if x == 0.0 => 0.0,
            Self::Sign => x.signum(),
            Self::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
            Self::Softplus => softplus(x),
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Sqrt => x.sqrt(),
            Self::Tanh => libm::tanh(x),
        }
    }
}

/// `ln(1 + exp(x))`, by portable code that does not overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Unary::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let unary = Unary::parse(call)?;
    let x = call.arg(0)?;
    let tensor = call.constant(x)?;
    let shape = x.shape.to_vec();
    match tensor.ints() {
        Some(ints) => {
            let apply = |x: &i64| match unary {
                Unary::Abs => x.saturating_abs(),
                Unary::Neg => x.saturating_neg(),
                _ => (*x).max(0),
            };
            let out = ints.iter().map(apply).collect();
            call.result(x.dtype, shape, TensorData::I64(out)).map(|t| vec![t])
        }
        None => {
            let out = call.floats(0)?.iter().map(|x| unary.apply(f64::from(*x)) as f32).collect();
            call.float_result(shape, out)
        }
    }
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let (input, out) = (lw.input_val(call, 0)?, lw.result(call)?);
    let name = &call.node.name;
    match Unary::parse(call)? {
        Unary::Relu => lw.activate(name, &input, Activation::Relu, out),
        Unary::Sigmoid if lw.hls4ml() => lw.hls4ml_tabulated(name, &input, Tabulated::Sigmoid, 1.0, out),
        Unary::Tanh if lw.hls4ml() => lw.hls4ml_tabulated(name, &input, Tabulated::Tanh, 1.0, out),
        Unary::Softplus if lw.hls4ml() => lw.hls4ml_tabulated(name, &input, Tabulated::Softplus, 1.0, out),
        Unary::Softsign if lw.hls4ml() => lw.hls4ml_tabulated(name, &input, Tabulated::Softsign, 1.0, out),
        Unary::Softplus => {
            let rest = |d: f64| libm::log1p(libm::exp(-d));
            let bend = Bend { name: "softplus", whole: &softplus, slope: 1.0, rest: &rest, even: true };
            lw.bend(name, &input, &bend, out)
        }
        Unary::Softsign => lw.softsign(name, &input, out),
        Unary::Sigmoid => lw.table(name, &input, ("sigmoid", &|x| 1.0 / (1.0 + libm::exp(-x))), out),
        Unary::Tanh => lw.table(name, &input, ("tanh", &libm::tanh), out),
        _ if lw.hls4ml() => lw.native_only(call),
        Unary::Abs => lw.activate(name, &input, Activation::Leaky(-1.0), out),
        Unary::Ceil => lw.integers(name, &input, Integers::Ceil, out),
        Unary::Erf => lw.table(name, &input, ("erf", &libm::erf), out),
        Unary::Exp => lw.table(name, &input, ("exp", &libm::exp), out),
        Unary::Floor => lw.integers(name, &input, Integers::Floor, out),
        Unary::Log => lw.steep(name, &input, ("ln", &libm::log), out),
        // A pass has made it a scaling.
        Unary::Neg => Err(call.error("is supported on floats only")),
        Unary::Reciprocal => lw.quotient(name, None, &input, out),
        Unary::Round => lw.integers(name, &input, Integers::Round, out),
        Unary::Sign => lw.signs(name, &input, out),
        Unary::Sqrt => lw.steep(name, &input, ("sqrt", &libm::sqrt), out),
    }
}
