//! From the sums of a tile to codes of the result.

#[cfg(target_arch = "x86_64")]
use super::bytes::{Bytes, LINES};
use super::{
    kernel::VECTOR,
    storage::{Storage, Tensor, each},
};
#[cfg(target_arch = "x86_64")]
use crate::Isa;
use crate::{
    dot::{SPLIT, Stage},
    lane::Stored,
};
use hs_runtime::isa::{Checked, Kernel};

/// A constant of each output of a line.
pub(super) type Constants = [i32; VECTOR];

/// What is done to the sums.
#[derive(Debug)]
pub(super) struct Close {
    /// Added to each line of sums, tile after tile.
    init: Box<[Constants]>,
    /// Whether the second half of a tile's lines are the sums of the weights' low parts.
    split: bool,
    then: Then,
}

/// What follows.
#[derive(Debug)]
enum Then {
    /// A shift and bounds.
    Plain(Plain),
    /// The same, after a product and an addition.
    Scaled {
        factors: Box<[Constants]>,
        summands: Box<[Constants]>,
        plain: Plain,
    },
    Stages(Box<[Scaled]>),
}

/// `v >> drop` between bounds.
#[derive(Debug, Clone, Copy)]
struct Plain {
    drop: u32,
    lo: i32,
    hi: i32,
}

/// A stage, with constants for each line of sums.
#[derive(Debug)]
struct Scaled {
    factors: Option<Box<[Constants]>>,
    summands: Option<Box<[Constants]>>,
    stage: Stage,
}

/// The finished sums of a tile.
pub(super) struct Sums<'a> {
    /// Lines of a pixel after those of another.
    pub(super) acc: &'a [i32],
    pub(super) lines: usize,
    /// The tile's first line among all tiles'.
    pub(super) first: usize,
    /// Outputs of the tile, at most as many as its lines hold.
    pub(super) outputs: usize,
    /// Place of the first pixel's first output in the result, and distance between pixels.
    pub(super) at: usize,
    pub(super) stride: usize,
}

impl Close {
    /// For results that are stored as `storage`. `lines`: a constant of each output as lines of all tiles.
    pub(super) fn new(
        init: Vec<Constants>,
        split: bool,
        mut stages: Vec<Stage>,
        lines: impl Fn(&[i32]) -> Box<[Constants]>,
        storage: Storage,
    ) -> Self {
        stages.retain(|s| !s.is_nothing());
        // Beyond the sign there is nothing to drop.
        stages.iter_mut().for_each(|s| s.drop = s.drop.min(31));
        if let Some(last) = stages.last_mut()
            && let Some((bits, _)) = last.wrap
            && bits == storage.width().bits()
        {
            // The store drops what the wrap would.
            last.wrap = None;
        }
        let plain = |s: &Stage| {
            let (lo, hi) = s.clamp.unwrap_or((i32::MIN, i32::MAX));
            (s.left == 0 && s.add == 0 && s.wrap.is_none()).then_some(Plain { drop: s.drop, lo, hi })
        };
        let all = |value: i32| vec![[value; VECTOR]; init.len()].into_boxed_slice();
        let simple = match &stages[..] {
            [] => Some((None, None, Plain { drop: 0, lo: i32::MIN, hi: i32::MAX })),
            [s] => plain(s).map(|plain| (s.scale.as_deref(), s.bias.as_deref(), plain)),
            _ => None,
        };
        let then = match simple {
            Some((None, None, plain)) => Then::Plain(plain),
            Some((scale, bias, plain)) => Then::Scaled {
                factors: scale.map_or_else(|| all(1), &lines),
                summands: bias.map_or_else(|| all(0), &lines),
                plain,
            },
            None => {
                let scaled = |stage: Stage| Scaled {
                    factors: stage.scale.as_deref().map(&lines),
                    summands: stage.bias.as_deref().map(&lines),
                    stage,
                };
                Then::Stages(stages.into_iter().map(scaled).collect())
            }
        };
        Self { init: init.into(), split, then }
    }

