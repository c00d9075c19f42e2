//! Functions of one variable as tables.
//!
//! The table covers the range that its input really has. Its size is the smallest power of two (of cells over
//! the input's span) whose steps stay within half a last place of the result; where 4,096 are not enough, the
//! entries are joined by straight lines. Entries are computed here once, by `libm`'s portable code, so that
//! every machine gets the same bits.

use hs_fixed::{Format, Interval, Rounding, Type};
use hs_hw::{Codes, Index, Lut};

use super::TableNote;
use crate::diagnostic::Diagnostic;

/// Most entries of a table.
pub const MAX_ENTRIES: i128 = 4096;
/// Points at which the error of a table is looked for.
const PROBES: i128 = 1 << 14;
/// Extra fraction bits of interpolated entries.
const GUARD: i32 = 3;
/// Widest entry.
const MAX_ENTRY_WIDTH: u32 = 40;

/// A table and how well it follows its function.
pub struct Built {
    /// The table; read with codes of `x`.
    pub lut: Lut,
    /// Its quality.
    pub note: TableNote,
}

/// What a table has to follow.
pub struct Function<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// The function over reals; monotone over the input's range.
    pub f: &'a dyn Fn(f64) -> f64,
    /// Codes that the input really takes.
    pub x: Interval,
    /// Type of the result.
    pub result: Format,
}

/// Builds the table of `function`; an error where no table of [`MAX_ENTRIES`] follows it at all.
pub fn build(function: &Function<'_>) -> Result<Built, Diagnostic> {
    let x = active(function);
    let lsb = function.result.value(1);
    let span = x.hi - x.lo + 1;
    let levels = |shift: u32| (x.hi >> shift) - (x.lo >> shift) + 1;
    let finest = (0..127).find(|s| levels(*s) <= MAX_ENTRIES).unwrap_or(126);
    // Coarsest first: the smallest table within half a last place.
    let coarsest = 127 - (span as u128).leading_zeros().min(127);
    for shift in (finest..=coarsest.max(finest)).rev() {
        let built = steps(function, x, shift)?;
        if built.note.error <= lsb / 2.0 {
            return Ok(built);
        }
    }
    if finest == 0 {
        return steps(function, x, 0);
    }
    let mut best: Option<Built> = None;
    for shift in (finest..=coarsest.min(40)).rev() {
        let built = lines(function, x, shift)?;
        let good = built.note.error <= lsb / 2.0;
        if best.as_ref().is_none_or(|b| built.note.error < b.note.error) {
            best = Some(built);
        }
        if good {
            break;
        }
    }
    let best = best.ok_or_else(|| degenerate(function, f64::INFINITY))?;
    let swing = best_swing(&best.lut);
    if best.note.error > swing / 16.0 && best.note.error > 2.0 * lsb {
        return Err(degenerate(function, best.note.error));
    }
    Ok(best)
}

/// The part of the input's range between the flat ends, where the function is within a quarter of the result's
/// last place of its value at the end of the range.
fn active(function: &Function<'_>) -> Interval {
    let x = function.x;
    // What the result cannot hold is as flat as its last value.
    let (least, most) =
        (function.result.value(function.result.min()), function.result.value(function.result.max()));
    let f = |c: i128| (function.f)(c as f64 * 2f64.powi(-x.frac)).clamp(least, most);
    let near = function.result.value(1) / 4.0;
    let (mut lo, mut above) = (x.lo, x.hi);
    while above - lo > 1 {
        let middle = lo + (above - lo) / 2;
        if (f(middle) - f(x.lo)).abs() <= near { lo = middle } else { above = middle }
    }
    let (mut below, mut hi) = (lo, x.hi);
    while hi - below > 1 {
        let middle = below + (hi - below) / 2;
        if (f(middle) - f(x.hi)).abs() <= near { hi = middle } else { below = middle }
    }
    Interval::new(lo, hi.max(lo), x.frac)
}

fn degenerate(function: &Function<'_>, error: f64) -> Diagnostic {
    let x = function.x;
    let at = |c: i128| c as f64 * 2f64.powi(-x.frac);
    Diagnostic::error(format!(
        "a table of {MAX_ENTRIES} entries cannot follow {} over its input's range {} to {}: error {error:.3}",
        function.name,
        at(x.lo),
        at(x.hi)
    ))
    .help("narrow the range of its input: fewer integer bits (--precision), or --calibrate with data")
}

fn best_swing(lut: &Lut) -> f64 {
    let lo = lut.entries.data.iter().min().copied().unwrap_or(0);
    let hi = lut.entries.data.iter().max().copied().unwrap_or(0);
    lut.entries.format.value(i128::from(hi) - i128::from(lo))
}

fn offset(x: Interval, shift: u32) -> Result<i64, Diagnostic> {
    i64::try_from(-(x.lo >> shift)).map_err(|_| Diagnostic::error("a table's input is beyond 63 bits"))
}

