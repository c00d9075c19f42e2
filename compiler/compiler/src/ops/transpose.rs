//! `Transpose`.

use super::{Call, Inferred, OpDef, permuted_indices};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Transpose", infer, eval, lower)];

/// Axes in another order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transpose {
    /// For each axis of the result, the operand's.
    pub perm: Vec<usize>,
    /// The result's shape.
    pub shape: Vec<usize>,
}

impl Transpose {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.arg(0)?.shape;
        let perm: Vec<usize> = match call.ints("perm")? {
            None => (0..x.len()).rev().collect(),
            Some(given) => {
                let sorted = call.axes(given, x.len())?;
                if sorted.len() != x.len() {
                    return Err(call.error(format!(
                        "its attribute 'perm' is {given:?} for a tensor of rank {}",
                        x.len()
                    )));
                }
                given.iter().map(|a| call.axis(*a, x.len())).collect::<Result<_, _>>()?
            }
        };
        let shape = perm.iter().map(|&p| x[p]).collect();
        Ok(Self { perm, shape })
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, Transpose::parse(call)?.shape)])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let transpose = Transpose::parse(call)?;
    let picks = permuted_indices(call.arg(0)?.shape, &transpose.perm);
    call.gathered(0, transpose.shape, &picks)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let transpose = Transpose::parse(call)?;
    let out = lw.result(call)?;
    let input = lw.input_val(call, 0)?;
    // The batch axis has length 1: wherever it goes, nothing moves.
    let skip = transpose.perm.len() - input.shape.len();
    let by: Vec<usize> = transpose.perm.iter().filter_map(|p| p.checked_sub(skip)).collect();
    let val = lw.transposed(&input, &by)?;
    let val = lw.reshaped(&val, lw.shape(out)?);
    lw.bind(out, val);
    Ok(())
}
