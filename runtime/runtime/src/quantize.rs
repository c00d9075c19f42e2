//! Fast conversion of floats to codes.
//!
//! `Type::quantize` is the definition and the fallback; the loops here are its twins for formats narrow enough
//! for the significand of the float they compute in, and give the same codes (tested by property).
//!
//! How: with m = 1.5 × 2^p × 2^-frac, p the number of fraction bits of the float, the sum x + m has an ulp of 2^-frac,
//! the type's own grid, as long as it stays in m's binade: it is x rounded to the nearest code, ties to even, and the
//! code is what its significand differs from m's by. The rest d = x - (x + m - m) is exact and tells how the other
//! rounding modes differ. Saturation is a clamp of x before the rounding: the bounds are codes and every mode is
//! monotone and keeps codes, so the order is free. A sum that leaves the binade, or NaN, sends the slice to the
//! fallback.
//!
//! Elements come and go as little-endian bytes, so that the same loops read what clients send, at any alignment, and
//! write rows of any element size.

#[cfg(target_arch = "x86_64")]
mod avx512;

use hs_fixed::{Overflow, Rounding, Type};

use crate::isa::{Checked, Kernel};

/// Index of the first NaN in a slice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NanAt(pub(crate) usize);

/// Conversion into one type, by the loops of one instruction set.
#[derive(Debug, Clone)]
pub(crate) struct Quantizer {
    ty: Type,
    isa: Checked,
}

/// Elements that are converted at a time, so that one odd value does not slow a long slice.
const CHUNK: usize = 4096;

/// What a loop does with values outside the range; what it has no member for goes to the fallback.
#[derive(Debug, Clone, Copy)]
enum Over {
    Sat,
    SatSym,
    SatZero,
    WrapSigned,
    WrapUnsigned,
}

impl Over {
    fn of(ty: &Type) -> Option<Self> {
        match ty.overflow {
            Overflow::Sat => Some(Self::Sat),
            Overflow::SatSym => Some(Self::SatSym),
            Overflow::SatZero => Some(Self::SatZero),
            Overflow::Wrap { n: 0 } if ty.format.is_signed() => Some(Self::WrapSigned),
            Overflow::Wrap { n: 0 } => Some(Self::WrapUnsigned),
            Overflow::Wrap { .. } | Overflow::WrapSm { .. } => None,
        }
    }
}

/// The low bytes of a code: its element in rows of `N`-byte elements.
#[inline(always)]
pub(crate) fn low<const N: usize>(code: i64) -> [u8; N] {
    let bytes = code.to_le_bytes();
    std::array::from_fn(|i| bytes[i])
}

