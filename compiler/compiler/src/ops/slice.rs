//! `Slice`.

use super::{Call, Inferred, OpDef, picked_indices};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Slice", infer, eval, lower)];

/// A range along each axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// First index, step and length, for each axis.
    pub ranges: Vec<(usize, i64, usize)>,
}

impl Slice {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.arg(0)?.shape;
        let starts = call.constant_ints(1)?.ok_or_else(|| call.error("lacks its starts"))?;
        let ends = call.constant_ints(2)?.ok_or_else(|| call.error("lacks its ends"))?;
        let axes = match call.constant_ints(3)? {
            Some(axes) => axes.iter().map(|a| call.axis(*a, x.len())).collect::<Result<Vec<_>, _>>()?,
            None => (0..starts.len()).collect(),
        };
        let ones = vec![1; starts.len()];
        let steps = call.constant_ints(4)?.unwrap_or(&ones);
        let same = [ends.len(), axes.len(), steps.len()].iter().all(|n| *n == starts.len());
        if !same || axes.iter().any(|a| *a >= x.len()) {
            return Err(call.error("its starts, ends, axes and steps do not fit each other and its input"));
        }
        let mut ranges: Vec<_> = x.iter().map(|d| (0, 1, *d)).collect();
        for (i, &axis) in axes.iter().enumerate() {
            let len = i64::try_from(x[axis]).map_err(|_| call.error("its input is too large"))?;
            let step = steps[i];
            if step == 0 || step == i64::MIN {
                return Err(call.error(format!("a step is {step}")));
            }
            let wrap = |at: i64| if at < 0 { at.saturating_add(len) } else { at };
            let (start, end) = if step > 0 {
                (wrap(starts[i]).clamp(0, len), wrap(ends[i]).clamp(0, len))
            } else {
                (wrap(starts[i]).clamp(-1, len - 1), wrap(ends[i]).clamp(-1, len - 1))
            };
            let span = if step > 0 { end - start } else { start - end };
            let count = if span <= 0 { 0 } else { (span - 1) / step.abs() + 1 };
            ranges[axis] = (start.max(0) as usize, step, count as usize);
        }
        Ok(Self { ranges })
    }

    /// The result's shape.
    pub fn shape(&self) -> Vec<usize> {
        self.ranges.iter().map(|(_, _, n)| *n).collect()
    }

    /// The indices kept, for each axis.
    pub fn picks(&self) -> Vec<Vec<usize>> {
        let index = |start: usize, step: i64, i: usize| (start as i64 + i as i64 * step) as usize;
        let picks =
            |(start, step, n): &(usize, i64, usize)| (0..*n).map(|i| index(*start, *step, i)).collect();
        self.ranges.iter().map(picks).collect()
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, Slice::parse(call)?.shape())])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let slice = Slice::parse(call)?;
    call.gathered(0, slice.shape(), &picked_indices(call.arg(0)?.shape, &slice.picks()))
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let picks = Slice::parse(call)?.picks();
    lw.select(call, &picks, lw.result(call)?)
}
