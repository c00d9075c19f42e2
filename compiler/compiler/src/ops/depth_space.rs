//! `DepthToSpace` and `SpaceToDepth`.

use super::{Call, Inferred, OpDef, permuted_indices};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operators.
pub const OPS: &[OpDef] =
    &[OpDef::new("DepthToSpace", infer, eval, lower), OpDef::new("SpaceToDepth", infer, eval, lower)];

/// Blocks of channels moved to space or back: a view, its axes permuted, and another view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepthSpace {
    /// The operand, seen with six axes.
    pub split: [usize; 6],
    /// For each axis of the permuted view, the one of `split`.
    pub perm: [usize; 6],
    /// The result's shape.
    pub shape: Vec<usize>,
}

impl DepthSpace {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let [n, c, h, w] = *call.arg(0)?.shape else {
            let shape = call.arg(0)?.shape;
            return Err(call.error(format!("its input has the shape {shape:?}; four axes are expected")));
        };
        let block = call
            .int("blocksize")?
            .and_then(|b| usize::try_from(b).ok())
            .filter(|b| (1..=1 << 16).contains(b));
        let b = block.ok_or_else(|| call.error("lacks its attribute 'blocksize', or it is no size"))?;
        if call.node.op == "SpaceToDepth" {
            if h % b != 0 || w % b != 0 {
                return Err(call
                    .error(format!("its input has {h} × {w} positions, which blocks of {b} do not divide")));
            }
            let split = [n, c, h / b, b, w / b, b];
            let perm = match call.str("mode", "DCR")? {
                "DCR" => [0, 3, 5, 1, 2, 4],
                "CRD" => [0, 1, 3, 5, 2, 4],
                other => return Err(mode_error(call, other)),
            };
            return Ok(Self { split, perm, shape: vec![n, c * b * b, h / b, w / b] });
        }
        if c % (b * b) != 0 {
            return Err(
                call.error(format!("its input has {c} channels, which blocks of {b} × {b} do not divide"))
            );
        }
        let shape = vec![n, c / (b * b), h * b, w * b];
        match call.str("mode", "DCR")? {
            "DCR" => Ok(Self { split: [n, b, b, c / (b * b), h, w], perm: [0, 3, 4, 1, 5, 2], shape }),
            "CRD" => Ok(Self { split: [n, c / (b * b), b, b, h, w], perm: [0, 1, 4, 2, 5, 3], shape }),
            other => Err(mode_error(call, other)),
        }
    }
}

fn mode_error(call: &Call<'_>, mode: &str) -> Diagnostic {
    call.error(format!("its attribute 'mode' is '{mode}'; DCR or CRD is expected"))
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, DepthSpace::parse(call)?.shape)])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let moved = DepthSpace::parse(call)?;
    call.gathered(0, moved.shape, &permuted_indices(&moved.split, &moved.perm))
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    lw.native_only(call)?;
    let moved = DepthSpace::parse(call)?;
    let out = lw.result(call)?;
    let input = lw.input_val(call, 0)?;
    let seen = lw.reshaped(&input, moved.split.to_vec());
    let val = lw.transposed(&seen, &moved.perm)?;
    let val = lw.reshaped(&val, lw.shape(out)?);
    lw.bind(out, val);
    Ok(())
}
