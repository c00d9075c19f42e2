//! Rows of a constant table at computed places: a table op for each number of a row, side by side.

use hs_hw::{Act, Codes, Index, Lut, Op};
use hs_ir::{Tensor, ValueId};

use super::{
    Lowerer, constants,
    exact::Exact,
    layout::{Val, identity},
    types::{Part, plain},
};
use crate::diagnostic::Diagnostic;

/// Most rows of a table.
const MAX_ROWS: usize = 1 << 16;
/// Most numbers of a row.
const MAX_COLUMNS: usize = 512;

impl Lowerer<'_> {
    /// Pushes the slices of `table` along `axis` at `indices`. Negative indices count from the end; one that is outside takes
    /// the nearest row.
    pub(crate) fn lookup(
        &mut self,
        name: &str,
        indices: &Val,
        (table, value): (&Tensor, Option<ValueId>),
        axis: usize,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let (outer, rows) = (table.shape()[..axis].iter().product::<usize>(), table.shape()[axis]);
        let inner: usize = table.shape()[axis + 1..].iter().product();
        let columns = outer * inner;
        if !(1..=MAX_ROWS).contains(&rows) || !(1..=MAX_COLUMNS).contains(&columns) {
            return Err(Diagnostic::error(format!(
                "looks up one of {rows} rows of {columns} numbers; at most {MAX_ROWS} rows of {MAX_COLUMNS} are laid out"
            ))
            .help("look the rows up on the host, and give the model the vectors as its input"));
        }
        let count: usize = indices.shape.iter().product();
        let at = self.demand(indices, &identity(indices.shape.len()))?;
        let at = self.reshape(at, vec![count, 1])?;
        let range = self.range(at);
        let whole =
            |c: i128| if range.frac > 0 { c >> range.frac.min(126) } else { c << (-range.frac).min(62) };
        let (lo, hi) =
            (whole(range.lo).max(-(rows as i128)) as i64, whole(range.hi).min(rows as i128 - 1) as i64);
        let (lo, hi) = (lo.min(rows as i64 - 1), hi.max(lo));
        let codes = constants::codes("entry", &table.to_f64(), self.constant_choice(value, Part::Weight)?)?;
        let ty = plain(codes.format);
        let mut parts = Vec::with_capacity(columns);
        for column in 0..columns {
            let (o, i) = (column / inner, column % inner);
            let row = |index: i64| if index < 0 { (index + rows as i64) as usize } else { index as usize };
            let entry = |index: i64| codes.data[(o * rows + row(index)) * inner + i];
            let entries = Codes::new(codes.format, (lo..=hi).map(entry).collect::<Vec<_>>());
            let index = Index { mul: 1, shift: range.frac, toward_zero: false, offset: -lo };
            let op = Op::Table(Lut { index, entries, interpolate: false });
            parts.push(self.push(&format!("{name}/column"), op, vec![at], vec![count, 1], ty)?);
        }
        let hw = match parts[..] {
            [only] => only,
            _ => {
                self.push(&format!("{name}/row"), Op::Concat { axis: 1 }, parts, vec![count, columns], ty)?
            }
        };
        let hw = self.reshape(hw, vec![count, outer, inner])?;
        let onnx = self.shape(v)?;
        let op = Op::Requant(Act::None);
        let exact = Exact { name: name.to_owned(), op, inputs: vec![hw], shape: vec![count, outer, inner] };
        self.finish(exact, v, |hw| Val::viewed(hw, vec![outer, count, inner], vec![1, 0, 2], onnx))
    }
}
