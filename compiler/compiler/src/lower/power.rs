//! Powers and products by multiplication.

use hs_fixed::{Format, Overflow, Rounding, Type};
use hs_hw::{Act, BinaryOp, Codes, Op, ValueId as HwId};
use hs_ir::{Tensor, ValueId};

use super::{Lowerer, elementwise::bit, exact::Exact, layout::Val, too_wide, types::plain};
use crate::diagnostic::Diagnostic;

/// Widest partial product.
const WIDEST: u32 = 63;
/// Most integer bits of a partial product that is rounded.
const MAX_INT: i32 = 40;
/// Most factors of a product.
const MAX_FACTORS: usize = 64;

impl Lowerer<'_> {
    /// Pushes x to the power of `count`, at least 2.
    pub(crate) fn power(
        &mut self,
        name: &str,
        input: &Val,
        count: usize,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        self.factors(name, input, &vec![input.hw; count], true, v)
    }

    /// Pushes the products over the last `axes` ONNX axes of `input`.
    pub(crate) fn products(
        &mut self,
        name: &str,
        input: &Val,
        axes: usize,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let at = input.shape.len() - axes;
        let (rows, n) = (input.shape[..at].iter().product(), input.shape[at..].iter().product());
        if n > MAX_FACTORS {
            return Err(Diagnostic::error(format!(
                "multiplies {n} elements; at most {MAX_FACTORS} are laid out"
            ))
            .help("cut the model there with onnx.utils.extract_model and multiply on the host"));
        }
        let matrix = self.reshaped(input, vec![rows, n]);
        let mut factors = Vec::with_capacity(n);
        for i in 0..n {
            let column = self.selected(&format!("{name}/factor"), &matrix, 1, &[i])?;
            factors.push(self.demand(&column, &[0, 1])?);
        }
        let Some(first) = factors.first() else { return Err(Diagnostic::error("has nothing to multiply")) };
        let like = Val::viewed(*first, vec![rows, 1], vec![0, 1], self.shape(v)?);
        self.factors(name, &like, &factors, false, v)
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
        self.factors(name, &val, &factors, true, v)
    }

    /// Pushes the product of `factors`, each laid out as `like`. With `powers` each is 1 or the same as all others.
    fn factors(
        &mut self,
        name: &str,
        like: &Val,
        factors: &[HwId],
        powers: bool,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
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
                // What a power has beyond the result stays beyond it: no further factor is between 0 and 1 there.
                let most =
                    if powers { self.result_type(v, exact.interval())?.format.int() + 1 } else { MAX_INT };
                if !powers && exact.int() > most {
                    return Err(Diagnostic::error(format!(
                        "multiplies {} elements, whose product may have {} integer bits on the way; {most} are kept",
                        factors.len(),
                        exact.int()
                    ))
                    .help("narrow the range of its input: fewer integer bits (--precision)"));
                }
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