    /// What it does beside a shift and bounds, for the plan.
    pub(super) fn describe(&self) -> &'static str {
        match (self.split, &self.then) {
            (false, Then::Plain(_)) => "",
            (false, Then::Scaled { .. }) => ", scaled",
            (false, Then::Stages(_)) => ", casts in stages",
            (true, Then::Plain(_)) => ", weights in halves",
            (true, Then::Scaled { .. }) => ", scaled, weights in halves",
            (true, Then::Stages(_)) => ", casts in stages, weights in halves",
        }
    }

    /// Writes the codes of a tile.
    pub(super) fn run(&self, isa: Checked, sums: &Sums<'_>, out: &mut Tensor) {
        let done = self.bytes(isa, sums, out);
        each!(out, out => isa.run(Tile { close: self, sums, done, out: &mut out[..] }));
    }

    /// Writes codes of a byte, four lines of which are a vector, where there is an explicit kernel for it; the number of
    /// lines it has written.
    #[cfg(target_arch = "x86_64")]
    fn bytes(&self, isa: Checked, sums: &Sums<'_>, out: &mut Tensor) -> usize {
        let whole = LINES * VECTOR;
        let lines = sums.first..sums.first + LINES;
        let (scale, plain) = match &self.then {
            _ if self.split || sums.outputs < whole || isa.isa() < Isa::Avx512 => return 0,
            Then::Plain(plain) => (None, plain),
            Then::Scaled { factors, summands, plain } => {
                (Some([&factors[lines.clone()], &summands[lines.clone()]]), plain)
            }
            Then::Stages(_) => return 0,
        };
        let (signed, out): (bool, &mut [u8]) = match out {
            Tensor::U8(out) => (false, out),
            Tensor::I8(out) => (true, bytemuck::cast_slice_mut(out)),
            Tensor::I16(_) | Tensor::U16(_) | Tensor::I32(_) | Tensor::I64(_) => return 0,
        };
        let (lo, hi) = if signed { (-128, 127) } else { (0, 255) };
        if plain.lo < lo || plain.hi > hi {
            return 0;
        }
        let bytes = Bytes {
            acc: sums.acc,
            lines: sums.lines,
            init: &self.init[lines],
            scale,
            drop: plain.drop,
            // The instructions that pack clamp as well.
            bounds: ((plain.lo, plain.hi) != (lo, hi)).then_some((plain.lo, plain.hi)),
            signed,
            out: &mut out[sums.at..],
            stride: sums.stride,
        };
        bytes.write(isa);
        LINES
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn bytes(&self, _: Checked, _: &Sums<'_>, _: &mut Tensor) -> usize {
        0
    }
}

struct Tile<'a, S> {
    close: &'a Close,
    sums: &'a Sums<'a>,
    /// Lines that are written already.
    done: usize,
    out: &'a mut [S],
}

impl<S: Stored> Kernel for Tile<'_, S> {
    #[inline(always)]
    fn run(self) {
        match (&self.close.then, self.close.split) {
            (Then::Plain(plain), false) => self.close::<false>(*plain),
            (Then::Plain(plain), true) => self.close::<true>(*plain),
            (Then::Scaled { factors, summands, plain }, false) => {
                self.close::<false>(Product { factors, summands, plain: *plain });
            }
            (Then::Scaled { factors, summands, plain }, true) => {
                self.close::<true>(Product { factors, summands, plain: *plain });
            }
            (Then::Stages(stages), false) => self.close::<false>(Stages(stages)),
            (Then::Stages(stages), true) => self.close::<true>(Stages(stages)),
        }
    }
}

/// What is done to the values of a line. Not a closure: that would be compiled for the build's target.
trait Line: Copy {
    /// The same with the constants of line `at` among those of all tiles.
    fn at(self, at: usize) -> impl Apply;
}

/// What is done to values.
trait Apply: Copy {
    fn apply(self, v: Constants) -> Constants;
}

impl Line for Plain {
    #[inline(always)]
    fn at(self, _: usize) -> impl Apply {
        self
    }
}

impl Apply for Plain {
    #[inline(always)]
    fn apply(self, mut v: Constants) -> Constants {
        for v in &mut v {
            *v = v.wrapping_shr(self.drop).max(self.lo).min(self.hi);
        }
        v
    }
}

#[derive(Clone, Copy)]
struct Product<'a> {
    factors: &'a [Constants],
    summands: &'a [Constants],
    plain: Plain,
}

#[derive(Clone, Copy)]
struct ProductOf {
    factor: Constants,
    summand: Constants,
    plain: Plain,
}

