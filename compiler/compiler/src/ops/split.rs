//! `Split`.

use super::{Call, Inferred, OpDef, picked_indices};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Split", infer, eval, lower)];

/// An axis cut into parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The axis.
    pub axis: usize,
    /// Length of each part; they add up to the axis.
    pub lengths: Vec<usize>,
}

impl Split {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.arg(0)?.shape;
        let axis = call.axis(call.int("axis")?.unwrap_or(0), x.len())?;
        let parts = call.node.outputs.len();
        let lengths: Vec<usize> = match call.constant_ints(1)? {
            Some(given) => {
                let lengths: Option<Vec<usize>> = given.iter().map(|n| usize::try_from(*n).ok()).collect();
                let sum = |l: &Vec<usize>| l.iter().try_fold(0usize, |a, b| a.checked_add(*b));
                lengths.filter(|l| sum(l) == Some(x[axis]) && l.len() == parts).ok_or_else(|| {
                    call.error(format!(
                        "splits axis {axis} of {x:?} into {given:?}; {parts} lengths that add up to {} are expected",
                        x[axis]
                    ))
                })?
            }
            None => {
                // The last part is what is left.
                let each = x[axis].div_ceil(parts.max(1));
                let begin = |i: usize| (i * each).min(x[axis]);
                (0..parts).map(|i| begin(i + 1) - begin(i)).collect()
            }
        };
        Ok(Self { axis, lengths })
    }

    /// For each part, the shape and the indices along each axis.
    fn parts(&self, x: &[usize]) -> Vec<(Vec<usize>, Vec<Vec<usize>>)> {
        let mut begin = 0;
        let part = |length: &usize| {
            let mut picks: Vec<Vec<usize>> = x.iter().map(|n| (0..*n).collect()).collect();
            picks[self.axis] = (begin..begin + length).collect();
            begin += length;
            (picks.iter().map(Vec::len).collect(), picks)
        };
        self.lengths.iter().map(part).collect()
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    let x = call.arg(0)?;
    let parts = Split::parse(call)?.parts(x.shape);
    Ok(parts.into_iter().map(|(shape, _)| Inferred::new(x.dtype, shape)).collect())
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let x = call.arg(0)?.shape;
    let mut out = Vec::new();
    for (shape, picks) in Split::parse(call)?.parts(x) {
        out.extend(call.gathered(0, shape, &picked_indices(x, &picks))?);
    }
    Ok(out)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let parts = Split::parse(call)?.parts(call.arg(0)?.shape);
    for (index, (_, picks)) in parts.into_iter().enumerate() {
        if let Some(out) = call.node.output(index) {
            lw.select(call, &picks, out)?;
        }
    }
    Ok(())
}
