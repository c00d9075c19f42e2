//! Functions of whole rows of a matrix: log-softmax, logarithms of sums, normalisation.

use hs_fixed::{Format, Interval, Overflow, Rounding, Type};
use hs_hw::{Accum, Act, BinaryOp, Codes, Dot, Op, Pool, PoolKind, ValueId as HwId};
use hs_ir::{Tensor, ValueId};

use super::{
    Cost, Lowerer, constants,
    elementwise::{FloatAffine, bit},
    exact::Exact,
    layout::{Val, identity},
    table::{self, Function},
    too_wide,
    types::{FUNCTION_FRAC, plain},
};
use crate::{diagnostic::Diagnostic, ops::window::Window};

/// Fraction bits of what is computed on the way beyond the result's.
const GUARD: i32 = 3;
/// Most fraction bits of exponentials and logarithms.
const MAX_FRAC: i32 = 28;
/// Fraction bits of a mean beyond its input's.
const MEAN_GUARD: i32 = 8;
/// Widest tensor on the way.
const WIDEST: u32 = 60;

/// The normalisation of rows.
pub(crate) struct Norm<'a> {
    /// Elements of a row.
    pub(crate) length: usize,
    /// Whether the mean is subtracted first.
    pub(crate) centred: bool,
    /// Added to the mean of squares.
    pub(crate) epsilon: f64,
    /// Factors; broadcast to the input's shape.
    pub(crate) scale: Option<&'a Tensor>,
    /// The graph value that they stem from.
    pub(crate) scale_value: Option<ValueId>,
    /// Summands; broadcast to the input's shape.
    pub(crate) bias: Option<&'a Tensor>,
    /// The graph value that they stem from.
    pub(crate) bias_value: Option<ValueId>,
}

/// The logarithms of the sums of exponentials of rows.
struct LogSums {
    /// max - x, `[rows, n]`.
    delta: HwId,
    /// The largest element, `[rows, 1]`.
    max: HwId,
    /// -ln Σ exp(x - max), `[rows, 1]`.
    minus_log: HwId,
}