impl Line for Product<'_> {
    #[inline(always)]
    fn at(self, at: usize) -> impl Apply {
        ProductOf { factor: self.factors[at], summand: self.summands[at], plain: self.plain }
    }
}

impl Apply for ProductOf {
    #[inline(always)]
    fn apply(self, v: Constants) -> Constants {
        self.plain.apply(plus(&times(&v, &self.factor), &self.summand))
    }
}

#[derive(Clone, Copy)]
struct Stages<'a>(&'a [Scaled]);

#[derive(Clone, Copy)]
struct StagesOf<'a>(&'a [Scaled], usize);

impl<'a> Line for Stages<'a> {
    #[inline(always)]
    fn at(self, at: usize) -> impl Apply {
        StagesOf(self.0, at)
    }
}

impl Apply for StagesOf<'_> {
    #[inline(always)]
    fn apply(self, mut v: Constants) -> Constants {
        let Self(stages, at) = self;
        for Scaled { factors, summands, stage } in stages {
            if let Some(factors) = factors {
                v = times(&v, &factors[at]);
            }
            if let Some(summands) = summands {
                v = plus(&v, &summands[at]);
            }
            stage.apply_to(&mut v);
        }
        v
    }
}

impl<S: Stored> Tile<'_, S> {
    #[inline(always)]
    fn close<const SPLIT_SUMS: bool>(self, line: impl Line) {
        let Self { close, sums, done, out } = self;
        let lines = if SPLIT_SUMS { sums.lines / 2 } else { sums.lines };
        let init = &close.init[sums.first..sums.first + sums.lines];
        let out = &mut out[sums.at..];
        for l in done..lines {
            let low = if SPLIT_SUMS { (init[lines + l], (lines + l) * VECTOR) } else { ([0; VECTOR], 0) };
            let parts = [(init[l], l * VECTOR), low];
            let n = VECTOR.min(sums.outputs - l * VECTOR);
            if n == VECTOR {
                pixels::<S, SPLIT_SUMS, true>(sums, parts, line.at(sums.first + l), n, out);
            } else {
                pixels::<S, SPLIT_SUMS, false>(sums, parts, line.at(sums.first + l), n, out);
            }
        }
    }
}

/// Closes a line of all pixels, so that constants stay in registers while pixels pass. `parts`: what is added to the
/// sums and where they lie, of the high and the low parts; `n` outputs of the line, all of a vector where it is `FULL`.
#[inline(always)]
fn pixels<S: Stored, const SPLIT_SUMS: bool, const FULL: bool>(
    sums: &Sums<'_>,
    [(high, first), (low, second)]: [(Constants, usize); 2],
    step: impl Apply,
    n: usize,
    out: &mut [S],
) {
    for (acc, out) in sums.acc.chunks_exact(sums.lines * VECTOR).zip(out.chunks_mut(sums.stride)) {
        let mut v = plus(&vector(acc, first), &high);
        if SPLIT_SUMS {
            let mut low = plus(&vector(acc, second), &low);
            for low in &mut low {
                *low >>= SPLIT;
            }
            v = plus(&v, &low);
        }
        let codes = codes::<S>(&step.apply(v));
        if FULL {
            out[first..first + VECTOR].copy_from_slice(&codes);
        } else {
            out[first..first + n].iter_mut().zip(&codes).for_each(|(out, code)| *out = *code);
        }
    }
}

/// The vector that begins at `at`.
#[inline(always)]
fn vector(acc: &[i32], at: usize) -> Constants {
    let mut v = [0; VECTOR];
    v.copy_from_slice(&acc[at..at + VECTOR]);
    v
}

#[inline(always)]
fn plus(a: &Constants, b: &Constants) -> Constants {
    let mut sum = *a;
    for (a, b) in sum.iter_mut().zip(b) {
        *a = a.wrapping_add(*b);
    }
    sum
}

#[inline(always)]
fn times(a: &Constants, b: &Constants) -> Constants {
    let mut product = *a;
    for (a, b) in product.iter_mut().zip(b) {
        *a = a.wrapping_mul(*b);
    }
    product
}

#[inline(always)]
fn codes<S: Stored>(v: &Constants) -> [S; VECTOR] {
    let mut codes = [S::from_lane(0i32); VECTOR];
    for (code, v) in codes.iter_mut().zip(v) {
        *code = S::from_lane(*v);
    }
    codes
}
