//! From the sums of a tile to codes of the result.

use super::{
    kernel::VECTOR,
    storage::{Storage, Tensor, each},
};
use crate::{
    dot::{SPLIT, Stage},
    lane::Stored,
};
use hs_runtime::isa::{Checked, Kernel};

/// What is done to the sums.
#[derive(Debug)]
pub(super) struct Close {
    /// Added to each line of sums, tile after tile.
    pub(super) init: Box<[[i32; VECTOR]]>,
    pub(super) kind: Kind,
    stages: Box<[Stage]>,
    /// The only stage, where it is no more than a shift and bounds.
    plain: Option<(u32, i32, i32)>,
}

/// How sums become the value of the first stage.
#[derive(Debug)]
pub(super) enum Kind {
    /// They are it.
    Whole,
    /// The second half of a tile's lines are the sums of the weights' low parts.
    Split,
    /// Each is multiplied, then added to; a line for each line of sums.
    Scaled { factors: Box<[[i32; VECTOR]]>, summands: Box<[[i32; VECTOR]]> },
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
    /// For results that are stored as `storage`.
    pub(super) fn new(
        init: Vec<[i32; VECTOR]>,
        kind: Kind,
        mut stages: Vec<Stage>,
        storage: Storage,
    ) -> Self {
        // Beyond the sign there is nothing to drop.
        stages.iter_mut().for_each(|s| s.drop = s.drop.min(31));
        if let Some(last) = stages.last_mut()
            && let Some((bits, _)) = last.wrap
            && bits == storage.width().bits()
        {
            // The store drops what the wrap would.
            last.wrap = None;
        }
        let plain = match &stages[..] {
            [Stage { scale: None, bias: None, left: 0, add: 0, drop, clamp, wrap: None }] => {
                let (lo, hi) = clamp.unwrap_or((i32::MIN, i32::MAX));
                Some((*drop, lo, hi))
            }
            _ => None,
        };
        Self { init: init.into(), kind, stages: stages.into(), plain }
    }

    /// Whether a shift and bounds are all that follows the sums.
    pub(super) fn is_plain(&self) -> bool {
        self.plain.is_some()
    }

    /// Writes the codes of a tile.
    pub(super) fn run(&self, isa: Checked, sums: &Sums<'_>, out: &mut Tensor) {
        each!(out, out => isa.run(Tile { close: self, sums, out: &mut out[..] }));
    }
}

struct Tile<'a, S> {
    close: &'a Close,
    sums: &'a Sums<'a>,
    out: &'a mut [S],
}

impl<S: Stored> Kernel for Tile<'_, S> {
    #[inline(always)]
    fn run(self) {
        let Tile { close, sums, out } = self;
        match (&close.plain, &close.stages[..]) {
            (Some((drop, lo, hi)), _) => tile(close, sums, out, Plain { drop: *drop, lo: *lo, hi: *hi }),
            (None, stages) => tile(close, sums, out, Stages(stages)),
        }
    }
}

/// What follows. Not a closure: that would be compiled for the build's target.
trait Then: Copy {
    fn then(self, v: [i32; VECTOR]) -> [i32; VECTOR];
}

#[derive(Clone, Copy)]
struct Plain {
    drop: u32,
    lo: i32,
    hi: i32,
}

impl Then for Plain {
    #[inline(always)]
    fn then(self, mut v: [i32; VECTOR]) -> [i32; VECTOR] {
        for v in &mut v {
            *v = v.wrapping_shr(self.drop).max(self.lo).min(self.hi);
        }
        v
    }
}

#[derive(Clone, Copy)]
struct Stages<'a>(&'a [Stage]);

impl Then for Stages<'_> {
    #[inline(always)]
    fn then(self, mut v: [i32; VECTOR]) -> [i32; VECTOR] {
        for stage in self.0 {
            stage.apply_to(&mut v);
        }
        v
    }
}

#[inline(always)]
fn tile<S: Stored>(close: &Close, sums: &Sums<'_>, out: &mut [S], then: impl Then) {
    let parts = if matches!(close.kind, Kind::Split) { 2 } else { 1 };
    let lines = sums.lines / parts;
    let init = &close.init[sums.first..sums.first + sums.lines];
    for (p, acc) in sums.acc.chunks_exact(sums.lines * VECTOR).enumerate() {
        let at = sums.at + p * sums.stride;
        let out = &mut out[at..at + sums.outputs];
        let (acc, _) = acc.as_chunks::<VECTOR>();
        for (l, out) in out.chunks_mut(VECTOR).enumerate() {
            let mut v = plus(&acc[l], &init[l]);
            match &close.kind {
                Kind::Whole => {}
                Kind::Split => {
                    let low = plus(&acc[lines + l], &init[lines + l]);
                    v.iter_mut().zip(low).for_each(|(v, low)| *v = v.wrapping_add(low >> SPLIT));
                }
                Kind::Scaled { factors, summands } => {
                    let (factors, summands) = (&factors[sums.first + l], &summands[sums.first + l]);
                    for ((v, factor), summand) in v.iter_mut().zip(factors).zip(summands) {
                        *v = v.wrapping_mul(*factor).wrapping_add(*summand);
                    }
                }
            }
            let v = then.then(v);
            if let Ok(out) = <&mut [S; VECTOR]>::try_from(&mut *out) {
                *out = codes(&v);
            } else {
                out.copy_from_slice(&codes::<S>(&v)[..out.len()]);
            }
        }
    }
}

#[inline(always)]
fn plus(a: &[i32; VECTOR], b: &[i32; VECTOR]) -> [i32; VECTOR] {
    let mut sum = *a;
    sum.iter_mut().zip(b).for_each(|(a, b)| *a = a.wrapping_add(*b));
    sum
}

#[inline(always)]
fn codes<S: Stored>(v: &[i32; VECTOR]) -> [S; VECTOR] {
    let mut codes = [S::from_lane(0i32); VECTOR];
    codes.iter_mut().zip(v).for_each(|(code, v)| *code = S::from_lane(*v));
    codes
}
