//! Constant linear combinations of a tensor's elements along its axes, one axis after the other.

use hs_fixed::{Format, Overflow, Rounding, Type};
use hs_hw::{Accum, Act, Codes, Dot, Op, range};
use hs_ir::ValueId;

use super::{
    Lowerer, constants,
    elementwise::bit,
    exact::Exact,
    layout::Val,
    too_wide,
    types::{WIDEST_EXACT, plain},
};
use crate::{diagnostic::Diagnostic, ops::window::Window};

/// Most weights along one axis.
const MAX_WEIGHTS: usize = 1 << 22;

impl Lowerer<'_> {
    /// Pushes `input` with, along each ONNX axis that has `weights` `[results, elements]`, those sums of its elements.
    pub(crate) fn mixed(
        &mut self,
        name: &str,
        input: &Val,
        weights: Vec<Option<Vec<f64>>>,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let mut val = self.plain(input)?;
        let last = weights.iter().rposition(Option::is_some);
        for (axis, weights) in weights.into_iter().enumerate() {
            let Some(weights) = weights else { continue };
            let n = val.shape[axis];
            let m = weights.len() / n.max(1);
            if weights.len() > MAX_WEIGHTS {
                return Err(Diagnostic::error(format!(
                    "mixes {n} elements to {m}, which is more than {MAX_WEIGHTS} pairs"
                ))
                .help("use a ConvTranspose with fixed weights, or resize to nearest neighbours"));
            }
            let mut order: Vec<usize> = val.perm.iter().copied().filter(|a| *a != axis).collect();
            order.push(axis);
            let hw = self.demand(&val, &order)?;
            let rows: usize = val.shape.iter().product::<usize>() / n;
            let hw = self.reshape(hw, vec![rows, n])?;
            let weight = constants::codes("weight", &weights, self.derived_choice())?;
            let frac = self.node(hw).format().frac() + weight.format.frac();
            // The bias takes the rounding of the result.
            let zero = Format::new(false, 1, 1 - frac).map_err(|_| too_wide("the sum"))?;
            let mut dot = Dot {
                window: vec![Window::UNIT.hardware()],
                groups: 1,
                weight,
                bias: Some(Codes::new(zero, vec![0; m])),
                accum: Accum::Exact(bit()?),
                act: Act::None,
            };
            let sums = range::dot_sum(&dot, m, self.range(hw)).ok_or_else(|| too_wide("the sum"))?;
            let accum =
                Format::holding(sums.partial.lo, sums.partial.hi, frac).map_err(|_| too_wide("the sum"))?;
            dot.accum = Accum::Exact(accum);
            let mut shape = val.shape.clone();
            shape[axis] = m;
            let hw_shape: Vec<usize> = order.iter().map(|a| shape[*a]).collect();
            if Some(axis) == last {
                let base = order.iter().map(|a| shape[*a]).collect::<Vec<_>>();
                let exact =
                    Exact { name: name.to_owned(), op: Op::Dot(dot), inputs: vec![hw], shape: vec![rows, m] };
                // As the tensor of rows that it is, then with all its axes.
                let seen = Val::plain(hw, shape.clone(), order.clone());
                self.finish(exact, v, |hw| seen.with(hw))?;
                let bound = self.bound(v)?;
                let hw = self.val(bound)?.hw;
                let hw = self.reshape(hw, base)?;
                self.bind(bound, Val::plain(hw, shape, order));
                return Ok(());
            }
            dot.bias = None;
            let ty = if accum.width() <= WIDEST_EXACT {
                plain(accum)
            } else {
                let format = Format::new(accum.is_signed(), WIDEST_EXACT, accum.int())
                    .map_err(|_| too_wide("the sum"))?;
                Type::new(format, Rounding::Rnd, Overflow::Sat)
            };
            let hw = self.push(&format!("{name}/{axis}"), Op::Dot(dot), vec![hw], vec![rows, m], ty)?;
            let hw = self.reshape(hw, hw_shape)?;
            val = Val::plain(hw, shape, order);
        }
        self.bind(v, val);
        Ok(())
    }
}
