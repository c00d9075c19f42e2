//! Tables.

use hs_fixed::{Format, Interval, Type};
use hs_hw::{Lut, interp};

use hs_runtime::isa::Checked;

use crate::{
    cast::Cast,
    lane::{Buf, Cx, Lane, Width},
};

/// Most input codes for which results are computed at load time.
const DIRECT: i128 = 1 << 16;

/// Values that are interpolated at a time.
const PIECE: usize = 64;

/// A table and the cast of its result, over a known range of codes.
#[derive(Debug)]
pub(crate) struct Map {
    how: How,
    /// Range of the results.
    pub(crate) range: Interval,
}

#[derive(Debug)]
enum How {
    /// The result of every code from `lo` on.
    Direct { lo: i64, results: Box<[i64]> },
    /// 64 bits hold every position; results by position.
    Position { mul: i64, shift: u32, toward_zero: bool, offset: i64, results: Box<[i64]> },
    /// Between two entries, in 64 bits: the position in steps of 2^-shift, then the cast of the exact value.
    Between { mul: i64, shift: u32, offset: i64, entries: Box<[i64]>, cast: Cast },
    /// `interp::lookup`, value by value.
    Definition { lut: Lut, exact: Format, ty: Type },
}

impl Map {
    /// The map of codes in `domain`; `None` when the table is malformed, which the verifier excludes.
    pub(crate) fn plan(lut: &Lut, domain: Interval, ty: &Type) -> Option<Self> {
        let exact = lut.format().ok()?;
        let result = |x: i128| ty.cast(interp::lookup(lut, x), exact) as i64;
        let how = if domain.hi - domain.lo < DIRECT {
            How::Direct { lo: domain.lo as i64, results: (domain.lo..=domain.hi).map(result).collect() }
        } else if let Some(position) = position(lut, domain, ty, exact) {
            position
        } else if let Some(between) = between(lut, domain, ty, exact) {
            between
        } else {
            How::Definition { lut: lut.clone(), exact, ty: *ty }
        };
        let range = match &how {
            How::Direct { results, .. } | How::Position { results, .. } => {
                let bound = |v: Option<&i64>| v.copied().map(i128::from);
                Interval::new(bound(results.iter().min())?, bound(results.iter().max())?, ty.format.frac())
            }
            How::Between { .. } | How::Definition { .. } => ty.format.interval(),
        };
        Some(Self { how, range })
    }

    /// What it does, for the plan.
    pub(crate) fn describe(&self) -> String {
        match &self.how {
            How::Direct { results, .. } => format!("result of each of {} codes", results.len()),
            How::Position { results, .. } => format!("computed position among {} results", results.len()),
            How::Between { entries, .. } => format!("interpolated between {} entries", entries.len()),
            How::Definition { .. } => "definition, value by value".to_owned(),
        }
    }

    /// Maps a row of codes in place.
    pub(crate) fn apply<A: Lane>(&self, isa: Checked, row: &mut [A]) {
        match &self.how {
            How::Direct { lo, results } => {
                let last = results.len() - 1;
                for v in row {
                    // Lanes without a row may hold anything.
                    let at = (v.to64().wrapping_sub(*lo) as usize).min(last);
                    *v = A::of64(results[at]);
                }
            }
            How::Between { mul, shift, offset, entries, cast } => {
                let last = entries.len() - 2;
                let end = ((last + 1) as i64) << shift;
                let mut exact = [0i64; PIECE];
                for piece in row.chunks_mut(PIECE) {
                    let exact = &mut exact[..piece.len()];
                    for (v, exact) in piece.iter().zip(&mut *exact) {
                        let fine = v.to64().wrapping_mul(*mul).wrapping_add(*offset).clamp(0, end);
                        let at = ((fine >> shift) as usize).min(last);
                        let within = fine - ((at as i64) << shift);
                        let (low, high) = (entries[at], entries[at + 1]);
                        *exact = (low << shift).wrapping_add((high - low).wrapping_mul(within));
                    }
                    cast.apply(isa, exact);
                    piece.iter_mut().zip(&*exact).for_each(|(v, exact)| *v = A::of64(*exact));
                }
            }
            How::Position { mul, shift, toward_zero, offset, results } => {
                let last = results.len() as i64 - 1;
                let mask = (1i64 << shift) - 1;
                for v in row {
                    let scaled = v.to64().wrapping_mul(*mul);
                    let up = if *toward_zero && scaled < 0 { mask } else { 0 };
                    let at = (scaled.wrapping_add(up) >> shift).wrapping_add(*offset).clamp(0, last);
                    *v = A::of64(results.get(at as usize).copied().unwrap_or(0));
                }
            }
            How::Definition { lut, exact, ty } => {
                for v in row {
                    *v = A::of(ty.cast(interp::lookup(lut, v.wide()), *exact));
                }
            }
        }
    }
}