impl Lowerer<'_> {
    /// The largest element of each row of `hw`: `[rows, 1]`.
    fn row_max(&mut self, name: &str, hw: HwId) -> Result<HwId, Diagnostic> {
        let (rows, n) = (self.node(hw).shape[0], self.node(hw).channels());
        // Pools run over space, so each row becomes a channel.
        let ty = plain(self.node(hw).format());
        let turned = Op::Permute(vec![1, 0]);
        let turned = self.push(&format!("{name}/turned"), turned, vec![hw], vec![n, rows], ty)?;
        let window = vec![Window { input: n, kernel: n, ..Window::UNIT }.hardware()];
        let op = Op::Pool(Pool { kind: PoolKind::Max, window });
        let max = self.push(&format!("{name}/max"), op, vec![turned], vec![1, rows], ty)?;
        self.reshape(max, vec![rows, 1])
    }

    /// `hw`, of shape `[rows, 1]`, repeated to `[rows, n]`.
    fn repeated(&mut self, name: &str, hw: HwId, n: usize) -> Result<HwId, Diagnostic> {
        if n == 1 {
            return Ok(hw);
        }
        let (x, range, rows) = (self.node(hw).format(), self.range(hw), self.node(hw).shape[0]);
        let accum = Format::holding(range.lo.min(0), range.hi.max(0), range.frac)
            .map_err(|_| too_wide("a repetition"))?;
        let op = Op::Dot(Dot {
            window: vec![Window::UNIT.hardware()],
            groups: 1,
            weight: Codes::new(bit()?, vec![1; n]),
            bias: None,
            accum: Accum::Exact(accum),
            act: Act::None,
        });
        self.push(&format!("{name}/repeat"), op, vec![hw], vec![rows, n], plain(x))
    }

    fn binary(
        &mut self,
        name: &str,
        op: BinaryOp,
        (a, b): (HwId, HwId),
        ty: Type,
    ) -> Result<HwId, Diagnostic> {
        let shape = self.node(a).shape.clone();
        self.push(name, Op::Binary { op, act: Act::None }, vec![a, b], shape, ty)
    }

    fn log_sums(&mut self, name: &str, hw: HwId, frac: i32) -> Result<LogSums, Diagnostic> {
        let n = self.node(hw).channels();
        let range = self.range(hw);
        let max = self.row_max(name, hw)?;
        let wide = self.repeated(&format!("{name}/max"), max, n)?;
        let spread = (range.hi - range.lo).max(1);
        let ty = plain(Format::holding(0, spread, range.frac).map_err(|_| too_wide("max - x"))?);
        let delta = self.binary(&format!("{name}/delta"), BinaryOp::Sub, (wide, hw), ty)?;
        let unit = Format::new(false, (frac + 1) as u32, 1).map_err(|_| too_wide("the exponential"))?;
        let x = Interval::new(0, spread, range.frac);
        let exp = Function { name: "exp", f: &|d| libm::exp(-d), x, result: unit };
        let exp = self.function(&format!("{name}/exp"), delta, &exp)?;
        let sum = self.exact_sum(&format!("{name}/sum"), exp)?;
        // The largest element contributes 1, so the sum lies in 1..=n.
        let grid = self.node(sum).format().frac();
        let x = Interval::new(1i128 << grid, (n.max(2) as i128) << grid, grid);
        let int = (n.max(2) as f64).ln().log2().floor().max(0.0) as i32 + 2;
        let result = Format::new(true, (frac + int) as u32, int).map_err(|_| too_wide("the logarithm"))?;
        let ln = Function { name: "-ln", f: &|s| -libm::log(s), x, result };
        let minus_log = self.function(&format!("{name}/log"), sum, &ln)?;
        Ok(LogSums { delta, max, minus_log })
    }

    /// Pushes the table of `function` at `hw`.
    fn function(&mut self, name: &str, hw: HwId, function: &Function<'_>) -> Result<HwId, Diagnostic> {
        let built = table::build(function)?;
        let ty = if built.lut.interpolate {
            Type::new(function.result, Rounding::Rnd, Overflow::Sat)
        } else {
            plain(function.result)
        };
        let shape = self.node(hw).shape.clone();
        let id = self.push(name, Op::Table(built.lut), vec![hw], shape, ty)?;
        self.note(id, Cost::Logic, Cost::None, Some(built.note));
        Ok(id)
    }

    /// The result's fraction bits and those of what is computed on the way to `v`, a logarithm.
    fn log_frac(&mut self, v: ValueId, x: Interval) -> Result<i32, Diagnostic> {
        let reach = x.refine(x.frac.max(FUNCTION_FRAC)).ok_or_else(|| too_wide("the logarithm"))?;
        Ok((self.result_or_quantiser(v, reach)?.0.format.frac() + GUARD).clamp(8, MAX_FRAC))
    }

    /// Pushes the logarithm of the softmax of `input` over its last ONNX axis.
    pub(crate) fn log_softmax(&mut self, name: &str, input: &Val, v: ValueId) -> Result<(), Diagnostic> {
        let n = input.shape.last().copied().unwrap_or(1);
        let hw = self.rows(input, n)?;
        let frac = self.log_frac(v, self.range(hw))?;
        let sums = self.log_sums(name, hw, frac)?;
        let minus_log = self.repeated(&format!("{name}/log"), sums.minus_log, n)?;
        let shape = self.node(hw).shape.clone();
        let op = Op::Binary { op: BinaryOp::Sub, act: Act::None };
        let inputs = vec![minus_log, sums.delta];
        let exact = Exact { name: name.to_owned(), op, inputs, shape: shape.clone() };
        let onnx = input.shape.clone();
        self.finish(exact, v, |hw| Val::viewed(hw, shape, identity(2), onnx))
    }

    /// Pushes the logarithms of the sums, of exponentials or of the elements themselves, over the last `axes` ONNX axes.
    pub(crate) fn log_sum(
        &mut self,
        name: &str,
        input: &Val,
        axes: usize,
        exponentials: bool,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let n: usize = input.shape[input.shape.len() - axes..].iter().product();
        let hw = self.rows(input, n)?;
        let (rows, onnx) = (self.node(hw).shape[0], self.shape(v)?);
        if !exponentials {
            let total = self.exact_sum(&format!("{name}/sum"), hw)?;
            let val = Val::viewed(total, vec![rows, 1], identity(2), onnx);
            return self.steep(name, &val, ("ln", &libm::log), v);
        }
        let frac = self.log_frac(v, self.range(hw))?;
        let sums = self.log_sums(name, hw, frac)?;
        let op = Op::Binary { op: BinaryOp::Sub, act: Act::None };
        let inputs = vec![sums.max, sums.minus_log];
        let exact = Exact { name: name.to_owned(), op, inputs, shape: vec![rows, 1] };
        self.finish(exact, v, |hw| Val::viewed(hw, vec![rows, 1], identity(2), onnx))
    }

    /// Pushes (x - mean) / √(mean of squares + epsilon) × scale + bias over rows of ONNX's order.
    pub(crate) fn normalised(
        &mut self,
        name: &str,
        input: &Val,
        norm: &Norm<'_>,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let n = norm.length;
        let mut hw = self.rows(input, n)?;
        if norm.centred {
            hw = self.centred(name, hw)?;
        }
        let shape = self.node(hw).shape.clone();
        let most =
            ((n as f64).sqrt() * norm.scale.map_or(1.0, largest) + norm.bias.map_or(0.0, largest)).ceil();
        let reach = Interval::new(-(most as i128), most as i128, 0).refine(FUNCTION_FRAC);
        let (ty, _) = self.result_or_quantiser(v, reach.ok_or_else(|| too_wide("the result"))?)?;

        // mean of squares + epsilon
        let square = self.square_type(hw, n)?;
        let squares = self.binary(&format!("{name}/square"), BinaryOp::Mul, (hw, hw), square)?;
        let sum = self.exact_sum(&format!("{name}/sum"), squares)?;
        let (x, total) = (self.node(hw).format(), self.range(sum));
        let top = total.hi as f64 * 2f64.powi(-total.frac) / n as f64 + norm.epsilon;
        let int = top.max(1.0).log2().floor() as i32 + 1;
        let fine = if norm.epsilon > 0.0 { -norm.epsilon.log2().floor() as i32 + 8 } else { 0 };
        let frac = (2 * x.frac() + 2).max(fine.min(2 * x.frac() + 8)).min(WIDEST as i32 - int);
        let mean =
            Format::new(false, (frac + int).max(1) as u32, int).map_err(|_| too_wide("the variance"))?;
        let mean = self.scaled(
            &format!("{name}/variance"),
            sum,
            (1.0 / n as f64, norm.epsilon),
            Type::new(mean, Rounding::Rnd, Overflow::Sat),
        )?;

        // 1/√ to as many places that the product with the largest element is as good as the result.
        let root = |v: f64| 1.0 / v.sqrt();
        let least = (norm.epsilon.max(2f64.powi(-frac - 1))).max(f64::MIN_POSITIVE);
        let int = root(least).log2().floor() as i32 + 1;
        let fine = norm.scale.map_or(1.0, largest).max(1.0).log2().ceil() as i32;
        let places = ty.format.frac() + x.int().max(0) + fine + 1;
        let result =
            Format::new(false, (places + int).clamp(8, 58) as u32, int).map_err(|_| too_wide("1/√x"))?;
        let inverse = self.steep_sum(&format!("{name}/inverse"), mean, ("1/√x", &root), result)?;
        let inverse = self.repeated(&format!("{name}/inverse"), inverse, n)?;

        let op = Op::Binary { op: BinaryOp::Mul, act: Act::None };
        let base = input.shape.clone();
        let like = |hw: HwId| Val::viewed(hw, shape.clone(), identity(2), base.clone());
        if norm.scale.is_none() && norm.bias.is_none() {
            let exact = Exact { name: name.to_owned(), op, inputs: vec![hw, inverse], shape: shape.clone() };
            return self.finish(exact, v, like);
        }
        let int = (n as f64).sqrt().log2().floor() as i32 + 3;
        let frac = (ty.format.frac() + GUARD + fine).clamp(1, WIDEST as i32 / 2);
        let unit = Format::new(true, (frac + int) as u32, int).map_err(|_| too_wide("the result"))?;
        let unit = Type::new(unit, Rounding::Rnd, Overflow::Sat);
        let unit = self.binary(&format!("{name}/unit"), BinaryOp::Mul, (hw, inverse), unit)?;
        // Constants of single elements are spread over the input's own shape.
        let val = Val::viewed(unit, shape.clone(), identity(2), base.clone());
        let constants = FloatAffine {
            scale: norm.scale,
            scale_value: norm.scale_value,
            bias: norm.bias,
            bias_value: norm.bias_value,
        };
        self.affine(name, &val, &constants, v)
    }

    /// Each row of `hw` less its mean.
    fn centred(&mut self, name: &str, hw: HwId) -> Result<HwId, Diagnostic> {
        let n = self.node(hw).channels();
        let (x, range) = (self.node(hw).format(), self.range(hw));
        let sum = self.exact_sum(&format!("{name}/sum"), hw)?;
        let frac = (x.frac() + MEAN_GUARD).min(WIDEST as i32 - x.int() - 1);
        let up = (frac - range.frac).max(0);
        let mean = Format::holding(range.lo.min(0) << up, range.hi.max(0) << up, range.frac + up)
            .map_err(|_| too_wide("the mean"))?;
        let ty = Type::new(mean, Rounding::Rnd, Overflow::Sat);
        let mean = self.scaled(&format!("{name}/mean"), sum, (1.0 / n as f64, 0.0), ty)?;
        let mean = self.repeated(&format!("{name}/mean"), mean, n)?;
        let ty = self.node(hw).format().sub(self.node(mean).format()).map_err(|_| too_wide("x - mean"))?;
        self.binary(&format!("{name}/centred"), BinaryOp::Sub, (hw, mean), plain(ty))
    }

    /// Pushes `x` × factor + summand, each as fine as a value that is read to its last place needs.
    fn scaled(
        &mut self,
        name: &str,
        x: HwId,
        (factor, summand): (f64, f64),
        ty: Type,
    ) -> Result<HwId, Diagnostic> {
        let from = self.node(x).format();
        let width = (ty.format.width() + 10).min(48);
        let scale = constants::codes("1/count", &[factor], constants::Choice::Fit(width))?;
        // What the result cannot tell apart makes the sum no wider.
        let grid = Format::new(true, 62, 62 - ty.format.frac() - 2).map_err(|_| too_wide("epsilon"))?;
        let code = Type::new(grid, Rounding::RndConv, Overflow::Sat).quantize(summand).unwrap_or(0);
        let bias = constants::trimmed(&[code as i64], grid.frac()).ok_or_else(|| too_wide("epsilon"))?;
        let op = Op::Affine { scale, bias, act: Act::None };
        let exact = op.exact_format(&[from]).transpose().ok().flatten();
        exact.ok_or_else(|| too_wide("a mean"))?;
        let shape = self.node(x).shape.clone();
        self.push(name, op, vec![x], shape, ty)
    }
}

fn largest(t: &Tensor) -> f64 {
    t.to_f64().into_iter().fold(0.0, |a, b| a.max(b.abs()))
}
