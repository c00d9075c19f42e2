//! Dense and convolution.

use hs_fixed::Format;
use hs_hw::{Accum, Act, Codes, Dot, Op, ValueId as HwId, Window, range};
use hs_ir::ValueId;

use super::{Lowerer, constants, exact::Exact, layout::Val, too_wide, types::Part};
use crate::diagnostic::Diagnostic;

/// A dot product in hardware order, constants still as reals.
pub struct FloatDot<'a> {
    /// Name of the node.
    pub name: &'a str,
    /// What it reads.
    pub input: HwId,
    /// Windows; empty for dense.
    pub window: Vec<Window>,
    /// Channel groups.
    pub groups: usize,
    /// `[out, kernel…, in / groups]`.
    pub weight: Vec<f64>,
    /// The graph value that the weights stem from, for its grid.
    pub weight_value: Option<ValueId>,
    /// `[out]`.
    pub bias: Option<Vec<f64>>,
    /// The graph value that the bias stems from.
    pub bias_value: Option<ValueId>,
    /// Shape of the result.
    pub shape: Vec<usize>,
}

impl Lowerer<'_> {
    /// Rounds the constants, sizes the accumulator and pushes the node with its tail.
    pub fn dot(
        &mut self,
        dot: FloatDot<'_>,
        v: ValueId,
        like: impl FnOnce(HwId) -> Val,
    ) -> Result<(), Diagnostic> {
        if self.hls4ml() {
            return self.hls4ml_dot(dot, v, like);
        }
        let outputs = dot.shape.last().copied().unwrap_or(1);
        let weight =
            constants::codes("weight", &dot.weight, self.constant_choice(dot.weight_value, Part::Weight)?)?;
        if let Some(v) = dot.weight_value {
            self.weights.push((self.graph.value(v).name.clone(), weight.format));
        }
        let bias = match &dot.bias {
            Some(b) => {
                // A bias in a model with quantisers is added exactly as it stands in float, up to 32 bits.
                let choice = match self.constant_choice(dot.bias_value, Part::Bias)? {
                    constants::Choice::Fit(w) if self.quantised => constants::Choice::Fit(w.max(32)),
                    other => other,
                };
                constants::codes("bias", b, choice)?
            }
            None => Codes::new(weight.format, vec![0; outputs]),
        };
        let x = self.node(dot.input);
        let product_frac = x.format().frac() + weight.format.frac();
        x.format().mul(weight.format).map_err(|_| too_wide("input × weight"))?;
        let frac = if dot.bias.is_some() { product_frac.max(bias.format.frac()) } else { product_frac };
        let bias = if dot.bias.is_some() { bias } else { zero_bias(outputs, product_frac)? };
        let mut op = Dot {
            window: dot.window,
            groups: dot.groups,
            weight,
            bias: Some(bias),
            accum: Accum::Exact(Format::new(true, 64, 64 - frac).map_err(|_| too_wide("the accumulator"))?),
            act: Act::None,
        };
        let sums =
            range::dot_sum(&op, outputs, self.range(dot.input)).ok_or_else(|| too_wide("the accumulator"))?;
        let accum = Format::holding(sums.partial.lo, sums.partial.hi, frac)
            .map_err(|_| too_wide("the accumulator"))?;
        op.accum = Accum::Exact(accum);
        let exact =
            Exact { name: dot.name.to_owned(), op: Op::Dot(op), inputs: vec![dot.input], shape: dot.shape };
        self.finish(exact, v, like)
    }
}

fn zero_bias(outputs: usize, frac: i32) -> Result<Codes, Diagnostic> {
    let format = Format::new(false, 1, 1 - frac).map_err(|_| too_wide("the accumulator"))?;
    Ok(Codes::new(format, vec![0; outputs]))
}
