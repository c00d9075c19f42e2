//! `Concat`.

use hs_ir::TensorData;

use super::{Call, Inferred, OpDef};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Concat", infer, eval, lower)];

/// Tensors one behind the other along an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concat {
    /// The axis.
    pub axis: usize,
    /// The operands' lengths along it.
    pub lengths: Vec<usize>,
    /// The result's shape.
    pub shape: Vec<usize>,
}

impl Concat {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let first = call.arg(0)?;
        let axis = call.int("axis")?.ok_or_else(|| call.error("lacks its attribute 'axis'"))?;
        let axis = call.axis(axis, first.shape.len())?;
        let mut shape = first.shape.to_vec();
        let mut lengths = Vec::with_capacity(call.len());
        for index in 0..call.len() {
            let arg = call.arg(index)?;
            let fits = arg.shape.len() == shape.len()
                && arg.shape.iter().zip(first.shape).enumerate().all(|(a, (x, y))| a == axis || x == y);
            if !fits || arg.dtype.is_float() != first.dtype.is_float() {
                return Err(call.error(format!(
                    "'{}' ({}{:?}) does not fit '{}' ({}{:?}) along axis {axis}",
                    arg.name, arg.dtype, arg.shape, first.name, first.dtype, first.shape
                )));
            }
            lengths.push(arg.shape[axis]);
        }
        let total = lengths.iter().try_fold(0usize, |n, l| n.checked_add(*l));
        shape[axis] = total.ok_or_else(|| call.error("its result is too large"))?;
        Ok(Self { axis, lengths, shape })
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, Concat::parse(call)?.shape)])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let concat = Concat::parse(call)?;
    let outer: usize = concat.shape[..concat.axis].iter().product();
    let inner: usize = concat.shape[concat.axis + 1..].iter().product();
    fn join<T: Copy>(parts: &[(&[T], usize)], outer: usize) -> Vec<T> {
        let chunks = (0..outer).flat_map(|o| parts.iter().map(move |(data, len)| &data[o * len..][..*len]));
        chunks.flatten().copied().collect()
    }
    let first = call.arg(0)?;
    let lengths = concat.lengths.iter().map(|l| l * inner);
    if first.dtype.is_float() {
        let parts = (0..call.len()).map(|i| call.floats(i)).collect::<Result<Vec<_>, _>>()?;
        let parts: Vec<_> = parts.iter().map(|p| &p[..]).zip(lengths).collect();
        return call.float_result(concat.shape.clone(), join(&parts, outer));
    }
    let parts = (0..call.len()).map(|i| Ok(call.constant_ints(i)?.unwrap_or(&[])));
    let parts: Vec<_> = parts.collect::<Result<Vec<_>, Diagnostic>>()?.into_iter().zip(lengths).collect();
    let out = TensorData::I64(join(&parts, outer));
    call.result(first.dtype, concat.shape.clone(), out).map(|t| vec![t])
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let concat = Concat::parse(call)?;
    let inputs: Vec<hs_ir::ValueId> = (0..call.len()).filter_map(|i| call.node.input(i)).collect();
    let batched = concat.shape.first() == Some(&1);
    let axis = if batched { concat.axis.checked_sub(1) } else { Some(concat.axis) };
    match axis {
        Some(axis) => lw.concat(&call.node.name, &inputs, axis, lw.result(call)?),
        None => Err(call.error("concatenates along the batch axis").help("concatenate along another axis")),
    }
}