fn position(lut: &Lut, domain: Interval, ty: &Type, exact: Format) -> Option<How> {
    let index = lut.index;
    let shift = u32::try_from(index.shift).ok().filter(|s| *s <= 60)?;
    // |x × mul| and |offset| below 2^61 each leave room for the mask and the sum.
    let within = |v: i128| v.unsigned_abs() < 1 << 61;
    let mul = i128::from(index.mul);
    let ends = [domain.lo.checked_mul(mul)?, domain.hi.checked_mul(mul)?, i128::from(index.offset)];
    if lut.interpolate || !ends.into_iter().all(within) {
        return None;
    }
    let results = lut.entries.data.iter().map(|e| ty.cast(i128::from(*e), exact) as i64).collect();
    Some(How::Position {
        mul: index.mul,
        shift,
        toward_zero: index.toward_zero,
        offset: index.offset,
        results,
    })
}

fn between(lut: &Lut, domain: Interval, ty: &Type, exact: Format) -> Option<How> {
    let index = lut.index;
    let shift = u32::try_from(index.shift).ok().filter(|s| *s <= 40)?;
    let offset = i128::from(index.offset).checked_shl(shift)?;
    let mul = i128::from(index.mul);
    let within = |v: i128| v.unsigned_abs() < 1 << 61;
    let ends = [domain.lo.checked_mul(mul)?, domain.hi.checked_mul(mul)?, offset];
    let entries = &lut.entries.data;
    let ends_of = [*entries.iter().min()?, *entries.iter().max()?].map(|e| i128::from(e) << shift);
    let all = ends.into_iter().chain(ends_of).chain([(entries.len() as i128) << shift]);
    if !lut.interpolate || entries.len() < 2 || !all.into_iter().all(within) {
        return None;
    }
    let range = Interval::new(ends_of[0], ends_of[1], exact.frac());
    let cast = Cast::plan(exact, range, ty, Width::I64).filter(Cast::is_fast)?;
    let entries = entries.iter().copied().collect();
    Some(How::Between { mul: index.mul, shift, offset: offset as i64, entries, cast })
}

/// A table over a tensor.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) map: Map,
}

impl Table {
    pub(crate) fn plan(lut: &Lut, x_range: Interval, ty: &Type, least: Width) -> Option<(Width, Self)> {
        let map = Map::plan(lut, x_range, ty)?;
        let fits = |w: &Width| *w >= least && w.fits(x_range) && w.fits(map.range);
        let width = Width::LANES.into_iter().find(fits)?;
        Some((width, Self { map }))
    }

    pub(crate) fn run<A: Lane>(&self, x: &Buf, out: &mut Buf, len: usize, cx: &mut Cx<'_>) {
        let isa = cx.isa;
        let row = cx.temps.get::<A>(cx.lanes);
        for e in 0..len {
            x.load(isa, e, row);
            self.map.apply(isa, row);
            out.store(isa, e, row);
        }
    }
}
