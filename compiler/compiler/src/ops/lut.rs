//! `hypersonic::Lut`: what functions of one element between two quantisers become.

use super::{Call, INTERNAL_DOMAIN, Inferred, OpDef, call::same_as_input};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Lut", infer, eval, lower).in_domains(&[INTERNAL_DOMAIN])];

/// The attribute that holds [`Lut::first`].
pub(crate) const FIRST_ATTR: &str = "first";

/// The attribute that holds [`Lut::frac`].
pub(crate) const FRAC_ATTR: &str = "frac";

/// `entries[x * 2^frac - first]` for `x` on the grid of `frac` fraction bits; what lies beyond the list is held within it.
/// Operands: input, entries (constant).
#[derive(Debug, Clone, PartialEq)]
pub struct Lut {
    /// The code of the smallest input.
    pub first: i64,
    /// Fraction bits of the input.
    pub frac: i32,
    /// One result for each code from `first` on.
    pub entries: Vec<f64>,
}

impl Lut {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        call.float_arg(0)?;
        let first = call.int(FIRST_ATTR)?.ok_or_else(|| call.error("lacks its attribute 'first'"))?;
        let frac = call.int(FRAC_ATTR)?.unwrap_or(0).clamp(-1000, 1000) as i32;
        let entries = call.constant(call.float_arg(1)?)?.to_f64();
        if entries.is_empty() {
            return Err(call.error("has no entries"));
        }
        Ok(Self { first, frac, entries })
    }

    fn at(&self, x: f64) -> f64 {
        let code = (x * 2f64.powi(self.frac)) as i64;
        let place = code.saturating_sub(self.first).clamp(0, self.entries.len() as i64 - 1);
        self.entries[place as usize]
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Lut::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let lut = Lut::parse(call)?;
    let out = call.floats(0)?.iter().map(|x| lut.at(f64::from(*x)) as f32).collect();
    call.float_result(call.arg(0)?.shape.to_vec(), out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let lut = Lut::parse(call)?;
    lw.lut(&call.node.name, &lw.input_val(call, 0)?, &lut, lw.result(call)?)
}
