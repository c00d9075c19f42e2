//! `Pow` with constant exponents, or of a constant base.

use super::{Call, Inferred, OpDef, broadcast_indices, broadcast_shape};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::new("Pow", infer, eval, lower)];

/// Largest exponent that is computed by multiplications.
const MOST_FACTORS: f64 = 4.0;
/// The same where each element has an exponent of its own.
const MOST_OWN_FACTORS: f64 = 8.0;

fn shape(call: &Call<'_>) -> Result<Vec<usize>, Diagnostic> {
    let (x, y) = (call.float_arg(0)?, call.arg(1)?);
    broadcast_shape(x.shape, y.shape).ok_or_else(|| {
        call.error(format!(
            "its inputs have the shapes {:?} and {:?}, which do not broadcast",
            x.shape, y.shape
        ))
    })
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, shape(call)?)])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let shape = shape(call)?;
    let values = |index: usize| {
        let arg = call.arg(index)?;
        let (data, at) = (call.constant(arg)?.to_f64(), broadcast_indices(arg.shape, &shape));
        Ok::<_, Diagnostic>(at.into_iter().map(move |i| data[i]))
    };
    let out = values(0)?.zip(values(1)?).map(|(x, y)| libm::pow(x, y) as f32).collect();
    call.float_result(shape, out)
}

/// The one value of a constant operand.
fn single(call: &Call<'_>, index: usize) -> Result<Option<f64>, Diagnostic> {
    let Some(tensor) = call.arg(index)?.tensor else { return Ok(None) };
    let values = tensor.to_f64();
    match values.split_first() {
        Some((first, rest)) if rest.iter().all(|v| v == first) => Ok(Some(*first)),
        _ => Err(call
            .error("its constant holds different values")
            .help("split the tensor, and use one Pow for each value")),
    }
}

/// Exponents that differ between elements, in the result's shape.
fn own_exponents(call: &Call<'_>) -> Result<Option<hs_ir::Tensor>, Diagnostic> {
    let Some(tensor) = call.arg(1)?.tensor else { return Ok(None) };
    let values = tensor.to_f64();
    if call.arg(0)?.tensor.is_some() || values.iter().all(|v| v == &values[0]) {
        return Ok(None);
    }
    if let Some(other) = values.iter().find(|p| p.fract() != 0.0 || !(0.0..=MOST_OWN_FACTORS).contains(*p)) {
        return Err(call
            .error(format!("raises each element to a power of its own, {other} among them"))
            .help(format!(
                "integers from 0 to {MOST_OWN_FACTORS} are supported there: use one Pow for each other power"
            )));
    }
    let shape = shape(call)?;
    let data = broadcast_indices(tensor.shape(), &shape).into_iter().map(|i| values[i] as f32).collect();
    call.float_result(shape, data).map(|mut all| all.pop())
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    lw.native_only(call)?;
    let (name, out) = (&call.node.name, lw.result(call)?);
    if let Some(exponents) = own_exponents(call)? {
        return lw.powers(name, &lw.input_val(call, 0)?, &exponents, out);
    }
    let (base, exponent) = (single(call, 0)?, single(call, 1)?);
    let same_shape = |index: usize| Ok::<_, Diagnostic>(shape(call)? == call.arg(index)?.shape);
    match (base, exponent) {
        (None, Some(p)) if same_shape(0)? => {
            let input = lw.input_val(call, 0)?;
            if p == 1.0 {
                lw.bind(out, input);
                return Ok(());
            }
            if p.fract() == 0.0 && (2.0..=MOST_FACTORS).contains(&p) {
                return lw.power(name, &input, p as usize, out);
            }
            if p == 0.0 {
                return Err(call.error("is 1 everywhere").help("replace it by a constant"));
            }
            let root = p.fract() != 0.0;
            if p == -1.0 {
                lw.quotient(name, None, &input, out)
            } else if root || lw.range(input.hw).lo >= 0 {
                lw.steep(name, &input, ("a power", &|x| libm::pow(x, p)), out)
            } else {
                let help = "take the power of a magnitude, or write it as multiplications";
                Err(call.error(format!("raises what may be negative to the power {p}")).help(help))
            }
        }
        (Some(base), None) if base > 0.0 && same_shape(1)? => {
            let input = lw.input_val(call, 1)?;
            lw.table(name, &input, ("a power", &|x| libm::pow(base, x)), out)
        }
        _ => Err(call
            .error("is supported with one constant exponent for all elements, or a positive constant base")
            .help("write it as Exp(Mul(y, Log(x))) where x is positive")),
    }
}
