//! Sums over axes, and products of two computed matrices.

use hs_fixed::{Format, Overflow, Rounding, Type};
use hs_hw::{Accum, Act, BinaryOp, Codes, Dot, Op, ValueId as HwId, range};
use hs_ir::ValueId;

use super::{
    Lowerer,
    elementwise::bit,
    exact::Exact,
    layout::{Val, identity},
    too_wide,
    types::plain,
};
use crate::{diagnostic::Diagnostic, ops::window::Window};

/// What is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sum {
    /// The elements.
    Plain,
    /// Their magnitudes.
    Magnitudes,
    /// Their squares.
    Squares,
    /// The root of the sum of squares.
    Norm,
}

/// Widest tensor.
const WIDEST_TENSOR: u32 = 64;

/// Most multiplications of a product of two computed matrices.
const MAX_PRODUCTS: usize = 1 << 18;

impl Lowerer<'_> {
    /// Pushes sums over the last `axes` ONNX axes of `input`.
    pub(crate) fn sum(
        &mut self,
        name: &str,
        input: &Val,
        axes: usize,
        sum: Sum,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let n: usize = input.shape[input.shape.len() - axes..].iter().product();
        let mut hw = self.rows(input, n)?;
        let shape = self.node(hw).shape.clone();
        let x = self.node(hw).format();
        match sum {
            Sum::Plain => {}
            Sum::Magnitudes => {
                let act =
                    Act::Slope(Codes::new(Format::new(true, 1, 1).map_err(|_| too_wide("|x|"))?, vec![-1]));
                let ty = plain(act.format(x).map_err(|_| too_wide("|x|"))?);
                hw = self.push(&format!("{name}/magnitude"), Op::Requant(act), vec![hw], shape, ty)?;
            }
            Sum::Squares | Sum::Norm => {
                let ty = self.square_type(hw, n)?;
                let op = Op::Binary { op: BinaryOp::Mul, act: Act::None };
                hw = self.push(&format!("{name}/square"), op, vec![hw, hw], shape, ty)?;
            }
        }
        if sum == Sum::Norm {
            let total = self.exact_sum(&format!("{name}/sum"), hw)?;
            let rows = self.node(total).len();
            let val = Val::viewed(total, vec![rows, 1], vec![0, 1], self.shape(v)?);
            return self.steep(name, &val, ("sqrt", &libm::sqrt), v);
        }
        let rows = self.node(hw).shape[0];
        let onnx = self.shape(v)?;
        let exact = self.sum_op(name, hw)?;
        self.finish(exact, v, |hw| Val::viewed(hw, vec![rows, 1], vec![0, 1], onnx))
    }

    /// The type of the squares of `hw`, `n` of which are summed: exact where a tensor and their sum can be.
    pub(super) fn square_type(&self, hw: HwId, n: usize) -> Result<Type, Diagnostic> {
        let x = self.node(hw).format();
        if let Ok(exact) = x.mul(x)
            && exact.width() <= WIDEST_TENSOR
        {
            return Ok(plain(exact));
        }
        let range = self.range(hw);
        let most = range.lo.abs().max(range.hi).max(1) as u128;
        // Integer bits of the largest square; the bits that the sum adds are kept free.
        let int = 2 * (128 - most.leading_zeros() as i32 - range.frac);
        let width = WIDEST_TENSOR - 1 - (n.max(1) as u64).next_power_of_two().trailing_zeros();
        let format = Format::new(false, width, int).map_err(|_| too_wide("x²"))?;
        Ok(Type::new(format, Rounding::Rnd, Overflow::Sat))
    }

    /// `input` in ONNX's order as rows of `n` elements.
    pub(crate) fn rows(&mut self, input: &Val, n: usize) -> Result<HwId, Diagnostic> {
        let hw = self.demand(input, &identity(input.shape.len()))?;
        let all = self.node(hw).len();
        self.reshape(hw, vec![all / n.max(1), n])
    }

    /// The sum of each row of `hw`.
    fn sum_op(&mut self, name: &str, hw: HwId) -> Result<Exact, Diagnostic> {
        let (n, rows) = (self.node(hw).channels(), self.node(hw).shape[0]);
        let frac = self.node(hw).format().frac();
        // The bias takes the rounding of the result.
        let zero = Format::new(false, 1, 1 - frac).map_err(|_| too_wide("the sum"))?;
        let mut op = Dot {
            window: vec![Window::UNIT.hardware()],
            groups: 1,
            weight: Codes::new(bit()?, vec![1; n]),
            bias: Some(Codes::new(zero, vec![0])),
            accum: Accum::Exact(zero),
            act: Act::None,
        };
        let sums = range::dot_sum(&op, 1, self.range(hw)).ok_or_else(|| too_wide("the sum"))?;
        let accum = Format::holding(sums.partial.lo, sums.partial.hi, sums.partial.frac);
        op.accum = Accum::Exact(accum.map_err(|_| too_wide("the sum"))?);
        Ok(Exact { name: name.to_owned(), op: Op::Dot(op), inputs: vec![hw], shape: vec![rows, 1] })
    }

    /// Pushes the sum of each row of `hw`, nothing lost: `[rows, 1]`.
    pub(crate) fn exact_sum(&mut self, name: &str, hw: HwId) -> Result<HwId, Diagnostic> {
        let Exact { name, mut op, inputs, shape } = self.sum_op(name, hw)?;
        let mut ty = plain(self.node(hw).format());
        if let Op::Dot(dot) = &mut op {
            dot.bias = None;
            ty = plain(dot.accum.format());
        }
        self.push(&name, op, inputs, shape, ty)
    }

    /// Pushes `a` times `b`, of ONNX shapes `[batch…, rows, inner]` and `[batch…, inner, columns]`, whose leading
    /// dimensions broadcast.
    pub(crate) fn product(&mut self, name: &str, a: &Val, b: &Val, v: ValueId) -> Result<(), Diagnostic> {
        let (ra, rb) = (a.shape.len(), b.shape.len());
        let (rows, inner, columns) = (a.shape[ra - 2], a.shape[ra - 1], b.shape[rb - 1]);
        let batch = crate::ops::broadcast_shape(&a.shape[..ra - 2], &b.shape[..rb - 2])
            .ok_or_else(|| Diagnostic::error(format!("{:?} and {:?} do not fit", a.shape, b.shape)))?;
        let full = [batch.as_slice(), &[rows, columns, inner]].concat();
        let products = full.iter().product::<usize>();
        if products > MAX_PRODUCTS {
            return Err(Diagnostic::error(format!(
                "multiplies two computed matrices, {products} products; at most {MAX_PRODUCTS} are laid out"
            ))
            .help("cut the model there with onnx.utils.extract_model, or serve it in float by onnxruntime"));
        }
        let seen = [&a.shape[..ra - 2], &[rows, 1, inner]].concat();
        let a = self.reshaped(a, seen);
        let swapped: Vec<usize> = (0..rb - 2).chain([rb - 1, rb - 2]).collect();
        let b = self.transposed(b, &swapped)?;
        let seen = [&b.shape[..rb - 2], &[1, columns, inner]].concat();
        let b = self.reshaped(&b, seen);
        let part = format!("{name}/broadcast");
        let (a, b) = (self.broadcast(&part, &a, &full)?, self.broadcast(&part, &b, &full)?);
        let (a, b) = (self.rows(&a, inner)?, self.rows(&b, inner)?);
        let ty = self.node(a).format().mul(self.node(b).format()).map_err(|_| too_wide("the products"))?;
        let (op, shape) = (Op::Binary { op: BinaryOp::Mul, act: Act::None }, self.node(a).shape.clone());
        let hw = self.push(&format!("{name}/products"), op, vec![a, b], shape, plain(ty))?;
        let count = products / inner.max(1);
        let onnx = self.shape(v)?;
        let exact = self.sum_op(name, hw)?;
        self.finish(exact, v, |hw| Val::viewed(hw, vec![count, 1], vec![0, 1], onnx))
    }
}
