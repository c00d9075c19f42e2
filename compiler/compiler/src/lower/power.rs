//! Powers by multiplication.

use hs_fixed::{Format, Overflow, Rounding, Type};
use hs_hw::{Act, BinaryOp, Codes, Op, ValueId as HwId};
use hs_ir::{Tensor, ValueId};

use super::{Lowerer, elementwise::bit, exact::Exact, layout::Val, too_wide, types::plain};
use crate::diagnostic::Diagnostic;

/// Widest partial product.
const WIDEST: u32 = 63;

impl Lowerer<'_> {
    /// Pushes x to the power of `count`, at least 2.
    pub(crate) fn power(
        &mut self,
        name: &str,
        input: &Val,
        count: usize,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        self.factors(name, input, &vec![input.hw; count], v)
    }

    /// Pushes each element of `input` to the power that `exponents`, integers that broadcast with it, state for it.
    pub(crate) fn powers(
        &mut self,
        name: &str,
        input: &Val,
        exponents: &Tensor,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let shape = self.shape(v)?;
        let val = self.broadcast(&format!("{name}/broadcast"), input, &shape)?;
        let val = self.plain(&val)?;
        let own = self.spread(exponents, &val)?;
        let most = own.iter().fold(0.0, |a: f64, b| a.max(*b)) as usize;
        let (x, shape) = (self.node(val.hw).format(), self.node(val.hw).shape.clone());
        let mut factors = Vec::with_capacity(most);
        for k in 1..=most {
            // x where the power goes that far, else 1.
            let goes: Vec<i64> = own.iter().map(|p| i64::from(*p >= k as f64)).collect();
            if goes.iter().all(|g| *g == 1) {
                factors.push(val.hw);
                continue;
            }
            let ends: Vec<i64> = goes.iter().map(|g| 1 - g).collect();
            let (scale, bias) = (Codes::new(bit()?, goes), Codes::new(bit()?, ends));
            let op = Op::Affine { scale, bias, act: Act::None };
            let ty = x.union(bit()?).map_err(|_| too_wide("a factor"))?;
            factors.push(self.push(&format!("{name}/factor"), op, vec![val.hw], shape.clone(), plain(ty))?);
        }
        self.factors(name, &val, &factors, v)
    }

    /// Pushes the product of `factors`, each laid out as `like`.
    fn factors(&mut self, name: &str, like: &Val, factors: &[HwId], v: ValueId) -> Result<(), Diagnostic> {
        let shape = self.node(like.hw).shape.clone();
        let [first, between @ .., last] = factors else {
            let op = Op::Requant(Act::None);
            let exact = Exact { name: name.to_owned(), op, inputs: factors.to_vec(), shape };
            return self.finish(exact, v, |hw| like.with(hw));
        };
        let mut so_far = *first;
        for (i, next) in between.iter().enumerate() {
            let (a, b) = (self.node(so_far).format(), self.node(*next).format());
            let exact = a.mul(b).map_err(|_| too_wide("a partial product"))?;
            let ty = if exact.width() <= WIDEST {
                plain(exact)
            } else {
                // What is beyond the result stays beyond it: no further factor is between 0 and 1 there.
                let most = self.result_type(v, exact.interval())?.format.int() + 1;
                let format = Format::new(exact.is_signed(), WIDEST, exact.int().min(most))
                    .map_err(|_| too_wide("a partial product"))?;
                Type::new(format, Rounding::Rnd, Overflow::Sat)
            };
            let op = Op::Binary { op: BinaryOp::Mul, act: Act::None };
            so_far = self.push(&format!("{name}/{}", i + 1), op, vec![so_far, *next], shape.clone(), ty)?;
        }
        let op = Op::Binary { op: BinaryOp::Mul, act: Act::None };
        let exact = Exact { name: name.to_owned(), op, inputs: vec![so_far, *last], shape };
        self.finish(exact, v, |hw| like.with(hw))
    }
}