macro_rules! lanes {
    ($name:ident, $method:ident, $float:ty, $int:ty, $bits:ty, $p:literal) => {
        /// Conversion of a slice, computed in one type of float.
        struct $name<'a, const I: usize, const O: usize, W> {
            ty: &'a Type,
            over: Over,
            x: &'a [[u8; I]],
            out: &'a mut [[u8; O]],
            widen: W,
            /// Set to whether `out` is good: no value was NaN or too large for the trick.
            good: &'a mut bool,
        }

        impl<const I: usize, const O: usize, W: Fn([u8; I]) -> $float> Kernel for $name<'_, I, O, W> {
            /// The common modes.
            #[inline(always)]
            fn run(self) {
                match (self.ty.rounding, self.over) {
                    (Rounding::Rnd, Over::Sat) => self.by(Rounding::Rnd, Over::Sat),
                    (Rounding::Trn, Over::WrapSigned) => self.by(Rounding::Trn, Over::WrapSigned),
                    (Rounding::Trn, Over::WrapUnsigned) => self.by(Rounding::Trn, Over::WrapUnsigned),
                    _ => *self.good = false,
                }
            }
        }

        impl<const I: usize, W: Fn([u8; I]) -> $float> $name<'_, I, 8, W> {
            /// All modes.
            fn run_any(self) {
                macro_rules! each {
                    ($rounding:ident) => {
                        match self.over {
                            Over::Sat => self.by(Rounding::$rounding, Over::Sat),
                            Over::SatSym => self.by(Rounding::$rounding, Over::SatSym),
                            Over::SatZero => self.by(Rounding::$rounding, Over::SatZero),
                            Over::WrapSigned => self.by(Rounding::$rounding, Over::WrapSigned),
                            Over::WrapUnsigned => self.by(Rounding::$rounding, Over::WrapUnsigned),
                        }
                    };
                }
                match self.ty.rounding {
                    Rounding::Trn => each!(Trn),
                    Rounding::TrnZero => each!(TrnZero),
                    Rounding::Rnd => each!(Rnd),
                    Rounding::RndZero => each!(RndZero),
                    Rounding::RndMinInf => each!(RndMinInf),
                    Rounding::RndInf => each!(RndInf),
                    Rounding::RndConv => each!(RndConv),
                }
            }
        }

        impl<const I: usize, const O: usize, W: Fn([u8; I]) -> $float> $name<'_, I, O, W> {
            /// The loop. The modes are arguments so that each call is compiled for its own.
            #[inline(always)]
            fn by(self, rounding: Rounding, over: Over) {
                const SIGNIFICAND: $int = (1 << $p) - 1;
                const MIDDLE: $int = 1 << ($p - 1);
                let f = self.ty.format;
                // 2^-frac, a normal number.
                let exponent = <$float>::MAX_EXP - 1 - f.frac();
                let grid = <$float>::from_bits((exponent as $bits) << $p);
                let magic = 1.5 * (1u64 << $p) as $float * grid;
                let magic_bits = magic.to_bits() as $int;
                let half = 0.5 * grid;
                let (lo, hi) = (f.min() as $int, f.max() as $int);
                let (lowest, highest) = (lo as $float * grid, hi as $float * grid);
                let symmetric = lo + <$int>::from(f.is_signed());
                let gap = <$int>::BITS - f.width();
                let mask = <$int>::MAX >> (gap - 1);
                let mut strayed = 0;
                for (x, out) in self.x.iter().zip(self.out) {
                    let mut x = (self.widen)(*x);
                    if matches!(over, Over::Sat) {
                        // NaN is neither below nor above.
                        x = if x < lowest { lowest } else { x };
                        x = if x > highest { highest } else { x };
                    }
                    let sum = x + magic;
                    let bits = sum.to_bits() as $int;
                    strayed |= bits ^ magic_bits;
                    let d = x - (sum - magic);
                    let one = |yes: bool| <$int>::from(yes);
                    let correction = match rounding {
                        Rounding::RndConv => 0,
                        Rounding::Rnd => one(d == half),
                        Rounding::RndMinInf => -one(d == -half),
                        Rounding::RndInf => one(x > 0.0 && d == half) - one(x < 0.0 && d == -half),
                        Rounding::RndZero => one(x < 0.0 && d == half) - one(x > 0.0 && d == -half),
                        Rounding::Trn => -one(d < 0.0),
                        Rounding::TrnZero => one(x < 0.0 && d > 0.0) - one(x > 0.0 && d < 0.0),
                    };
                    let code = (bits & SIGNIFICAND) - MIDDLE + correction;
                    let code = match over {
                        Over::Sat => code,
                        Over::SatSym => code.clamp(symmetric, hi),
                        Over::SatZero => {
                            if code < lo || code > hi {
                                0
                            } else {
                                code
                            }
                        }
                        Over::WrapSigned => code << gap >> gap,
                        Over::WrapUnsigned => code & mask,
                    };
                    *out = low(code.into());
                }
                *self.good = strayed >> $p == 0;
            }
        }

        impl Quantizer {
            /// Converts a chunk; false (and `out` undefined) when the loops cannot.
            fn $method<const I: usize, const O: usize>(
                &self,
                x: &[[u8; I]],
                out: &mut [[u8; O]],
                widen: impl Fn([u8; I]) -> $float,
            ) -> bool {
                let (ty, mut good) = (&self.ty, false);
                let Some(over) = Over::of(ty) else { return false };
                if is_common(ty) {
                    self.isa.run($name { ty, over, x, out, widen, good: &mut good });
                } else {
                    let mut codes = [[0; 8]; CHUNK];
                    let codes = &mut codes[..x.len()];
                    $name { ty, over, x, out: codes, widen, good: &mut good }.run_any();
                    for (code, out) in codes.iter().zip(out) {
                        *out = low(i64::from_le_bytes(*code));
                    }
                }
                good
            }
        }
    };
}

lanes!(Singles, single, f32, i32, u32, 23);
lanes!(Doubles, double, f64, i64, u64, 52);

/// Whether the type has the modes that inputs have by default, in our arithmetic or in hls4ml's: only their loops
/// are compiled for each instruction set and size of element.
fn is_common(ty: &Type) -> bool {
    matches!((ty.rounding, ty.overflow), (Rounding::Rnd, Overflow::Sat) | (Rounding::Trn, Overflow::WRAP))
}

impl Quantizer {
    pub(crate) fn new(ty: Type, isa: Checked) -> Self {
        Self { ty, isa }
    }

