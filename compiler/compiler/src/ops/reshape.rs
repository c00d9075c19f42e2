//! Operators that keep the elements and their order: `Reshape`, `Flatten`, `Squeeze` and `Unsqueeze`.

use hs_ir::element_count;

use super::{Call, Inferred, OpDef};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operators.
pub const OPS: &[OpDef] = &[
    OpDef::new("Reshape", infer, eval, lower),
    OpDef::new("Flatten", infer, eval, lower),
    OpDef::new("Squeeze", infer, eval, lower),
    OpDef::new("Unsqueeze", infer, eval, lower),
];

/// The same elements in the same (row-major) order under another shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reshape {
    /// The result's shape.
    pub shape: Vec<usize>,
    /// For `Squeeze` and `Unsqueeze`, the axes removed from the operand or inserted into the result, ascending.
    pub axes: Vec<usize>,
}

impl Reshape {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.arg(0)?.shape;
        let mut axes = Vec::new();
        let shape = match call.node.op.as_str() {
            "Flatten" => {
                let axis = call.int("axis")?.unwrap_or(1);
                let axis = if axis == x.len() as i64 { x.len() } else { call.axis(axis, x.len())? };
                vec![x[..axis].iter().product(), x[axis..].iter().product()]
            }
            "Squeeze" => {
                axes = match call.constant_ints(1)? {
                    Some(axes) => call.axes(axes, x.len())?,
                    None => (0..x.len()).filter(|a| x[*a] == 1).collect(),
                };
                if let Some(axis) = axes.iter().find(|a| x[**a] != 1) {
                    return Err(
                        call.error(format!("cannot remove axis {axis} of {x:?}, which has not the length 1"))
                    );
                }
                (0..x.len()).filter(|a| !axes.contains(a)).map(|a| x[a]).collect()
            }
            "Unsqueeze" => {
                let given = call.constant_ints(1)?.ok_or_else(|| call.error("lacks its axes"))?;
                let rank = x.len() + given.len();
                axes = call.axes(given, rank)?;
                let mut rest = x.iter().copied();
                (0..rank)
                    .map(|a| if axes.contains(&a) { Some(1) } else { rest.next() })
                    .collect::<Option<_>>()
                    .unwrap_or_default()
            }
            _ => {
                let target = call.constant_ints(1)?.ok_or_else(|| call.error("lacks its shape"))?;
                resolve(call, x, target, call.flag("allowzero", false)?)?
            }
        };
        if element_count(&shape) != element_count(x) {
            return Err(call.error(format!("cannot give {x:?} the shape {shape:?}")).help(
                "when the shape holds a fixed batch, export the model with a batch of 1 or a symbolic batch",
            ));
        }
        Ok(Self { shape, axes })
    }
}

/// The shape that `target` asks for: 0 keeps a dimension (unless `allow_zero`), -1 takes what is left.
fn resolve(call: &Call<'_>, x: &[usize], target: &[i64], allow_zero: bool) -> Result<Vec<usize>, Diagnostic> {
    let fail = |why: &str| call.error(format!("cannot give {x:?} the shape {target:?}: {why}"));
    let mut shape = Vec::with_capacity(target.len());
    let mut open = None;
    for (axis, &dim) in target.iter().enumerate() {
        match dim {
            -1 if open.is_some() => return Err(fail("two dimensions are -1")),
            -1 => {
                open = Some(axis);
                shape.push(1);
            }
            0 if !allow_zero => shape.push(*x.get(axis).ok_or_else(|| fail("a 0 has no dimension to keep"))?),
            dim => shape.push(usize::try_from(dim).map_err(|_| fail("a dimension is negative"))?),
        }
    }
    if let Some(axis) = open {
        let (have, rest) = (element_count(x), element_count(&shape));
        match (have, rest) {
            (Some(have), Some(rest)) if rest > 0 && have % rest == 0 => shape[axis] = have / rest,
            _ => return Err(fail("the elements do not divide evenly")),
        }
    }
    Ok(shape)
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, Reshape::parse(call)?.shape)])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let shape = Reshape::parse(call)?.shape;
    let tensor = call.constant(call.arg(0)?)?.clone();
    tensor.reshaped(shape).map(|t| vec![t]).map_err(|e| call.error(e.to_string()))
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let out = lw.result(call)?;
    let val = lw.reshaped(&lw.input_val(call, 0)?, lw.shape(out)?);
    lw.bind(out, val);
    Ok(())
}
