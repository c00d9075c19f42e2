//! Tables.

use hs_fixed::{Format, Interval, Type};
use hs_hw::{Lut, interp};

use hs_runtime::isa::{Checked, Kernel};

use crate::{
    cast::Cast,
    lane::{Buf, Cx, Lane, Stored, Width},
};

/// Most input codes for which results are computed at load time.
const DIRECT: i128 = 1 << 16;

/// Values that are interpolated at a time.
const PIECE: usize = 64;

/// Codes in as few bits as hold them all: what is looked up by the million should stay in the cache.
#[derive(Debug)]
enum Codes {
    I32(Box<[i32]>),
    I64(Box<[i64]>),
}

impl Codes {
    fn new(codes: &[i64]) -> Self {
        let narrow: Result<Box<[i32]>, _> = codes.iter().map(|c| i32::try_from(*c)).collect();
        narrow.map_or_else(|_| Self::I64(codes.into()), Self::I32)
    }

    fn len(&self) -> usize {
        match self {
            Self::I32(codes) => codes.len(),
            Self::I64(codes) => codes.len(),
        }
    }
}

/// A table and the cast of its result, over a known range of codes.
#[derive(Debug)]
pub(crate) struct Map {
    how: How,
    /// Range of the results.
    pub(crate) range: Interval,
}

#[derive(Debug)]
enum How {
    /// The result of every code from `lo` on, whose low bits these are; the last one is that of all codes beyond, too.
    Direct { lo: i32, results: Codes },
    /// 64 bits hold every position; results by position.
    Position { mul: i64, shift: u32, toward_zero: bool, offset: i64, results: Codes },
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
        let bounds = |results: &[i64]| {
            let (lo, hi) = (*results.iter().min()?, *results.iter().max()?);
            Some(Interval::new(lo.into(), hi.into(), ty.format.frac()))
        };
        let (how, range) = if domain.hi - domain.lo < DIRECT {
            let mut results: Vec<i64> = (domain.lo..=domain.hi).map(result).collect();
            let range = bounds(&results)?;
            let last = *results.last()?;
            let same = results.iter().rev().take_while(|r| **r == last).count();
            results.truncate(results.len() - same + 1);
            (How::Direct { lo: domain.lo as i32, results: Codes::new(&results) }, range)
        } else if let Some((position, results)) = position(lut, domain, ty, exact) {
            (position, bounds(&results)?)
        } else if let Some(between) = between(lut, domain, ty, exact) {
            (between, ty.format.interval())
        } else {
            (How::Definition { lut: lut.clone(), exact, ty: *ty }, ty.format.interval())
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
            // Compiled for the build's target: vectors' gathers are slower than single loads.
            How::Direct { lo, results: Codes::I32(results) } => direct(row, *lo, results),
            How::Direct { lo, results: Codes::I64(results) } => direct(row, *lo, results),
            How::Position { .. } | How::Between { .. } | How::Definition { .. } => {
                A::kernel(isa, Apply { map: self, row });
            }
        }
    }
}

struct Apply<'a, A> {
    map: &'a Map,
    row: &'a mut [A],
}

impl<A: Lane> Kernel for Apply<'_, A> {
    #[inline(always)]
    fn run(self) {
        let Self { map, row } = self;
        match &map.how {
            How::Direct { .. } => unreachable!("looked up outside"),
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
                    cast.cast(exact);
                    piece.iter_mut().zip(&*exact).for_each(|(v, exact)| *v = A::of64(*exact));
                }
            }
            How::Position { mul, shift, toward_zero, offset, results } => {
                let at = |v: i64| {
                    let scaled = v.wrapping_mul(*mul);
                    let up = if *toward_zero && scaled < 0 { (1i64 << shift) - 1 } else { 0 };
                    (scaled.wrapping_add(up) >> shift).wrapping_add(*offset)
                };
                match results {
                    Codes::I32(results) => position_of(row, at, results),
                    Codes::I64(results) => position_of(row, at, results),
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

fn direct<A: Lane, S: Stored>(row: &mut [A], lo: i32, results: &[S]) {
    let last = results.len() - 1;
    for v in row {
        // Lanes without a row may hold anything.
        let at = (v.to32().wrapping_sub(lo) as u32 as usize).min(last);
        *v = results[at].lane();
    }
}

#[inline(always)]
fn position_of<A: Lane, S: Stored>(row: &mut [A], at: impl Fn(i64) -> i64, results: &[S]) {
    let last = results.len() - 1;
    for v in row {
        *v = results[at(v.to64()).clamp(0, last as i64) as usize].lane();
    }
}

/// The map by position, and its results.
fn position(lut: &Lut, domain: Interval, ty: &Type, exact: Format) -> Option<(How, Vec<i64>)> {
    let index = lut.index;
    let shift = u32::try_from(index.shift).ok().filter(|s| *s <= 60)?;
    // |x × mul| and |offset| below 2^61 each leave room for the mask and the sum.
    let within = |v: i128| v.unsigned_abs() < 1 << 61;
    let mul = i128::from(index.mul);
    let ends = [domain.lo.checked_mul(mul)?, domain.hi.checked_mul(mul)?, i128::from(index.offset)];
    if lut.interpolate || !ends.into_iter().all(within) {
        return None;
    }
    let results: Vec<i64> = lut.entries.data.iter().map(|e| ty.cast(i128::from(*e), exact) as i64).collect();
    let how = How::Position {
        mul: index.mul,
        shift,
        toward_zero: index.toward_zero,
        offset: index.offset,
        results: Codes::new(&results),
    };
    Some((how, results))
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