    /// The low bytes of the codes of single-precision values.
    pub(crate) fn f32<const O: usize>(&self, x: &[[u8; 4]], out: &mut [[u8; O]]) -> Result<(), NanAt> {
        let f = self.ty.format;
        let widen = |x| f64::from(f32::from_le_bytes(x));
        // Bounds and halves of the grid must be normal numbers.
        let single = f.width() <= 22 && f.frac().abs() <= 80;
        let double = f.width() <= 50 && f.frac().abs() <= 800;
        self.chunks(x, out, widen, |x, out| {
            #[cfg(target_arch = "x86_64")]
            if single && let Some(good) = avx512::convert(&self.ty, self.isa, x, out) {
                return good;
            }
            single && self.single(x, out, f32::from_le_bytes)
                || !single && double && self.double(x, out, widen)
        })
    }

    /// The low bytes of the codes of double-precision values.
    pub(crate) fn f64<const O: usize>(&self, x: &[[u8; 8]], out: &mut [[u8; O]]) -> Result<(), NanAt> {
        let f = self.ty.format;
        let double = f.width() <= 50 && f.frac().abs() <= 800;
        self.chunks(x, out, f64::from_le_bytes, |x, out| double && self.double(x, out, f64::from_le_bytes))
    }

    fn chunks<const I: usize, const O: usize>(
        &self,
        x: &[[u8; I]],
        out: &mut [[u8; O]],
        widen: impl Fn([u8; I]) -> f64,
        fast: impl Fn(&[[u8; I]], &mut [[u8; O]]) -> bool,
    ) -> Result<(), NanAt> {
        for (c, (x, out)) in x.chunks(CHUNK).zip(out.chunks_mut(CHUNK)).enumerate() {
            if fast(x, out) {
                continue;
            }
            for (i, (x, out)) in x.iter().zip(out).enumerate() {
                // Tensor types have at most 64 bits, 63 when unsigned.
                *out = low(self.ty.quantize(widen(*x)).ok_or(NanAt(c * CHUNK + i))? as i64);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hs_fixed::Format;
    use proptest::prelude::*;

    use super::*;
    use crate::isa::Isa;

    fn types() -> impl Strategy<Value = Type> {
        let frac = prop_oneof![4 => -3i32..40, 1 => -1000i32..1000];
        (any::<bool>(), 1u32..=64, frac, 0usize..7, 0usize..6).prop_map(|(signed, width, frac, r, o)| {
            let width = if signed { width } else { width.min(63) };
            let format = Format::new(signed, width, width as i32 - frac).unwrap();
            let mut overflow = Overflow::ALL[o];
            if let Overflow::Wrap { n } = &mut overflow {
                *n = (*n).min(width);
            }
            Type::new(format, Rounding::ALL[r], overflow)
        })
    }

    /// Values that sit on, just beside and between the type's codes, and values of any size.
    fn values(ty: Type) -> impl Strategy<Value = Vec<f64>> {
        let (lo, hi, frac) = (ty.format.min() as f64, ty.format.max() as f64, ty.format.frac());
        let grid = move |v: f64| v * 2f64.powi(-frac / 2) * 2f64.powi(-frac - -frac / 2);
        let near = prop_oneof![
            Just(lo),
            Just(hi),
            Just(0.0),
            lo..=hi,
            -8f64..8.0,
            (-40i32..40).prop_map(|h| f64::from(h) / 2.0)
        ];
        let close = (near, -1.0f64..1.0, -70i32..2).prop_map(move |(v, d, e)| {
            let eps = [0.0, 0.5, -0.5, d * 2f64.powi(e)];
            grid(v + eps[(e.unsigned_abs() % 4) as usize])
        });
        let double = any::<u64>().prop_map(f64::from_bits).prop_filter("NaN", |v| !v.is_nan());
        let single =
            any::<u32>().prop_map(|b| f64::from(f32::from_bits(b))).prop_filter("NaN", |v| !v.is_nan());
        let one = prop_oneof![8 => close, 1 => double, 1 => single];
        prop::collection::vec(one, 1..20)
    }

    fn quantizers(ty: Type) -> impl Iterator<Item = Quantizer> {
        Isa::ALL.into_iter().filter_map(Checked::new).map(move |isa| Quantizer::new(ty, isa))
    }

    /// The codes as elements of a size that holds them, and the low bytes of each in all smaller ones.
    fn elements<const N: usize>(want: &[i64], got: Result<Vec<[u8; N]>, NanAt>) {
        assert_eq!(got, Ok(want.iter().map(|code| low::<N>(*code)).collect()));
    }

    fn f32<const N: usize>(q: &Quantizer, x: &[f32]) -> Result<Vec<[u8; N]>, NanAt> {
        let bytes: Vec<_> = x.iter().map(|x| x.to_le_bytes()).collect();
        let mut out = vec![[0; N]; x.len()];
        q.f32(&bytes, &mut out).map(|()| out)
    }

    fn f64<const N: usize>(q: &Quantizer, x: &[f64]) -> Result<Vec<[u8; N]>, NanAt> {
        let bytes: Vec<_> = x.iter().map(|x| x.to_le_bytes()).collect();
        let mut out = vec![[0; N]; x.len()];
        q.f64(&bytes, &mut out).map(|()| out)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn loops_equal_the_definition((ty, x) in types().prop_flat_map(|t| (Just(t), values(t)))) {
            let want = |x: f64| ty.quantize(x).unwrap() as i64;
            let double: Vec<i64> = x.iter().map(|x| want(*x)).collect();
            let y: Vec<f32> = x.iter().map(|x| *x as f32).collect();
            let single: Vec<i64> = y.iter().map(|x| want(f64::from(*x))).collect();
            for q in quantizers(ty) {
                // One at a time, so that one large value does not send the others to the fallback.
                for i in 0..x.len() {
                    elements(&double[i..=i], f64::<8>(&q, &x[i..=i]));
                    elements(&single[i..=i], f32::<8>(&q, &y[i..=i]));
                }
                elements(&double, f64::<8>(&q, &x));
                elements(&double, f64::<4>(&q, &x));
                elements(&double, f64::<2>(&q, &x));
                elements(&double, f64::<1>(&q, &x));
                elements(&single, f32::<8>(&q, &y));
                elements(&single, f32::<4>(&q, &y));
                elements(&single, f32::<2>(&q, &y));
                elements(&single, f32::<1>(&q, &y));
            }
        }
    }

    #[test]
    fn halves_and_ends_of_a_common_type() {
        for q in quantizers("fixed<16,6>".parse().unwrap()) {
            let x = [1.5, -1.0 / 2048.0, 1.0 / 2048.0, 1e30, f32::NEG_INFINITY, -0.0];
            elements(&[1536, 0, 1, 32767, -32768, 0], f32::<2>(&q, &x));
        }
    }

    #[test]
    fn every_single_near_a_code_or_a_half() {
        for name in
            ["fixed<8,4,RND,SAT>", "ufixed<8,3,RND,SAT>", "fixed<10,3,TRN,WRAP>", "ufixed<9,12,TRN,WRAP>"]
        {
            let ty: Type = name.parse().unwrap();
            let grid = f64::powi(2.0, -ty.format.frac());
            // Twice the range, and for every half of the grid the floats around it.
            let halves = (ty.format.min() * 4 - 9)..(ty.format.max() * 4 + 9);
            let near = |half: i128| {
                let x = (half as f64 * 0.5 * grid) as f32;
                [x.next_down().next_down(), x.next_down(), x, x.next_up(), x.next_up().next_up()]
            };
            let tiny =
                [f32::MIN_POSITIVE, 1e-45, -1e-45, -f32::MIN_POSITIVE, f32::MAX, f32::MIN, f32::INFINITY];
            let x: Vec<f32> = halves.flat_map(near).chain(tiny).collect();
            let want: Vec<i64> = x.iter().map(|x| ty.quantize(f64::from(*x)).unwrap() as i64).collect();
            for q in quantizers(ty) {
                elements(&want, f32::<8>(&q, &x));
                elements(&want, f32::<4>(&q, &x));
                elements(&want, f32::<2>(&q, &x));
                // Without the fallback.
                #[cfg(target_arch = "x86_64")]
                if q.isa.isa() >= Isa::Avx512 {
                    let few = x.len() - tiny.len();
                    let bytes: Vec<_> = x[..few].iter().map(|x| x.to_le_bytes()).collect();
                    let mut out = vec![[0; 2]; few];
                    assert_eq!(avx512::convert(&ty, q.isa, &bytes, &mut out), Some(true));
                    elements(&want[..few], Ok(out));
                }
            }
        }
    }

    #[test]
    fn nan_is_found_where_it_is() {
        let mut x = vec![0f32; 3000];
        x[2500] = f32::NAN;
        let y: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        for q in quantizers("fixed<16,6>".parse().unwrap()) {
            assert_eq!(f32::<2>(&q, &x), Err(NanAt(2500)));
            assert_eq!(f64::<2>(&q, &y), Err(NanAt(2500)));
        }
    }
}
