//! Functions that are straight lines but for a bend at zero (ELU and its kin, softplus).
//!
//! One table follows them where the input's range is narrow. Over a wide one its cells would be too coarse for the bend:
//! there the function is a line that ends at zero, exactly, plus a table of the rest, which is flat but near zero.

use hs_fixed::{Format, Overflow, Rounding, Type};
use hs_hw::{Act, BinaryOp, Codes, Op};
use hs_ir::ValueId;

use super::{
    Cost, Lowerer, TableNote, constants,
    elementwise::bit,
    exact::Exact,
    layout::Val,
    table::{self, Function},
    too_wide,
    types::plain,
};
use crate::diagnostic::Diagnostic;

/// What a table of a curve may be off by where the curve is about 1.
const LARGEST_ERROR: f64 = 1.0 / 256.0;
/// Fraction bits of the parts beyond the result's.
const GUARD: i32 = 2;
/// Most fraction bits of the table.
const MAX_FRAC: i32 = 28;

/// `slope × max(x, 0)` plus a rest that is bounded.
pub(crate) struct Bend<'a> {
    /// The function's name, for messages.
    pub(crate) name: &'a str,
    /// All of it.
    pub(crate) whole: &'a dyn Fn(f64) -> f64,
    /// Slope of the line, positive.
    pub(crate) slope: f64,
    /// What the line leaves: monotone in x, or in |x| where it is [`even`](Self::even).
    pub(crate) rest: &'a dyn Fn(f64) -> f64,
    /// Whether the rest is the same at x and -x.
    pub(crate) even: bool,
}

/// Whether a table keeps the bend of a curve that is a straight line over most of its input's range.
fn is_kept(note: &TableNote) -> bool {
    note.error <= 4.0 * note.lsb || note.error <= LARGEST_ERROR
}

impl Lowerer<'_> {
    /// Pushes `bend` of `input`, as one table where that follows it.
    pub(crate) fn bend(
        &mut self,
        name: &str,
        input: &Val,
        bend: &Bend<'_>,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        match self.tabulated(input, (bend.name, bend.whole), v) {
            Ok(tabulated) if is_kept(&tabulated.built.note) => {
                return self.push_table(name, input, tabulated);
            }
            // The parts are tried, and say what is wrong if they cannot be either.
            Ok(_) | Err(_) => {}
        }
        let (x, shape) = (self.node(input.hw).format(), self.node(input.hw).shape.clone());
        let range = self.range(input.hw);
        let ty = self.result_or_quantiser(v, range)?.0;
        let frac = (ty.format.frac() + GUARD).min(MAX_FRAC);
        let scale = constants::codes("slope", &[bend.slope], self.derived_choice())?;
        let op = Op::Affine { scale, bias: Codes::new(bit()?, vec![0]), act: Act::RELU };
        let exact = op.exact_format(&[x]).transpose().ok().flatten().ok_or_else(|| too_wide("the line"))?;
        let line = if exact.width() <= 63 {
            plain(exact)
        } else {
            let format = Format::new(true, 63, exact.int()).map_err(|_| too_wide("the line"))?;
            Type::new(format, Rounding::Rnd, Overflow::Sat)
        };
        let line = self.push(&format!("{name}/line"), op, vec![input.hw], shape.clone(), line)?;

        let read = if bend.even { self.magnitude(name, input.hw)? } else { input.hw };
        let at = |code: i128| (bend.rest)(code as f64 * 2f64.powi(-range.frac));
        let (a, b) = (at(self.range(read).lo), at(self.range(read).hi));
        let most = a.abs().max(b.abs()).max(1.0).log2().floor() as i32 + 2;
        let result =
            Format::new(true, (frac + most).max(2) as u32, most).map_err(|_| too_wide("the bend"))?;
        let built = table::build(&Function { name: bend.name, f: bend.rest, x: self.range(read), result })?;
        if !is_kept(&built.note) {
            return Err(Diagnostic::error(format!(
                "its input's range is so wide that its table is off by {:.3}",
                built.note.error
            ))
            .help(
                "narrow the range of its input: fewer integer bits (--precision), or --calibrate with data",
            ));
        }
        let ty = if built.lut.interpolate {
            Type::new(result, Rounding::Rnd, Overflow::Sat)
        } else {
            plain(result)
        };
        let rest = self.push(&format!("{name}/rest"), Op::Table(built.lut), vec![read], shape.clone(), ty)?;
        self.note(rest, Cost::Logic, Cost::None, Some(built.note));
        let op = Op::Binary { op: BinaryOp::Add, act: Act::None };
        let exact = Exact { name: name.to_owned(), op, inputs: vec![line, rest], shape };
        self.finish(exact, v, |hw| input.with(hw))
    }

    /// Pushes x / (1 + |x|): one table where that follows it, else its own sign times a steep function of |x|.
    pub(crate) fn softsign(&mut self, name: &str, input: &Val, v: ValueId) -> Result<(), Diagnostic> {
        match self.tabulated(input, ("softsign", &|x| x / (1.0 + x.abs())), v) {
            Ok(tabulated) if is_kept(&tabulated.built.note) => self.push_table(name, input, tabulated),
            Ok(_) | Err(_) => self.odd(name, input, ("softsign", &|d| d / (1.0 + d)), v),
        }
    }
}
