//! Lowering under hls4ml's arithmetic: the bits of its C++, expressed in the hardware IR.
//!
//! What differs from native: each product is cast to the accumulator's type, every layer casts its own result, nothing
//! is fused, constants pass through decimal text, tables are filled and read as hls4ml does. Types that the user leaves
//! out are inferred as hls4ml infers `auto`.

mod activation;
mod infer;
mod layer;
mod silent;
mod softmax;

pub(crate) use activation::Tabulated;

use hs_fixed::{Format, Overflow, Type};
use hs_hw::{Act, Codes, Op, ValueId as HwId};
use hs_ir::ValueId;

use super::{Arithmetic, Cost, LayerOptions, Lowerer, layout::Val};
use crate::diagnostic::Diagnostic;

/// hls4ml's default precision.
const DEFAULT: (u32, i32) = (16, 6);
/// hls4ml's default type of activation tables.
const TABLE: (u32, i32) = (18, 8);
/// hls4ml's default number of table entries.
const TABLE_SIZE: usize = 1024;

fn fixed(width: u32, int: i32) -> Result<Type, Diagnostic> {
    Type::trn_wrap(true, width, int).map_err(|e| Diagnostic::error(e.to_string()))
}

impl Lowerer<'_> {
    /// Whether hls4ml's rules hold.
    pub(crate) fn hls4ml(&self) -> bool {
        self.options.arithmetic == Arithmetic::Hls4ml
    }

    /// The model's default type.
    pub(crate) fn hls4ml_default(&self) -> Result<Type, Diagnostic> {
        match self.options.precision {
            Some(ty) => Ok(ty),
            None => fixed(DEFAULT.0, DEFAULT.1),
        }
    }

    /// Type of the entries of an activation's table, and their number.
    fn hls4ml_table(&self, layer: &LayerOptions) -> Result<(Type, usize), Diagnostic> {
        let size = layer.table_size.unwrap_or(TABLE_SIZE);
        if !(2..=1 << 20).contains(&size) {
            return Err(Diagnostic::error(format!("a table of {size} entries is outside 2 to 1048576")));
        }
        let ty = match layer.table {
            Some(ty) => ty,
            None => fixed(TABLE.0, TABLE.1)?,
        };
        Ok((ty, size))
    }

    /// Result type of an activation: the user's, that of the quantiser that alone reads it, or the default.
    fn hls4ml_activation_type(
        &mut self,
        layer: &LayerOptions,
        v: ValueId,
    ) -> Result<(Type, ValueId), Diagnostic> {
        let (given, out) = self.hls4ml_result(layer.result, v)?;
        Ok((given.map_or_else(|| self.hls4ml_default(), Ok)?, out))
    }

    /// Result type of a layer, where there is one: the user's, or that of the quantiser that alone reads it.
    fn hls4ml_result(
        &mut self,
        given: Option<Type>,
        v: ValueId,
    ) -> Result<(Option<Type>, ValueId), Diagnostic> {
        // A quantiser behind a type of the user's is a second cast.
        if let Some(ty) = given {
            return Ok((Some(ty), v));
        }
        let readers = &self.uses[v.index()];
        if readers.len() > 1
            && let Some(quantiser) =
                readers.iter().filter_map(|i| self.graph.nodes.get(*i)).find(|n| n.op == "Quant")
        {
            let name = &quantiser.name;
            return Err(Diagnostic::error(format!(
                "hls4ml gives this result the type of the quantiser '{name}', though others read it too, which is not supported"
            ))
            .help("give the result a type of its own (`result`), or use native arithmetic"));
        }
        self.quantiser_of(v)
    }

    /// Pushes `op` with the result `ty` and binds it to `v`.
    fn hls4ml_push(
        &mut self,
        name: &str,
        op: Op,
        inputs: Vec<HwId>,
        ty: Type,
        v: ValueId,
        like: impl FnOnce(HwId) -> Val,
    ) -> Result<(), Diagnostic> {
        let shape = self.node(inputs[0]).shape.clone();
        let hw = self.push(name, op, inputs, shape, ty)?;
        self.warn_result(hw, v);
        let cost = if ty.overflow == Overflow::WRAP { Cost::None } else { Cost::Logic };
        let rounding = if ty.rounding == hs_fixed::Rounding::Trn { Cost::None } else { Cost::Logic };
        self.note(hw, rounding, cost, None);
        self.bind(v, like(hw));
        Ok(())
    }

    /// A plain cast of `input`.
    fn hls4ml_cast(&mut self, name: &str, input: HwId, ty: Type) -> Result<HwId, Diagnostic> {
        let shape = self.node(input).shape.clone();
        self.push(name, Op::Requant(Act::None), vec![input], shape, ty)
    }
}

/// Constants as hls4ml writes them: as many decimals as the type has fraction bits, read back, cast by the type.
pub(crate) fn decimal_codes(what: &str, values: &[f64], ty: Type) -> Result<Codes, Diagnostic> {
    let decimals = usize::try_from(ty.format.frac()).unwrap_or(0);
    let mut data = Vec::with_capacity(values.len());
    for (i, v) in values.iter().enumerate() {
        let text = format!("{v:.decimals$}");
        let code =
            text.parse::<f64>().ok().and_then(|read| ty.quantize(read)).and_then(|c| i64::try_from(c).ok());
        data.push(
            code.ok_or_else(|| Diagnostic::error(format!("{what} {i} is {v}, which {ty} cannot hold")))?,
        );
    }
    Ok(Codes::new(ty.format, data))
}

/// An unsigned integer of one bit.
fn one_bit() -> Result<Format, Diagnostic> {
    Format::new(false, 1, 1).map_err(|e| Diagnostic::error(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_pass_through_decimal_text() {
        // 0.2451 with two decimals is 0.25, which then fits two fraction bits.
        let ty = Type::trn_wrap(true, 6, 4).unwrap();
        assert_eq!(&decimal_codes("weight", &[0.2451, 0.244, -0.2451], ty).unwrap().data[..], &[1, 0, -1]);
        // Integers are rounded to nearest even although the type truncates.
        let int = Type::trn_wrap(true, 6, 6).unwrap();
        assert_eq!(&decimal_codes("weight", &[0.5, 1.5, 2.5, -1.7], int).unwrap().data[..], &[0, 2, 2, -2]);
    }
}
