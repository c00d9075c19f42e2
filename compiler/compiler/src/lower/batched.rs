//! Products with constant matrices, one for each group of rows.

use hs_ir::ValueId;

use super::{Lowerer, dot::FloatDot, layout::Val};
use crate::{diagnostic::Diagnostic, ops::window::Window};

/// Constant matrices `[groups, outputs, inner]`.
pub(crate) struct Matrices {
    /// Their elements.
    pub(crate) weight: Vec<f64>,
    /// The graph value that they stem from.
    pub(crate) value: Option<ValueId>,
    /// How many there are.
    pub(crate) groups: usize,
    /// Rows of each.
    pub(crate) outputs: usize,
}

impl Lowerer<'_> {
    /// Pushes `input`, of ONNX shape `[lead, groups, rows, inner]`, each row times the matrix of its group: `[lead, groups,
    /// rows, outputs]`, or with `swapped` `[lead, groups, outputs, rows]`.
    pub(crate) fn batched(
        &mut self,
        name: &str,
        input: &Val,
        matrices: Matrices,
        swapped: bool,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let Matrices { weight, value, groups, outputs } = matrices;
        let (lead, rows, inner) = (input.shape[0], input.shape[2], input.shape[3]);
        // A pixel for each row, with the groups as channel groups.
        let hw = self.demand(input, &[0, 2, 1, 3])?;
        let hw = self.reshape(hw, vec![lead * rows, groups * inner])?;
        let dot = FloatDot {
            name,
            input: hw,
            window: vec![Window::UNIT.hardware()],
            groups,
            weight,
            weight_value: value,
            bias: None,
            bias_value: None,
            shape: vec![lead * rows, groups * outputs],
        };
        let (base, perm) = if swapped {
            (vec![lead, groups, outputs, rows], vec![0, 3, 1, 2])
        } else {
            (vec![lead, groups, rows, outputs], vec![0, 2, 1, 3])
        };
        let onnx = self.shape(v)?;
        self.dot(dot, v, |hw| Val::viewed(hw, base, perm, onnx))?;
        let bound = self.bound(v)?;
        let val = self.val(bound)?;
        let hw = self.reshape(val.hw, vec![lead, rows, groups, outputs])?;
        self.bind(bound, val.with(hw));
        Ok(())
    }
}