/// One entry a cell of 2^`shift` codes, taken at its middle.
fn steps(function: &Function<'_>, x: Interval, shift: u32) -> Result<Built, Diagnostic> {
    let first = x.lo >> shift;
    let count = (x.hi >> shift) - first + 1;
    let entry_type = Type::new(function.result, Rounding::RndConv, hs_fixed::Overflow::Sat);
    let middle = |cell: i128| {
        // Cells at the ends may reach beyond the range.
        let (a, b) = ((cell << shift).max(x.lo), (((cell + 1) << shift) - 1).min(x.hi));
        (a as f64 + b as f64) / 2.0 * 2f64.powi(-x.frac)
    };
    let reals: Vec<f64> = (0..count).map(|i| (function.f)(middle(first + i))).collect();
    let data = quantised(function, &reals, &entry_type)?;
    let index = Index { mul: 1, shift: shift as i32, toward_zero: false, offset: offset(x, shift)? };
    let error = probe(function, x, |c| reals[((c.clamp(x.lo, x.hi) >> shift) - first) as usize]);
    let lut = Lut { index, entries: Codes::new(function.result, data), interpolate: false };
    Ok(noted(lut, error, function.result))
}

/// Entries at the cells' ends, joined by straight lines.
fn lines(function: &Function<'_>, x: Interval, shift: u32) -> Result<Built, Diagnostic> {
    let first = x.lo >> shift;
    let count = (x.hi >> shift) - first + 2;
    let r = function.result;
    let extra = GUARD.min(MAX_ENTRY_WIDTH as i32 - r.width() as i32).max(0);
    // One integer bit more than the result, for values that only interpolation brings back into range.
    let format = Format::new(true, r.width() + extra as u32 + 2, r.int() + 2)
        .map_err(|e| Diagnostic::error(format!("table entries: {e}")))?;
    let entry_type = Type::new(format, Rounding::RndConv, hs_fixed::Overflow::Sat);
    let end = |i: i128| ((first + i) << shift) as f64 * 2f64.powi(-x.frac);
    let reals: Vec<f64> = (0..count).map(|i| (function.f)(end(i))).collect();
    let data = quantised(function, &reals, &entry_type)?;
    let index = Index { mul: 1, shift: shift as i32, toward_zero: false, offset: offset(x, shift)? };
    let values: Vec<f64> = data.iter().map(|c| format.value(i128::from(*c))).collect();
    let cell = 2f64.powi(shift as i32);
    let error = probe(function, x, |c| {
        let c = c.clamp(x.lo, x.hi);
        let i = ((c >> shift) - first) as usize;
        let t = (c - ((c >> shift) << shift)) as f64 / cell;
        values[i] + (values[i + 1] - values[i]) * t
    });
    let lut = Lut { index, entries: Codes::new(format, data), interpolate: true };
    Ok(noted(lut, error, r))
}

fn quantised(function: &Function<'_>, reals: &[f64], ty: &Type) -> Result<Vec<i64>, Diagnostic> {
    reals
        .iter()
        .map(|v| {
            ty.quantize(*v).and_then(|c| i64::try_from(c).ok()).ok_or_else(|| {
                Diagnostic::error(format!("{} is {v} inside its input's range", function.name))
            })
        })
        .collect()
}

/// Largest difference between table and function over (at most twice [`PROBES`] of) the input's codes and of the codes
/// `x` that the table covers.
fn probe(function: &Function<'_>, x: Interval, table: impl Fn(i128) -> f64) -> f64 {
    let range = function.result;
    let (lo, hi) = (range.value(range.min()), range.value(range.max()));
    let mut worst = 0f64;
    for codes in [function.x, x] {
        // An odd step does not fall on the ends of cells alone, where lines are exact.
        let step = ((codes.hi - codes.lo) / PROBES).max(1) | 1;
        let mut code = codes.lo;
        loop {
            let real = (function.f)(code as f64 * 2f64.powi(-codes.frac)).clamp(lo, hi);
            worst = worst.max((table(code).clamp(lo, hi) - real).abs());
            if code == codes.hi {
                break;
            }
            code = (code + step).min(codes.hi);
        }
    }
    worst
}

fn noted(lut: Lut, error: f64, result: Format) -> Built {
    let note =
        TableNote { entries: lut.entries.len(), interpolated: lut.interpolate, error, lsb: result.value(1) };
    Built { lut, note }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tanh_at(width: u32, int: i32, lo: i128, hi: i128, frac: i32) -> Built {
        let result = Format::new(true, width, int).unwrap();
        build(&Function { name: "tanh", f: &libm::tanh, x: Interval::new(lo, hi, frac), result }).unwrap()
    }

    #[test]
    fn small_inputs_are_exact() {
        let b = tanh_at(16, 6, -512, 511, 8);
        assert!(!b.lut.interpolate && b.note.error <= b.note.lsb / 2.0, "{:?}", b.note);
    }

    #[test]
    fn wide_inputs_interpolate_within_half_a_place() {
        let b = tanh_at(16, 6, -32768, 32767, 10);
        assert!(
            b.lut.interpolate && b.note.entries <= 4097 && b.note.error <= b.note.lsb / 2.0,
            "{:?}",
            b.note
        );
    }

    #[test]
    fn tables_are_probed_where_the_function_moves() {
        let result = Format::new(false, 28, 1).unwrap();
        let x = Interval::new(0, 1 << 41, 24);
        let built = build(&Function { name: "exp", f: &|d| libm::exp(-d), x, result }).unwrap();
        assert!(built.note.entries > 1000, "{:?}", built.note);
    }

    #[test]
    fn degenerate_tables_are_refused() {
        let result = Format::new(false, 24, 1).unwrap();
        let x = Interval::new(1 << 10, 1 << 34, 10);
        let e = build(&Function { name: "1/x", f: &|x| 1.0 / x, x, result }).err().unwrap().to_string();
        assert!(e.contains("cannot follow 1/x"), "{e}");
    }
}
