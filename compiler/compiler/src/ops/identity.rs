//! Operators that do nothing in inference: `Identity` and `Dropout`.

use super::{Call, Inferred, OpDef, call::same_as_input};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operators. An `Identity` stays only where an input or another output of the graph is also this output.
pub const OPS: &[OpDef] =
    &[OpDef::new("Identity", infer, eval, lower), OpDef::rewritten("Dropout", infer, eval)];

/// The operand unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity;

impl Identity {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        call.arg(0)?;
        if call.node.op == "Dropout" {
            call.refuse_outputs_from(1, "its mask")?;
            if call.constant_scalar(2)?.is_some_and(|training| training != 0.0) {
                let help = "export the model in evaluation mode (torch: model.eval())";
                return Err(call.error("drops elements at random").help(help));
            }
        }
        Ok(Self)
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Identity::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    Identity::parse(call)?;
    Ok(vec![call.constant(call.arg(0)?)?.clone()])
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let val = lw.input_val(call, 0)?;
    lw.bind(lw.result(call)?, val);
    Ok(())
}
