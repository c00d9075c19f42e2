//! Reductions over axes. Means, maxima and minima lower to pools, sums to dot products, products to multiplications.

use hs_ir::TensorData;

use super::{Call, Inferred, OpDef, strides, window::Window};
use crate::diagnostic::Diagnostic;
use crate::lower::{Lowerer, pool::FloatPool, sum::Sum};

/// The operators.
pub const OPS: &[OpDef] = &[
    OpDef::new("ReduceProd", infer, eval, lower),
    OpDef::new("ReduceL1", infer, eval, lower),
    OpDef::new("ReduceL2", infer, eval, lower),
    OpDef::new("ReduceLogSum", infer, eval, lower),
    OpDef::new("ReduceLogSumExp", infer, eval, lower),
    OpDef::new("ReduceSum", infer, eval, lower),
    OpDef::new("ReduceSumSquare", infer, eval, lower),
    OpDef::new("ReduceMin", infer, eval, lower),
    OpDef::new("ReduceMax", infer, eval, lower),
    OpDef::new("ReduceMean", infer, eval, lower),
];

/// A reduction over some axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduce {
    /// The axes reduced, ascending.
    pub axes: Vec<usize>,
    /// Whether they stay, with length 1.
    pub keep: bool,
}

impl Reduce {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let rank = call.arg(0)?.shape.len();
        let axes = match call.constant_ints(1)?.filter(|a| !a.is_empty()) {
            Some(axes) => call.axes(axes, rank)?,
            None if call.flag("noop_with_empty_axes", false)? => Vec::new(),
            None => (0..rank).collect(),
        };
        if !matches!(call.node.op.as_str(), "ReduceProd" | "ReduceSum" | "ReduceMin" | "ReduceMax") {
            call.float_arg(0)?;
        }
        Ok(Self { axes, keep: call.flag("keepdims", true)? })
    }

    /// The result's shape.
    pub fn shape(&self, x: &[usize]) -> Vec<usize> {
        let dims = x.iter().enumerate().map(|(a, d)| match (self.axes.contains(&a), self.keep) {
            (false, _) => Some(*d),
            (true, true) => Some(1),
            (true, false) => None,
        });
        dims.flatten().collect()
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    let x = call.arg(0)?;
    Ok(vec![Inferred::new(x.dtype, Reduce::parse(call)?.shape(x.shape))])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let reduce = Reduce::parse(call)?;
    let x = call.arg(0)?;
    let shape = reduce.shape(x.shape);
    let kept: Vec<usize> =
        x.shape.iter().enumerate().map(|(a, d)| if reduce.axes.contains(&a) { 1 } else { *d }).collect();
    let (own, to) = (strides(x.shape), strides(&kept));
    let target = |place: usize| -> usize {
        (0..kept.len()).map(|a| place / own[a] % x.shape[a] % kept[a] * to[a]).sum()
    };
    let count: usize = kept.iter().product();
    let op = call.node.op.as_str();
    let tensor = call.constant(x)?;
    let too_large = || call.error("an integer result overflows, or there is nothing to reduce");
    if let Some(ints) = tensor.ints() {
        let mut out: Vec<Option<i64>> = vec![None; count];
        for (place, &v) in ints.iter().enumerate() {
            let slot = &mut out[target(place)];
            *slot = Some(match (*slot, op) {
                (None, _) => v,
                (Some(s), "ReduceProd") => s.checked_mul(v).ok_or_else(too_large)?,
                (Some(s), "ReduceSum") => s.checked_add(v).ok_or_else(too_large)?,
                (Some(s), "ReduceMin") => s.min(v),
                (Some(s), _) => s.max(v),
            });
        }
        let empty = match op {
            "ReduceProd" => Some(1),
            "ReduceSum" => Some(0),
            _ => None,
        };
        let out: Option<Vec<i64>> = out.into_iter().map(|s| s.or(empty)).collect();
        let data = TensorData::I64(out.ok_or_else(too_large)?);
        return call.result(x.dtype, shape, data).map(|t| vec![t]);
    }
    let (first, apply): (f64, fn(f64, f64) -> f64) = match op {
        "ReduceProd" => (1.0, |a, b| a * b),
        "ReduceSum" | "ReduceMean" | "ReduceLogSum" | "ReduceLogSumExp" => (0.0, |a, b| a + b),
        "ReduceL1" => (0.0, |a, b| a + b.abs()),
        "ReduceL2" | "ReduceSumSquare" => (0.0, |a, b| a + b * b),
        "ReduceMin" => (f64::INFINITY, f64::min),
        _ => (f64::NEG_INFINITY, f64::max),
    };
    let values = tensor.to_f64();
    let mut most = vec![0.0; count];
    if op == "ReduceLogSumExp" {
        most = vec![f64::NEG_INFINITY; count];
        for (place, v) in values.iter().enumerate() {
            most[target(place)] = most[target(place)].max(*v);
        }
    }
    let mut out = vec![first; count];
    for (place, v) in values.into_iter().enumerate() {
        let at = target(place);
        out[at] = apply(out[at], if op == "ReduceLogSumExp" { libm::exp(v - most[at]) } else { v });
    }
    let by = if op == "ReduceMean" { (x.shape.iter().product::<usize>() / count.max(1)) as f64 } else { 1.0 };
    let last = |x: f64| match op {
        "ReduceL2" => x.sqrt(),
        "ReduceLogSum" | "ReduceLogSumExp" => libm::log(x),
        _ => x,
    };
    let out = out.into_iter().zip(most).map(|(x, most)| (last(x / by) + most) as f32);
    call.float_result(shape, out.collect())
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let reduce = Reduce::parse(call)?;
    let (input, out) = (lw.input_val(call, 0)?, lw.result(call)?);
    let skip = call.arg(0)?.shape.len() - input.shape.len();
    if reduce.axes.iter().any(|a| *a < skip) {
        let help = "state the axes of the features, without axis 0";
        return Err(call.error("reduces axis 0, the batch").help(help));
    }
    let axes: Vec<usize> = reduce.axes.iter().map(|a| a - skip).collect();
    if axes.iter().any(|a| input.shape[*a] == 0) {
        return Err(call.error("has nothing to reduce"));
    }
    // A pool over all positions: the axes that stay become the channels, the others the space.
    let (kept, space): (Vec<usize>, Vec<usize>) = (0..input.shape.len()).partition(|a| !axes.contains(a));
    let order: Vec<usize> = kept.iter().chain(&space).copied().collect();
    let sum = match call.node.op.as_str() {
        "ReduceL1" => Some(Sum::Magnitudes),
        "ReduceL2" => Some(Sum::Norm),
        "ReduceSum" => Some(Sum::Plain),
        "ReduceSumSquare" => Some(Sum::Squares),
        _ => None,
    };
    if let Some(sum) = sum {
        lw.native_only(call)?;
        let moved = lw.transposed(&input, &order)?;
        return lw.sum(&call.node.name, &moved, space.len(), sum, out);
    }
    if call.node.op == "ReduceProd" {
        lw.native_only(call)?;
        let moved = lw.transposed(&input, &order)?;
        return lw.products(&call.node.name, &moved, space.len(), out);
    }
    if let exponentials @ ("ReduceLogSum" | "ReduceLogSumExp") = call.node.op.as_str() {
        lw.native_only(call)?;
        let moved = lw.transposed(&input, &order)?;
        let exponentials = exponentials == "ReduceLogSumExp";
        return lw.log_sum(&call.node.name, &moved, space.len(), exponentials, out);
    }
    let least = call.node.op == "ReduceMin";
    let input = if least {
        lw.native_only(call)?;
        lw.negative(&format!("{}/negative", call.node.name), &input)?
    } else {
        input
    };
    let lengths = |axes: &[usize]| axes.iter().map(|a| input.shape[*a]).collect::<Vec<_>>();
    let channels = lengths(&kept).iter().product();
    let space = match lengths(&space) {
        few if few.len() <= 2 => few,
        many => vec![many.iter().product()],
    };
    let moved = lw.transposed(&input, &order)?;
    let image = lw.reshaped(&moved, [channels].into_iter().chain(space.iter().copied()).collect());
    let whole = |n: &usize| Window { input: *n, kernel: *n, ..Window::UNIT }.hardware();
    let pool = FloatPool {
        window: space.iter().map(whole).collect(),
        average: (call.node.op == "ReduceMean").then_some(false),
        shape: [channels].into_iter().chain(space.iter().map(|_| 1)).collect(),
    };
    lw.pool(&call.node.name, &image, pool, out)?;
    let shape = lw.shape(out)?;
    let mut val = lw.reshaped(&lw.val(out)?, shape);
    if least {
        val = lw.negative(&format!("{}/positive", call.node.name), &val)?;
    }
    lw.bind(out, val);
    Ok(())
}
